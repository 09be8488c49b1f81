//! The table of `make bench-peers`: lines of JSON that were measured become rows with ratios. Nothing is measured here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const OURS: &str = r#"{"name": "signalbox", "flows_per_s": 1200.0, "p50_ms": 9.5, "p99_ms": 21.25,
    "cpu_ms_per_flow": {"engine": 0.5, "kafka": 0.25, "load": 0.125}}"#;
const THEIRS: &str = r#"{"name": "restate", "flows_per_s": 300.0, "p50_ms": 4.0, "p99_ms": 7.0,
    "cpu_ms_per_flow": {"server": 2.0, "service": 1.0, "load": 0.3}}"#;

fn table(measured: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/peers/bench.py");
    let mut command = Command::new("python3");
    command.arg(script).arg("--table");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("python3 cannot be run ({error}); `make prerequisites` says how to get it")
    });
    let lines: Vec<String> = measured.iter().map(|line| line.replace('\n', " ")).collect();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn peers_stand_beside_us_with_ratios_and_without_their_load() {
    let printed = String::from_utf8(table(&[OURS, THEIRS]).stdout).unwrap();
    let expected = "
           flows/s  ours/theirs  CPU ms/flow  theirs/ours  p50 ms  p99 ms
signalbox     1200         1.00        0.750         1.00     9.5    21.2
restate        300         4.00        3.000         4.00     4.0     7.0

CPU ms per flow by process; the load is in no sum:
  signalbox: engine 0.500, kafka 0.250, load 0.125
  restate: server 2.000, service 1.000, load 0.300
";
    assert_eq!(printed, expected.trim_start_matches('\n'));
}

#[test]
fn without_our_own_figures_there_is_no_table() {
    let output = table(&[THEIRS]);
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no line is named signalbox"), "{told}");
}
