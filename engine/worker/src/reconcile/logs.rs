//! What topics hold that a database may have forgotten: records of lanes past what it gave out, answers about writes, and
//! calls to vendors. It reads and decodes; it concludes nothing.

use serde_json::{Map, Value, json};
use signalbox_bus::{Codec, Inbound, LaneBus, Undecoded};
use signalbox_schemas::{
    AttemptId, Effect, FlowId, LaneId, Micros, RecordName, TopicName, headers, shapes, topics::Role,
};
use signalbox_store::{
    Disposition, InputRow, NewAttempt, OutputRow, PublishedEnding, ReadBefore, Remembered,
};
use std::collections::{BTreeMap, BTreeSet};

use super::ReconcileError;

/// Topic of vendor-call records.
const CALLS: &str = "partner.calls.v1";
/// Records read at once.
const STRETCH: i64 = 5_000;
/// How much earlier than the database's last word calls are looked for: clocks differ, and calls take time.
const EARLIER: i64 = 600_000_000;

/// A record of a lane that the database did not give out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub(super) lane: LaneId,
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) aggregate: String,
    pub(super) what: What,
}

/// What of it matters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// A write is asked for.
    Write(NewAttempt),
    /// A flow has ended.
    Ending(PublishedEnding),
    /// Neither.
    Other,
}

/// Everything that topics hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) published: Vec<Published>,
    /// Outcomes of writes as attempts keep them: the first that is final, else one in doubt.
    pub(super) told: BTreeMap<AttemptId, Value>,
    /// The first vendor called for an attempt, and when.
    pub(super) called: BTreeMap<AttemptId, (String, Micros)>,
    /// What inputs hold.
    pub(super) inputs: Vec<ReadBefore>,
}

impl Seen {
    /// Every attempt that anything tells of.
    pub(super) fn attempts(&self) -> Vec<AttemptId> {
        let asked = self.published.iter().filter_map(|record| match &record.what {
            What::Write(plan) => Some(plan.id),
            What::Ending(_) | What::Other => None,
        });
        let told = self.told.keys().chain(self.called.keys()).copied();
        asked.chain(told).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Reads everything.
pub(super) async fn read<B: LaneBus>(
    bus: &mut B,
    codec: &Codec,
    remembered: &Remembered,
) -> Result<Seen, ReconcileError> {
    let mut reading = Reading { bus, codec, remembered, seen: Seen::default() };
    for (name, spec) in &codec.contract().topics().topics {
        let topic = TopicName::from(name.clone());
        if matches!(spec.role, Role::Command | Role::Outcome | Role::Forward) {
            reading.input(&topic).await?;
        }
    }
    for (name, by_others) in codec.contract().topics().lane_outputs() {
        reading.published(&TopicName::from(name), by_others).await?;
    }
    for capability in codec.contract().capabilities() {
        if capability.effect == Effect::Write {
            reading.outcomes(&TopicName::from(format!("{}.outcomes.v1", capability.name))).await?;
        }
    }
    reading.calls(&TopicName::from(CALLS)).await?;
    Ok(reading.seen)
}

struct Reading<'a, B> {
    bus: &'a mut B,
    codec: &'a Codec,
    remembered: &'a Remembered,
    seen: Seen,
}

impl<B: LaneBus> Reading<'_, B> {
    fn lanes(&self) -> Vec<LaneId> {
        self.remembered.lanes.iter().map(|lane| lane.fence.lane).collect()
    }

