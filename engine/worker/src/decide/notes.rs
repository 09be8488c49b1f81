//! What of a tick is counted and logged once it is committed. No value of a record is in it.

use signalbox_bus::Death;
use signalbox_schemas::{FlowId, RecordName, TopicName, headers};
use std::time::Duration;

use crate::intake::{Work, WorkInput};

/// Something worth counting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    Command { record: RecordName, deprecated: &'static str },
    Started(String),
    Ended(String, String),
    Dead(Dead),
    Parked(Dead),
    Held,
    Act(&'static str),
    Repeat(&'static str),
    Migrated(String),
    NotMigrated(&'static str),
    Conflict,
    TimerLate(Duration),
}

/// What was dead-lettered or parked a flow, for the log: no value of the record is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dead {
    pub(crate) topic: TopicName,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The flow, as CloudEvents' correlation id.
    pub(crate) correlation: Option<FlowId>,
    /// Trace of the record that died.
    pub(crate) trace: Option<String>,
}

impl Dead {
    pub(super) fn of(work: &Work, death: &Death) -> Self {
        let topic = match &work.input {
            WorkInput::Record(record) => record.topic.clone(),
            WorkInput::Timer(_) => TopicName::from("timer"),
            WorkInput::Errand(_) => TopicName::from("migration"),
        };
        Self {
            topic,
            code: death.code,
            message: death.message.clone(),
            correlation: work.flow(),
            trace: work.header(headers::TRACEPARENT).map(str::to_owned),
        }
    }
}
