//! An AsyncAPI 3.1 document of every topic, from the point of view of Signalbox: it receives commands and sends events.
//! Topics between engine and adapters are tagged `internal`; they are described, not offered.

use serde_json::{Map, Value, json};

use super::{ExportError, plain};
use crate::consumers::Consumers;
use crate::contract::Contract;
use crate::headers;
use crate::record::RecordSchema;
use crate::topics::{Role, Strategy, Topic, WantedTopic};

const VERSION: &str = "3.1.0";
const BINDING: &str = "0.5.0";
/// How AsyncAPI names Avro; records are also readable by every later 1.x.
const AVRO_FORMAT: &str = "application/vnd.apache.avro;version=1.9.0";

/// Where the topics are.
#[derive(Debug, Clone)]
pub struct AsyncApiOptions {
    /// `host:port` of the brokers.
    pub brokers: String,
    /// Confluent API of the schema registry.
    pub registry: String,
    /// Lanes of the installation.
    pub lanes: u16,
    /// Version of the product.
    pub version: String,
}

/// The document as JSON.
pub fn asyncapi(
    contract: &Contract,
    consumers: &Consumers,
    options: &AsyncApiOptions,
) -> Result<String, ExportError> {
    let wanted = contract.topics().wanted(options.lanes, None);
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for (name, topic) in &contract.topics().topics {
        let Some(settings) = wanted.iter().find(|wanted| &wanted.name == name) else { continue };
        channels.insert(name.clone(), channel(contract, name, topic, settings));
        let is_ours =
            |who: &String| consumers.consumers.get(who).is_some_and(|consumer| consumer.ours);
        if topic.producers.iter().any(is_ours) {
            operations.insert(format!("send.{name}"), operation("send", name, topic));
        }
        if topic.consumers.iter().any(is_ours) {
            operations.insert(format!("receive.{name}"), operation("receive", name, topic));
        }
    }
    let document = json!({
        "asyncapi": VERSION,
        "info": {
            "title": "Signalbox",
            "version": options.version,
            "description": "Commands that Signalbox takes and events that it publishes. Generated from topics.yaml and schemas/avro.",
        },
        "defaultContentType": headers::AVRO,
        "servers": {"kafka": {
            "host": options.brokers,
            "protocol": "kafka",
            "bindings": {"kafka": {
                "schemaRegistryUrl": options.registry,
                "schemaRegistryVendor": "confluent",
                "bindingVersion": BINDING,
            }},
        }},
        "channels": channels,
        "operations": operations,
    });
    let text = serde_json::to_string_pretty(&document);
    text.map(|text| format!("{text}\n")).map_err(|error| ExportError(error.to_string()))
}

fn channel(contract: &Contract, name: &str, topic: &Topic, settings: &WantedTopic) -> Value {
    let records = topic.schemas.value.iter().filter_map(|record| contract.record(record));
    let messages: Map<String, Value> =
        records.map(|record| (record.name().as_str().to_owned(), message(record, topic))).collect();
    json!({
        "address": name,
        "description": format!("{} Owner: {}. Key: {}.", purpose(topic.role), topic.owner, topic.key),
        "messages": messages,
        "tags": [{"name": if is_public(topic.role) { "public" } else { "internal" }}, {"name": topic.owner}],
        "bindings": {"kafka": {
            "topic": name,
            "partitions": settings.partitions,
            "replicas": settings.replicas,
            "topicConfiguration": configuration(settings),
            "bindingVersion": BINDING,
        }},
    })
}

/// AsyncAPI wants a list of policies where Kafka has one text.
fn configuration(settings: &WantedTopic) -> Map<String, Value> {
    let value = |key: &str, value: &str| match key {
        "cleanup.policy" => value.split(',').map(|policy| Value::from(policy.trim())).collect(),
        _ => plain(value),
    };
    settings.config.iter().map(|(key, text)| (key.clone(), value(key, text))).collect()
}

fn message(record: &RecordSchema, topic: &Topic) -> Value {
    let schema: Value = serde_json::from_str(record.text()).unwrap_or_default();
    let said = schema.get("doc").and_then(Value::as_str).unwrap_or_default().to_owned();
    let strategy = match topic.schemas.strategy {
        Strategy::Topic => "TopicNameStrategy",
        Strategy::TopicRecord | Strategy::AnyCommand => "TopicRecordNameStrategy",
    };
    let notice = topic.deprecated.get(record.name().as_str());
    let mut described = json!({
        "name": record.name().as_str(),
        "contentType": headers::AVRO,
        "summary": said,
        "headers": record_headers(topic.role),
        "correlationId": {"location": format!("$message.header#/{}", headers::CE_CORRELATION)},
        "payload": {"schemaFormat": AVRO_FORMAT, "schema": schema},
        "bindings": {"kafka": {
            "key": {"type": "string", "description": format!("{} of the record, as UTF-8 text", topic.key)},
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": strategy,
            "bindingVersion": BINDING,
        }},
    });
    // AsyncAPI has no word of its own for a message that is on its way out.
    if let (Some(notice), Some(fields)) = (notice, described.as_object_mut()) {
        let told = notice.to_string();
        fields.insert("tags".to_owned(), json!([{"name": "deprecated", "description": told}]));
    }
    described
}

/// Headers that a reader can count on; a command needs none.
fn record_headers(role: Role) -> Value {
    let mut names = vec![
        headers::CE_SPECVERSION,
        headers::CE_ID,
        headers::CE_SOURCE,
        headers::CE_TYPE,
        headers::CE_TIME,
        headers::CE_CORRELATION,
        headers::TRACEPARENT,
    ];
    if matches!(role, Role::Event | Role::Request) {
        names.extend([headers::LANE, headers::LANE_SEQ, headers::PREV_SEQ, headers::LANE_EPOCH]);
    }
    if role == Role::Command {
        names = vec![headers::IDEMPOTENCY_KEY, headers::CE_ID, headers::TRACEPARENT];
    }
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "properties": properties})
}

fn operation(action: &str, name: &str, topic: &Topic) -> Value {
    let channel = format!("#/channels/{name}");
    let messages: Vec<Value> = topic
        .schemas
        .value
        .iter()
        .map(|record| json!({"$ref": format!("{channel}/messages/{record}")}))
        .collect();
    json!({"action": action, "channel": {"$ref": channel}, "messages": messages})
}

fn purpose(role: Role) -> &'static str {
    match role {
        Role::Command => "Starts or addresses a flow.",
        Role::Request => "Asks an adapter to carry out a step.",
        Role::Outcome => "What an adapter learnt of a step.",
        Role::Event => "What became of a flow.",
        Role::Record => "What was done at vendors.",
        Role::Forward => "Commands on their way to the lane that owns their key.",
    }
}

/// Whether others than Signalbox publish or read it.
fn is_public(role: Role) -> bool {
    matches!(role, Role::Command | Role::Event | Role::Record)
}
