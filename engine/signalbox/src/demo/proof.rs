//! What must be true when a demo is over, and how it is found out: from topics, from the bank's own ledger, and from
//! the audit trail. An empty answer means that every promise held.

use std::collections::HashMap;

use serde::Deserialize;

use super::play::Play;
use crate::scene::SceneError;

/// Cases that a broken promise is shown by.
const SHOWN_MAX: usize = 5;

/// What the bank has seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Effects per account.
    pub(crate) by_account: HashMap<String, usize>,
    /// Effects in all.
    pub(crate) effects: usize,
    /// Transfers that the bank itself takes for a repeat of another.
    pub(crate) duplicates: usize,
    /// Requests in all, resends included.
    pub(crate) requests: u64,
}

#[derive(Deserialize)]
struct LedgerEntry {
    account_number: String,
    requests_seen: u64,
}

#[derive(Deserialize)]
struct Summary {
    duplicate_effects: usize,
}

/// Asks the sandbox.
pub(crate) async fn ledger(sandbox: &str) -> Result<Ledger, SceneError> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let get = async |route: &str| {
        let answer = http.get(format!("http://{sandbox}/_sandbox/{route}")).send().await?;
        answer.error_for_status()
    };
    let entries: Vec<LedgerEntry> = get("ledger").await?.json().await?;
    let summary: Summary = get("summary").await?.json().await?;
    let mut ledger = Ledger {
        effects: entries.len(),
        duplicates: summary.duplicate_effects,
        ..Ledger::default()
    };
    for entry in entries {
        ledger.requests += entry.requests_seen;
        *ledger.by_account.entry(entry.account_number).or_default() += 1;
    }
    Ok(ledger)
}

/// Every promise that did not hold, one per line.
pub(crate) fn broken(play: &Play, ledger: &Ledger, audit: Option<&SceneError>) -> Vec<String> {
    let mut broken = endings(play);
    broken.extend(transfers(play, ledger));
    for (topic, tally) in play.watcher.tally() {
        if tally.gaps > 0 || tally.altered > 0 {
            broken.push(format!(
                "{topic}: {} gaps and {} repeats with another content under the consumers' rule",
                tally.gaps, tally.altered
            ));
        }
    }
    broken.extend(dead_letters(play));
    let conflicts = play.book.rejected.get("idempotency_conflict").copied().unwrap_or_default();
    if (play.book.repeated, conflicts) != (1, 1) {
        broken.push(format!(
            "one command was published twice and one under a used id; answered were {} as repeated and {conflicts} as conflicts",
            play.book.repeated
        ));
    }
    if play.book.strangers > 0 {
        broken
            .push(format!("{} events are about cases that nobody asked for", play.book.strangers));
    }
    broken.extend(audit.map(|error| format!("the audit trail does not verify: {error}")));
    broken
}

/// Every case has one final event, and the right one.
fn endings(play: &Play) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, entry) in &play.book.entries {
        let Some(persona) = play.book.cast().get(entry.persona) else { continue };
        match entry.finals.as_slice() {
            [one] if persona.ends.contains(one) => {}
            [one] => wrong.push(format!(
                "{id} ({}) ended {one}, not {}",
                persona.name,
                persona.ends.join(" or ")
            )),
            [] => wrong.push(format!("{id} ({}) never ended", persona.name)),
            several => wrong.push(format!(
                "{id} ({}) ended {} times: {}",
                persona.name,
                several.len(),
                several.join(", ")
            )),
        }
    }
    shown("cases did not end once and as they must", wrong)
}

/// The bank did what it should have done for each payout, and did it once.
fn transfers(play: &Play, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, entry) in &play.book.entries {
        let Some(persona) = play.book.cast().get(entry.persona) else { continue };
        let account = entry.account.as_ref();
        let found = account.and_then(|account| ledger.by_account.get(account));
        let found = found.copied().unwrap_or_default();
        if found != persona.transfers {
            wrong.push(format!(
                "{id} ({}): {found} transfers, not {}",
                persona.name, persona.transfers
            ));
        }
    }
    let mut broken = shown("cases have the wrong number of transfers in the bank's ledger", wrong);
    if ledger.duplicates > 0 {
        broken.push(format!("the bank's ledger has {} transfers twice", ledger.duplicates));
    }
    broken
}

/// What was published broken, and nothing else, is dead, each with its cause.
fn dead_letters(play: &Play) -> Vec<String> {
    let mut keys: Vec<&str> = play.dead_letters.iter().map(|letter| letter.key.as_str()).collect();
    keys.sort_unstable();
    let mut poison: Vec<&str> = play.poison.iter().map(String::as_str).collect();
    poison.sort_unstable();
    let mut broken = Vec::new();
    if keys != poison {
        broken.push(format!("dead letters are [{}], not [{}]", keys.join(", "), poison.join(", ")));
    }
    let silent = play
        .dead_letters
        .iter()
        .filter(|letter| letter.code.is_empty() || letter.message.is_empty());
    broken.extend(
        silent.map(|letter| format!("the dead letter {} does not say why it is dead", letter.key)),
    );
    broken
}

fn shown(what: &str, mut wrong: Vec<String>) -> Vec<String> {
    if wrong.is_empty() {
        return Vec::new();
    }
    wrong.sort();
    let count = wrong.len();
    wrong.truncate(SHOWN_MAX);
    vec![format!("{count} {what}, such as\n  {}", wrong.join("\n  "))]
}
