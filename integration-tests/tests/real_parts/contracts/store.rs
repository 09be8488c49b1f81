//! One contract for the store's twin in memory and for Postgres: two workers do the same things with both, drawn from a
//! seed, and every answer has to be the same; so has everything that is left at the end. Simulations believe the twin.
//!
//! It does not ask in which order free lanes are given out, nor for the words of errors: only for what a caller acts on.
#![allow(clippy::indexing_slicing, reason = "there are two workers, by number")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use integration_tests::{Failure, Installation};
use serde_json::{Value, json};
use signalbox_schemas::{
    AggregateId, AttemptId, FlowId, JourneyName, LaneId, Micros, RecordName, StepName, SubjectId,
    Tenant, TopicName,
};
use signalbox_store::{
    ClaimedLane, CommandRow, Commit, Contest, FlowRow, FlowWrite, GENESIS, InputRow, JournalRow,
    JsonText, LaneFence, LaneMove, LaneStore, LoadedFlow, Losers, MemoryStore, NewAttempt, NewKey,
    OutputRow, ParkedRow, PeerRow, PgLaneStore, Reader, StopCause, StoreError, TickWrite, TimerRow,
    seal,
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::alike;
use crate::Outcome;
use crate::real_parts::upkeep::database;

const LANES: u16 = 4;
/// Far longer than a run: leases end when they are made to.
const LEASE: Duration = Duration::from_secs(600);
/// Past every lease.
const PAST_LEASES: Duration = Duration::from_secs(3_600);
/// Every lease has ended, as if so much time had gone by.
const END_LEASES: &str =
    "UPDATE lane SET lease_until = lease_until - interval '1 hour' WHERE owner IS NOT NULL";
/// A heartbeat counts for longer than all that goes by.
const ALIVE: Duration = Duration::from_secs(30 * 86_400);
/// Things done with each seed.
const ACTS: usize = 150;
const SEEDS: u64 = 12;
const WORKERS: [&str; 2] = ["east", "west"];

/// The store's twin and Postgres answer alike and hold the same at the end.
pub(crate) async fn of_the_store(on: &mut Installation) -> Outcome {
    let mut told = 0;
    for seed in 1..=SEEDS {
        let url = database(on, &format!("contract_{seed}")).await?;
        let reader = Reader::connect(&url)?;
        reader.migrate(LANES).await?;
        let now = reader.now().await?;
        let open = |worker| PgLaneStore::new(&url, worker, LEASE);
        let postgres = [open(WORKERS[0])?, open(WORKERS[1])?];
        let mut connection = PgConnection::connect(&url).await?;
        let mut real = Play::new(postgres, now, seed);
        while real.goes_on().await? {
            sqlx::query(END_LEASES).execute(&mut connection).await?;
        }
        let twin = MemoryStore::new(LANES, now);
        let both = [twin.clone(), twin.clone()];
        let mut simulated = Play::new(both, now, seed);
        while simulated.goes_on().await? {
            twin.advance(PAST_LEASES);
        }
        told += alike("Postgres", &real.lines, &simulated.lines)
            .map_err(|differs| Failure::Broken(format!("seed {seed}: {differs}")))?;
    }
    Ok(format!("{told} answers of the store's twin are those of Postgres"))
}

/// A lane as its worker knows it.
#[derive(Debug, Clone)]
struct Held {
    fence: LaneFence,
    out_seq: i64,
    journal_seq: i64,
    journal_head: Vec<u8>,
    inputs: BTreeMap<TopicName, i64>,
}

impl Held {
    fn of(lane: &ClaimedLane) -> Self {
        let inputs = lane.inputs.iter().map(|row| (row.topic.clone(), row.next_offset));
        Self {
            fence: lane.fence,
            out_seq: lane.out_seq,
            journal_seq: lane.journal_seq,
            journal_head: lane.journal_head.clone(),
            inputs: inputs.collect(),
        }
    }
}

/// Two workers on one store.
struct Play<S> {
    stores: [S; 2],
    lanes: [BTreeMap<LaneId, Held>; 2],
    now: Micros,
    rng: Rng,
    flows: Vec<(FlowId, LaneId, i64)>,
    attempts: Vec<AttemptId>,
    keys: usize,
    acts: usize,
    stopped: bool,
    lines: Vec<String>,
}

impl<S: LaneStore> Play<S> {
    fn new(stores: [S; 2], now: Micros, seed: u64) -> Self {
        Self {
            stores,
            lanes: [BTreeMap::new(), BTreeMap::new()],
            now,
            rng: Rng::with_seed(seed),
            flows: Vec::new(),
            attempts: Vec::new(),
            keys: 0,
            acts: 0,
            stopped: false,
            lines: Vec::new(),
        }
    }

    /// Goes on until leases are to end, which is true, or until the end.
    async fn goes_on(&mut self) -> Result<bool, Failure> {
        while self.acts < ACTS {
            self.acts += 1;
            let who = usize::from(self.rng.bool());
            match self.rng.u8(0..100) {
                0..16 => self.claim(who).await?,
                16..18 => return Ok(true),
                18..24 => self.renew(who).await?,
                24..30 => self.release(who).await?,
                30 if self.acts > ACTS / 2 => self.stop(who).await?,
                30..50 => self.read().await?,
                50..56 => self.keys_of_somebody(who).await?,
                _ => self.commit(who).await?,
            }
        }
        self.all().await?;
        Ok(false)
    }

    fn tell(&mut self, act: &str, answer: String) {
        self.lines.push(format!("{act}: {answer}"));
    }

    fn fences(&self, who: usize) -> Vec<LaneFence> {
        self.lanes[who].values().map(|held| held.fence).collect()
    }

    async fn claim(&mut self, who: usize) -> Result<(), Failure> {
        let held: Vec<LaneId> = self.lanes[who].keys().copied().collect();
        let name = WORKERS[who];
        self.stores[who].heartbeat(name).await?;
        let share = self.stores[who].share(name, &held, ALIVE).await?;
        self.tell("share", format!("{} {} {}", share.others, share.lanes, share.free));
        let all = usize::from(LANES);
        let mut claimed = self.stores[who].claim(name, &held, all, LEASE).await?;
        claimed.sort_by_key(|lane| lane.fence.lane);
        for lane in &mut claimed {
            lane.inputs.sort_by(|a, b| a.topic.cmp(&b.topic));
            lane.outputs.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
            lane.peers.sort_by_key(|peer| peer.source);
            self.lanes[who].insert(lane.fence.lane, Held::of(lane));
        }
        self.tell("claim", format!("{claimed:?}"));
        // Every lane reads its commands from the beginning, where it has not begun.
        let begun = claimed.iter().map(|lane| input(lane.fence.lane, 0)).collect::<Vec<_>>();
        self.stores[who].begin_inputs(&begun).await?;
        for row in begun {
            if let Some(held) = self.lanes[who].get_mut(&row.lane) {
                held.inputs.entry(row.topic).or_insert(0);
            }
        }
        Ok(())
    }

    async fn renew(&mut self, who: usize) -> Result<(), Failure> {
        let fences = self.fences(who);
        let (mut lost, _) = self.stores[who].renew(&fences, LEASE).await?;
        lost.sort();
        for lane in &lost {
            self.lanes[who].remove(lane);
        }
        self.tell("renew", format!("lost {lost:?}"));
        Ok(())
    }

    /// Whoever gives lanes back forgets them.
    async fn release(&mut self, who: usize) -> Result<(), Failure> {
        let fences = self.fences(who);
        let since = self.now.after(Duration::from_secs(1));
        self.stores[who].release(&fences, since).await?;
        self.lanes[who].clear();
        self.tell("release", format!("{fences:?}"));
        Ok(())
    }

    async fn stop(&mut self, who: usize) -> Result<(), Failure> {
        let Some(fence) = self.fences(who).into_iter().next().filter(|_| !self.stopped) else {
            return Ok(());
        };
        let stopped = self.stores[who].stop_lane(fence, StopCause::Lane, "looked at").await?;
        self.stopped = stopped;
        self.tell("stop", format!("{fence:?}: {stopped}"));
        Ok(())
    }

    async fn keys_of_somebody(&mut self, who: usize) -> Result<(), Failure> {
        let somebody = SubjectId(Uuid::from_u128(self.rng.u128(1..6)));
        let wanted = [NewKey { subject: somebody, wrapped: vec![self.rng.u8(..); 20] }];
        let mut rows = self.stores[who].ensure_keys(&wanted).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        rows.extend(self.stores[who].keys(&ids).await?);
        let told = rows.iter().map(|row| (row.id, row.wrapped.clone(), row.erased_at.is_some()));
        let told = format!("{:?}", told.collect::<Vec<_>>());
        self.tell("keys", told);
        Ok(())
    }

    /// Questions whose answers somebody acts on.
    async fn read(&mut self) -> Result<(), Failure> {
        let lane = LaneId(self.rng.u16(0..LANES));
        let some: Vec<FlowId> =
            (0..3).filter_map(|_| self.some_flow()).map(|(id, ..)| id).collect();
        let some: Vec<FlowId> = BTreeSet::from_iter(some).into_iter().collect();
        let (seq, at_most) = (self.rng.i64(0..6), self.rng.usize(1..5));
        let until = self.now.after(Duration::from_secs(self.rng.u64(0..60)));
        let lanes = [lane, LaneId((lane.0 + 1) % LANES)];
        let store = &mut self.stores[0];
        let flows = in_order(store.load_flows(&some).await?);
        let answers = [
            format!("{flows:?}"),
            format!("{:?}", store.parked(&some).await?),
            format!("{:?}", store.due_timers(&lanes, until, at_most).await?),
            format!("{:?}", store.next_timer(&lanes).await?),
            format!("{:?}", store.journal_after(lane, seq, at_most).await?),
            format!("{:?}", store.journal_seq_of(lane, seq * 2).await?),
        ];
        for answer in answers {
            self.tell("read", answer);
        }
        Ok(())
    }

    fn some_flow(&mut self) -> Option<(FlowId, LaneId, i64)> {
        self.rng.choice(self.flows.iter()).copied()
    }

    /// A tick of a worker over some of its lanes, and sometimes one that has a mistake in it.
    async fn commit(&mut self, who: usize) -> Result<(), Failure> {
        let all: Vec<Held> = self.lanes[who].values().cloned().collect();
        let some: Vec<Held> = all.into_iter().filter(|_| self.rng.u8(0..3) > 0).collect();
        if some.is_empty() {
            return Ok(());
        }
        let fences: Vec<LaneFence> = some.iter().map(|held| held.fence).collect();
        let mut tick = Tick::default();
        for held in &some {
            self.work_of(held, &mut tick);
        }
        let Tick { contest, write, born, moved } = tick;
        let mut losers = Losers::default();
        let mut settle = |lost: Losers| {
            losers = lost;
            without(write.clone(), &losers)
        };
        let answer = self.stores[who].commit(&fences, &contest, LEASE, &mut settle).await;
        losers.commands.sort_by(|a, b| a.key.cmp(&b.key));
        let told = match &answer {
            Ok(Commit::Done { .. }) => "done".to_owned(),
            Ok(Commit::Fenced(lanes)) => {
                let lanes: BTreeSet<LaneId> = lanes.iter().copied().collect();
                self.lanes[who].retain(|lane, _| !lanes.contains(lane));
                format!("fenced {lanes:?}")
            }
            Ok(Commit::Erased(subjects)) => format!("erased {subjects:?}"),
            Err(error) => kind(error).to_owned(),
        };
        if matches!(answer, Ok(Commit::Done { .. })) {
            self.take_over(who, &losers, born, moved);
        }
        self.tell("commit", format!("{told}, losers {losers:?}"));
        Ok(())
    }

    fn take_over(&mut self, who: usize, losers: &Losers, born: Vec<Born>, moved: Vec<Held>) {
        for born in born {
            match born {
                Born::Flow(..) if !losers.commands.is_empty() => {}
                Born::Flow(id, lane) => self.flows.push((id, lane, 1)),
                Born::Step(id) => {
                    self.flows.iter_mut().filter(|flow| flow.0 == id).for_each(|flow| flow.2 += 1);
                }
                Born::Attempt(id) => self.attempts.push(id),
            }
        }
        for held in moved {
            self.lanes[who].insert(held.fence.lane, held);
        }
    }

    /// What one lane does in a tick.
    fn work_of(&mut self, held: &Held, tick: &mut Tick) {
        let lane = held.fence.lane;
        let mut after = held.clone();
        let flow = match self.rng.u8(0..5) {
            0..2 => self.start(lane, tick),
            2..4 => self.step(lane, tick),
            _ => None,
        };
        if let Some(flow) = flow {
            self.things_of(lane, flow, tick);
        }
        let read = held.inputs.get(&commands()).copied().unwrap_or_default();
        // Somebody else has read on meanwhile: an invariant is broken.
        let expected = if self.rng.u8(0..40) == 0 { read + 7 } else { read };
        tick.write.inputs.push((expected, input(lane, read + 1)));
        after.inputs.insert(commands(), read + 1);
        after.out_seq += self.rng.i64(0..3);
        after.journal_seq += 1;
        let row = seal(self.journal_row(&after, flow), &held.journal_head);
        after.journal_head.clone_from(&row.hash);
        tick.write.journal.push(row);
        tick.write.outputs.push(OutputRow {
            lane,
            topic: TopicName::from("payments.payout.events.v1"),
            partition: lane.partition(),
            last_seq: after.out_seq,
            last_acked_offset: after.out_seq - 1,
        });
        if self.rng.u8(0..4) == 0 {
            let source = LaneId((lane.0 + 1) % LANES);
            tick.write.peers.push(PeerRow { lane, source, last_seq: after.journal_seq });
        }
        tick.write.lanes.push(LaneMove {
            fence: held.fence,
            out_seq: after.out_seq,
            pub_seq: held.out_seq,
            pub_journal_seq: held.journal_seq,
            journal_seq: after.journal_seq,
            journal_head: after.journal_head.clone(),
        });
        after.fence.rev += 1;
        tick.moved.push(after);
    }

    /// A command, whose idempotency key may be taken by another flow.
    fn start(&mut self, lane: LaneId, tick: &mut Tick) -> Option<FlowId> {
        let id = FlowId(Uuid::from_u128(self.rng.u128(..)));
        let taken = self.keys > 0 && self.rng.u8(0..4) == 0;
        let number = if taken { self.rng.usize(0..self.keys) } else { self.keys };
        self.keys += usize::from(!taken);
        let key = format!("key-{number}");
        if tick.contest.commands.iter().any(|command| command.key == key) {
            return None;
        }
        tick.contest.commands.push(CommandRow {
            tenant: Tenant::from("bank"),
            key,
            hash: [self.rng.u8(..); 32],
            flow: id,
            record: RecordName::from("payments.payout.RequestPayout"),
            content: vec![self.rng.u8(..); 9],
            accepted_at: self.now,
        });
        tick.write.flows.push(FlowWrite { row: self.flow_row(id, lane, 1), expected_rev: None });
        tick.born.push(Born::Flow(id, lane));
        Some(id)
    }

    /// A step of a flow, whose revision may be another than expected.
    fn step(&mut self, lane: LaneId, tick: &mut Tick) -> Option<FlowId> {
        let here: Vec<_> = self.flows.iter().filter(|flow| flow.1 == lane).copied().collect();
        let (id, _, rev) = self.rng.choice(here)?;
        let expected = if self.rng.u8(0..25) == 0 { rev + 1 } else { rev };
        let row = self.flow_row(id, lane, expected + 1);
        tick.write.flows.push(FlowWrite { row, expected_rev: Some(expected) });
        tick.born.push(Born::Step(id));
        Some(id)
    }

    /// Attempts, timers and inputs that wait.
    fn things_of(&mut self, lane: LaneId, flow: FlowId, tick: &mut Tick) {
        let due_at = self.now.after(Duration::from_secs(self.rng.u64(0..60)));
        let name = |rng: &mut Rng| format!("timer-{}", rng.u8(0..2));
        match self.rng.u8(0..6) {
            0 => {
                let id = AttemptId(Uuid::from_u128(self.rng.u128(..)));
                tick.write.attempts.push(self.attempt(id, lane, flow));
                tick.born.push(Born::Attempt(id));
                if self.rng.bool() {
                    tick.write.given_up.push(id);
                }
            }
            1 => {
                let known = self.rng.choice(self.attempts.iter()).copied();
                tick.contest.abandons.extend(known);
            }
            2 => {
                let name = name(&mut self.rng);
                tick.write.timers_set.push(TimerRow { due_at, flow, name, lane });
            }
            3 => tick.write.timers_cleared.push((flow, name(&mut self.rng))),
            4 => {
                let seq = self.rng.i64(1..4);
                tick.write.parked.push(ParkedRow { flow, seq, lane, record: vec![7, 7] });
            }
            _ => tick.write.unparked.push((flow, self.rng.i64(1..4))),
        }
    }

    fn attempt(&self, id: AttemptId, lane: LaneId, flow: FlowId) -> NewAttempt {
        NewAttempt {
            id,
            lane,
            flow,
            step: StepName::from("send"),
            group: 1,
            capability: "payout.send".to_owned(),
            planned_at: self.now,
        }
    }

    fn flow_row(&mut self, id: FlowId, lane: LaneId, rev: i64) -> FlowRow {
        FlowRow {
            id,
            tenant: Tenant::from("bank"),
            aggregate: AggregateId::from(format!("payout-{id}")),
            subject: SubjectId(Uuid::from_u128(1)),
            lane,
            journey: JourneyName::from("payout"),
            version: 1,
            state: StepName::from("send"),
            ended: self.rng.u8(0..6) == 0,
            rev,
            started_at: self.now,
            updated_at: self.now.after(Duration::from_secs(self.rng.u64(0..9))),
            standing: None,
            data: text(&json!({"tries": self.rng.u8(0..9), "name": "Zoë \u{1f980} \\ \""})),
        }
    }

    fn journal_row(&self, after: &Held, flow: Option<FlowId>) -> JournalRow {
        JournalRow {
            lane: after.fence.lane,
            seq: after.journal_seq,
            at: self.now,
            flow,
            flow_rev: i64::from(flow.is_some()),
            kind: "step".to_owned(),
            input_topic: Some(commands()),
            input_partition: Some(after.fence.lane.partition()),
            input_offset: after.inputs.get(&commands()).map(|next| next - 1),
            actor: "bank".to_owned(),
            reason: "approved".to_owned(),
            journey: flow.map(|_| JourneyName::from("payout")),
            version: flow.map(|_| 1),
            before: None,
            after: flow.map(|_| StepName::from("send")),
            out_last: after.out_seq,
            records: vec![1, 2, 3],
            prev_hash: GENESIS.to_vec(),
            hash: Vec::new(),
        }
    }

    /// Everything that is left.
    async fn all(&mut self) -> Result<(), Failure> {
        let lanes: Vec<LaneId> = (0..LANES).map(LaneId).collect();
        let mut ids: Vec<FlowId> = self.flows.iter().map(|flow| flow.0).collect();
        ids.sort();
        let far = self.now.after(Duration::from_secs(3_600));
        let store = &mut self.stores[0];
        let flows = in_order(store.load_flows(&ids).await?);
        let mut answers = vec![
            format!("{flows:?}"),
            format!("{:?}", store.parked(&ids).await?),
            format!("{:?}", store.due_timers(&lanes, far, 1_000).await?),
        ];
        for lane in lanes {
            answers.push(format!("{:?}", store.journal_after(lane, 0, 1_000).await?));
        }
        answers.into_iter().for_each(|answer| self.tell("at the end", answer));
        Ok(())
    }
}

/// What a tick wants and writes, and what follows for its worker.
#[derive(Default)]
struct Tick {
    contest: Contest,
    write: TickWrite,
    born: Vec<Born>,
    moved: Vec<Held>,
}

enum Born {
    Flow(FlowId, LaneId),
    Step(FlowId),
    Attempt(AttemptId),
}

/// Flows by id, with data as it reads: spaces and the order of keys say nothing.
fn in_order(mut flows: Vec<LoadedFlow>) -> Vec<LoadedFlow> {
    flows.sort_by_key(|flow| flow.row.id);
    flows.iter_mut().for_each(|flow| flow.row.data = text(&flow.row.data.value()));
    flows
}

fn text(value: &Value) -> JsonText {
    JsonText::of(value).unwrap_or_else(|error| panic!("{value} has no text: {error}"))
}

/// Where a command has lost, no new flow is written.
fn without(mut write: TickWrite, losers: &Losers) -> TickWrite {
    if !losers.commands.is_empty() {
        write.flows.retain(|flow| flow.expected_rev.is_some());
    }
    write
}

/// What a caller acts on.
fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Retry(_) => "try again",
        StoreError::TooMuch(_) => "too much",
        StoreError::BadData(_) => "bad data",
        StoreError::Invariant(_) => "an invariant is broken",
        StoreError::Schema(_) => "another schema",
    }
}

fn commands() -> TopicName {
    TopicName::from("payments.payout.commands.v1")
}

fn input(lane: LaneId, next_offset: i64) -> InputRow {
    let last = (next_offset > 0).then_some([7; 32]);
    InputRow {
        lane,
        topic: commands(),
        next_offset,
        last_offset: last.map(|_| next_offset - 1),
        last_record_hash: last,
    }
}
