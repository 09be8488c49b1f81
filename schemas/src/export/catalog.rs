//! The event catalog: a page that names every topic with its owner, its readers, its records and their fields.
//! It explains nothing that the contract does not say; how topics are read is `docs/consumers.md`.

use serde_json::Value;
use std::fmt::Write as _;

use crate::consumers::Consumers;
use crate::contract::Contract;
use crate::gate::History;
use crate::record::RecordSchema;
use crate::topics::{Deprecation, Role, Topic, dlq_of};

const HEAD: &str = "\
# Catalog of topics

Generated from `topics.yaml`, `schemas/avro` and `schemas/consumers.yaml`; `make catalog` writes it again, and a test
compares. How topics are read is told in [consumers.md](consumers.md). Fields with **personal data** in the last column
hold data about people. A field without default must be given.

";

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The page as Markdown.
pub fn catalog(contract: &Contract, consumers: &Consumers, history: &History) -> String {
    let mut page = HEAD.to_owned();
    let _ =
        writeln!(page, "| topic | what it holds | owner | written by | read by | personal data |");
    let _ = writeln!(page, "|---|---|---|---|---|---|");
    for (name, topic) in &contract.topics().topics {
        let _ = writeln!(
            page,
            "| [`{name}`](#{}) | {} | {} | {} | {} | {} |",
            anchor(name),
            role(topic.role),
            topic.owner,
            topic.producers.join(", "),
            topic.consumers.join(", "),
            if topic.pii { "yes" } else { "no" },
        );
    }
    for (name, topic) in &contract.topics().topics {
        describe_topic(&mut page, contract, consumers, history, name, topic);
    }
    describe_consumers(&mut page, consumers);
    page
}

fn describe_topic(
    page: &mut String,
    contract: &Contract,
    consumers: &Consumers,
    history: &History,
    name: &str,
    topic: &Topic,
) {
    let dead =
        if topic.dlq { format!("; dead letters on `{}`", dlq_of(name)) } else { String::new() };
    let _ = writeln!(page, "\n## `{name}`\n");
    let _ = writeln!(
        page,
        "Owner {}. Key `{}`. {} partitions in a new installation. Kept {}{dead}. Compatibility {}.",
        topic.owner,
        topic.key,
        contract.topics().lanes,
        retention(topic),
        topic.schemas.compatibility,
    );
    if topic.schemas.value.is_empty() {
        let _ = writeln!(page, "\nCarries records of other topics as they are.");
    }
    for record in topic.schemas.value.iter().filter_map(|record| contract.record(record)) {
        describe_record(page, record, topic, history);
        for (consumer, fields) in read_by(consumers, name, record.name().as_str()) {
            let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
            let _ = writeln!(page, "\n{consumer} reads {}.", fields.join(", "));
        }
    }
}

fn describe_record(page: &mut String, record: &RecordSchema, topic: &Topic, history: &History) {
    let schema: Value = serde_json::from_str(record.text()).unwrap_or_default();
    let name = record.name().as_str();
    let released = match history.of(name).last() {
        Some(last) => format!("released {}", last.version),
        None => "not released yet".to_owned(),
    };
    let _ = writeln!(page, "\n### `{name}`\n\n{} ({released})\n", words(&schema));
    if let Some(notice) = topic.deprecated.get(name) {
        let Deprecation { since, until, instead } = notice;
        let _ = writeln!(
            page,
            "**Deprecated** since {since}; to be counted on until {until}. Use `{instead}`.\n"
        );
    }
    let _ = writeln!(page, "| field | type | default | |\n|---|---|---|---|");
    let mut definitions = Vec::new();
    define(&schema, &mut definitions);
    for row in rows(&schema, "", &definitions, 0) {
        let _ = writeln!(page, "{row}");
    }
}

/// Every definition of a named type in a schema, by full name.
fn define<'s>(schema: &'s Value, definitions: &mut Vec<(String, &'s Value)>) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("fields") || object.contains_key("symbols") {
                definitions.push((crate::rules::full_name(schema), schema));
            }
            object.values().for_each(|inner| define(inner, definitions));
        }
        Value::Array(items) => items.iter().for_each(|inner| define(inner, definitions)),
        _ => {}
    }
}

/// A type inside of itself ends after so many levels.
const DEPTH_MAX: usize = 6;

