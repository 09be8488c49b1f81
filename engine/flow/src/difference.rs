//! What changed between two versions of a journey, in the words of those who read the file.
//! Whether flows of the one could go on as flows of the other is `explore`'s work.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

use crate::document::JourneyDoc;
use crate::error::JourneyError;
use crate::journey::Journey;

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, such as `state send` or `parameter return_window`.
    pub place: String,
    /// What, in a sentence.
    pub what: String,
}

/// Kinds of states, each with how it is told.
const KINDS: [(&str, &str); 7] = [
    ("call", "asks"),
    ("all", "asks at once"),
    ("compensate", "undoes"),
    ("choose", "chooses by"),
    ("review", "waits for"),
    ("wait", "waits"),
    ("emit", "publishes"),
];
/// Keys of a state whose entries are told one by one, each as where it leads.
const ARMS: [&str; 3] = ["on", "on_command", "later"];
/// Parts of a journey that are told entry by entry, and what an entry is called.
const PARTS: [(&str, &str); 6] = [
    ("commands", "command"),
    ("every_event", "field of every event"),
    ("deadline", "deadline"),
    ("parameters", "parameter"),
    ("compensation", "compensation of"),
    ("endings", "ending"),
];
/// Parts that are one word.
const WORDS: [&str; 6] = ["journey", "version", "starts_with", "aggregate", "events", "event"];

