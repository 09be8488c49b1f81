//! Records that lanes publish: CloudEvents headers, the lane's sequence, dead letters and forwards; and how the journal
//! keeps them. It gives out no sequence by itself: the tick does.

use serde::{Deserialize, Serialize};
use signalbox_bus::{Headers, Inbound, Outbound};
use signalbox_schemas::{AggregateId, FlowId, LaneId, Micros, RecordName, TopicName, headers};

/// What all records of one transition have in common.
#[derive(Debug, Clone)]
pub(crate) struct Cause<'a> {
    /// `ce_id` of the input, where it had one.
    pub(crate) ce_id: Option<&'a str>,
    /// Trace context of the input.
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) now: Micros,
}

/// What a record is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) flow: Option<FlowId>,
    pub(crate) aggregate: &'a AggregateId,
    pub(crate) record: &'a RecordName,
    /// The same for every copy of this record.
    pub(crate) ce_id: &'a str,
}

const SOURCE: &str = "/signalbox/engine";

/// Headers of a record of the contract.
pub(crate) fn event_headers(about: About<'_>, cause: &Cause<'_>) -> Headers {
    let flow = about.flow.map(|flow| flow.to_string());
    Headers::for_record()
        .with(headers::CE_SPECVERSION, "1.0")
        .with(headers::CE_ID, about.ce_id)
        .with(headers::CE_SOURCE, SOURCE)
        .with(headers::CE_TYPE, about.record.as_str())
        .with(headers::CE_TIME, cause.now.to_rfc3339())
        .with(headers::CE_SUBJECT, about.aggregate.as_str())
        .with_some(headers::CE_CORRELATION, flow.as_deref())
        .with_some(headers::CE_CAUSATION, cause.ce_id)
        .with(headers::CONTENT_TYPE, headers::AVRO)
        .with_some(headers::TRACEPARENT, traceparent(about.flow, cause).as_deref())
}

/// The trace goes on; where the input had none (a timer, a client without tracing), the flow's id is the trace's.
fn traceparent(flow: Option<FlowId>, cause: &Cause<'_>) -> Option<String> {
    match (cause.traceparent, flow) {
        (Some(given), _) => Some(given.to_owned()),
        (None, Some(flow)) => {
            let span = flow.0.as_u64_pair().1 ^ cause.now.0.cast_unsigned();
            Some(format!("00-{}-{:016x}-01", flow.0.simple(), span.max(1)))
        }
        (None, None) => None,
    }
}

/// A record on its way to its home lane.
pub(crate) fn forward(record: &Inbound, forwards: &TopicName, home: LaneId) -> Outbound {
    let headers = record.headers.clone();
    // One that is forwarded once more was first read where its header says.
    let headers = match record.topic == *forwards {
        true => headers,
        false => headers.with(headers::FORWARD_TOPIC, record.topic.as_str()),
    };
    Outbound {
        topic: forwards.clone(),
        partition: home.partition(),
        key: record.key.clone().unwrap_or_default(),
        payload: record.payload.clone(),
        headers,
    }
}

/// Gives a draft its place: the lane's sequence headers come last, so that they count where a forwarded or dead record
/// carried others.
pub(crate) fn place(
    draft: Outbound,
    lane: LaneId,
    epoch: i64,
    seq: i64,
    prev: i64,
    flow_rev: i64,
) -> Outbound {
    let headers = draft
        .headers
        .with(headers::LANE, lane.to_string())
        .with(headers::LANE_EPOCH, epoch.to_string())
        .with(headers::LANE_SEQ, seq.to_string())
        .with(headers::PREV_SEQ, prev.to_string())
        .with(headers::FLOW_REV, flow_rev.to_string());
    Outbound { headers, ..draft }
}

/// A record that waits for its flow, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    record: Outbound,
    offset: i64,
    timestamp_ms: i64,
}

/// A record for the time that its flow stands still.
pub(crate) fn encode_kept(record: &Inbound) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec(&Kept {
        record: Outbound {
            topic: record.topic.clone(),
            partition: record.partition,
            key: record.key.clone().unwrap_or_default(),
            payload: record.payload.clone(),
            headers: record.headers.clone(),
        },
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
    })
}

/// The record as it was read.
pub(crate) fn decode_kept(bytes: &[u8]) -> Result<Inbound, rmp_serde::decode::Error> {
    let Kept { record, offset, timestamp_ms } = rmp_serde::from_slice(bytes)?;
    Ok(Inbound {
        topic: record.topic,
        partition: record.partition,
        offset,
        timestamp_ms,
        key: Some(record.key),
        payload: record.payload,
        headers: record.headers,
    })
}

/// Records as the journal keeps them: MessagePack, in sequence order. None for no records.
pub(crate) fn encode_records(records: &[&Outbound]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    if records.is_empty() { Ok(Vec::new()) } else { rmp_serde::to_vec(records) }
}

/// Records out of a journal row.
///
/// # Errors
/// The bytes are not what a worker wrote.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<Outbound>, rmp_serde::decode::Error> {
    if bytes.is_empty() { Ok(Vec::new()) } else { rmp_serde::from_slice(bytes) }
}
