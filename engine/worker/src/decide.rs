//! The tick without I/O: what a batch of inputs makes of lanes and flows, what is written and what is published.
//! It may run twice for one tick: again with what was lost in the transaction (protocol section 3, step 2).

mod draft;
mod moving;
mod notes;
mod past;
mod rejecting;
mod rows;
mod sealing;
mod standing;
mod starting;

use serde_json::Value;
use signalbox_bus::{Codec, Death, Inbound, Outbound, dead_letter};
use signalbox_flow::{Context, Decision, Flow, Input, Refusal, Status};
use signalbox_schemas::topics::Day;
use signalbox_schemas::{
    AggregateId, AttemptId, ErrorClass, FlowId, LaneId, Micros, RecordName, TenantKey, TopicName,
    headers,
};
use signalbox_store::{Contest, InputRow, Losers, TickWrite, TimerRow};
use signalbox_vault::{KeyRing, Place};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::intake::{Body, Peer, Work, WorkInput};
use crate::lane::LanePosition;
use crate::library::JourneyLibrary;
use crate::outbox::{Cause, encode_records};
use draft::Drafter;
pub(crate) use notes::{Dead, Note};
use rejecting::rejection;
use rows::NetRows;

/// The engine as dead letters name their consumer.
const CONSUMER: &str = "signalbox.engine";

/// Everything that a tick is decided from.
pub(crate) struct Tick<'a> {
    pub(crate) now: Micros,
    pub(crate) key: &'a TenantKey,
    pub(crate) codec: &'a Codec,
    pub(crate) library: &'a JourneyLibrary,
    pub(crate) forwards: &'a TopicName,
    pub(crate) record_bytes_max: usize,
    pub(crate) dedupe_horizon: Duration,
    pub(crate) lanes: &'a BTreeMap<LaneId, LanePosition>,
    /// Flows as committed; a flow that is missing does not exist.
    pub(crate) flows: &'a HashMap<FlowId, Arc<Flow>>,
    /// Flows whose subject was erased, with the hash of their command: their own content cannot be read any more.
    pub(crate) erased: &'a HashMap<FlowId, [u8; 32]>,
    /// Keys of every subject concerned.
    pub(crate) ring: &'a KeyRing,
    /// What waits, by position, for those flows that may go on in this tick.
    pub(crate) waiting: &'a HashMap<FlowId, Vec<(i64, Work)>>,
    pub(crate) works: &'a [Work],
}

/// What a tick comes to.
#[derive(Default)]
pub(crate) struct Decided {
    pub(crate) write: TickWrite,
    pub(crate) contest: Contest,
    /// Lanes afterwards.
    pub(crate) lanes: BTreeMap<LaneId, LanePosition>,
    /// Flows afterwards, those that changed.
    pub(crate) flows: HashMap<FlowId, Arc<Flow>>,
    /// Records in sequence order per lane.
    pub(crate) publish: Vec<(LaneId, i64, Outbound)>,
    /// Journal rows that publish: lane, position, last sequence.
    pub(crate) published_rows: Vec<(LaneId, i64, i64)>,
    /// Earliest timer that it sets.
    pub(crate) next_timer: Option<Micros>,
    /// Whether a lane begins or stops a migration by it.
    pub(crate) turns_migration: bool,
    /// Why nothing of this may be committed: a bug.
    pub(crate) fault: Option<String>,
    /// Lanes to which a forward is missing, and why nothing of them may be committed.
    pub(crate) gaps: BTreeMap<LaneId, String>,
    /// For metrics, once it is committed.
    pub(crate) notes: Vec<Note>,
}

impl Tick<'_> {
    /// Decides everything. With the first pass nothing is lost yet; its contest is what may be.
    pub(crate) fn decide(&self, losers: &Losers) -> Decided {
        let mut desk = Deciding {
            tick: self,
            losers,
            rows: NetRows::default(),
            last_records: BTreeMap::new(),
            queues: HashMap::new(),
            replaying: false,
            decided: Decided { lanes: self.lanes.clone(), ..Decided::default() },
        };
        for work in self.works {
            desk.apply(work);
        }
        desk.finish()
    }

    /// Decides with the losers of a contest. Whatever a second pass would newly contest counts as lost, which is the
    /// careful side: a write that may be out, a key that is taken.
    pub(crate) fn decide_again(&self, first: &Contest, losers: Losers) -> Decided {
        let mut losers = losers;
        loop {
            let decided = self.decide(&losers);
            let new: Vec<AttemptId> = decided
                .contest
                .abandons
                .iter()
                .copied()
                .filter(|id| !first.abandons.contains(id))
                .collect();
            if new.is_empty() {
                return decided;
            }
            losers.sending.extend(new);
        }
    }
}

