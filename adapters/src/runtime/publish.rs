//! What adapters publish, as pure functions: outcomes to the partition where they were asked, vendor-call records, dead
//! letters. How many lanes there are they need not know: a lane forwards what is another's.
//! Identities are derived, so that a repeat is recognised; bodies carry no personal data beyond the contract's fields.

use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, Inbound, Outbound};
use signalbox_schemas::{
    EncodeError, ErrorClass, Micros, OutcomeRecord, RecordName, TopicName, headers, shapes,
};

use crate::model::{Answer, Outcome};

/// Topic of vendor-call records.
const CALLS_TOPIC: &str = "partner.calls.v1";
/// Record of that topic.
const CALLS_RECORD: &str = "partner.VendorCall";
/// Producer as CloudEvents names it.
const SOURCE: &str = "/signalbox/adapter";

/// What of a request goes on with its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    /// Partition where it lay, and so where its answer goes: topics of lanes are co-partitioned.
    pub(crate) partition: i32,
    /// `ce_id` of the request.
    pub(crate) id: String,
    /// W3C trace context.
    pub(crate) traceparent: Option<String>,
}

/// One vendor call, for the record.
#[derive(Debug, Clone)]
pub(crate) struct VendorCall {
    pub(crate) partner: String,
    pub(crate) operation: String,
    pub(crate) route_reason: String,
    pub(crate) send: u32,
    pub(crate) http_status: Option<u16>,
    pub(crate) class: &'static str,
    pub(crate) vendor_request_id: Option<String>,
    pub(crate) started_at: Micros,
    pub(crate) latency_micros: u64,
}

impl Cause {
    /// Reads them; a request without `ce_id` is identified by its place.
    pub(crate) fn of(request: &Inbound) -> Self {
        Self {
            partition: request.partition,
            id: request.headers.text(headers::CE_ID).map_or_else(|| request.place(), str::to_owned),
            traceparent: request.headers.text(headers::TRACEPARENT).map(str::to_owned),
        }
    }
}

/// An outcome, to the partition where it was asked.
pub(crate) fn outcome(
    codec: &Codec,
    capability: &str,
    call: &shapes::Call,
    answer: &Answer,
    cause: &Cause,
    at: Micros,
) -> Result<Outbound, EncodeError> {
    let topic = TopicName::from(format!("{capability}.outcomes.v1"));
    let record = RecordName::from(format!("{capability}.Outcome"));
    let value = serde_json::to_value(OutcomeRecord {
        call: call.answered(at),
        outcome: answer.outcome.word().to_owned(),
        class: answer.class,
        reason: answer.reason.clone(),
        retry_after_ms: answer.retry_after_ms,
        extra: answer.extra.clone(),
    });
    let value = value
        .map_err(|error| EncodeError { path: record.to_string(), problem: error.to_string() })?;
    let id = outcome_id(call, answer, cause);
    Ok(Outbound {
        payload: Some(codec.encode(&topic, &record, &value)?),
        topic,
        partition: cause.partition,
        key: call.aggregate_id.as_str().as_bytes().to_vec(),
        headers: cloud_event(&id, &record, call, at)
            .with(headers::CE_CAUSATION, cause.id.as_str())
            .with_some(headers::TRACEPARENT, cause.traceparent.as_deref()),
    })
}

/// The same for every copy of an answer. An attempt may be `unavailable` more than once, each time to another request.
fn outcome_id(call: &shapes::Call, answer: &Answer, cause: &Cause) -> String {
    let id = format!("{}/{}", call.attempt_id, answer.outcome.word());
    if answer.outcome == Outcome::Unavailable { format!("{id}/{}", cause.id) } else { id }
}

/// A vendor-call record.
pub(crate) fn vendor_call(
    codec: &Codec,
    capability: &str,
    call: &shapes::Call,
    made: &VendorCall,
    cause: &Cause,
) -> Result<Outbound, EncodeError> {
    let (topic, record) = (TopicName::from(CALLS_TOPIC), RecordName::from(CALLS_RECORD));
    let value = json!({
        "attempt_id": call.attempt_id, "flow_id": call.flow_id, "aggregate_id": call.aggregate_id, "tenant": call.tenant,
        "capability": capability, "partner": made.partner, "operation": made.operation,
        "route_reason": made.route_reason, "send": made.send, "http_status": made.http_status, "class": made.class,
        "vendor_request_id": made.vendor_request_id, "started_at": made.started_at,
        "latency_micros": made.latency_micros,
    });
    let id = format!("{}/{}/{}", call.attempt_id, made.operation, made.started_at.0);
    Ok(Outbound {
        payload: Some(codec.encode(&topic, &record, &value)?),
        topic,
        partition: cause.partition,
        key: call.aggregate_id.as_str().as_bytes().to_vec(),
        headers: cloud_event(&id, &record, call, made.started_at)
            .with(headers::CE_CAUSATION, cause.id.as_str())
            .with_some(headers::TRACEPARENT, cause.traceparent.as_deref()),
    })
}

fn cloud_event(id: &str, record: &RecordName, call: &shapes::Call, at: Micros) -> Headers {
    Headers::for_record()
        .with(headers::CE_SPECVERSION, "1.0")
        .with(headers::CE_ID, id)
        .with(headers::CE_SOURCE, SOURCE)
        .with(headers::CE_TYPE, record.as_str())
        .with(headers::CE_TIME, at.to_rfc3339())
        .with(headers::CE_SUBJECT, call.aggregate_id.as_str())
        .with(headers::CE_CORRELATION, call.flow_id.to_string())
        .with(headers::CONTENT_TYPE, headers::AVRO)
}

/// The class of a call, as its record and its metric name it.
pub(crate) fn class_word(answer: Option<&Answer>) -> &'static str {
    answer.and_then(|answer| answer.class).map_or("ok", ErrorClass::word)
}

/// The stored form of an answer; its `outcome` is the contract's word.
pub(crate) fn stored(answer: &Answer) -> Value {
    serde_json::to_value(answer).unwrap_or_else(|_| json!({"outcome": Outcome::InDoubt.word()}))
}
