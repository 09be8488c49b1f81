//! Lifts as they are carried out: a command of an older major becomes one of a newer. That a lift is total, and that its
//! types agree, the build has seen to; what comes out went through the newer schema all the same, defaults filled in.
//! Which major somebody wants is for them to say.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contract::Contract;
use crate::ids::RecordName;
use crate::layout::EncodeError;
use crate::lift::{LiftDoc, Source};
use crate::record::RecordSchema;

/// Every lift of the contract; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifts(Arc<BTreeMap<RecordName, Lift>>);

/// A command as it was sent, and as the newer majors up to one that somebody takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Majors {
    /// As it was sent.
    pub sent: Command,
    /// Each major after it; empty where the one that was sent is taken.
    pub newer: Vec<Command>,
}

/// A command as a record of one major.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The record.
    pub record: RecordName,
    /// Its content.
    pub value: Value,
}

struct Lift {
    to: RecordSchema,
    fields: BTreeMap<String, Source>,
}

impl std::fmt::Debug for Lift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lift to {}", self.to.name())
    }
}

impl Lifts {
    /// Takes lifts with the newer record of each.
    pub(crate) fn new(lifts: impl IntoIterator<Item = (LiftDoc, RecordSchema)>) -> Self {
        let entry = |(doc, to): (LiftDoc, RecordSchema)| {
            (RecordName::from(doc.from), Lift { to, fields: doc.fields })
        };
        Self(Arc::new(lifts.into_iter().map(entry).collect()))
    }

    /// A command as it was sent, then one major newer, and so on, up to a record that `wanted` takes. Nothing where none is.
    ///
    /// # Errors
    /// Where a major cannot say what the older one says, which the build rules out for the contract of the product.
    pub fn until(
        &self,
        sent: Command,
        wanted: impl Fn(&RecordName) -> bool,
    ) -> Result<Option<Majors>, EncodeError> {
        let mut majors = Majors { sent, newer: Vec::new() };
        while !wanted(&majors.newest().record) {
            // As many steps as there are lifts; more would be a circle.
            let lift = self.0.get(&majors.newest().record);
            let Some(lift) = lift.filter(|_| majors.newer.len() < self.0.len()) else {
                return Ok(None);
            };
            let value = lift.apply(&majors.newest().value)?;
            majors.newer.push(Command { record: lift.to.name().clone(), value });
        }
        Ok(Some(majors))
    }

    /// A command as this record; nothing where it cannot be lifted to it.
    pub fn as_record(
        &self,
        record: &RecordName,
        value: &Value,
        wanted: &RecordName,
    ) -> Option<Value> {
        let sent = Command { record: record.clone(), value: value.clone() };
        let majors = self.until(sent, |record| record == wanted).ok().flatten()?;
        Some(majors.into_newest().value)
    }

    /// Whether a record can be lifted to this one, or is it.
    pub fn reach(&self, record: &RecordName, wanted: &RecordName) -> bool {
        let mut at = record;
        for _ in 0..=self.0.len() {
            if at == wanted {
                return true;
            }
            let Some(lift) = self.0.get(at) else { return false };
            at = lift.to.name();
        }
        false
    }
}

impl Majors {
    /// The newest of them.
    pub fn newest(&self) -> &Command {
        self.newer.last().unwrap_or(&self.sent)
    }

    /// The newest of them alone.
    #[must_use]
    pub fn into_newest(mut self) -> Command {
        self.newer.pop().unwrap_or(self.sent)
    }
}

impl Command {
    /// SHA-256 over its canonical content.
    pub fn content_hash(&self) -> [u8; 32] {
        Contract::content_hash(&self.record, &self.value)
    }
}

impl Lift {
    fn apply(&self, value: &Value) -> Result<Value, EncodeError> {
        let mut lifted = Map::new();
        for (path, source) in &self.fields {
            put(&mut lifted, path, source.of(value));
        }
        let bytes = self.to.encode(&Value::Object(lifted))?;
        self.to.decode(&self.to, &bytes).map_err(|error| EncodeError {
            path: self.to.name().to_string(),
            problem: error.to_string(),
        })
    }
}

impl Source {
    fn of(&self, value: &Value) -> Value {
        let field = |path: &str| {
            path.split('.')
                .try_fold(value, |value, name| value.get(name))
                .cloned()
                .unwrap_or_default()
        };
        match self {
            Self::Constant(given) => given.constant.clone(),
            Self::Path(path) => field(path),
            Self::Symbols(words) => match field(&words.from) {
                Value::String(word) => {
                    words.symbols.get(&word).cloned().map_or(Value::Null, Value::from)
                }
                other => other,
            },
        }
    }
}

/// Puts a value at a dotted path.
fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        into.insert(path.to_owned(), value);
        return;
    };
    let inner = into.entry(first).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}
