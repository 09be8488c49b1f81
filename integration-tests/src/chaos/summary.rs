//! What a run was: its faults with their times to recover, what rare things were seen, and what the checker found.

use std::collections::BTreeMap;
use std::time::Duration;

use signalbox::scene::Console;
use signalbox_checker::{Fault as Blow, Recovery, Report};

use super::Plan;
use super::fault::{Fault, LOST_COMMIT, told};
use super::outage::Outage;
use crate::failure::Failure;
use crate::installation::Installation;

/// Findings that are printed; the rest is counted.
const TOLD_MAX: usize = 30;

/// What happened, for the table.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) plan: Plan,
    pub(crate) blows: Vec<Blow>,
    /// Faults during which a link was bad.
    pub(crate) together: usize,
    /// Services that ended by themselves, and after what.
    pub(crate) ended: Vec<String>,
    /// Faults that this machine does not allow, and why.
    pub(crate) not_done: Vec<(&'static str, &'static str)>,
    pub(crate) payments_held: bool,
    /// Servers that were away for long.
    pub(crate) outages: Vec<Outage>,
    pub(crate) cases: usize,
    /// How many of the cases are payouts.
    pub(crate) payouts: usize,
    pub(crate) took: Duration,
}

impl Told {
    /// Whether everything that tells must be seen: no fault was left out that makes it happen.
    pub(crate) fn is_whole(&self) -> bool {
        self.plan.only.is_empty() && self.blows.len() >= Fault::TELLING.len()
    }
}

/// How often rare things were seen; each of them at least once, or the run was too tame.
#[derive(Debug)]
pub(crate) struct Seen(Vec<(&'static str, u64)>);

impl Seen {
    /// Counts what the checker saw, and what services say in their logs.
    ///
    /// # Errors
    /// `System` where logs cannot be read.
    pub(crate) fn count(on: &Installation, report: &Report) -> Result<Self, Failure> {
        let counted = report.counted;
        let logged = |words: &[&str]| on.count_in_logs(words);
        Ok(Self(vec![
            ("fenced commit", logged(&["lanes belong to another worker now"])?),
            ("ambiguous commit, committed", logged(&[LOST_COMMIT, &told("committed")])?),
            ("ambiguous commit, not committed", logged(&[LOST_COMMIT, &told("not committed")])?),
            ("zombie publish", counted.zombies),
            ("same-key resend", counted.resends),
            ("inquiry found it executed", counted.found_executed),
            ("inquiry found it not executed", counted.found_not_executed),
            ("lost tail", logged(&["a log has lost its tail"])?),
            ("parked flow", counted.parked),
            ("dead letter", counted.dead_letters),
        ]))
    }

    /// What was never seen.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_, times)| *times == 0).map(|(what, _)| *what).collect()
    }
}

/// Prints everything.
pub(crate) fn print(console: Console, told: &Told, report: &Report, seen: &Seen) {
    let line = |text: String| console.print(&text);
    line(format!("\n  {:<50} {:>5} {:>9} {:>9} {:>9}", "fault", "times", "p50", "max", "others"));
    for (what, recoveries) in by_fault(report) {
        let p50 = middle(recoveries.iter().filter_map(|one| one.median_ms()).collect());
        let max = recoveries.iter().filter_map(|one| one.worst_ms()).max();
        let others = recoveries.iter().filter_map(|one| one.others_worst_ms()).max();
        let times = [p50, max, others].map(time).map(|time| format!("{time:>9}")).join(" ");
        line(format!("  {what:<50} {:>5} {times}", recoveries.len()));
    }
    line("  (until a lane that was hit, the last of them, and the last of the others published again)".to_owned());
    for (what, why) in &told.not_done {
        line(format!("  {what:<50} not done: {why}"));
    }
    for ended in &told.ended {
        line(format!("  ended by itself and was started again: {ended}"));
    }
    for outage in &told.outages {
        line(format!("  {outage}"));
    }
    line(format!("\n  {:<50} {:>5}", "seen", "times"));
    for (what, times) in &seen.0 {
        line(format!("  {what:<50} {times:>5}"));
    }
    let counted = report.counted;
    let endings: Vec<String> =
        report.endings.iter().map(|(status, count)| format!("{count} {status}")).collect();
    line(format!(
        "\n  seed {}: {} faults, {} of them while a link was bad; {:.0} s in all",
        told.plan.seed,
        told.blows.len(),
        told.together,
        told.took.as_secs_f64()
    ));
    line(format!(
        "  {} cases, {} of them payouts, {} commands, {} journeys: {}",
        told.cases,
        told.payouts,
        counted.commands,
        counted.flows,
        endings.join(", ")
    ));
    line(format!(
        "  {} records without a gap, {} repeats, each recognised; {} transfers; {} rows of audit",
        counted.applied, counted.repeats, counted.transfers, counted.rows
    ));
    findings(console, report);
}

fn findings(console: Console, report: &Report) {
    if report.findings.is_empty() {
        return console.print("  every promise holds");
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for finding in &report.findings {
        *counts.entry(finding.promise).or_default() += 1;
    }
    for (promise, count) in counts {
        console.print(&format!("  BROKEN, {count} times: {promise}"));
    }
    for finding in report.findings.iter().take(TOLD_MAX) {
        console.print(&format!("    {}: {}", finding.promise, finding.what));
    }
}

fn by_fault(report: &Report) -> BTreeMap<&str, Vec<&Recovery>> {
    let mut rows: BTreeMap<&str, Vec<&Recovery>> = BTreeMap::new();
    for recovery in &report.recoveries {
        rows.entry(recovery.fault.what.as_str()).or_default().push(recovery);
    }
    rows
}

fn middle(mut times: Vec<i64>) -> Option<i64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Seconds with a hundredth, of milliseconds.
fn time(ms: Option<i64>) -> String {
    ms.map_or("-".to_owned(), |ms| format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10))
}
