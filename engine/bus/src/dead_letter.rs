//! Dead letters: a record that could not be processed, byte-identical, with why in Kafka Connect's headers.
//! Who consumes a topic decides that a record is dead; replaying is not done here.

use signalbox_schemas::{ErrorClass, Micros, TopicName, headers, topics::dlq_of};

use crate::record::{Inbound, Outbound};

/// Why a record is dead. The message carries no value of the record: it may be personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Stage that failed, as Kafka Connect names stages.
    pub stage: &'static str,
    /// Stable code.
    pub code: &'static str,
    /// Canonical class: what to do about it.
    pub class: ErrorClass,
    /// What is wrong.
    pub message: String,
}

impl Death {
    /// The bytes are not what they claim to be.
    pub fn undecodable(message: impl Into<String>) -> Self {
        Self {
            stage: "VALUE_CONVERTER",
            code: "undecodable",
            class: ErrorClass::Permanent,
            message: message.into(),
        }
    }

    /// The record is readable and cannot be applied.
    pub fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            stage: "TRANSFORMATION",
            code,
            class: ErrorClass::RequiresRepair,
            message: message.into(),
        }
    }
}

/// The dead letter of a record, for the same partition of its topic's dead-letter topic. `group` names the consumer.
pub fn dead_letter(record: &Inbound, death: &Death, group: &str, now: Micros) -> Outbound {
    let headers = record
        .headers
        .clone()
        .with(headers::DLQ_TOPIC, record.topic.as_str())
        .with(headers::DLQ_PARTITION, record.partition.to_string())
        .with(headers::DLQ_OFFSET, record.offset.to_string())
        .with(headers::DLQ_STAGE, death.stage)
        .with(headers::DLQ_EXCEPTION, death.code)
        .with(headers::DLQ_MESSAGE, death.message.as_str())
        .with(headers::DLQ_CLASS, death.class.word())
        .with(headers::DLQ_CODE, death.code)
        .with(headers::DLQ_FAILED_AT, now.to_rfc3339())
        .with(headers::DLQ_GROUP, group)
        .with(headers::DLQ_RECORD, record.place());
    Outbound {
        topic: TopicName::from(dlq_of(record.topic.as_str())),
        partition: record.partition,
        key: record.key.clone().unwrap_or_default(),
        payload: record.payload.clone(),
        headers,
    }
}