fn rows(record: &Value, path: &str, definitions: &[(String, &Value)], depth: usize) -> Vec<String> {
    let fields = record.get("fields").and_then(Value::as_array);
    let mut rows = Vec::new();
    for field in fields.into_iter().flatten() {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        let (kind, inner, suffix) = kind(field.get("type").unwrap_or(&Value::Null), definitions);
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let personal = field.get("personal_data").and_then(Value::as_bool) == Some(true);
        let subject = field.get("data_subject").and_then(Value::as_bool) == Some(true);
        let mut said = vec![words(field)];
        said.extend(personal.then(|| "**personal data**".to_owned()));
        said.extend(subject.then(|| "**data subject**".to_owned()));
        said.retain(|part| !part.is_empty());
        rows.push(format!("| `{path}{name}` | {kind} | {default} | {} |", said.join(" ")));
        if let Some(inner) = inner.filter(|_| depth < DEPTH_MAX) {
            let below = format!("{path}{name}{suffix}.");
            rows.extend(self::rows(inner, &below, definitions, depth + 1));
        }
    }
    rows
}

/// A type in words, the record inside of it if there is one, and what stands for its items.
fn kind<'s>(
    schema: &'s Value,
    definitions: &[(String, &'s Value)],
) -> (String, Option<&'s Value>, &'static str) {
    match schema {
        Value::String(name) => match definitions.iter().find(|(known, _)| known == name) {
            Some((_, definition)) => kind(definition, definitions),
            None => (name.clone(), None, ""),
        },
        Value::Array(branches) => {
            let nullable = branches.iter().any(|branch| branch == "null");
            let others: Vec<_> = branches.iter().filter(|branch| *branch != "null").collect();
            let kinds: Vec<_> = others.iter().map(|branch| kind(branch, definitions)).collect();
            let words: Vec<&str> = kinds.iter().map(|(word, ..)| word.as_str()).collect();
            let inner = kinds.iter().find_map(|(_, inner, suffix)| Some(((*inner)?, *suffix)));
            let word = words.join(" or ");
            let word = if nullable { format!("{word}, or null") } else { word };
            (word, inner.map(|(inner, _)| inner), inner.map_or("", |(_, suffix)| suffix))
        }
        Value::Object(object) => {
            let text = |key| object.get(key).and_then(Value::as_str);
            match (text("type"), object.get("symbols").and_then(Value::as_array)) {
                (Some("enum"), Some(symbols)) => {
                    let symbols: Vec<&str> = symbols.iter().filter_map(Value::as_str).collect();
                    (format!("one of {}", symbols.join(", ")), None, "")
                }
                (Some("record"), _) => {
                    (text("name").unwrap_or_default().to_owned(), Some(schema), "")
                }
                (Some("array"), _) => {
                    let items = object.get("items").unwrap_or(&Value::Null);
                    let (word, inner, _) = kind(items, definitions);
                    (format!("list of {word}"), inner, "[]")
                }
                (Some(base), _) => (text("logicalType").unwrap_or(base).to_owned(), None, ""),
                (None, _) => {
                    (object.get("type").map_or(String::new(), ToString::to_string), None, "")
                }
            }
        }
        other => (other.to_string(), None, ""),
    }
}

fn describe_consumers(page: &mut String, consumers: &Consumers) {
    let _ = writeln!(
        page,
        "\n## Who reads and writes\n\n| name | owner | what for | before a change |\n|---|---|---|---|"
    );
    for (name, consumer) in &consumers.consumers {
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {} |",
            consumer.owner, consumer.purpose, consumer.contact
        );
    }
}

fn read_by<'c>(
    consumers: &'c Consumers,
    topic: &'c str,
    record: &'c str,
) -> impl Iterator<Item = (&'c String, &'c Vec<String>)> {
    consumers
        .consumers
        .iter()
        .filter_map(move |(name, consumer)| Some((name, consumer.reads.get(topic)?.get(record)?)))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Command => "commands",
        Role::Request => "requests to adapters",
        Role::Outcome => "outcomes of requests",
        Role::Event => "events",
        Role::Record => "records of calls",
        Role::Forward => "forwards",
    }
}

fn retention(topic: &Topic) -> String {
    let text = topic.config.get("retention.ms").map(ToString::to_string).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(millis) if millis >= MILLIS_PER_DAY => format!("{} days", millis / MILLIS_PER_DAY),
        Ok(millis) => format!("{millis} ms"),
        Err(_) => "as the cluster keeps topics".to_owned(),
    }
}

/// The doc text of a schema or field, fit for a cell of a table.
fn words(schema: &Value) -> String {
    schema.get("doc").and_then(Value::as_str).unwrap_or_default().replace('|', "\\|")
}

/// How Markdown viewers link to a heading: letters, digits and hyphens are kept.
fn anchor(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}
