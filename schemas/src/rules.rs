//! What makes a contract sound, as pure checks over the schemas (as JSON) and the topics.
//! The build runs them over the files and refuses on any fault; it does not judge evolution against a registry.

use crate::topics::{Compatibility, ConfigValue, Role, Strategy, Topic, Topics};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is wrong, each as one sentence that says what, where and what to do.
pub fn faults(schemas: &[Value], topics: &Topics, vendor_words: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let names: BTreeSet<String> = schemas.iter().map(full_name).collect();
    faults.extend(unmatched(schemas, &names, topics));
    faults.extend(topics.topics.iter().flat_map(|(name, topic)| {
        let mut found = Vec::new();
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
        {
            found.push(format!("topic {name}: a name is made of a-z, 0-9, '.' and '-'; rename it"));
        }
        if topic.group != "lanes" {
            found.push(format!("topic {name}: group {} is unknown; use lanes", topic.group));
        }
        if topic.schemas.strategy == Strategy::Topic && topic.schemas.value.len() != 1 {
            found.push(format!(
                "topic {name}: strategy topic holds exactly one record; use topic-record"
            ));
        }
        found.extend(weak_promise(name, topic));
        found
    }));
    for schema in schemas {
        check_type(schema, &full_name(schema), &mut faults);
        faults.extend(vendor_speech(schema, vendor_words));
    }
    faults.extend(pii(schemas, topics));
    faults.extend(kept_for_ever(topics));
    faults
}

/// Whom a topic must not break follows from who reads it: ourselves, or others who update when they like.
fn weak_promise(name: &str, topic: &Topic) -> Option<String> {
    let promise = topic.schemas.compatibility;
    let (kept, wanted) = match topic.role {
        Role::Command | Role::Request => (promise.is_backward(), Compatibility::BackwardTransitive),
        Role::Outcome | Role::Event | Role::Record => {
            (promise.is_forward(), Compatibility::FullTransitive)
        }
        Role::Forward => (true, Compatibility::None),
    };
    (!kept).then(|| {
        format!("topic {name}: promises {promise}, which is too little for its role; use {wanted}")
    })
}

/// Namespace and name of a record.
pub fn full_name(schema: &Value) -> String {
    let part = |key| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    if part("namespace").is_empty() {
        part("name").to_owned()
    } else {
        format!("{}.{}", part("namespace"), part("name"))
    }
}

/// A topic without its schema, or a schema that no topic and no other schema uses.
fn unmatched(schemas: &[Value], names: &BTreeSet<String>, topics: &Topics) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (topic, spec) in &topics.topics {
        if spec.schemas.value.is_empty() && spec.role != Role::Forward {
            faults.push(format!(
                "topic {topic}: has no schema; name its records under schemas.value"
            ));
        }
        for record in &spec.schemas.value {
            used.insert(record);
            if !names.contains(record) {
                faults.push(format!(
                    "topic {topic}: schema {record} does not exist; add avro/{record}.avsc"
                ));
            }
        }
    }
    let texts: BTreeMap<String, String> =
        schemas.iter().map(|schema| (full_name(schema), schema.to_string())).collect();
    for name in names {
        let referenced = texts
            .iter()
            .any(|(other, text)| other != name && text.contains(&format!("\"{name}\"")));
        if !used.contains(name.as_str()) && !referenced {
            faults.push(format!(
                "schema {name}: no topic holds it; add it to a topic in topics.yaml or remove it"
            ));
        }
    }
    faults
}

/// Every enum needs a default symbol, or adding a symbol breaks readers.
fn check_type(schema: &Value, at: &str, faults: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if object.get("type").and_then(Value::as_str) == Some("enum")
                && !object.contains_key("default")
            {
                let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
                faults.push(format!(
                    "schema {at}: enum {name} has no default symbol; add \"default\": \"UNKNOWN\""
                ));
            }
            object.values().for_each(|inner| check_type(inner, at, faults));
        }
        Value::Array(items) => items.iter().for_each(|inner| check_type(inner, at, faults)),
        _ => {}
    }
}

/// Names, symbols and fields that contain a vendor's word.
fn vendor_speech(schema: &Value, vendor_words: &[String]) -> Vec<String> {
    let mut spoken = Vec::new();
    collect_names(schema, &mut spoken);
    let lower: Vec<String> = spoken.iter().map(|word| word.to_ascii_lowercase()).collect();
    vendor_words
        .iter()
        .filter(|word| {
            let word = word.to_ascii_lowercase();
            lower
                .iter()
                .any(|name| name.split(['_', '.']).any(|part| part == word) || *name == word)
        })
        .map(|word| {
            format!(
                "schema {}: speaks the vendor word {word:?}; use a canonical word",
                full_name(schema)
            )
        })
        .collect()
}

