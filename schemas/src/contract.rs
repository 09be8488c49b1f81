//! The whole contract in memory: every record by name, and the topics that hold them.
//! It is embedded at build time, after the build has checked it; it does not read files or a registry.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::capability::Capability;
use crate::ids::{RecordName, TopicName};
use crate::lift::{LiftDoc, LiftDocError};
use crate::lifting::Lifts;
use crate::record::{Canonical, RecordSchema};
use crate::rules::full_name;
use crate::topics::Topics;
use crate::types::{Type, collect_named};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Most bytes that reading one value may allocate, in the whole process; records have 1 MiB at most.
const ALLOCATION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records, topics, lifts and capabilities.
pub struct Contract {
    records: BTreeMap<String, RecordSchema>,
    topics: Topics,
    lifts: Lifts,
    capabilities: BTreeMap<String, Capability>,
}

/// The contract cannot be loaded: a bug in its files that the build's rules do not see.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A file is not JSON.
    #[error("schema file {0}: {1}")]
    Json(usize, serde_json::Error),
    /// A record is not a schema.
    #[error("schema {0}: {1}")]
    Schema(String, apache_avro::Error),
    /// The topics do not parse.
    #[error(transparent)]
    Topics(#[from] crate::topics::TopicsError),
    /// A lift does not parse.
    #[error(transparent)]
    Lift(#[from] LiftDocError),
    /// A lift leads to a record that does not exist.
    #[error("lift of {from}: there is no record {to}")]
    LiftTo {
        /// The older record.
        from: String,
        /// The newer one.
        to: String,
    },
}

impl Contract {
    /// The contract this program was built with.
    pub fn builtin() -> Result<&'static Self, &'static ContractError> {
        static BUILTIN: OnceLock<Result<Contract, ContractError>> = OnceLock::new();
        let load = || {
            // Avro lets a record ask for 512 MB at once; ours are bounded by the topics.
            apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
            Self::load(AVRO, TOPICS, LIFTS)
        };
        BUILTIN.get_or_init(load).as_ref()
    }

    /// Loads a contract from schema texts, a topics text and the texts of lifts.
    pub fn load(avro: &[&str], topics: &str, lifts: &[&str]) -> Result<Self, ContractError> {
        let mut documents = BTreeMap::new();
        let mut named = BTreeMap::new();
        for (index, text) in avro.iter().enumerate() {
            let document: Value =
                serde_json::from_str(text).map_err(|error| ContractError::Json(index, error))?;
            collect_named(&document, "", &mut named);
            documents.insert(full_name(&document), document);
        }
        let mut records = BTreeMap::new();
        for (name, document) in &documents {
            let text = inline(document, "", &named, &mut Vec::new()).to_string();
            let record = RecordSchema::compile(RecordName::new(name.as_str()), text)
                .map_err(|error| ContractError::Schema(name.clone(), error))?;
            records.insert(name.clone(), record);
        }
        let capabilities = Capability::all(&documents);
        let lifts = lifts_of(lifts, &records)?;
        Ok(Self { records, topics: Topics::parse(topics)?, lifts, capabilities })
    }

    /// A record by its full name.
    pub fn record(&self, name: &str) -> Option<&RecordSchema> {
        self.records.get(name)
    }

    /// Every record, in name order.
    pub fn records(&self) -> impl Iterator<Item = &RecordSchema> {
        self.records.values()
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// How commands of older majors become newer ones.
    pub fn lifts(&self) -> &Lifts {
        &self.lifts
    }

    /// The type of a record and of everything in it.
    pub fn type_of(&self, record: &str) -> Option<Type> {
        let document: Value = serde_json::from_str(self.record(record)?.text()).ok()?;
        Type::of_record([&document], record)
    }

    /// A capability by its name, such as `kyc.check`.
    pub fn capability(&self, name: &str) -> Option<&Capability> {
        self.capabilities.get(name)
    }

    /// Every capability, in name order.
    pub fn capabilities(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.values()
    }

    /// The records that a topic may hold, with the subject each is registered under.
    pub fn subjects(&self, topic: &TopicName) -> Vec<(String, &RecordSchema)> {
        let Some(spec) = self.topics.topics.get(topic.as_str()) else { return Vec::new() };
        let subject =
            |record: &String| crate::topics::subject(topic.as_str(), &spec.schemas, record);
        spec.schemas
            .value
            .iter()
            .filter_map(|record| Some((subject(record), self.record(record)?)))
            .collect()
    }

    /// SHA-256 over the canonical content of a record: equal for equal content, however it was encoded.
    pub fn content_hash(record: &RecordName, value: &Value) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(record.as_str().as_bytes());
        hash.update([0]);
        hash.update(Canonical(value).to_string().as_bytes());
        hash.finalize().into()
    }
}

/// Lifts, each with the record that it leads to.
fn lifts_of(
    texts: &[&str],
    records: &BTreeMap<String, RecordSchema>,
) -> Result<Lifts, ContractError> {
    let mut lifts = Vec::new();
    for text in texts {
        let doc = LiftDoc::parse(text)?;
        let LiftDoc { from, to, .. } = &doc;
        let Some(found) = records.get(to) else {
            return Err(ContractError::LiftTo { from: from.clone(), to: to.clone() });
        };
        let target = RecordSchema::compile(found.name().clone(), found.text().to_owned())
            .map_err(|error| ContractError::Schema(to.clone(), error))?;
        lifts.push((doc, target));
    }
    Ok(Lifts::new(lifts))
}

/// Replaces the first mention of each named type by its definition, so that the schema stands alone in a registry.
fn inline(
    schema: &Value,
    namespace: &str,
    named: &BTreeMap<String, Value>,
    seen: &mut Vec<String>,
) -> Value {
    match schema {
        Value::String(word) => match named.get(word) {
            Some(definition) if !seen.contains(word) => inline(definition, namespace, named, seen),
            _ => schema.clone(),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| inline(item, namespace, named, seen)).collect())
        }
        Value::Object(object) => {
            let own =
                object.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_owned();
            if object.contains_key("name")
                && object.contains_key("type")
                && !object.contains_key("default")
                || is_enum(object)
            {
                let mut full = object.clone();
                full.insert("namespace".to_owned(), Value::String(own.clone()));
                if matches!(
                    object.get("type").and_then(Value::as_str),
                    Some("record" | "enum" | "fixed")
                ) {
                    seen.push(full_name(&Value::Object(full)));
                }
            }
            // Only types are replaced: a doc text or a default may happen to be a type's name.
            let part = |(key, value): (&String, &Value), seen: &mut Vec<String>| {
                let replaced = matches!(key.as_str(), "type" | "items" | "values" | "fields");
                (
                    key.clone(),
                    if replaced { inline(value, &own, named, seen) } else { value.clone() },
                )
            };
            Value::Object(object.iter().map(|entry| part(entry, seen)).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn is_enum(object: &Map<String, Value>) -> bool {
    object.get("type").and_then(Value::as_str) == Some("enum")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::record::DecodeError;
    use serde_json::json;

    fn outcome() -> Value {
        json!({
            "ref": {"attempt_id": "8d8ac610-566d-8ef0-9c22-186b2a5ed793", "flow_id": "8d8ac610-566d-8ef0-9c22-186b2a5ed794",
                    "aggregate_id": "p-1", "tenant": "acme", "lane": 3, "answered_at": 1_700_000_000_000_000_i64},
            "outcome": "hit", "class": "compliance_hold", "reason": "sanctions", "retry_after_ms": null,
            "list_version": "2026-11-20", "matches": 2})
    }

    #[test]
    fn every_record_of_the_contract_compiles_and_stands_alone() {
        let contract = Contract::builtin().unwrap();
        assert!(contract.records().count() >= 20);
        for record in contract.records() {
            assert!(apache_avro::Schema::parse_str(record.text()).is_ok(), "{}", record.name());
        }
    }

    #[test]
    fn a_record_survives_the_way_to_avro_and_back() {
        let record = Contract::builtin().unwrap().record("aml.screen.Outcome").unwrap();
        let bytes = record.encode(&outcome()).unwrap();
        assert_eq!(record.decode(record, &bytes).unwrap(), outcome());
    }

    #[test]
    fn a_record_cut_anywhere_or_followed_by_anything_is_refused() {
        let record = Contract::builtin().unwrap().record("aml.screen.Outcome").unwrap();
        let bytes = record.encode(&outcome()).unwrap();
        for cut in 0..bytes.len() {
            let refused = record.decode(record, &bytes[..cut]);
            assert!(matches!(refused, Err(DecodeError::Malformed(_))), "cut at {cut}: {refused:?}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(record.decode(record, &longer), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn a_mistake_in_a_command_is_named_with_its_field() {
        let record = Contract::builtin().unwrap().record("payments.payout.RequestPayout").unwrap();
        let error = record.encode(&json!({"payout_id": "p-1", "customer_id": "c-1", "amount": {"minor_units": "ten"}})).unwrap_err();
        assert_eq!(error.to_string(), "amount.minor_units: expected a whole number, found text");
    }

    #[test]
    fn an_added_field_with_a_default_is_read_from_older_records() {
        let old = RecordSchema::compile(
            "t.A".into(),
            r#"{"type":"record","name":"A","namespace":"t","fields":[{"name":"x","type":"long"}]}"#
                .into(),
        )
        .unwrap();
        let new = RecordSchema::compile("t.A".into(), r#"{"type":"record","name":"A","namespace":"t","fields":[{"name":"x","type":"long"},{"name":"y","type":["null","string"],"default":null}]}"#.into()).unwrap();
        let bytes = old.encode(&json!({"x": 7})).unwrap();
        assert_eq!(new.decode(&old, &bytes).unwrap(), json!({"x": 7, "y": null}));
        assert!(new.decode(&old, &bytes[..0]).is_err());
    }

    #[test]
    fn equal_content_has_one_hash_whatever_the_order_of_fields() {
        let hash = |value: Value| Contract::content_hash(&"t.A".into(), &value);
        assert_eq!(
            hash(json!({"a": 1, "b": [{"c": 2, "d": 3}]})),
            hash(json!({"b": [{"d": 3, "c": 2}], "a": 1}))
        );
        assert_ne!(hash(json!({"a": 1})), hash(json!({"a": 2})));
    }

    #[test]
    fn canonical_content_is_compact_json_in_the_order_of_names() {
        let value = json!({"b": [1, {"z": null, "\"a": "\n"}, []], "a": {}, "c": -1.5, "é": true});
        let text = r#"{"a":{},"b":[1,{"\"a":"\n","z":null},[]],"c":-1.5,"é":true}"#;
        assert_eq!(Canonical(&value).to_string(), text);
    }
}
