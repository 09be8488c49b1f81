//! The protocol within bounds that take seconds, and every variant that lacks one rule. `make model` goes farther.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it found"
)]

use signalbox_model::catalogue::{self, Case};

fn each(cases: Vec<Case>) {
    let mut faults = Vec::new();
    for case in cases {
        let explored = case.explore(1);
        let name = format!("{}: {}", case.model, case.variant);
        let verdict = case.verdict(&explored);
        let told = verdict.as_ref().unwrap_or_else(|told| told);
        println!(
            "{name}: {} states, depth {}, {:?}, {told}",
            explored.states, explored.depth, explored.took
        );
        if verdict.is_err() {
            faults.push(format!("{name}: {told}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_protocol_keeps_its_promises_within_small_bounds() {
    each(catalogue::small());
}

#[test]
fn everything_can_still_end_within_small_bounds() {
    each(catalogue::endings());
}

#[test]
fn every_rule_that_is_left_out_is_missed() {
    each(catalogue::variants());
}