    /// Records of lanes past what they gave out: after what was acknowledged to each lane that writes there, and from the
    /// beginning where one never has. Lanes that lost nothing may have gone on since, so that of one says nothing of another.
    async fn published(
        &mut self,
        topic: &TopicName,
        by_others: bool,
    ) -> Result<(), ReconcileError> {
        for lane in self.lanes() {
            let partition = lane.partition();
            let outputs = &self.remembered.outputs;
            let after = |writer: LaneId| {
                let here = |row: &&OutputRow| {
                    (row.lane, row.partition) == (writer, partition) && row.topic == *topic
                };
                outputs.iter().find(here).map_or(0, |row| row.last_acked_offset.saturating_add(1))
            };
            let lanes = self.lanes().into_iter();
            let writers = lanes.filter(|writer| (*writer != lane) == by_others);
            let from = writers.map(after).min().unwrap_or(0);
            for (at, end) in self.pieces(topic, partition, from).await? {
                for record in self.bus.read(topic, partition, at, end).await? {
                    self.publication(&record).await?;
                }
            }
        }
        Ok(())
    }

    async fn publication(&mut self, record: &Inbound) -> Result<(), ReconcileError> {
        let lane = record.number(headers::LANE).and_then(|lane| u16::try_from(lane).ok());
        let (Some(lane), Some(seq)) = (lane.map(LaneId), record.number(headers::LANE_SEQ)) else {
            return Ok(());
        };
        let stored = self.remembered.lanes.iter().find(|stored| stored.fence.lane == lane);
        if stored.is_none_or(|stored| seq <= stored.out_seq) {
            return Ok(());
        }
        let what = self.what(lane, record).await?;
        self.seen.published.push(Published {
            lane,
            seq,
            epoch: record.number(headers::LANE_EPOCH).unwrap_or(0),
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            aggregate: record.key_text().unwrap_or_default().to_owned(),
            what,
        });
        Ok(())
    }

    async fn what(&mut self, lane: LaneId, record: &Inbound) -> Result<What, ReconcileError> {
        let name = record.topic.as_str();
        let role = self.codec.contract().topics().topics.get(name).map(|spec| spec.role);
        let effect = name.strip_suffix(".requests.v1").and_then(|capability| {
            self.codec.contract().capability(capability).map(|found| (found.effect, capability))
        });
        match (role, effect) {
            (Some(Role::Request), Some((Effect::Write, capability))) => {
                let (_, value) = self.decode(record).await?;
                let call = value.get("call").cloned().unwrap_or_default();
                let call: shapes::Call = serde_json::from_value(call)
                    .map_err(|_| ReconcileError::Unreadable(record.place()))?;
                Ok(What::Write(NewAttempt {
                    id: call.attempt_id,
                    lane,
                    flow: call.flow_id,
                    step: call.step,
                    group: call.group,
                    capability: capability.to_owned(),
                    planned_at: Micros(record.timestamp_ms.max(0).saturating_mul(1_000)),
                }))
            }
            (Some(Role::Event), _) => {
                let (_, value) = self.decode(record).await?;
                Ok(ending(lane, &value).map_or(What::Other, What::Ending))
            }
            _ => Ok(What::Other),
        }
    }

    /// What an input holds.
    async fn input(&mut self, topic: &TopicName) -> Result<(), ReconcileError> {
        for lane in self.lanes() {
            let range = self.bus.range(topic, lane.partition()).await?;
            let (start, until) = (range.start.max(0), range.end.max(0));
            self.seen.inputs.push(ReadBefore { lane, topic: topic.clone(), start, until });
        }
        Ok(())
    }

    /// Outcomes of writes that the database has not taken note of.
    async fn outcomes(&mut self, topic: &TopicName) -> Result<(), ReconcileError> {
        for lane in self.lanes() {
            let here = |row: &&InputRow| row.lane == lane && row.topic == *topic;
            let from = self.remembered.inputs.iter().find(here).map_or(0, |row| row.next_offset);
            for record in self.stretch(topic, lane.partition(), from).await? {
                let (_, value) = self.decode(&record).await?;
                let Some((attempt, result)) = result(value) else { continue };
                let held = self.seen.told.entry(attempt).or_insert_with(|| result.clone());
                if held.get("outcome").is_some_and(|word| word == "in_doubt") {
                    *held = result;
                }
            }
        }
        Ok(())
    }