/// Tells what is different in `new`, part by part in the file's order. Comments and the order of entries do not count.
///
/// # Errors
/// None for journeys that were parsed: their sources are read again, and were readable.
pub fn difference(old: &Journey, new: &Journey) -> Result<Vec<Change>, JourneyError> {
    let (before, after) = (read(old)?, read(new)?);
    let mut changes = Vec::new();
    for word in WORDS {
        if before.get(word) != after.get(word) {
            changes.push(change(
                word,
                format!("{} -> {}", said(before.get(word)), said(after.get(word))),
            ));
        }
    }
    for (part, called) in PARTS {
        entries(called, before.get(part), after.get(part), &mut changes);
    }
    states(old, new, &before, &after, &mut changes)?;
    invariants(&before, &after, &mut changes);
    Ok(changes)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

fn read(journey: &Journey) -> Result<Value, JourneyError> {
    Ok(serde_saphyr::from_str(journey.source())?)
}

fn change(place: impl Into<String>, what: impl Into<String>) -> Change {
    Change { place: place.into(), what: what.into() }
}

fn map(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Names of both, each once, in order.
fn names(before: &Map<String, Value>, after: &Map<String, Value>) -> BTreeSet<String> {
    before.keys().chain(after.keys()).cloned().collect()
}

fn entries(called: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    let (before, after) = (map(before), map(after));
    for name in names(&before, &after) {
        let what = match (before.get(&name), after.get(&name)) {
            (None, added) => format!("is new: {}", said(added)),
            (removed, None) => format!("is gone; it was {}", said(removed)),
            (one, other) if one == other => continue,
            (one, other) => format!("{} -> {}", said(one), said(other)),
        };
        changes.push(change(format!("{called} {name}"), what));
    }
}

fn states(
    old: &Journey,
    new: &Journey,
    before: &Value,
    after: &Value,
    changes: &mut Vec<Change>,
) -> Result<(), JourneyError> {
    // The documents keep the order of the states, which the plain values do not.
    let order = |journey: &Journey| -> Result<Vec<String>, JourneyError> {
        let doc: JourneyDoc = serde_saphyr::from_str(journey.source())?;
        Ok(doc.states.0.into_iter().map(|(name, _)| name).collect())
    };
    let (old_order, new_order) = (order(old)?, order(new)?);
    let (before, after) = (map(before.get("states")), map(after.get("states")));
    let gone = old_order.iter().filter(|name| !after.contains_key(*name));
    for name in new_order.iter().chain(gone) {
        let place = format!("state {name}");
        match (before.get(name), after.get(name)) {
            (None, Some(added)) => {
                changes.push(change(place, format!("is new; it {}", kind(added))));
            }
            (Some(removed), None) => {
                changes.push(change(place, format!("is gone; it {}", kind(removed))));
            }
            (Some(one), Some(other)) => state(&place, one, other, changes),
            (None, None) => {}
        }
    }
    if old_order.first() != new_order.first() {
        let first = |order: &[String]| order.first().cloned().unwrap_or_default();
        let what = format!("{} -> {}", first(&old_order), first(&new_order));
        changes.push(change("first state", what));
    }
    Ok(())
}

fn state(place: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    if kind(before) != kind(after) {
        changes.push(change(place, format!("{}; before it {}", kind(after), kind(before))));
    }
    let (before, after) = (map(Some(before)), map(Some(after)));
    for key in names(&before, &after) {
        let (one, other) = (before.get(&key), after.get(&key));
        let told = KINDS.iter().any(|(kind, _)| *kind == key);
        if one == other || told {
            continue;
        }
        if ARMS.contains(&key.as_str()) {
            arms(place, &key, &map(one), &map(other), changes);
            continue;
        }
        let what = match (one, other) {
            (None, added) => format!("{key} is new: {}", said(added)),
            (removed, None) => format!("{key} is gone; it was {}", said(removed)),
            (one, other) => format!("{key} {} -> {}", said(one), said(other)),
        };
        changes.push(change(place, what));
    }
}

fn arms(
    place: &str,
    key: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let key = match key {
        "on_command" => "command",
        key => key,
    };
    for word in names(before, after) {
        let what = match (before.get(&word), after.get(&word)) {
            (None, Some(added)) => format!("{key} {word} is new: it {}", leads(added)),
            (Some(removed), None) => format!("{key} {word} is gone; it {}", leads(removed)),
            (Some(one), Some(other)) if one != other => {
                format!("{key} {word} now {}; before it {}", leads(other), leads(one))
            }
            _ => continue,
        };
        changes.push(change(place, what));
    }
}

fn invariants(before: &Value, after: &Value, changes: &mut Vec<Change>) {
    let sentences = |value: &Value| -> Vec<String> {
        let all = value.get("invariants").and_then(Value::as_array).cloned().unwrap_or_default();
        let plain = |text: &Value| {
            text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        all.iter().map(plain).collect()
    };
    let (before, after) = (sentences(before), sentences(after));
    for dropped in before.iter().filter(|text| !after.contains(text)) {
        changes.push(change("invariant", format!("is dropped: {dropped}")));
    }
    for added in after.iter().filter(|text| !before.contains(text)) {
        changes.push(change("invariant", format!("is new: {added}")));
    }
}

/// What a state does, as its first words.
fn kind(state: &Value) -> String {
    let found = KINDS.iter().find_map(|(kind, told)| Some((told, state.get(kind)?)));
    found.map_or_else(
        || "does nothing".to_owned(),
        |(told, value)| format!("{told} {}", said(Some(value))),
    )
}

/// Where an arm leads.
fn leads(arm: &Value) -> String {
    let goes = |target: &str| match target {
        "again" => "asks again".to_owned(),
        "remember" => "is remembered".to_owned(),
        "refuse" => "is refused".to_owned(),
        state => format!("goes to {state}"),
    };
    let Some(fields) = arm.as_object() else {
        return goes(arm.as_str().unwrap_or_default());
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let mut parts = Vec::new();
    parts.extend(text("as").map(|ruling| format!("counts as {ruling}")));
    parts.extend(fields.get("retry").map(|retry| {
        let (times, wait) = (said(retry.get("at_most")), said(retry.get("after")));
        format!("asks again up to {times} times after {wait}")
    }));
    parts.extend(text("go").or(text("then")).map(goes));
    parts.extend(text("join").map(|state| format!("joins the answers of {state}")));
    parts.extend(text("too_late").map(|what| format!("where money may be out {}", goes(what))));
    parts.join(", ")
}

/// A value as the file writes it in one line.
fn said(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| said(Some(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Some(Value::Object(fields)) => {
            let field = |(key, value): (&String, &Value)| format!("{key}: {}", said(Some(value)));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Some(plain) => plain.to_string(),
    }
}
