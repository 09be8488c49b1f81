//! Lifts as they are written: how a command of an older major is said in a newer one, field by field, as data
//! (`lifts/*.yaml`). Here they are read and judged, by the build too; `lifting` carries them out.
//! They know one direction, from the older to the newer.

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::rules::{data_subjects, full_name};
use crate::topics::{Role, Topics};
use crate::types::Type;

/// One lift.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftDoc {
    /// Full name of the older record.
    pub from: String,
    /// Full name of the newer record.
    pub to: String,
    /// What each field of the newer record is, by its dotted path. A field with a default may be left out.
    pub fields: BTreeMap<String, Source>,
    /// Fields of the older record that the newer one has no place for. What is neither used nor dropped is a fault.
    #[serde(default)]
    pub drops: BTreeSet<String>,
}

/// Where a field comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A field of the older record, by its dotted path, as it is.
    Path(String),
    /// The same for every record.
    Constant(Constant),
    /// A symbol of an older enum in the words of a newer one.
    Symbols(Symbols),
}

/// A value that is the same for every record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// The value.
    pub constant: Value,
}

/// Symbols of one enum as those of another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symbols {
    /// The older field, by its dotted path.
    pub from: String,
    /// For every older symbol the newer one.
    pub symbols: BTreeMap<String, String>,
}

/// The file cannot be read as a lift.
#[derive(Debug, thiserror::Error)]
#[error("it is no lift: {0}")]
pub struct LiftDocError(String);

impl LiftDoc {
    /// Reads a lift; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, LiftDocError> {
        serde_saphyr::from_str(text).map_err(|error| LiftDocError(error.to_string()))
    }
}

impl Source {
    /// The older field that it reads.
    fn path(&self) -> Option<&str> {
        match self {
            Self::Path(path) => Some(path),
            Self::Symbols(symbols) => Some(&symbols.from),
            Self::Constant(_) => None,
        }
    }
}

/// Everything that is wrong with the lifts, each as one sentence that says what, where and what to do.
pub fn lift_faults(lifts: &[LiftDoc], schemas: &[Value], topics: &Topics) -> Vec<String> {
    let mut faults = Vec::new();
    for lift in lifts {
        let at = format!("lift of {} to {}", lift.from, lift.to);
        match (Type::of_record(schemas, &lift.from), Type::of_record(schemas, &lift.to)) {
            (Some(from), Some(to)) => {
                let mut judged = Judged { lift, from: &from, used: BTreeSet::new(), told: vec![] };
                judged.record(&to, "");
                judged.leftovers(&from);
                faults.extend(judged.told.into_iter().map(|told| format!("{at}: {told}")));
                let others = identity(lift, schemas, topics);
                faults.extend(others.into_iter().map(|told| format!("{at}: {told}")));
            }
            (None, _) => faults.push(format!("{at}: there is no record {}", lift.from)),
            (_, None) => faults.push(format!("{at}: there is no record {}", lift.to)),
        }
        if lifts.iter().filter(|other| other.from == lift.from).count() > 1 {
            faults.push(format!("{at}: {} has several lifts; keep one", lift.from));
        }
        if lifted_to(lifts, &lift.to).contains(&lift.from) {
            faults.push(format!("{at}: it leads back to {}; lifts go to newer majors", lift.from));
        }
    }
    faults
}

/// Every record that a record is lifted to, one after another.
pub fn lifted_to(lifts: &[LiftDoc], record: &str) -> Vec<String> {
    let mut reached = Vec::new();
    let mut at = record.to_owned();
    while let Some(lift) = lifts.iter().find(|lift| lift.from == at) {
        if reached.contains(&lift.to) {
            break;
        }
        reached.push(lift.to.clone());
        at.clone_from(&lift.to);
    }
    reached
}

/// One lift while it is judged.
struct Judged<'a> {
    lift: &'a LiftDoc,
    from: &'a Type,
    /// Keys of `fields` that have their place.
    used: BTreeSet<&'a str>,
    told: Vec<String>,
}

impl Judged<'_> {
    /// Every field of a newer record is given, or has a default.
    fn record(&mut self, wanted: &Type, prefix: &str) {
        let Type::Record { fields, .. } = wanted.strict() else { return };
        let lift = self.lift;
        for field in fields {
            let path = format!("{prefix}{}", field.name);
            let inside = format!("{path}.");
            if let Some((key, source)) = lift.fields.get_key_value(&path) {
                self.used.insert(key);
                self.source(&path, source, &field.kind);
            } else if lift.fields.keys().any(|key| key.starts_with(&inside)) {
                self.record(&field.kind, &inside);
            } else if !field.has_default {
                self.told.push(format!(
                    "{path} is {} and is not given; say where it comes from under fields",
                    field.kind
                ));
            }
        }
    }

    fn source(&mut self, path: &str, source: &Source, wanted: &Type) {
        let problem = match source {
            Source::Constant(given) => wanted.refuses_literal(&given.constant),
            Source::Path(from) => match of_path(self.from, from) {
                None => Some(format!("{} has no field {from}", self.lift.from)),
                Some(found) if fits(wanted, &found) => None,
                Some(found) => Some(format!("{from} is {found}, but {wanted} is needed")),
            },
            Source::Symbols(words) => match of_path(self.from, &words.from) {
                None => Some(format!("{} has no field {}", self.lift.from, words.from)),
                Some(found) => symbols_problem(words, &found, wanted),
            },
        };
        self.told.extend(problem.map(|problem| format!("{path}: {problem}")));
    }

    /// What is given and does not exist, and what of the older record would be lost without a word.
    fn leftovers(&mut self, from: &Type) {
        for key in self.lift.fields.keys().filter(|key| !self.used.contains(key.as_str())) {
            self.told.push(format!(
                "{key} is no field of {}, or is inside of one that is given as a whole",
                self.lift.to
            ));
        }
        let read: BTreeSet<&str> = self.lift.fields.values().filter_map(Source::path).collect();
        for dropped in &self.lift.drops {
            if of_path(from, dropped).is_none() {
                self.told.push(format!("drops: {} has no field {dropped}", self.lift.from));
            } else if read.contains(dropped.as_str()) {
                self.told.push(format!("drops: {dropped} is used; take it off the list"));
            }
        }
        let known = read.into_iter().chain(self.lift.drops.iter().map(String::as_str)).collect();
        lost(from, "", &known, &mut self.told);
    }
}

