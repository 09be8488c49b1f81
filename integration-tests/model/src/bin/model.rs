//! `make model`: explores the protocol within larger bounds and every variant that lacks a rule, and prints a table.
//! Exits with 0 only if all came to what they must come to. Arguments are the beginnings of the models' names to explore.

use signalbox_model::catalogue::{self, Case};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed = false;
    say(&format!(
        "{:<58} {:>10} {:>5} {:>8}  verdict",
        "model, bound: variant", "states", "depth", "seconds"
    ));
    let cases = catalogue::variants().into_iter().chain(catalogue::large());
    let chosen = |case: &Case| {
        wanted.is_empty() || wanted.iter().any(|name| case.model.starts_with(name.as_str()))
    };
    for case in cases.filter(chosen) {
        let explored = case.explore(if case.falls.is_some() { 1 } else { threads });
        let verdict = case.verdict(&explored);
        failed |= verdict.is_err();
        say(&format!(
            "{:<58} {:>10} {:>5} {:>8.1}  {}",
            format!("{}: {}", case.model, case.variant),
            explored.states,
            explored.depth,
            explored.took.as_secs_f64(),
            verdict.unwrap_or_else(|told| told)
        ));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(line: &str) {
    // Whoever has closed the pipe does not want to read on.
    let _ = writeln!(std::io::stdout(), "{line}");
}
