//! JSON values as Avro binary. A value that does not fit is refused with the path to it; what was written of it by then
//! is the caller's to drop.

use serde_json::{Map, Value};

use super::{DEPTH_MAX, EncodeError, Field, Layout, Node, NodeId};

/// Where bytes go.
struct Writer<'l, 'b> {
    layout: &'l Layout,
    bytes: &'b mut Vec<u8>,
}

impl Layout {
    /// Writes a value as Avro binary behind what is there, defaults filled in.
    pub(crate) fn write(&self, value: &Value, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        Writer { layout: self, bytes }.node(self.root, value, DEPTH_MAX)
    }
}

impl Writer<'_, '_> {
    fn node(&mut self, id: NodeId, value: &Value, depth: usize) -> Result<(), EncodeError> {
        let layout = self.layout;
        let node = layout.node(id);
        let Some(depth) = depth.checked_sub(1) else {
            return Err(here("values lie too deep within each other".to_owned()));
        };
        match node {
            Node::Record { name, fields } => match value {
                Value::Object(object) => self.record(name, fields, object, depth),
                _ => Err(wrong("an object", value)),
            },
            Node::Union(branches) => self.union(branches, value, depth),
            Node::List(items) => {
                let list = value.as_array().ok_or_else(|| wrong("a list", value))?;
                self.items(list.len());
                for (index, item) in list.iter().enumerate() {
                    let written = self.node(*items, item, depth);
                    written.map_err(|error| within(&format!("[{index}]"), error))?;
                }
                self.end_of_items();
                Ok(())
            }
            Node::Map(values) => {
                let object = value.as_object().ok_or_else(|| wrong("an object", value))?;
                self.items(object.len());
                for (key, item) in object {
                    self.text(key);
                    self.node(*values, item, depth).map_err(|error| within(key, error))?;
                }
                self.end_of_items();
                Ok(())
            }
            Node::Enum(symbols) => {
                let word = value.as_str().ok_or_else(|| wrong("a word", value))?;
                let position = symbols.iter().position(|symbol| symbol == word);
                match position.and_then(|at| i64::try_from(at).ok()) {
                    Some(at) => {
                        self.long(at);
                        Ok(())
                    }
                    None => Err(wrong(&format!("one of {}", symbols.join(", ")), value)),
                }
            }
            scalar => self.scalar(scalar, value).ok_or_else(|| wrong(name_of(scalar), value)),
        }
    }

    fn record(
        &mut self,
        name: &str,
        fields: &[Field],
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), EncodeError> {
        let written = self.fields(fields, object, depth);
        if matches!(written, Ok(known) if known == object.len()) {
            return Ok(());
        }
        // A field that nobody knows is told first: the one that is missing may be meant by it.
        let known = |key: &&String| fields.iter().any(|field| field.name == **key);
        match object.keys().find(|key| !known(key)) {
            Some(unknown) => Err(within(unknown, here(format!("{name} has no such field")))),
            None => written.map(drop),
        }
    }

    /// How many of the fields the object has.
    fn fields(
        &mut self,
        fields: &[Field],
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<usize, EncodeError> {
        let mut known = 0;
        for field in fields {
            let given = object.get(&field.name);
            known += usize::from(given.is_some());
            let written = match given.or(field.default.as_ref()) {
                Some(given) => self.node(field.node, given, depth),
                None => Err(here("is required and missing".to_owned())),
            };
            written.map_err(|error| within(&field.name, error))?;
        }
        Ok(known)
    }

    /// Picks null for null; otherwise the first branch that fits, with the error of the only candidate if there is one.
    fn union(
        &mut self,
        branches: &[NodeId],
        value: &Value,
        depth: usize,
    ) -> Result<(), EncodeError> {
        let begin = self.bytes.len();
        let mut last = here(format!("{} fits no branch", kind_of(value)));
        for (branch, at) in branches.iter().zip(0_i64..) {
            if value.is_null() != matches!(self.layout.node(*branch), Node::Null) {
                continue;
            }
            self.long(at);
            match self.node(*branch, value, depth) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            self.bytes.truncate(begin);
        }
        Err(last)
    }

    /// None where the value is no such scalar.
    fn scalar(&mut self, node: &Node, value: &Value) -> Option<()> {
        let int = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
        match node {
            Node::Null => value.is_null().then_some(())?,
            Node::Boolean => self.bytes.push(u8::from(value.as_bool()?)),
            Node::Int => self.long(i64::from(int(value)?)),
            Node::Long => self.long(value.as_i64()?),
            Node::Double => self.bytes.extend_from_slice(&value.as_f64()?.to_le_bytes()),
            Node::Text => self.text(value.as_str()?),
            Node::Uuid => {
                let uuid: uuid::Uuid = value.as_str()?.parse().ok()?;
                self.text(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
            }
            Node::Date => match value {
                Value::String(text) => self.long(i64::from(days(text)?)),
                number => self.long(i64::from(int(number)?)),
            },
            Node::Instant => match value {
                Value::String(text) => {
                    self.long(text.parse::<jiff::Timestamp>().ok()?.as_microsecond());
                }
                number => self.long(number.as_i64()?),
            },
            Node::Float
            | Node::Foreign
            | Node::Enum(_)
            | Node::List(_)
            | Node::Map(_)
            | Node::Union(_)
            | Node::Record { .. } => return None,
        }
        Some(())
    }

    /// So many items follow, all in one block.
    fn items(&mut self, items: usize) {
        if items > 0 {
            self.length(items);
        }
    }

    fn end_of_items(&mut self) {
        self.long(0);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// A zigzag number in groups of seven bits, lowest first.
    fn long(&mut self, number: i64) {
        let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while left >= 0x80 {
            self.bytes.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        self.bytes.push(left.to_le_bytes()[0]);
    }
}

/// A problem of the value itself.
fn here(problem: String) -> EncodeError {
    EncodeError { path: String::new(), problem }
}

fn wrong(wanted: &str, found: &Value) -> EncodeError {
    here(format!("expected {wanted}, found {}", kind_of(found)))
}

/// The same problem, seen from one level further out.
fn within(outer: &str, error: EncodeError) -> EncodeError {
    let EncodeError { path, problem } = error;
    let separator = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    EncodeError { path: format!("{outer}{separator}{path}"), problem }
}

fn name_of(scalar: &Node) -> &'static str {
    match scalar {
        Node::Null => "null",
        Node::Boolean => "true or false",
        Node::Int => "a whole number of 32 bits",
        Node::Long => "a whole number",
        Node::Double => "a number",
        Node::Text => "text",
        Node::Uuid => "a UUID",
        Node::Date => "a date (YYYY-MM-DD or days since 1970-01-01)",
        Node::Instant => "an instant (RFC 3339 or microseconds since 1970-01-01)",
        Node::Float
        | Node::Foreign
        | Node::Enum(_)
        | Node::List(_)
        | Node::Map(_)
        | Node::Union(_)
        | Node::Record { .. } => "a type that the contract uses",
    }
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

/// Days since 1970-01-01 of a civil date.
fn days(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    date.since(jiff::civil::date(1970, 1, 1)).ok().map(|span| span.get_days())
}