/// Fields of the older record that are neither used nor dropped.
fn lost(from: &Type, prefix: &str, known: &BTreeSet<&str>, told: &mut Vec<String>) {
    let Type::Record { fields, .. } = from.strict() else { return };
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        let inside = format!("{path}.");
        if known.contains(path.as_str()) {
            continue;
        }
        if known.iter().any(|known| known.starts_with(&inside)) {
            lost(&field.kind, &inside, known, told);
        } else {
            told.push(format!("{path} would be lost; use it, or name it under drops"));
        }
    }
}

/// The type of a field of a record by its dotted path: may be null where anything on the way may.
fn of_path(record: &Type, path: &str) -> Option<Type> {
    let mut kind = record;
    let mut nullable = false;
    for name in path.split('.') {
        kind = &kind.field(name)?.kind;
        if let Type::Optional(inner) = kind {
            nullable = true;
            kind = inner;
        }
    }
    Some(if nullable { Type::Optional(Box::new(kind.clone())) } else { kind.clone() })
}

/// Whether a value may stand as it is: the very same type, or one that may be null in addition.
fn fits(wanted: &Type, found: &Type) -> bool {
    match (wanted, found) {
        (Type::Optional(wanted), Type::Optional(found)) => wanted == found,
        (Type::Optional(wanted), found) => **wanted == *found,
        (wanted, found) => wanted == found,
    }
}

/// Every older symbol becomes a newer one, and what may be null may be so still.
fn symbols_problem(words: &Symbols, found: &Type, wanted: &Type) -> Option<String> {
    let from = &words.from;
    let (Type::Enum { symbols: older, .. }, Type::Enum { symbols: newer, .. }) =
        (found.strict(), wanted.strict())
    else {
        return Some(format!(
            "symbols go from an enum to an enum; {from} is {found}, and {wanted} is needed"
        ));
    };
    if matches!(found, Type::Optional(_)) && !matches!(wanted, Type::Optional(_)) {
        return Some(format!("{from} may be null, but {wanted} is needed"));
    }
    if let Some(missing) = older.iter().find(|symbol| !words.symbols.contains_key(*symbol)) {
        return Some(format!(
            "{from} may be {missing}, for which there is no symbol; add {missing}: <symbol>"
        ));
    }
    words.symbols.iter().find_map(|(old, new)| {
        if !older.contains(old) {
            return Some(format!("{from} never is {old}; it is {}", older.join(", ")));
        }
        (!newer.contains(new)).then(|| format!("{new} is none of {}", newer.join(", ")))
    })
}

/// Both majors are on one topic, where a key has one order, and what says which command it is stays as it is.
fn identity(lift: &LiftDoc, schemas: &[Value], topics: &Topics) -> Vec<String> {
    let holds = |record: &String| -> Vec<(String, String)> {
        let topics = topics.topics.iter().filter(|(_, topic)| {
            topic.role == Role::Command && topic.schemas.value.contains(record)
        });
        topics.map(|(name, topic)| (name.clone(), topic.key.clone())).collect()
    };
    let older = holds(&lift.from);
    let Some((topic, key)) = older.first() else {
        return vec![format!("no topic of commands holds {}; lifts are for commands", lift.from)];
    };
    let mut told = Vec::new();
    if holds(&lift.to) != older {
        told.push(format!(
            "{topic} holds the older record and not the newer; both belong on one topic, where a key keeps its order"
        ));
    }
    let subject = |record: &String| {
        let schema = schemas.iter().find(|schema| full_name(schema) == *record);
        schema.and_then(|schema| data_subjects(schema).into_iter().next().map(str::to_owned))
    };
    let mut same = vec![(key.clone(), key.clone()), ("tenant".to_owned(), "tenant".to_owned())];
    same.extend(subject(&lift.to).zip(subject(&lift.from)));
    for (newer, older) in same {
        if !matches!(lift.fields.get(&newer), Some(Source::Path(path)) if *path == older) {
            told.push(format!(
                "{newer} says which command it is, and whose; write {newer}: {older}"
            ));
        }
    }
    told
}
