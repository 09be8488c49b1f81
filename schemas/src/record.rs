//! One record type of the contract: JSON in the middle, Avro at the edge, strict both ways.
//! It does not fetch schemas: the bus resolves ids and hands the writer's schema in.
//!
//! apache-avro's generic decoder accepts truncated records, so bytes first go through the layout of the schema that they
//! were written with, which does not, and every byte must be used. Only then, where writer and reader differ, does
//! apache-avro's schema resolution run.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

use crate::ids::RecordName;
use crate::layout::{EncodeError, Layout};
use crate::rules::data_subjects;

/// A record type: its schema, compiled once and kept for the life of the process.
pub struct RecordSchema {
    name: RecordName,
    text: String,
    schema: &'static Schema,
    names: HashMap<String, &'static Schema>,
    subject_field: Option<String>,
    layout: Layout,
}

/// The bytes are not this record: a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte is not 0, or there are fewer than five.
    #[error("not in the Confluent wire format: expected byte 0 and a 4-byte schema id")]
    Envelope,
    /// The bytes end early or contradict the writer's schema.
    #[error("the bytes do not fit the schema they name: {0}")]
    Malformed(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes are left over after the record")]
    Trailing(usize),
    /// The writer's schema cannot be read as the record wanted.
    #[error("the writer's schema cannot be read as {0}: {1}")]
    Incompatible(RecordName, String),
}

fn subject_field(schema: &Value) -> Option<String> {
    data_subjects(schema).into_iter().next().map(str::to_owned)
}

impl RecordSchema {
    /// Compiles a self-contained schema text. The compiled form is never freed: a process meets few schemas.
    pub fn compile(name: RecordName, text: String) -> Result<Self, apache_avro::Error> {
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(&text)?));
        let mut names = HashMap::new();
        collect_names(schema, &mut names);
        let subject_field = serde_json::from_str(&text).ok().and_then(|text| subject_field(&text));
        Ok(Self { name, text, schema, names, subject_field, layout: Layout::of(schema) })
    }

    /// Full name of the record.
    pub fn name(&self) -> &RecordName {
        &self.name
    }

    /// The self-contained schema, as registered.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The self-contained schema with a line per key, as people read and compare it.
    pub fn pretty(&self) -> String {
        let parsed: Option<Value> = serde_json::from_str(&self.text).ok();
        let pretty = parsed.and_then(|parsed| serde_json::to_string_pretty(&parsed).ok());
        format!("{}\n", pretty.unwrap_or_else(|| self.text.clone()))
    }

    /// The compiled schema.
    pub fn avro(&self) -> &'static Schema {
        self.schema
    }

    /// The field that says whose personal data the record holds, where it is marked `data_subject`.
    pub fn subject_field(&self) -> Option<&str> {
        self.subject_field.as_deref()
    }

    /// Every named type in it, by full name.
    pub(crate) fn names(&self) -> &HashMap<String, &'static Schema> {
        &self.names
    }

    /// Writes a value as Avro binary, defaults filled in. Unknown and missing fields are errors with their path.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(512);
        self.write(value, &mut bytes)?;
        Ok(bytes)
    }

    /// The same behind bytes that are there. After an error they are of no use.
    ///
    /// # Errors
    /// As `encode`.
    pub fn write(&self, value: &Value, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.layout.write(value, bytes)
    }

    /// Reads Avro binary written with `writer` as this record. Truncated and overlong records are refused.
    pub fn decode(&self, writer: &Self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let mut rest = bytes;
        let value = writer.layout.read(&mut rest).map_err(DecodeError::Malformed)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        if writer.text == self.text {
            return Ok(value);
        }
        let incompatible = |error: apache_avro::Error| {
            DecodeError::Incompatible(self.name.clone(), error.to_string())
        };
        GenericDatumReader::builder(writer.schema)
            .reader_schema(self.schema)
            .build()
            .and_then(|resolving| resolving.read_value(&mut &*bytes))
            .and_then(Value::try_from)
            .map_err(incompatible)
    }
}

fn collect_names(schema: &'static Schema, names: &mut HashMap<String, &'static Schema>) {
    if let Some(name) = schema.name() {
        if matches!(schema, Schema::Ref { .. }) {
            return;
        }
        names.insert(name.fullname(None), schema);
    }
    match schema {
        Schema::Record(record) => {
            record.fields.iter().for_each(|field| collect_names(&field.schema, names))
        }
        Schema::Union(union) => {
            union.variants().iter().for_each(|branch| collect_names(branch, names))
        }
        Schema::Array(array) => collect_names(&array.items, names),
        Schema::Map(map) => collect_names(&map.types, names),
        _ => {}
    }
}

/// The beginning of the Confluent wire format, version 0: byte 0, the schema id as 4 bytes big-endian. The Avro binary
/// follows; there is room for most records.
pub fn confluent_envelope(id: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(0);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes
}

/// Splits the Confluent wire format into schema id and Avro binary.
pub fn split_confluent(bytes: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match bytes.split_first_chunk::<5>() {
        Some(([0, id @ ..], avro)) => Ok((u32::from_be_bytes(*id), avro)),
        _ => Err(DecodeError::Envelope),
    }
}

/// A value as JSON whose objects have their fields in the order of their names, so that equal content has equal bytes.
pub(crate) struct Canonical<'a>(pub(crate) &'a Value);

impl fmt::Display for Canonical<'_> {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Object(object) => {
                let mut fields: Vec<(&String, &Value)> = object.iter().collect();
                fields.sort_by_key(|(name, _)| name.as_str());
                let mut before = '{';
                for (name, item) in &fields {
                    let name = serde_json::to_string(name).map_err(|_| fmt::Error)?;
                    write!(text, "{before}{name}:{}", Canonical(item))?;
                    before = ',';
                }
                text.write_str(if fields.is_empty() { "{}" } else { "}" })
            }
            Value::Array(items) => {
                let mut before = '[';
                for item in items {
                    write!(text, "{before}{}", Canonical(item))?;
                    before = ',';
                }
                text.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            scalar => write!(text, "{scalar}"),
        }
    }
}
