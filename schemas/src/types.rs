//! The types of fields, read off the Avro schemas as JSON, so that journeys and lifts are checked before they run. The
//! build reads them too. It does not read values; `record` does that at the edge.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

use crate::rules::full_name;

/// The type of a fact or of a field of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Only null.
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Text.
    Text,
    /// A UUID as text.
    Uuid,
    /// An instant in microseconds.
    Instant,
    /// A calendar date.
    Date,
    /// One of some words.
    Enum {
        /// Full name.
        name: String,
        /// Its words.
        symbols: Vec<String>,
    },
    /// A record.
    Record {
        /// Full name.
        name: String,
        /// Fields in order.
        fields: Vec<Field>,
    },
    /// A list.
    List(Box<Type>),
    /// A value or null.
    Optional(Box<Type>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// True where it may be left out.
    pub has_default: bool,
}

/// Records nest at most this deep; deeper means that one contains itself.
const DEPTH_MAX: usize = 16;

impl Type {
    /// The type of a record among schemas that may mention each other; nothing where it is not among them.
    pub fn of_record<'a>(
        schemas: impl IntoIterator<Item = &'a Value>,
        record: &str,
    ) -> Option<Self> {
        let mut named = BTreeMap::new();
        for schema in schemas {
            collect_named(schema, "", &mut named);
        }
        of_schema(named.get(record)?, "", &named, 0)
    }

    /// The field of a record, looking through an optional record.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match self {
            Self::Record { fields, .. } => fields.iter().find(|field| field.name == name),
            Self::Optional(inner) => inner.field(name),
            _ => None,
        }
    }

    /// The names that `field` would find, for messages.
    pub fn field_names(&self) -> String {
        match self {
            Self::Record { fields, .. } => {
                fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
            }
            Self::Optional(inner) => inner.field_names(),
            _ => String::new(),
        }
    }

    /// The type without null.
    pub fn strict(&self) -> &Self {
        match self {
            Self::Optional(inner) => inner,
            other => other,
        }
    }

    /// Whether a value of type `found` may stand where this type is wanted.
    pub fn accepts(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Optional(_), Self::Null) => true,
            (Self::Optional(wanted), Self::Optional(found)) => wanted.accepts(found),
            (Self::Optional(wanted), found) => wanted.accepts(found),
            (Self::Text, Self::Text | Self::Uuid | Self::Enum { .. })
            | (Self::Float, Self::Int) => true,
            (Self::Enum { name: wanted, .. }, Self::Enum { name: found, .. })
            | (Self::Record { name: wanted, .. }, Self::Record { name: found, .. }) => {
                wanted == found
            }
            (Self::List(wanted), Self::List(found)) => wanted.accepts(found),
            (wanted, found) => wanted == found,
        }
    }

    /// What is wrong with a literal where this type is wanted.
    pub fn refuses_literal(&self, literal: &Value) -> Option<String> {
        let fits = match (self, literal) {
            (Self::Optional(_) | Self::Null, Value::Null) => true,
            (Self::Optional(inner), literal) => return inner.refuses_literal(literal),
            (Self::Text, Value::String(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Float, Value::Number(_)) => true,
            (Self::Int, Value::Number(number)) => number.is_i64(),
            (Self::Enum { symbols, .. }, Value::String(word)) => symbols.contains(word),
            _ => false,
        };
        (!fits).then(|| format!("{literal} is not {self}"))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("true or false"),
            Self::Int => f.write_str("a whole number"),
            Self::Float => f.write_str("a number"),
            Self::Text => f.write_str("text"),
            Self::Uuid => f.write_str("a UUID"),
            Self::Instant => f.write_str("an instant"),
            Self::Date => f.write_str("a date"),
            Self::Enum { name, symbols } => write!(f, "one of {} ({name})", symbols.join(", ")),
            Self::Record { name, .. } => write!(f, "a {name}"),
            Self::List(item) => write!(f, "a list of {item}"),
            Self::Optional(inner) => write!(f, "{inner}, or null"),
        }
    }
}

/// Finds every named type of a document, however deep it is defined, with its namespace written out.
pub(crate) fn collect_named(schema: &Value, namespace: &str, named: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Object(object) => {
            let own =
                object.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_owned();
            let kind = object.get("type").and_then(Value::as_str);
            if matches!(kind, Some("record" | "enum" | "fixed")) && object.contains_key("name") {
                let mut definition = object.clone();
                definition.insert("namespace".to_owned(), Value::String(own.clone()));
                let definition = Value::Object(definition);
                named.insert(full_name(&definition), definition);
            }
            object.values().for_each(|inner| collect_named(inner, &own, named));
        }
        Value::Array(items) => {
            items.iter().for_each(|inner| collect_named(inner, namespace, named))
        }
        _ => {}
    }
}

fn of_schema(
    schema: &Value,
    namespace: &str,
    named: &BTreeMap<String, Value>,
    depth: usize,
) -> Option<Type> {
    if depth > DEPTH_MAX {
        return None;
    }
    match schema {
        Value::String(word) => of_word(word, namespace, named, depth),
        Value::Array(branches) => {
            let (nulls, others): (Vec<_>, Vec<_>) =
                branches.iter().partition(|branch| branch.as_str() == Some("null"));
            match (nulls.is_empty(), others.as_slice()) {
                (true, [only]) => of_schema(only, namespace, named, depth + 1),
                (false, [only]) => {
                    Some(Type::Optional(Box::new(of_schema(only, namespace, named, depth + 1)?)))
                }
                _ => None,
            }
        }
        Value::Object(object) => {
            let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
            match object.get("type").and_then(Value::as_str) {
                Some("record") => of_record(schema, own, named, depth),
                Some("enum") => Some(Type::Enum {
                    name: named_in(schema, own),
                    symbols: words(object.get("symbols")),
                }),
                Some("array") => Some(Type::List(Box::new(of_schema(
                    object.get("items")?,
                    own,
                    named,
                    depth + 1,
                )?))),
                Some(word) => match object.get("logicalType").and_then(Value::as_str) {
                    Some("uuid") => Some(Type::Uuid),
                    Some("timestamp-micros") => Some(Type::Instant),
                    Some("date") => Some(Type::Date),
                    _ => of_word(word, own, named, depth),
                },
                None => of_schema(object.get("type")?, own, named, depth + 1),
            }
        }
        _ => None,
    }
}

fn of_word(
    word: &str,
    namespace: &str,
    named: &BTreeMap<String, Value>,
    depth: usize,
) -> Option<Type> {
    match word {
        "null" => Some(Type::Null),
        "boolean" => Some(Type::Bool),
        "int" | "long" => Some(Type::Int),
        "float" | "double" => Some(Type::Float),
        "string" => Some(Type::Text),
        name => {
            let definition =
                named.get(name).or_else(|| named.get(&format!("{namespace}.{name}")))?;
            of_schema(definition, namespace, named, depth + 1)
        }
    }
}

fn of_record(
    schema: &Value,
    namespace: &str,
    named: &BTreeMap<String, Value>,
    depth: usize,
) -> Option<Type> {
    let field = |field: &Value| {
        Some(Field {
            name: field.get("name")?.as_str()?.to_owned(),
            kind: of_schema(field.get("type")?, namespace, named, depth + 1)?,
            has_default: field.get("default").is_some(),
        })
    };
    let fields = schema.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?;
    Some(Type::Record { name: named_in(schema, namespace), fields })
}

fn named_in(schema: &Value, namespace: &str) -> String {
    let name = schema.get("name").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn words(symbols: Option<&Value>) -> Vec<String> {
    let symbols = symbols.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