/// One pass over the works of a tick.
struct Deciding<'t, 'd> {
    tick: &'d Tick<'t>,
    losers: &'d Losers,
    rows: NetRows,
    /// The last record of each input: only its hash is kept.
    last_records: BTreeMap<(LaneId, &'d TopicName), &'d Inbound>,
    /// What waits for flows that may go on in this tick, or that inputs were kept for, by position.
    queues: HashMap<FlowId, VecDeque<(i64, &'d Work)>>,
    /// The input at hand is one that waited.
    replaying: bool,
    decided: Decided,
}

/// A transition before it is journaled.
struct Transition<'a> {
    kind: &'static str,
    flow: Option<&'a Flow>,
    before: Option<&'a Flow>,
    actor: String,
    reason: String,
}

impl<'d> Deciding<'_, 'd> {
    fn apply(&mut self, work: &'d Work) {
        if self.moves_on(work) {
            if let Some(record) = work.command() {
                let deprecated = self.deprecated(record);
                self.decided.notes.push(Note::Command { record: record.clone(), deprecated });
            }
            self.carry_out(work);
        }
    }

    /// Whether a record is on its way out, and past its last day.
    fn deprecated(&self, record: &RecordName) -> &'static str {
        match self.tick.codec.contract().topics().deprecation(record.as_str()) {
            None => "no",
            Some(notice) if notice.until < Day::from(self.tick.now) => "overdue",
            Some(_) => "yes",
        }
    }

    fn carry_out(&mut self, work: &'d Work) {
        if matches!(work.body, Body::Migrate) {
            return self.migrate(work);
        }
        if let Some(death) = &work.refused {
            let running = match &work.body {
                Body::Start(_) => None,
                _ => work.flow().and_then(|id| self.flow(id)),
            };
            return match running {
                Some(flow) => self.cannot(work, &flow, death.clone()),
                None => self.die(work, None, death.clone()),
            };
        }
        if let Some(hash) = work.flow().and_then(|id| self.tick.erased.get(&id)) {
            return self.of_erased(work, hash);
        }
        if self.ends_as_published(work) {
            return;
        }
        match &work.body {
            Body::Start(start) => self.start(work, start),
            Body::Command { journey, flow, aggregate, tenant, record, value } => {
                match self.flow(*flow) {
                    Some(found) => self.step(work, &found, Input::Command { record, value }),
                    None => self.no_such_flow(work, journey, (aggregate, tenant), record),
                }
            }
            Body::Act { journey, flow, aggregate, tenant, act, record, value } => {
                match self.flow(*flow) {
                    Some(found) => self.operate(work, &found, (*act, value)),
                    None => self.no_such_flow(work, journey, (aggregate, tenant), record),
                }
            }
            Body::Outcome { flow, attempt, capability, value } => match self.flow(*flow) {
                Some(found) if found.lane != work.lane => self.die(
                    work,
                    None,
                    Death::unprocessable(
                        "wrong_lane",
                        "the outcome answers a flow of another business id".to_owned(),
                    ),
                ),
                Some(found) => {
                    self.step(work, &found, Input::Outcome { attempt: *attempt, capability, value })
                }
                None if self.comes_again(work) => self.decided.notes.push(Note::Repeat("early")),
                None => self.die(
                    work,
                    None,
                    Death::unprocessable(
                        "no_such_flow",
                        "the outcome answers a flow that does not exist".to_owned(),
                    ),
                ),
            },
            Body::Timer => self.timer(work),
            Body::Begin { migration, value } => self.begin_migration(work, *migration, value),
            Body::Stop { migration, value } => self.stop_migration(work, *migration, value),
            Body::Migrate => self.migrate(work),
            Body::Forward { home } => self.forward(work, *home),
            Body::Dead(death) => self.die(work, None, death.clone()),
        }
    }

    /// Moves the input on; false where the record was applied before.
    fn moves_on(&mut self, work: &'d Work) -> bool {
        let WorkInput::Record(record) = &work.input else { return true };
        let Some(lane) = self.decided.lanes.get_mut(&work.lane) else { return false };
        let input = lane.inputs.entry(record.topic.clone()).or_insert_with(|| InputRow {
            lane: work.lane,
            topic: record.topic.clone(),
            next_offset: 0,
            last_offset: None,
            last_record_hash: None,
        });
        if record.offset < input.next_offset {
            self.decided.notes.push(Note::Repeat("offset"));
            return false;
        }
        input.next_offset = record.offset + 1;
        input.last_offset = Some(record.offset);
        self.last_records.insert((work.lane, &record.topic), record);
        let Some(peer) = work.peer else { return true };
        let last = lane.peers.entry(peer.source).or_insert(0);
        if peer.seq <= *last {
            self.decided.notes.push(Note::Repeat("forward"));
            return false;
        }
        if peer.prev != *last {
            self.decided.gaps.entry(work.lane).or_insert_with(|| gap(record, peer, *last));
            return false;
        }
        *last = peer.seq;
        self.rows.peer(work.lane, peer.source, peer.seq);
        true
    }

    fn flow(&self, id: FlowId) -> Option<Arc<Flow>> {
        self.decided.flows.get(&id).or_else(|| self.tick.flows.get(&id)).cloned()
    }

    fn context(&self) -> Context<'d> {
        Context { now: self.tick.now, key: self.tick.key, sending: &self.losers.sending }
    }

    fn timer(&mut self, work: &'d Work) {
        let WorkInput::Timer(timer) = &work.input else { return };
        let Some(found) = self.flow(timer.flow) else {
            return self.rows.clear_timer(timer.flow, timer.name.clone());
        };
        if found.stands() {
            // It is in the flow's data and set again when the flow goes on.
            return self.rows.clear_timer(timer.flow, timer.name.clone());
        }
        // The flow may have cancelled or moved the timer after it was read.
        match found.data.timers.get(&timer.name) {
            Some(due) if *due <= self.tick.now => {
                let since = timer.due_at.max(*due);
                self.decided.notes.push(Note::TimerLate(self.tick.now.since(since)));
                self.step(work, &found, Input::Timer { name: &timer.name });
            }
            // It was put off, and its row was not.
            Some(due) => self.rows.set_timer(TimerRow { due_at: *due, ..timer.clone() }),
            None => self.rows.clear_timer(timer.flow, timer.name.clone()),
        }
    }

    /// Applies an input, or has it wait where the flow stands still.
    fn step(&mut self, work: &'d Work, flow: &Arc<Flow>, input: Input<'_>) {
        if flow.stands() { self.hold(work, flow) } else { self.step_now(work, flow, input) }
    }

    fn step_now(&mut self, work: &'d Work, flow: &Arc<Flow>, input: Input<'_>) {
        let Some(journey) = self.tick.library.version(&flow.journey, flow.version) else {
            let text = format!(
                "journey {} version {} is not known to this worker",
                flow.journey, flow.version
            );
            return self.cannot(work, flow, Death::unprocessable("no_journey", text));
        };
        match signalbox_flow::step(journey, flow, input, self.context()) {
            Ok(decision) => {
                self.transition(work, Some(flow), decision);
            }
            Err(Refusal::Known) => {
                if let WorkInput::Timer(timer) = &work.input {
                    self.rows.clear_timer(timer.flow, timer.name.clone());
                }
                self.decided.notes.push(Note::Repeat("input"));
            }
            Err(Refusal::NotPossibleNow { detail }) => {
                if let Body::Command { record, .. } | Body::Act { record, .. } = &work.body {
                    let told = rejection(
                        &flow.aggregate,
                        &flow.tenant,
                        record,
                        "not_possible_now",
                        &detail,
                        self.tick.now,
                    );
                    self.reject(work, Some(flow.id), &flow.aggregate, journey.events_topic(), told);
                }
            }
            Err(Refusal::Unresolvable { .. }) if self.comes_again(work) => {
                self.decided.notes.push(Note::Repeat("early"));
            }
            Err(Refusal::Unresolvable { detail }) => {
                self.cannot(work, flow, Death::unprocessable("unresolvable", detail))
            }
        }
    }

    /// Takes a decision over: records, rows, journal. A decision whose records cannot be encoded or delivered is not
    /// taken: the flow is parked, or the command that would have started one is dead. True where it was taken.
    fn transition(
        &mut self,
        work: &'d Work,
        before: Option<&Arc<Flow>>,
        decision: Decision,
    ) -> bool {
        let Decision { flow, effects, actor, reason, .. } = decision;
        if let Some(before) = before.filter(|before| self.overlooks_a_write(before, &flow)) {
            self.put_off(work, before);
            return false;
        }
        let drafter = Drafter {
            codec: self.tick.codec,
            bytes_max: self.tick.record_bytes_max,
            cause: self.cause(work),
        };
        let drafts = match drafter.drafts(&flow, &effects) {
            Ok(drafts) => drafts,
            Err(death) => {
                match before {
                    Some(before) => self.cannot(work, before, death),
                    None => self.die(work, None, death),
                }
                return false;
            }
        };
        let (now, contest) = (self.tick.now, &mut self.decided.contest);
        self.rows.effects(before.map(Arc::as_ref), &flow, effects, now, contest);
        let kind = match (before, &work.body) {
            (None, _) => "start",
            (Some(_), Body::Act { .. }) => "act",
            (Some(_), Body::Migrate) => "migrate",
            (Some(_), _) => "step",
        };
        if before.is_none() {
            self.decided.notes.push(Note::Started(flow.journey.to_string()));
        }
        if flow.status == Status::Ended
            && before.is_none_or(|before| before.status == Status::Running)
        {
            self.decided.notes.push(Note::Ended(flow.journey.to_string(), flow.state.to_string()));
        }
        let transition =
            Transition { kind, flow: Some(&flow), before: before.map(Arc::as_ref), actor, reason };
        self.journal(work, transition, drafts);
        self.decided.flows.insert(flow.id, Arc::new(flow));
        true
    }

    fn forward(&mut self, work: &'d Work, home: LaneId) {
        let WorkInput::Record(record) = &work.input else { return };
        let draft = crate::outbox::forward(record, self.tick.forwards, home);
        let transition = Transition {
            kind: "forward",
            flow: None,
            before: None,
            actor: "lane".to_owned(),
            reason: format!("home lane {home}"),
        };
        self.journal(work, transition, vec![draft]);
    }

    /// Sends an input to its dead-letter topic. A timer has no record: then only the journal and the flow tell.
    fn die(&mut self, work: &'d Work, flow: Option<&Arc<Flow>>, death: Death) {
        let drafts = match &work.input {
            WorkInput::Record(record) => {
                // One that waited may have been read by another lane, before lanes were added.
                let letter = dead_letter(record, &death, CONSUMER, self.tick.now);
                vec![Outbound { partition: work.lane.partition(), ..letter }]
            }
            WorkInput::Timer(timer) => {
                self.rows.clear_timer(timer.flow, timer.name.clone());
                Vec::new()
            }
            WorkInput::Errand(_) => Vec::new(),
        };
        self.decided.notes.push(Note::Dead(Dead::of(work, &death)));
        let marked = flow.map(|flow| {
            let mut marked = Flow::clone(flow);
            marked.data.marked = Some(death.code.to_owned());
            marked.rev += 1;
            marked
        });
        let before = flow.map(Arc::as_ref);
        let transition = Transition {
            kind: "dead_letter",
            flow: marked.as_ref(),
            before,
            actor: "lane".to_owned(),
            reason: death.code.to_owned(),
        };
        self.journal(work, transition, drafts);
        if let Some(marked) = marked {
            self.decided.flows.insert(marked.id, Arc::new(marked));
        }
    }

    /// Publishes one record that answers a command, without a step.
    fn tell(
        &mut self,
        work: &'d Work,
        transition: Transition<'_>,
        topic: &TopicName,
        about: (&AggregateId, Option<FlowId>),
        (record, value): (&str, Value),
    ) {
        let drafter = Drafter {
            codec: self.tick.codec,
            bytes_max: self.tick.record_bytes_max,
            cause: self.cause(work),
        };
        let ce_id = place_of(&work.input);
        match drafter.answer(topic, work.lane, about, &record.into(), &value, &ce_id) {
            Ok(draft) => self.journal(work, transition, vec![draft]),
            Err(death) => self.die(work, None, death),
        }
    }

    fn cause(&self, work: &'d Work) -> Cause<'d> {
        Cause {
            ce_id: work.header(headers::CE_ID),
            traceparent: work.header(headers::TRACEPARENT),
            now: self.tick.now,
        }
    }

    /// Gives records their sequence and writes the journal row.
    fn journal(&mut self, work: &Work, transition: Transition<'_>, drafts: Vec<Outbound>) {
        let subject = self.subject(work, &transition);
        let Some(lane) = self.decided.lanes.get_mut(&work.lane) else { return };
        let first = self.decided.publish.len();
        let flow_rev = transition.flow.map_or(0, |flow| flow.rev);
        for draft in drafts {
            let record = rows::place_record(lane, draft, flow_rev);
            self.decided.publish.push((work.lane, lane.out_seq, record));
        }
        let records: Vec<&Outbound> =
            self.decided.publish.iter().skip(first).map(|(_, _, record)| record).collect();
        let publishes = !records.is_empty();
        let encoded = encode_records(&records).unwrap_or_default();
        let place = Place::Journal { lane: work.lane, seq: lane.journal_seq + 1 };
        let sealed = if publishes { self.seal(subject, place, &encoded) } else { encoded };
        let Some(lane) = self.decided.lanes.get_mut(&work.lane) else { return };
        let row = rows::journal_row(lane, work, &transition, sealed, self.tick.now);
        if publishes {
            self.decided.published_rows.push((work.lane, row.seq, row.out_last));
        }
        lane.journal_seq = row.seq;
        lane.journal_head.clone_from(&row.hash);
        self.decided.write.journal.push(row);
    }

    fn finish(mut self) -> Decided {
        for ((lane, topic), record) in std::mem::take(&mut self.last_records) {
            let input =
                self.decided.lanes.get_mut(&lane).and_then(|lane| lane.inputs.get_mut(topic));
            if let Some(input) = input {
                input.last_record_hash = Some(record.content_hash());
            }
        }
        self.decided.write.inputs = rows::moved_inputs(self.tick.lanes, &self.decided.lanes);
        match rows::flow_writes(self.tick.flows, &self.decided.flows, self.tick.now) {
            Ok(flows) => self.decided.write.flows = flows,
            Err(fault) => self.decided.fault = Some(fault),
        }
        self.rows.into_write(&mut self.decided.write);
        self.decided.next_timer =
            self.decided.write.timers_set.iter().map(|timer| timer.due_at).min();
        self.decided
    }
}

/// Where an input stands, as the identity of what answers it.
fn place_of(input: &WorkInput) -> String {
    match input {
        WorkInput::Record(record) => record.place(),
        WorkInput::Timer(timer) => format!("{}:{}", timer.flow, timer.name),
        WorkInput::Errand(errand) => format!("migration {}", errand.job.open.migration.id),
    }
}

/// Why a forward is not taken: the consumers' rule.
fn gap(record: &Inbound, Peer { source, seq, prev }: Peer, last: i64) -> String {
    format!(
        "{}: a forward of lane {source} is missing: {seq} follows {prev}, and the last one taken is {last}",
        record.place()
    )
}

/// A store's refusal of one record's values.
pub(crate) fn refused_by_store() -> Death {
    Death {
        stage: "TASK_PUT",
        code: "store_refused",
        class: ErrorClass::RequiresRepair,
        message: "the store refuses a value of this record".to_owned(),
    }
}

/// Flows that a tick needs and that are not in the cache.
pub(crate) fn needed(works: &[Work]) -> BTreeSet<FlowId> {
    works.iter().filter_map(Work::flow).collect()
}