    /// Calls to vendors since a little before the database's last word.
    async fn calls(&mut self, topic: &TopicName) -> Result<(), ReconcileError> {
        let planned = self.remembered.open_attempts.iter();
        let planned = planned.filter(|row| row.disposition == Disposition::Planned);
        let planned = planned.map(|row| row.plan.planned_at);
        let since = planned.chain(self.remembered.last_journaled).min().unwrap_or_default();
        let since = Micros(since.0.saturating_sub(EARLIER).max(0));
        for lane in self.lanes() {
            let partition = lane.partition();
            let from = self.bus.offset_since(topic, partition, since).await?;
            for record in self.stretch(topic, partition, from).await? {
                let (_, value) = self.decode(&record).await?;
                let text = |field: &str| value.get(field).and_then(Value::as_str);
                let attempt = text("attempt_id").and_then(|id| id.parse().ok()).map(AttemptId);
                let (Some(attempt), Some(vendor)) = (attempt, text("partner")) else { continue };
                let at = Micros(value.get("started_at").and_then(Value::as_i64).unwrap_or(0));
                let first =
                    self.seen.called.entry(attempt).or_insert_with(|| (vendor.to_owned(), at));
                if at < first.1 {
                    *first = (vendor.to_owned(), at);
                }
            }
        }
        Ok(())
    }

    async fn stretch(
        &mut self,
        topic: &TopicName,
        partition: i32,
        from: i64,
    ) -> Result<Vec<Inbound>, ReconcileError> {
        let mut records = Vec::new();
        for (at, end) in self.pieces(topic, partition, from).await? {
            records.extend(self.bus.read(topic, partition, at, end).await?);
        }
        Ok(records)
    }

    /// A log from an offset to its end, in pieces that are read one at a time.
    async fn pieces(
        &mut self,
        topic: &TopicName,
        partition: i32,
        from: i64,
    ) -> Result<Vec<(i64, i64)>, ReconcileError> {
        let range = self.bus.range(topic, partition).await?;
        let begins = std::iter::successors(Some(from.max(range.start)), |at| {
            Some(at.saturating_add(STRETCH)).filter(|next| *next < range.end)
        });
        let piece = |at: i64| (at, at.saturating_add(STRETCH).min(range.end));
        Ok(begins.map(piece).filter(|(at, end)| at < end).collect())
    }

    /// Decodes a record; a schema that is not known is learnt.
    async fn decode(&mut self, record: &Inbound) -> Result<(RecordName, Value), ReconcileError> {
        let payload = record.payload.as_deref();
        if let Err(Undecoded::UnknownId(id)) = self.codec.decode(payload) {
            self.codec.learn(id).await?;
        }
        self.codec.decode(payload).map_err(|_| ReconcileError::Unreadable(record.place()))
    }
}

/// A final event.
fn ending(lane: LaneId, event: &Value) -> Option<PublishedEnding> {
    let text = |field: &str| event.get(field).and_then(Value::as_str);
    if event.get("final").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    Some(PublishedEnding {
        flow: FlowId(text("flow_id")?.parse().ok()?),
        lane,
        status: text("status")?.to_owned(),
        reason: text("reason").map(str::to_owned),
    })
}

/// An outcome as its attempt keeps it. One that says that there is no answer now is not kept.
fn result(outcome: Value) -> Option<(AttemptId, Value)> {
    let Value::Object(mut fields) = outcome else { return None };
    let call = fields.remove("ref")?;
    let attempt = call.get("attempt_id").and_then(Value::as_str)?.parse().ok()?;
    let word = fields.get("outcome").and_then(Value::as_str)?;
    if word == "unavailable" {
        return None;
    }
    let own = ["outcome", "class", "reason", "retry_after_ms"];
    let (mut kept, extra): (Map<String, Value>, Map<String, Value>) =
        fields.into_iter().partition(|(field, _)| own.contains(&field.as_str()));
    kept.insert("extra".to_owned(), json!(extra));
    Some((AttemptId(attempt), Value::Object(kept)))
}
