//! One record type of the contract: JSON in the middle, Avro at the edge, strict both ways.
//! It does not fetch schemas: the bus resolves ids and hands the writer's schema in.
//!
//! apache-avro's generic decoder accepts truncated records, so bytes first go through the serde path, which does not,
//! and every byte must be used. Only then, where writer and reader differ, does schema resolution run.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{RecordSchema as AvroRecord, UnionSchema};
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value};
use std::collections::HashMap;

use crate::ids::RecordName;
use crate::json::Json;
use crate::rules::data_subjects;

/// A record type: its schema, compiled once and kept for the life of the process.
pub struct RecordSchema {
    name: RecordName,
    text: String,
    schema: &'static Schema,
    names: HashMap<String, &'static Schema>,
    subject_field: Option<String>,
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

/// The value does not fit the schema. The caller's to correct; `path` leads to the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct EncodeError {
    /// Dotted path of the field.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The bytes are not this record: a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte is not 0, or there are fewer than five.
    #[error("not in the Confluent wire format: expected byte 0 and a 4-byte schema id")]
    Envelope,
    /// The bytes end early or contradict the writer's schema.
    #[error("the bytes do not fit the schema they name: {0}")]
    Malformed(String),
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
        let reader = GenericDatumReader::builder(schema).build()?;
        let writer = GenericDatumWriter::builder(schema).validate(false).build()?;
        let subject_field = serde_json::from_str(&text).ok().and_then(|text| subject_field(&text));
        Ok(Self { name, text, schema, names, subject_field, reader, writer })
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
        let avro = self.to_avro(value, self.schema, "")?;
        let mut bytes = Vec::with_capacity(256);
        self.writer.write_value(&mut bytes, avro).map_err(|error| EncodeError {
            path: self.name.to_string(),
            problem: error.to_string(),
        })?;
        Ok(bytes)
    }

    /// Reads Avro binary written with `writer` as this record. Truncated and overlong records are refused.
    pub fn decode(&self, writer: &Self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let mut rest = bytes;
        let Json(value) = writer
            .reader
            .read_deser(&mut rest)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
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

    fn to_avro(&self, value: &Value, schema: &Schema, path: &str) -> Result<Avro, EncodeError> {
        let wrong = |wanted: &str| EncodeError {
            path: path.to_owned(),
            problem: format!("expected {wanted}, found {}", kind_of(value)),
        };
        match schema {
            Schema::Record(record) => self.record_to_avro(value, record, path),
            Schema::Union(union) => self.union_to_avro(value, union, path),
            Schema::Ref { name } => match self.names.get(&name.fullname(None)) {
                Some(named) => self.to_avro(value, named, path),
                None => Err(wrong(name.as_ref())),
            },
            Schema::Array(array) => {
                let items = value.as_array().ok_or_else(|| wrong("a list"))?;
                let item = |(index, item): (usize, &Value)| {
                    self.to_avro(item, &array.items, &format!("{path}[{index}]"))
                };
                items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Avro::Array)
            }
            Schema::Map(map) => {
                let entries = value.as_object().ok_or_else(|| wrong("an object"))?;
                let entry = |(key, item): (&String, &Value)| {
                    Ok((key.clone(), self.to_avro(item, &map.types, &format!("{path}.{key}"))?))
                };
                entries.iter().map(entry).collect::<Result<_, _>>().map(Avro::Map)
            }
            Schema::Enum(symbols) => {
                let word = value.as_str().ok_or_else(|| wrong("a word"))?;
                let position = symbols.symbols.iter().position(|symbol| symbol == word);
                match position.and_then(|index| u32::try_from(index).ok()) {
                    Some(index) => Ok(Avro::Enum(index, word.to_owned())),
                    None => Err(wrong(&format!("one of {}", symbols.symbols.join(", ")))),
                }
            }
            scalar => scalar_to_avro(value, scalar).ok_or_else(|| wrong(scalar_name(scalar))),
        }
    }

    fn record_to_avro(
        &self,
        value: &Value,
        record: &AvroRecord,
        path: &str,
    ) -> Result<Avro, EncodeError> {
        let at = |field: &str| {
            if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
        };
        let Value::Object(object) = value else {
            return Err(EncodeError {
                path: at(""),
                problem: format!("expected an object, found {}", kind_of(value)),
            });
        };
        if let Some(unknown) =
            object.keys().find(|key| !record.fields.iter().any(|field| field.name == **key))
        {
            return Err(EncodeError {
                path: at(unknown),
                problem: format!("{} has no such field", record.name),
            });
        }
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let missing = || EncodeError {
                path: at(&field.name),
                problem: "is required and missing".to_owned(),
            };
            let given = object.get(&field.name).or(field.default.as_ref()).ok_or_else(missing)?;
            fields
                .push((field.name.clone(), self.to_avro(given, &field.schema, &at(&field.name))?));
        }
        Ok(Avro::Record(fields))
    }

    /// Picks null for null; otherwise the first branch that fits, with the error of the only candidate if there is one.
    fn union_to_avro(
        &self,
        value: &Value,
        union: &UnionSchema,
        path: &str,
    ) -> Result<Avro, EncodeError> {
        let mut last = EncodeError {
            path: path.to_owned(),
            problem: format!("{} fits no branch", kind_of(value)),
        };
        for (index, branch) in union.variants().iter().enumerate() {
            if value.is_null() != matches!(branch, Schema::Null) {
                continue;
            }
            match self.to_avro(value, branch, path) {
                Ok(avro) => {
                    return Ok(Avro::Union(u32::try_from(index).unwrap_or(0), Box::new(avro)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn scalar_to_avro(value: &Value, schema: &Schema) -> Option<Avro> {
    let int = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
    match schema {
        Schema::Null => value.is_null().then_some(Avro::Null),
        Schema::Boolean => value.as_bool().map(Avro::Boolean),
        Schema::Int => int(value).map(Avro::Int),
        Schema::Long => value.as_i64().map(Avro::Long),
        Schema::Double => value.as_f64().map(Avro::Double),
        Schema::String => value.as_str().map(|text| Avro::String(text.to_owned())),
        Schema::Uuid(_) => value.as_str()?.parse().ok().map(Avro::Uuid),
        Schema::Date => match value {
            Value::String(text) => days(text).map(Avro::Date),
            number => int(number).map(Avro::Date),
        },
        Schema::TimestampMicros => match value {
            Value::String(text) => text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|at| Avro::TimestampMicros(at.as_microsecond())),
            number => number.as_i64().map(Avro::TimestampMicros),
        },
        _ => None,
    }
}

fn scalar_name(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "true or false",
        Schema::Int => "a whole number of 32 bits",
        Schema::Long => "a whole number",
        Schema::Double => "a number",
        Schema::String => "text",
        Schema::Uuid(_) => "a UUID",
        Schema::Date => "a date (YYYY-MM-DD or days since 1970-01-01)",
        Schema::TimestampMicros => "an instant (RFC 3339 or microseconds since 1970-01-01)",
        _ => "a type that the contract uses",
    }
}

/// Days since 1970-01-01 of a civil date.
fn days(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    date.since(jiff::civil::date(1970, 1, 1)).ok().map(|span| span.get_days())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
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

/// The Confluent wire format, version 0: byte 0, the schema id as 4 bytes big-endian, the Avro binary.
pub fn confluent_envelope(id: u32, avro: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + avro.len());
    bytes.push(0);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(avro);
    bytes
}

/// Splits the Confluent wire format into schema id and Avro binary.
pub fn split_confluent(bytes: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match bytes.split_first_chunk::<5>() {
        Some(([0, id @ ..], avro)) => Ok((u32::from_be_bytes(*id), avro)),
        _ => Err(DecodeError::Envelope),
    }
}

/// Fields of an object in a fixed order, so that equal content has equal bytes.
pub(crate) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<(&String, &Value)> = object.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            Value::Object(
                fields
                    .into_iter()
                    .map(|(key, item)| (key.clone(), canonical(item)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
