//! Effects of a step as records, encoded and sized. It gives out no sequence.

use serde_json::Value;
use signalbox_bus::{Codec, Death, Outbound};
use signalbox_flow::{Effect, Flow};
use signalbox_schemas::{AggregateId, FlowId, LaneId, RecordName, TopicName};

use crate::outbox::{About, Cause, event_headers};

/// Bytes that the lane's sequence headers add at most.
const SEQUENCE_HEADERS: usize = 160;

/// Encodes the records of one transition.
pub(super) struct Drafter<'a> {
    pub(super) codec: &'a Codec,
    pub(super) bytes_max: usize,
    pub(super) cause: Cause<'a>,
}

impl Drafter<'_> {
    /// The records that a step's effects publish, in order.
    pub(super) fn drafts(&self, flow: &Flow, effects: &[Effect]) -> Result<Vec<Outbound>, Death> {
        let mut drafts = Vec::new();
        for effect in effects {
            let (topic, record, value, ce_id) = match effect {
                Effect::Ask { attempt, capability, record, value, .. } => (
                    TopicName::from(format!("{capability}.requests.v1")),
                    record,
                    value,
                    attempt.to_string(),
                ),
                Effect::Publish { topic, record, value } => (
                    topic.clone(),
                    record,
                    value,
                    format!("{}:{}:{}", flow.id, flow.rev, drafts.len()),
                ),
                Effect::Abandon { .. }
                | Effect::Close { .. }
                | Effect::Assent(_)
                | Effect::Recognise(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer { .. } => {
                    continue;
                }
            };
            let about =
                About { flow: Some(flow.id), aggregate: &flow.aggregate, record, ce_id: &ce_id };
            drafts.push(self.draft(&topic, flow.lane, about, value)?);
        }
        Ok(drafts)
    }

    /// A record that answers a command.
    pub(super) fn answer(
        &self,
        topic: &TopicName,
        lane: LaneId,
        (aggregate, flow): (&AggregateId, Option<FlowId>),
        record: &RecordName,
        value: &Value,
        ce_id: &str,
    ) -> Result<Outbound, Death> {
        self.draft(topic, lane, About { flow, aggregate, record, ce_id }, value)
    }

    fn draft(
        &self,
        topic: &TopicName,
        lane: LaneId,
        about: About<'_>,
        value: &Value,
    ) -> Result<Outbound, Death> {
        let encoded = self.codec.encode(topic, about.record, value);
        let payload = encoded.map_err(|error| {
            Death::unprocessable("unencodable", format!("{}: {error}", about.record))
        })?;
        let headers = event_headers(about, &self.cause);
        let key = about.aggregate.as_str().as_bytes().to_vec();
        let bytes = payload.len() + key.len() + headers.size() + SEQUENCE_HEADERS;
        if bytes > self.bytes_max {
            let text = format!(
                "{} would have {bytes} bytes, {topic} takes {}",
                about.record, self.bytes_max
            );
            return Err(Death::unprocessable("too_large", text));
        }
        Ok(Outbound {
            topic: topic.clone(),
            partition: lane.partition(),
            key,
            payload: Some(payload),
            headers,
        })
    }
}
