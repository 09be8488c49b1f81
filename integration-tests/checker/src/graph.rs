//! A journey's file as a graph: which states may follow which. Read from the YAML by its own words, with a little more
//! allowed than the product allows (a retry that is used up, a late answer at any time), never with less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A file is no journey.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct GraphError {
    path: PathBuf,
    reason: String,
}

/// What may follow what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// Name of the journey.
    pub journey: String,
    /// Its version.
    pub version: u32,
    /// Full name of the command that starts it.
    pub starts_with: String,
    /// Where it begins.
    first: String,
    /// Names that end it.
    endings: BTreeSet<String>,
    /// Successors.
    edges: BTreeMap<String, BTreeSet<String>>,
    /// Successors that a step goes on to at once: from a state in which nothing is waited for, from a wait that is used up,
    /// and by a command that was remembered as soon as a state takes it.
    at_once: BTreeMap<String, BTreeSet<String>>,
    /// Where late answers, the deadline and compensation lead from anywhere.
    anywhere: BTreeSet<String>,
    /// States that settle a payment in doubt.
    doubt: BTreeSet<String>,
}

impl Graph {
    /// Reads every journey of a folder.
    ///
    /// # Errors
    /// The first file that cannot be read as one.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, GraphError> {
        let failed = |path: &Path, reason: String| GraphError { path: path.to_owned(), reason };
        let entries = std::fs::read_dir(folder).map_err(|e| failed(folder, e.to_string()))?;
        let mut graphs = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(folder, error.to_string()))?.path();
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e.to_string()))?;
            let document: Value =
                serde_saphyr::from_str(&text).map_err(|error| failed(&path, error.to_string()))?;
            if document.get("states").is_some() {
                let read = Self::of(&document);
                graphs.push(read.ok_or_else(|| failed(&path, "is no journey".to_owned()))?);
            }
        }
        Ok(graphs)
    }

    /// Reads one; none where a part is missing.
    pub(crate) fn of(document: &Value) -> Option<Self> {
        let text = |name: &str| Some(document.get(name)?.as_str()?.to_owned());
        let states = document.get("states")?.as_object()?;
        let endings = document.get("endings")?.as_object()?;
        let mut graph = Self {
            journey: text("journey")?,
            version: u32::try_from(document.get("version")?.as_u64()?).ok()?,
            starts_with: text("starts_with")?,
            endings: endings.keys().cloned().collect(),
            ..Self::default()
        };
        for (name, state) in states {
            graph.take(name, state.as_object()?);
        }
        graph.share_answers(states);
        for (name, state) in states {
            let asks = |of: &str| state.get("call").and_then(Value::as_str) == Some(of);
            if asks("payout.send")
                && let Some(doubt) = state.pointer("/on/in_doubt").and_then(Value::as_str)
            {
                graph.doubt.insert(doubt.to_owned());
            }
            if state.get("compensate").is_some() {
                graph.anywhere.insert(name.clone());
            }
            for target in words(state.get("later")) {
                graph.anywhere.insert(target);
            }
        }
        graph
            .anywhere
            .extend(words(document.get("deadline").and_then(|deadline| deadline.get("go"))));
        let led_to: BTreeSet<&String> = graph.edges.values().flatten().collect();
        let mut beginnings = states.keys().filter(|name| !led_to.contains(name));
        graph.first = beginnings.next()?.clone();
        beginnings.next().is_none().then_some(graph)
    }

    fn take(&mut self, name: &str, state: &Map<String, Value>) {
        let mut targets = BTreeSet::new();
        for part in ["go", "then", "otherwise"] {
            targets.extend(words(state.get(part)));
        }
        for part in ["on", "on_command", "decide", "choose", "until", "escalate"] {
            targets.extend(words(state.get(part)));
        }
        let mut at_once = words(state.get("on_command"));
        if state.contains_key("at_most") {
            at_once.extend(words(state.get("then")));
        }
        if state.contains_key("choose") || state.contains_key("emit") {
            at_once.clone_from(&targets);
        }
        self.at_once.insert(name.to_owned(), at_once);
        self.edges.insert(name.to_owned(), targets);
    }

    /// A state that takes another's answers, or joins it, leads where that one leads; so does one that settles the other's
    /// doubt, as the answer that was missed may come before the inquiry's.
    fn share_answers(&mut self, states: &Map<String, Value>) {
        for (name, state) in states {
            let doubt = state.pointer("/on/in_doubt").and_then(Value::as_str);
            if let Some(doubt) = doubt.filter(|doubt| states.contains_key(*doubt)) {
                let also = self.edges.get(name).cloned().unwrap_or_default();
                self.edges.entry(doubt.to_owned()).or_default().extend(also);
            }
            let mut others: Vec<String> = words(state.get("answers_of")).into_iter().collect();
            joins(state, &mut others);
            for other in others {
                let also = self.edges.get(&other).cloned().unwrap_or_default();
                let edges = self.edges.entry(name.clone()).or_default();
                edges.extend(also);
                edges.insert(other);
            }
        }
    }

    /// Whether a step may lead from one state to the other; from none at the beginning.
    pub(crate) fn allows(&self, before: Option<&str>, after: &str) -> bool {
        if before == Some(after) || self.anywhere.contains(after) {
            return true;
        }
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&str> = Vec::new();
        match before {
            None if self.first == after => return true,
            None => waiting.extend(self.leads_on(&self.first)),
            Some(before) => {
                waiting.extend(self.edges.get(before).into_iter().flatten().map(String::as_str));
                // From where a late answer led.
                waiting.extend(self.anywhere.iter().map(String::as_str));
            }
        }
        while let Some(state) = waiting.pop() {
            if state == after {
                return true;
            }
            if seen.insert(state) {
                waiting.extend(self.leads_on(state));
            }
        }
        false
    }

    fn leads_on(&self, state: &str) -> impl Iterator<Item = &str> {
        self.at_once.get(state).into_iter().flatten().map(String::as_str)
    }

    /// Whether a name ends the journey.
    pub(crate) fn ends(&self, state: &str) -> bool {
        self.endings.contains(state)
    }

    /// Whether a state settles a payment in doubt.
    pub(crate) fn settles_doubt(&self, state: &str) -> bool {
        self.doubt.contains(state)
    }
}

/// Every state that a part leads to: words that stand alone, and those behind `go`, `then` and `otherwise`. What is no
/// state's name, such as `again` or `remember`, leads nowhere.
fn words(part: Option<&Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match part {
        Some(Value::String(word)) => {
            found.insert(word.clone());
        }
        Some(Value::Array(parts)) => {
            for part in parts {
                let named = ["go", "otherwise", "then"].map(|name| words(part.get(name)));
                found.extend(named.into_iter().flatten());
            }
        }
        Some(Value::Object(parts)) => {
            for (name, part) in parts {
                match (name.as_str(), part) {
                    // Names of what was decided, of queues, and of times.
                    ("as" | "queue" | "after" | "people" | "at_most" | "when", _) => {}
                    (_, Value::String(_) | Value::Object(_)) => found.extend(words(Some(part))),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    found
}

/// States that a state joins.
fn joins(part: &Value, found: &mut Vec<String>) {
    match part {
        Value::Object(parts) => {
            for (name, part) in parts {
                match part {
                    Value::String(word) if name == "join" => found.push(word.clone()),
                    _ => joins(part, found),
                }
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| joins(part, found)),
        _ => {}
    }
}
