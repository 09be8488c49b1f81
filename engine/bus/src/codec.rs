//! Between bytes on a topic and values of the contract: Confluent wire format, writer's schema by id, reader's schema ours.
//! It never asks the registry while it encodes or decodes; an unknown id is reported, and learnt apart.

use serde_json::Value;
use signalbox_schemas::topics::{Strategy, subject};
use signalbox_schemas::{Contract, DecodeError, EncodeError, RecordName, RecordSchema, TopicName};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use crate::memory::MemoryRegistry;
use crate::registry::{Registry, RegistryError};

/// A schema whose id is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSchema {
    /// Id in the registry.
    pub id: u32,
    /// Self-contained schema text.
    pub text: String,
}

/// Encodes and decodes. Cheap to share in an `Arc`.
pub struct Codec {
    contract: &'static Contract,
    teacher: Teacher,
    ids: HashMap<(TopicName, RecordName), u32>,
    writers: RwLock<HashMap<u32, Arc<RecordSchema>>>,
}

/// Who tells what an unknown id is.
enum Teacher {
    /// Nobody: no other ids exist.
    Nobody,
    Registry(Registry),
    Twin(MemoryRegistry),
}

/// Why bytes did not become a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// The id is not known here: learn it, then try again. Not the record's fault.
    #[error("schema id {0} is not known yet")]
    UnknownId(u32),
    /// The registry says that the id does not exist: a dead letter.
    #[error("no schema has the id {0}")]
    NoSuchId(u32),
    /// No value: a dead letter.
    #[error("the record has no value")]
    Tombstone,
    /// The contract has no such record: a dead letter.
    #[error("record {0} is not part of the contract")]
    Foreign(RecordName),
    /// The bytes are broken: a dead letter.
    #[error(transparent)]
    Broken(#[from] DecodeError),
}

impl Codec {
    /// Resolves the id of every record of every topic: from what is known already, else from the registry.
    /// Returns the codec and what was learnt, to be remembered. Fails closed where the registry lacks a schema.
    pub async fn resolve(
        contract: &'static Contract,
        registry: Registry,
        known: &[KnownSchema],
    ) -> Result<(Self, Vec<KnownSchema>), RegistryError> {
        let mut ids = HashMap::new();
        let mut writers = HashMap::new();
        let mut learnt = Vec::new();
        for schema in known {
            if let Some(writer) = compile(&schema.text) {
                writers.insert(schema.id, Arc::new(writer));
            }
        }
        let by_text: HashMap<&str, u32> =
            known.iter().map(|schema| (schema.text.as_str(), schema.id)).collect();
        for (topic, spec) in &contract.topics().topics {
            for record in spec.schemas.value.iter().filter_map(|name| contract.record(name)) {
                let id = match by_text.get(record.text()) {
                    Some(id) => *id,
                    None => {
                        let subject = subject(topic, &spec.schemas, record.name().as_str());
                        let found = registry.find(&subject, record.text()).await?;
                        let id = found.ok_or(RegistryError::Missing(subject))?;
                        learnt.push(KnownSchema { id, text: record.text().to_owned() });
                        id
                    }
                };
                ids.insert((TopicName::from(topic.as_str()), record.name().clone()), id);
                if let Some(writer) = compile(record.text()) {
                    writers.entry(id).or_insert_with(|| Arc::new(writer));
                }
            }
        }
        let codec = Self {
            contract,
            teacher: Teacher::Registry(registry),
            ids,
            writers: RwLock::new(writers),
        };
        Ok((codec, learnt))
    }

