//! The tables that a demo ends with.

use std::collections::BTreeMap;

use super::play::Play;
use super::proof::Ledger;
use crate::scene::{Console, Quantiles};

/// Cases by ending and persona, with times; dead letters; what the rule recognised.
pub(crate) fn print(console: Console, play: &Play) {
    let mut by_ending: BTreeMap<&str, Quantiles> = BTreeMap::new();
    let mut by_persona: BTreeMap<usize, (BTreeMap<&str, usize>, Quantiles)> = BTreeMap::new();
    let mut all = Quantiles::default();
    for entry in play.book.entries.values() {
        let ending = entry.finals.first().map_or("(not ended)", String::as_str);
        let (endings, times) = by_persona.entry(entry.persona).or_default();
        *endings.entry(ending).or_default() += 1;
        let of_ending = by_ending.entry(ending).or_default();
        if let Some(ended_at) = entry.ended_at {
            let time = ended_at.duration_since(entry.published_at);
            of_ending.add(time);
            times.add(time);
            all.add(time);
        }
    }
    console.print(&format!("\n{:<32} {:>8} {:>9} {:>9}", "persona", "cases", "p50", "p99"));
    for (index, (endings, times)) in &by_persona {
        let name = play.book.cast().get(*index).map_or("?", |persona| persona.name.as_str());
        let endings: Vec<String> =
            endings.iter().map(|(ending, count)| format!("{ending} {count}")).collect();
        console.print(&format!("{} {}", row(name, times), endings.join(", ")));
    }
    console.print(&format!("\n{:<32} {:>8} {:>9} {:>9}", "ending", "cases", "p50", "p99"));
    for (ending, times) in &by_ending {
        console.print(&row(ending, times));
    }
    console.print(&row("all", &all));
    console.print("Times run from command published to ending event consumed; settlement, returns and people included.");
    console.print(&format!("\ndead letters: {}", play.dead_letters.len()));
    for letter in &play.dead_letters {
        console.print(&format!(
            "  {} on {}: {}, {}",
            letter.key, letter.topic, letter.code, letter.message
        ));
    }
    let tallies: Vec<_> = play.watcher.tally().values().collect();
    let applied: u64 = tallies.iter().map(|tally| tally.applied).sum();
    let repeats: u64 = tallies.iter().map(|tally| tally.duplicates).sum();
    let gaps: u64 = tallies.iter().map(|tally| tally.gaps).sum();
    console.print(&format!(
        "consumers' rule: {applied} records applied, {repeats} repeats recognised, {gaps} gaps"
    ));
    let rejected: Vec<String> =
        play.book.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    console.print(&format!(
        "commands: {} answered as repeated; rejected: {}",
        play.book.repeated,
        rejected.join(", ")
    ));
}

/// What the bank has seen, and what became of the engine.
pub(crate) fn outlook(console: Console, ledger: &Ledger, killed_with: Option<usize>) {
    console.print(&format!(
        "bank's ledger: {} transfers from {} requests, {} of them twice",
        ledger.effects, ledger.requests, ledger.duplicates
    ));
    if let Some(in_flight) = killed_with {
        console.print(&format!("one engine was killed (SIGKILL) with {in_flight} cases under way"));
    }
}

fn row(name: &str, times: &Quantiles) -> String {
    let seconds = |per_cent| format!("{:.2} s", times.at(per_cent).as_secs_f64());
    format!("{name:<32} {:>8} {:>9} {:>9}", times.count(), seconds(50), seconds(99))
}