fn collect_names(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("name" | "namespace", Value::String(name)) => names.push(name.clone()),
                    ("symbols", Value::Array(symbols)) => {
                        names.extend(symbols.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => collect_names(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_names(inner, names)),
        _ => {}
    }
}

/// A topic whose records carry personal data must say so, and one that says so must carry some.
fn pii(schemas: &[Value], topics: &Topics) -> Vec<String> {
    let by_name: BTreeMap<String, &Value> =
        schemas.iter().map(|schema| (full_name(schema), schema)).collect();
    let mut faults = Vec::new();
    for (topic, spec) in &topics.topics {
        let carries =
            spec.schemas.value.iter().any(|name| carries_personal_data(name, &by_name, 0));
        if spec.role != Role::Forward && carries != spec.pii {
            faults.push(format!(
                "topic {topic}: pii is {}, but its schemas say {carries}; make them agree",
                spec.pii
            ));
        }
    }
    faults
}

fn carries_personal_data(name: &str, schemas: &BTreeMap<String, &Value>, depth: usize) -> bool {
    let Some(schema) = schemas.get(name) else { return false };
    let text = schema.to_string();
    text.contains("\"personal_data\":true")
        || depth < 8
            && schemas.keys().any(|other| {
                other != name
                    && text.contains(&format!("\"{other}\""))
                    && carries_personal_data(other, schemas, depth + 1)
            })
}

/// What is personal must go by itself: Kafka keeps no key that could be destroyed.
fn kept_for_ever(topics: &Topics) -> Vec<String> {
    let bounded = |own: &BTreeMap<String, ConfigValue>| {
        let setting = |name: &str| {
            let found = own.get(name).or_else(|| topics.defaults.config.get(name));
            found.map(ToString::to_string).unwrap_or_default()
        };
        let retention: Option<i64> = setting("retention.ms").parse().ok();
        setting("cleanup.policy") == "delete" && retention.is_some_and(|ms| ms > 0)
    };
    let told = |name: &str| {
        format!(
            "topic {name}: carries personal data and keeps it for ever; set cleanup.policy: delete and a retention.ms"
        )
    };
    let personal = || topics.topics.iter().filter(|(_, topic)| topic.pii);
    let mut faults: Vec<String> = personal()
        .filter(|(_, topic)| !bounded(&topic.config))
        .map(|(name, _)| told(name))
        .collect();
    if !bounded(&topics.dlq.config) {
        let dead = personal().filter(|(_, topic)| topic.dlq);
        faults.extend(dead.map(|(name, _)| told(&format!("{name}.dlq"))));
    }
    faults
}

/// Fields of a record that say whose personal data it holds.
pub(crate) fn data_subjects(schema: &Value) -> Vec<&str> {
    let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
    fields
        .filter(|field| field.get("data_subject").and_then(Value::as_bool) == Some(true))
        .filter_map(|field| field.get("name").and_then(Value::as_str))
        .collect()
}

/// A record that starts a journey names its data subject in one plain text field; no other record names any. `starting`
/// are the records that start journeys.
pub fn unclear_subjects(schemas: &[Value], starting: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for schema in schemas {
        let name = full_name(schema);
        let marks = schema.to_string().matches("\"data_subject\":").count();
        let subjects = data_subjects(schema);
        let plain = |field: &&str| {
            let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
            let mut own =
                fields.filter(|other| other.get("name").and_then(Value::as_str) == Some(field));
            own.any(|field| {
                field.get("type").and_then(Value::as_str) == Some("string")
                    && field.get("default").is_none()
            })
        };
        match (starting.contains(&name), marks) {
            (false, 0) => {}
            (false, _) => faults.push(format!(
                "schema {name}: starts no journey, so it names no data subject; remove data_subject"
            )),
            (true, 1) if subjects.iter().all(plain) && subjects.len() == 1 => {}
            (true, _) => faults.push(format!(
                "schema {name}: starts a journey, so exactly one required field of type string says whose data it holds; \
                 mark it with \"data_subject\": true"
            )),
        }
    }
    faults
}

/// A deprecation says something of use: of a record that is there, what else is there, and, for commands, that whoever
/// still sends the old one is understood (`lifted` are the records that a command is lifted to).
pub fn vague_deprecations(topics: &Topics, lifted: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let held = |topic: &Topic, record: &str| topic.schemas.value.iter().any(|name| name == record);
    let mut faults = Vec::new();
    for (name, record, notice) in topics.deprecated() {
        let mut told =
            |what: String| faults.push(format!("topic {name}: deprecated {record}: {what}"));
        let Some(topic) = topics.topics.get(name) else { continue };
        let instead = notice.instead.as_str();
        if !held(topic, record) {
            told("the topic does not hold it; take it off the list".to_owned());
        }
        if !topics.topics.values().any(|topic| held(topic, instead)) {
            told(format!("no topic holds {instead}, which is to be used instead"));
        }
        if topics.deprecated().any(|(_, other, _)| other == instead) {
            told(format!("{instead} is deprecated itself; name what is not"));
        }
        if notice.until <= notice.since {
            told(format!("until {} is not after since {}", notice.until, notice.since));
        }
        if topic.role == Role::Command && !lifted(record).iter().any(|newer| newer == instead) {
            told(format!("nothing lifts it to {instead}; add schemas/lifts/{record}.yaml"));
        }
    }
    faults
}
