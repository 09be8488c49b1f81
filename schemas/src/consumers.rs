//! `consumers.yaml` parsed: who reads which fields of which records, so that a change can say whom it hurts.
//! It grants nothing: access is by the cluster's ACLs, and a reader that is not listed here is simply not protected.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::compatibility::fields;
use crate::contract::Contract;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumers {
    /// Version of the file format; 1.
    pub version: u32,
    /// Consumers by the name that topics.yaml uses.
    pub consumers: BTreeMap<String, Consumer>,
}

/// One consumer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Team that answers for it.
    pub owner: String,
    /// Where that team is reached before a change, not after it.
    pub contact: String,
    /// What it does with what it reads.
    pub purpose: String,
    /// True for processes of Signalbox, which read whole records and are built with the contract.
    #[serde(default)]
    pub ours: bool,
    /// Fields it reads, by topic and record; of a topic that is not named here it may read all. A path into a nested record is dotted; `[]` stands for items.
    #[serde(default)]
    pub reads: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// The file cannot be read as consumers.
#[derive(Debug, thiserror::Error)]
#[error("consumers.yaml: {0}")]
pub struct ConsumersError(String);

impl Consumers {
    /// Reads the file; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, ConsumersError> {
        serde_saphyr::from_str(text).map_err(|error| ConsumersError(error.to_string()))
    }

    /// The registry that this program was built with.
    pub fn builtin() -> Result<Self, ConsumersError> {
        Self::parse(crate::contract::CONSUMERS)
    }

    /// Where the registry and the contract contradict each other, each with what to do.
    pub fn faults(&self, contract: &Contract) -> Vec<String> {
        let mut faults = Vec::new();
        for (topic, spec) in &contract.topics().topics {
            for name in &spec.consumers {
                if !self.consumers.contains_key(name) {
                    faults.push(format!(
                        "topic {topic}: consumer {name} is unknown; register it in schemas/consumers.yaml"
                    ));
                }
            }
        }
        for (name, consumer) in &self.consumers {
            for (topic, records) in &consumer.reads {
                faults.extend(unfounded(name, topic, records, contract));
            }
        }
        faults
    }

    /// Whether a consumer reads a field, something inside it, or what it is inside of. One that says nothing of a topic
    /// may read all of it; processes of ours change with the contract.
    pub(crate) fn reads(&self, consumer: &str, topic: &str, record: &str, path: &str) -> bool {
        let Some(known) = self.consumers.get(consumer) else { return true };
        match known.reads.get(topic) {
            None => !known.ours,
            Some(records) => records
                .get(record)
                .is_some_and(|fields| fields.iter().any(|field| touches(field, path))),
        }
    }
}

/// What a consumer says that it reads and that does not exist.
fn unfounded(
    name: &str,
    topic: &str,
    records: &BTreeMap<String, Vec<String>>,
    contract: &Contract,
) -> Vec<String> {
    let Some(spec) = contract.topics().topics.get(topic) else {
        return vec![format!("consumer {name}: reads {topic}, which no longer exists")];
    };
    let mut faults = Vec::new();
    if !spec.consumers.iter().any(|listed| listed == name) {
        faults.push(format!(
            "consumer {name}: reads {topic}, whose consumers in topics.yaml do not list it; add it there"
        ));
    }
    for (record, read) in records {
        let held = spec.schemas.value.contains(record);
        let Some(schema) = contract.record(record).filter(|_| held) else {
            faults.push(format!(
                "consumer {name}: reads {record}, which {topic} does not hold any longer"
            ));
            continue;
        };
        let known = fields(schema);
        faults.extend(read.iter().filter(|field| !known.contains(field)).map(|field| {
            format!("consumer {name}: reads {field} of {record} on {topic}, which does not exist; whoever removes a field agrees with {name} first")
        }));
    }
    faults
}

/// Whether one path is the other, or leads into it.
fn touches(one: &str, other: &str) -> bool {
    is_within(one, other) || is_within(other, one)
}

/// Whether a path is another one or lies inside of it.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
}

#[cfg(test)]
mod tests {
    use super::touches;

    #[test]
    fn a_path_touches_what_it_is_inside_of_and_what_is_inside_of_it() {
        let rows = [
            ("amount", "amount", true),
            ("amount.currency", "amount", true),
            ("amount", "amount.currency", true),
            ("problems", "problems[].field", true),
            ("amount", "amount_due", false),
            ("amount.currency", "amount.minor_units", false),
        ];
        for (one, other, expected) in rows {
            assert_eq!(touches(one, other), expected, "{one} and {other}");
        }
    }
}