    /// A codec without a registry: ids are given by position in the contract. For the in-memory twin.
    pub fn offline(contract: &'static Contract) -> Self {
        let mut ids = HashMap::new();
        let mut writers = HashMap::new();
        let numbered: HashMap<&str, u32> = contract
            .records()
            .zip(1_u32..)
            .map(|(record, id)| (record.name().as_str(), id))
            .collect();
        for (topic, spec) in &contract.topics().topics {
            for record in spec.schemas.value.iter().filter_map(|name| contract.record(name)) {
                let id = numbered.get(record.name().as_str()).copied().unwrap_or(0);
                ids.insert((TopicName::from(topic.as_str()), record.name().clone()), id);
                if let Some(writer) = compile(record.text()) {
                    writers.insert(id, Arc::new(writer));
                }
            }
        }
        Self { contract, teacher: Teacher::Nobody, ids, writers: RwLock::new(writers) }
    }

    /// A registry's twin with every schema that this codec knows.
    pub fn memory_registry(&self) -> MemoryRegistry {
        MemoryRegistry::holding(self.writers.read().map(|known| known.clone()).unwrap_or_default())
    }

    /// A codec that writes under the same ids, and has yet to learn from a registry's twin whatever it reads.
    pub fn to_learn_from(&self, registry: MemoryRegistry) -> Self {
        Self {
            contract: self.contract,
            teacher: Teacher::Twin(registry),
            ids: self.ids.clone(),
            writers: RwLock::default(),
        }
    }

    /// Writes a value in the Confluent wire format.
    pub fn encode(
        &self,
        topic: &TopicName,
        record: &RecordName,
        value: &Value,
    ) -> Result<Vec<u8>, EncodeError> {
        let refuse =
            |problem: &str| EncodeError { path: record.to_string(), problem: problem.to_owned() };
        let schema = self
            .contract
            .record(record.as_str())
            .ok_or_else(|| refuse("is not part of the contract"))?;
        let id = self.ids.get(&(topic.clone(), record.clone()));
        let id = id.ok_or_else(|| refuse(&format!("may not be published to {topic}")))?;
        let mut bytes = signalbox_schemas::confluent_envelope(*id);
        schema.write(value, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a value and tells which record it is. Truncated, overlong and foreign records are refused.
    pub fn decode(&self, payload: Option<&[u8]>) -> Result<(RecordName, Value), Undecoded> {
        let (id, avro) = signalbox_schemas::split_confluent(payload.ok_or(Undecoded::Tombstone)?)?;
        let writer = self.writers.read().ok().and_then(|writers| writers.get(&id).cloned());
        let writer = writer.ok_or(Undecoded::UnknownId(id))?;
        let reader = self.contract.record(writer.name().as_str());
        let reader = reader.ok_or_else(|| Undecoded::Foreign(writer.name().clone()))?;
        let value = reader.decode(&writer, avro)?;
        Ok((reader.name().clone(), value))
    }

    /// Whether a topic may hold a record.
    pub fn belongs(&self, topic: &TopicName, record: &RecordName) -> bool {
        let spec = self.contract.topics().topics.get(topic.as_str());
        spec.is_some_and(|spec| {
            spec.schemas.strategy == Strategy::AnyCommand
                || spec.schemas.value.iter().any(|name| name == record.as_str())
        })
    }

    /// Asks the registry for an id. `Ok(None)`: there is no such schema, or it is none that can be read.
    pub async fn learn(&self, id: u32) -> Result<Option<KnownSchema>, RegistryError> {
        let told = match &self.teacher {
            Teacher::Nobody => return Ok(None),
            Teacher::Registry(registry) => registry.by_id(id).await,
            Teacher::Twin(registry) => registry.by_id(id).await,
        };
        let text = match told {
            Ok(text) => text,
            Err(RegistryError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(writer) = compile(&text) else { return Ok(None) };
        if let Ok(mut writers) = self.writers.write() {
            writers.insert(id, Arc::new(writer));
        }
        Ok(Some(KnownSchema { id, text }))
    }

    /// The contract that it speaks.
    pub fn contract(&self) -> &'static Contract {
        self.contract
    }
}

/// Compiles a schema that names its own record.
fn compile(text: &str) -> Option<RecordSchema> {
    let document: Value = serde_json::from_str(text).ok()?;
    RecordSchema::compile(signalbox_schemas::full_name(&document).into(), text.to_owned()).ok()
}
