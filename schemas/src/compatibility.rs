//! Whether records written with one schema can be read with another, and if not, at which field and by which rule.
//! It knows two schemas and nothing else: which versions are compared, and who is hurt, is the gate's.
//!
//! The rules are Avro's schema resolution, named as Java's `SchemaCompatibility` names them, so that they can be looked
//! up. apache-avro's own checker says neither the whole path nor every difference, and takes a type whose definition
//! moved to an earlier field for another one; it judges the leaves here. One rule is ours: a logical type that changes.

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, Name, RecordSchema as AvroRecord, UnionSchema, UuidSchema};
use apache_avro::schema_compatibility::{Compatibility as Judgement, SchemaCompatibility};
use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::record::RecordSchema;

/// The rule that a change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A record, enum or fixed was renamed without an alias.
    NameMismatch,
    /// The type cannot be promoted to the new one.
    TypeMismatch,
    /// The same bytes mean something else, such as milliseconds instead of microseconds.
    LogicalTypeMismatch,
    /// What is written may be of a branch that the reader's union lacks.
    MissingUnionBranch,
    /// The reader wants a field that the writer lacks, and has no default for it.
    ReaderFieldMissingDefaultValue,
    /// The writer has enum symbols that the reader lacks, and the reader's enum has no default.
    MissingEnumSymbols,
    /// A field is gone that a registered consumer reads: it would silently find the default.
    FieldInUse,
    /// A released record, or its place on a topic, is gone.
    RecordRemoved,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::LogicalTypeMismatch => "LOGICAL_TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::FieldInUse => "FIELD_IN_USE",
            Self::RecordRemoved => "RECORD_REMOVED",
        })
    }
}

/// Why a reader cannot read what a writer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path of the field, `[]` for items of an array; empty for the record itself.
    pub path: String,
    /// The rule that is broken.
    pub rule: Rule,
    /// What was and what is, in words.
    pub detail: String,
}

/// Every reason why `reader` cannot read records of `writer`; none where it can read all of them.
pub fn unreadable(writer: &RecordSchema, reader: &RecordSchema) -> Vec<Difference> {
    let mut comparison =
        Comparison { writer: writer.names(), reader: reader.names(), seen: HashSet::new() };
    comparison.differences(writer.avro(), reader.avro(), "")
}

/// Paths of all fields of a record, those of nested records and of array items included.
pub fn fields(record: &RecordSchema) -> Vec<String> {
    let mut found = Vec::new();
    collect_fields(record.avro(), record.names(), "", &mut Vec::new(), &mut found);
    found
}

type Names = HashMap<String, &'static Schema>;

struct Comparison<'a> {
    writer: &'a Names,
    reader: &'a Names,
    /// Pairs of named types under comparison, so that a type that contains itself ends.
    seen: HashSet<(String, String)>,
}

impl Comparison<'_> {
    fn differences(&mut self, writer: &Schema, reader: &Schema, path: &str) -> Vec<Difference> {
        let (writer, reader) = (resolve(writer, self.writer), resolve(reader, self.reader));
        match (writer, reader) {
            (Schema::Union(writer), reader) => self.union(writer, reader, path),
            (writer, Schema::Union(reader)) => self.branch(writer, reader, path),
            (Schema::Record(old), Schema::Record(new)) => self.record(old, new, path),
            (Schema::Enum(old), Schema::Enum(new)) => enums(old, new, path),
            (Schema::Array(old), Schema::Array(new)) => {
                self.differences(&old.items, &new.items, &format!("{path}[]"))
            }
            (Schema::Map(old), Schema::Map(new)) => {
                self.differences(&old.types, &new.types, &format!("{path}{{}}"))
            }
            (writer, reader) => leaf(writer, reader, path),
        }
    }

    /// Whatever branch is written, the reader must have a place for it.
    fn union(&mut self, writer: &UnionSchema, reader: &Schema, path: &str) -> Vec<Difference> {
        let mut found = Vec::new();
        for branch in writer.variants() {
            match reader {
                Schema::Union(reader) => found.extend(self.branch(branch, reader, path)),
                reader if self.differences(branch, reader, path).is_empty() => {}
                reader => found.push(missing_branch(branch, &describe(reader), path)),
            }
        }
        found
    }

    fn branch(&mut self, writer: &Schema, reader: &UnionSchema, path: &str) -> Vec<Difference> {
        let mut inside = Vec::new();
        for branch in reader.variants() {
            let found = self.differences(writer, branch, path);
            if found.is_empty() {
                return Vec::new();
            }
            // Of a branch of the same kind and name, what differs inside says more than that it is missing.
            let (old, new) = (resolve(writer, self.writer), resolve(branch, self.reader));
            if describe(old) == describe(new) {
                inside = found;
            }
        }
        if !inside.is_empty() {
            return inside;
        }
        let offered: Vec<String> =
            reader.variants().iter().map(|branch| describe(resolve(branch, self.reader))).collect();
        let writer = resolve(writer, self.writer);
        vec![missing_branch(writer, &format!("one of {}", offered.join(", ")), path)]
    }

    fn record(&mut self, old: &AvroRecord, new: &AvroRecord, path: &str) -> Vec<Difference> {
        let aliases =
            new.aliases.iter().flatten().map(|alias| alias.fullname(new.name.namespace()));
        let names = (old.name.fullname(None), new.name.fullname(None));
        if names.0 != names.1 && !aliases.into_iter().any(|alias| alias == names.0) {
            return vec![renamed("record", &old.name, &new.name, path)];
        }
        if !self.seen.insert(names.clone()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for field in &new.fields {
            let at = join(path, &field.name);
            let is_it = |name: &String| {
                old.fields.iter().find(|candidate| candidate.name.as_str() == name.as_str())
            };
            let written = std::iter::once(&field.name).chain(&field.aliases).find_map(is_it);
            match written {
                Some(written) => {
                    found.extend(self.differences(&written.schema, &field.schema, &at))
                }
                None if field.default.is_none() => found.push(Difference {
                    path: at,
                    rule: Rule::ReaderFieldMissingDefaultValue,
                    detail: "the reader needs it and has no default, the writer does not have it"
                        .to_owned(),
                }),
                None => {}
            }
        }
        self.seen.remove(&names);
        found
    }
}

