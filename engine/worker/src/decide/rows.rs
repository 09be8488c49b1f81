//! Decisions as rows: one net row per key, journal rows chained, inputs compared with where they were.

use serde_json::json;
use signalbox_bus::Outbound;
use signalbox_flow::{Effect, Flow, Recognition, Status};
use signalbox_schemas::{
    AttemptId, Effect as CallEffect, FlowId, LaneId, Micros, MigrationId, SubjectId, TopicName,
};
use signalbox_store::{
    AssentRow, Contest, FlowRow, FlowWrite, InputRow, JournalRow, JsonText, Known, MigratedFlow,
    MigrationMove, NewAttempt, OutputRow, ParkedRow, PeerRow, RecognitionRow, Standing,
    StoredResult, TickWrite, TimerRow, seal,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Transition;
use crate::intake::{Work, WorkInput};
use crate::lane::LanePosition;
use crate::outbox::place;

/// Why an attempt has the result that people have ruled.
const RULED: &str = "ruled_by_people";

/// Rows of which only the last state within a tick counts.
#[derive(Default)]
pub(super) struct NetRows {
    attempts: Vec<NewAttempt>,
    /// Attempts that no tick before knows.
    fresh: BTreeSet<AttemptId>,
    given_up: Vec<AttemptId>,
    rulings: Vec<StoredResult>,
    timers: BTreeMap<(FlowId, String), Option<TimerRow>>,
    peers: BTreeMap<(LaneId, LaneId), i64>,
    /// Inputs that wait since this tick.
    parked: BTreeMap<(FlowId, i64), ParkedRow>,
    /// Inputs that have waited since an earlier one and wait no longer. Their positions may be given out again.
    unparked: BTreeSet<(FlowId, i64)>,
    assents: Vec<AssentRow>,
    recognitions: BTreeMap<SubjectId, RecognitionRow>,
    migrations_begun: Vec<(MigrationId, LaneId)>,
    migrations_stopped: Vec<(MigrationId, LaneId)>,
    migrations_moved: BTreeMap<(MigrationId, LaneId), MigrationMove>,
    migrated: Vec<MigratedFlow>,
}

impl NetRows {
    pub(super) fn peer(&mut self, lane: LaneId, source: LaneId, last_seq: i64) {
        self.peers.insert((lane, source), last_seq);
    }

    /// An input waits for its flow from now on.
    pub(super) fn keep(&mut self, row: ParkedRow) {
        self.parked.insert((row.flow, row.seq), row);
    }

    /// It waits no longer. What was kept in the same tick was never stored.
    pub(super) fn take(&mut self, flow: FlowId, seq: i64) {
        if self.parked.remove(&(flow, seq)).is_none() {
            self.unparked.insert((flow, seq));
        }
    }

    /// A lane begins a migration.
    pub(super) fn begin_migration(&mut self, id: MigrationId, lane: LaneId) {
        self.migrations_begun.push((id, lane));
    }

    /// A lane moves no more flows of a migration.
    pub(super) fn stop_migration(&mut self, id: MigrationId, lane: LaneId) {
        self.migrations_stopped.push((id, lane));
    }

    /// A lane comes further with a migration.
    pub(super) fn advance_migration(&mut self, moved: MigrationMove) {
        let key = (moved.migration, moved.lane);
        let before = self.migrations_moved.remove(&key).and_then(|before| before.reached);
        let reached = moved.reached.or(before);
        self.migrations_moved.insert(key, MigrationMove { reached, ..moved });
    }

    /// What became of a flow.
    pub(super) fn migrated(&mut self, row: MigratedFlow) {
        self.migrated.push(row);
    }

    pub(super) fn clear_timer(&mut self, flow: FlowId, name: String) {
        self.timers.insert((flow, name), None);
    }

    /// When a timer's row is looked at from now on.
    pub(super) fn set_timer(&mut self, timer: TimerRow) {
        self.timers.insert((timer.flow, timer.name.clone()), Some(timer));
    }

    /// What a step's effects write, records apart. A write that is planned and abandoned in one tick was never to be sent:
    /// nobody has to be asked about it. A timer that is put off keeps its row, which is moved when it is due: most timers
    /// are put off by every step and never fire.
    pub(super) fn effects(
        &mut self,
        before: Option<&Flow>,
        flow: &Flow,
        effects: Vec<Effect>,
        now: Micros,
        contest: &mut Contest,
    ) {
        for effect in effects {
            match effect {
                Effect::Ask {
                    step, group, attempt, capability, effect: CallEffect::Write, ..
                } => {
                    let known = |before: &Flow| {
                        before.data.calls.values().any(|call| call.attempt == attempt)
                    };
                    if !before.is_some_and(known) {
                        self.fresh.insert(attempt);
                    }
                    let (lane, flow) = (flow.lane, flow.id);
                    self.attempts.push(NewAttempt {
                        id: attempt,
                        lane,
                        flow,
                        step,
                        group,
                        capability,
                        planned_at: now,
                    });
                }
                Effect::Abandon { attempt } if self.fresh.contains(&attempt) => {
                    self.given_up.push(attempt);
                }
                Effect::Abandon { attempt } => contest.abandons.push(attempt),
                Effect::Close { attempt, outcome } => self.rulings.push(StoredResult {
                    attempt,
                    result: json!({"outcome": outcome, "reason": RULED}),
                    sends: None,
                }),
                Effect::SetTimer { name, due } => {
                    if !before.is_some_and(|before| is_woken(before, &name, due, now)) {
                        let (lane, flow) = (flow.lane, flow.id);
                        self.set_timer(TimerRow { due_at: due, flow, name, lane });
                    }
                }
                Effect::Assent(assent) => self.assents.push(AssentRow {
                    flow: flow.id,
                    matter: assent.matter,
                    occasion: assent.occasion,
                    seat: assent.seat,
                    people: assent.people,
                    actor: assent.actor,
                }),
                Effect::Recognise(recognition) => {
                    let row = recognition_row(flow, recognition, now);
                    self.recognitions.insert(flow.subject, row);
                }
                Effect::CancelTimer { name } => self.clear_timer(flow.id, name),
                Effect::Ask { effect: CallEffect::Read, .. } | Effect::Publish { .. } => {}
            }
        }
    }

    pub(super) fn into_write(self, write: &mut TickWrite) {
        write.attempts = self.attempts;
        write.given_up = self.given_up;
        write.rulings = self.rulings;
        write.assents = self.assents;
        write.recognitions = self.recognitions.into_values().collect();
        write.migrations_begun = self.migrations_begun;
        write.migrations_stopped = self.migrations_stopped;
        write.migrations_moved = self.migrations_moved.into_values().collect();
        write.migrated = self.migrated;
        write.parked = self.parked.into_values().collect();
        write.unparked = self.unparked.into_iter().collect();
        write.peers = self
            .peers
            .into_iter()
            .map(|((lane, source), last_seq)| PeerRow { lane, source, last_seq })
            .collect();
        for (key, timer) in self.timers {
            match timer {
                Some(timer) => write.timers_set.push(timer),
                None => write.timers_cleared.push(key),
            }
        }
    }
}

/// Gives a draft the lane's next sequence and moves the output.
pub(super) fn place_record(lane: &mut LanePosition, draft: Outbound, flow_rev: i64) -> Outbound {
    lane.out_seq += 1;
    let output =
        lane.outputs.entry((draft.topic.clone(), draft.partition)).or_insert_with(|| OutputRow {
            lane: lane.fence.lane,
            topic: draft.topic.clone(),
            partition: draft.partition,
            last_seq: 0,
            last_acked_offset: -1,
        });
    let prev = std::mem::replace(&mut output.last_seq, lane.out_seq);
    place(draft, lane.fence.lane, lane.fence.epoch, lane.out_seq, prev, flow_rev)
}

/// The journal row of a transition, linked to the one before it.
pub(super) fn journal_row(
    lane: &LanePosition,
    work: &Work,
    transition: &Transition<'_>,
    records: Vec<u8>,
    now: Micros,
) -> JournalRow {
    let record = match &work.input {
        WorkInput::Record(record) => Some(record),
        WorkInput::Timer(_) | WorkInput::Errand(_) => None,
    };
    let flow = transition.flow.or(transition.before);
    let row = JournalRow {
        lane: work.lane,
        seq: lane.journal_seq + 1,
        at: now,
        flow: flow.map(|flow| flow.id).or_else(|| work.flow()),
        flow_rev: transition.flow.map_or(0, |flow| flow.rev),
        kind: transition.kind.to_owned(),
        input_topic: record.map(|record| record.topic.clone()),
        input_partition: record.map(|record| record.partition),
        input_offset: record.map(|record| record.offset),
        actor: transition.actor.clone(),
        reason: transition.reason.clone(),
        journey: flow.map(|flow| flow.journey.clone()),
        version: flow.map(|flow| flow.version),
        before: transition.before.map(|flow| flow.state.clone()),
        after: transition.flow.map(|flow| flow.state.clone()),
        out_last: lane.out_seq,
        records,
        prev_hash: Vec::new(),
        hash: Vec::new(),
    };
    let head = if lane.journal_head.is_empty() {
        signalbox_store::GENESIS.to_vec()
    } else {
        lane.journal_head.clone()
    };
    seal(row, &head)
}

/// Inputs that moved, with where they were.
pub(super) fn moved_inputs(
    before: &BTreeMap<LaneId, LanePosition>,
    after: &BTreeMap<LaneId, LanePosition>,
) -> Vec<(i64, InputRow)> {
    let moved = |lane: &LaneId, topic: &TopicName, row: &InputRow| {
        let old = before
            .get(lane)
            .and_then(|position| position.inputs.get(topic))
            .map_or(0, |old| old.next_offset);
        (old != row.next_offset).then(|| (old, row.clone()))
    };
    after
        .iter()
        .flat_map(|(lane, position)| {
            position.inputs.iter().filter_map(move |(topic, row)| moved(lane, topic, row))
        })
        .collect()
}

/// Flows that changed, with the revision that must be there.
pub(super) fn flow_writes(
    before: &HashMap<FlowId, Arc<Flow>>,
    after: &HashMap<FlowId, Arc<Flow>>,
    now: Micros,
) -> Result<Vec<FlowWrite>, String> {
    let write = |flow: &Arc<Flow>| {
        let row = flow_row(flow, now);
        let row = row.map_err(|error| format!("flow {} cannot be written: {error}", flow.id))?;
        Ok(FlowWrite { row, expected_rev: before.get(&flow.id).map(|old| old.rev) })
    };
    after.values().map(write).collect()
}

/// Whether a timer has a row that is looked at in time. The rows of a flow that stands are gone, and that of a timer that
/// was due may be.
fn is_woken(before: &Flow, name: &str, due: Micros, now: Micros) -> bool {
    let set = before.data.timers.get(name);
    !before.stands() && set.is_some_and(|set| now < *set && *set <= due)
}

fn recognition_row(flow: &Flow, recognition: Recognition, now: Micros) -> RecognitionRow {
    let known = match recognition {
        Recognition::Known { likeness, watched } => Some(Known { likeness, watched }),
        Recognition::Nobody => None,
    };
    RecognitionRow { subject: flow.subject, known, flow: flow.id, at: now }
}

fn flow_row(flow: &Flow, now: Micros) -> Result<FlowRow, serde_json::Error> {
    Ok(FlowRow {
        id: flow.id,
        tenant: flow.tenant.clone(),
        aggregate: flow.aggregate.clone(),
        subject: flow.subject,
        lane: flow.lane,
        journey: flow.journey.clone(),
        version: flow.version,
        state: flow.state.clone(),
        ended: flow.status == Status::Ended,
        rev: flow.rev,
        started_at: flow.started_at,
        updated_at: now,
        standing: standing(flow),
        data: JsonText::of(&flow.data)?,
    })
}

/// What of a standstill operators look for: a parked flow needs a person more than a paused one.
fn standing(flow: &Flow) -> Option<Standing> {
    let still = flow.data.standstill.as_ref()?;
    match (&still.parked, &still.paused) {
        (Some(_), _) => Some(Standing::Parked),
        (None, Some(_)) => Some(Standing::Paused),
        (None, None) => None,
    }
}