fn enums(old: &EnumSchema, new: &EnumSchema, path: &str) -> Vec<Difference> {
    if old.name.fullname(None) != new.name.fullname(None) {
        return vec![renamed("enum", &old.name, &new.name, path)];
    }
    let missing: Vec<&str> = old
        .symbols
        .iter()
        .filter(|symbol| !new.symbols.contains(symbol))
        .map(String::as_str)
        .collect();
    if missing.is_empty() || new.default.is_some() {
        return Vec::new();
    }
    vec![Difference {
        path: path.to_owned(),
        rule: Rule::MissingEnumSymbols,
        detail: format!("the reader lacks {} and has no default symbol", missing.join(", ")),
    }]
}

/// Types without parts: Avro's promotions are the library's to judge, the meaning of the same bytes is ours.
fn leaf(writer: &Schema, reader: &Schema, path: &str) -> Vec<Difference> {
    let (was, is) = (describe(writer), describe(reader));
    let rule = match SchemaCompatibility::can_read(writer, reader) {
        Ok(Judgement::Full) if logical(writer) == logical(reader) => return Vec::new(),
        Ok(Judgement::Full) => Rule::LogicalTypeMismatch,
        Ok(Judgement::Partial) | Err(_) => Rule::TypeMismatch,
    };
    vec![Difference {
        path: path.to_owned(),
        rule,
        detail: format!("{was} is written, {is} is expected"),
    }]
}

fn missing_branch(writer: &Schema, expected: &str, path: &str) -> Difference {
    Difference {
        path: path.to_owned(),
        rule: Rule::MissingUnionBranch,
        detail: format!("{} may be written, {expected} is expected", describe(writer)),
    }
}

fn renamed(what: &str, old: &Name, new: &Name, path: &str) -> Difference {
    Difference {
        path: path.to_owned(),
        rule: Rule::NameMismatch,
        detail: format!(
            "{what} {} is written, {} is expected",
            old.fullname(None),
            new.fullname(None)
        ),
    }
}

/// A reference replaced by what it refers to.
fn resolve<'s>(schema: &'s Schema, names: &Names) -> &'s Schema {
    match schema {
        Schema::Ref { name } => names.get(&name.fullname(None)).copied().unwrap_or(schema),
        other => other,
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The logical type of a leaf; none for a plain one.
fn logical(schema: &Schema) -> Option<&'static str> {
    Some(match schema {
        Schema::Decimal(_) => "decimal",
        Schema::BigDecimal => "big-decimal",
        Schema::Uuid(_) => "uuid",
        Schema::Date => "date",
        Schema::TimeMillis => "time-millis",
        Schema::TimeMicros => "time-micros",
        Schema::TimestampMillis => "timestamp-millis",
        Schema::TimestampMicros => "timestamp-micros",
        Schema::TimestampNanos => "timestamp-nanos",
        Schema::LocalTimestampMillis => "local-timestamp-millis",
        Schema::LocalTimestampMicros => "local-timestamp-micros",
        Schema::LocalTimestampNanos => "local-timestamp-nanos",
        Schema::Duration(_) => "duration",
        _ => return None,
    })
}

/// A type in a word, for people: its name, its logical type, or what it is made of.
pub(crate) fn describe(schema: &Schema) -> String {
    if let Some(name) = schema.name() {
        return name.fullname(None);
    }
    if let Schema::Uuid(UuidSchema::String) = schema {
        return "uuid".to_owned();
    }
    if let Some(logical) = logical(schema) {
        return logical.to_owned();
    }
    match schema {
        Schema::Null => "null".to_owned(),
        Schema::Boolean => "boolean".to_owned(),
        Schema::Int => "int".to_owned(),
        Schema::Long => "long".to_owned(),
        Schema::Float => "float".to_owned(),
        Schema::Double => "double".to_owned(),
        Schema::Bytes => "bytes".to_owned(),
        Schema::String => "string".to_owned(),
        Schema::Array(array) => format!("array of {}", describe(&array.items)),
        Schema::Map(map) => format!("map of {}", describe(&map.types)),
        Schema::Union(union) => {
            union.variants().iter().map(describe).collect::<Vec<_>>().join(" or ")
        }
        other => format!("{other:?}"),
    }
}

fn collect_fields(
    schema: &Schema,
    names: &Names,
    path: &str,
    within: &mut Vec<String>,
    found: &mut Vec<String>,
) {
    match resolve(schema, names) {
        Schema::Record(record) => {
            let name = record.name.fullname(None);
            if within.contains(&name) {
                return;
            }
            within.push(name);
            for field in &record.fields {
                let at = join(path, &field.name);
                found.push(at.clone());
                collect_fields(&field.schema, names, &at, within, found);
            }
            within.pop();
        }
        Schema::Union(union) => {
            for branch in union.variants() {
                collect_fields(branch, names, path, within, found);
            }
        }
        Schema::Array(array) => {
            collect_fields(&array.items, names, &format!("{path}[]"), within, found);
        }
        Schema::Map(map) => {
            collect_fields(&map.types, names, &format!("{path}{{}}"), within, found);
        }
        _ => {}
    }
}
