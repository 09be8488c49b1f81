//! One tick: read, load, decide, commit, publish. A tick that fails is tried again with the same works.

use serde_json::Value;
use signalbox_bus::{Inbound, LaneBus};
use signalbox_flow::{Flow, FlowData, Journey, Status};
use signalbox_schemas::{FlowId, LaneId, Micros, SubjectId};
use signalbox_store::{
    Commit, Contest, LaneStore, LoadedFlow, Losers, OutputRow, StoreError, TickWrite,
};
use signalbox_vault::{OpenError, Place};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::{Worker, WorkerError};
use crate::decide::{self, Decided, Note, Tick};
use crate::intake::{Body, Desk, UnknownSchema, Work, WorkInput};
use crate::keys;
use crate::lane::{Lane, LanePosition};
use crate::metrics;
use crate::outbox::decode_kept;
use crate::traces;

/// Timers taken into one tick at most.
const TIMERS_MAX: usize = 500;
/// Records that wait for ticks at most, in ticks of the largest size: lanes have turns among so many.
const TICKS_WAITING_MAX: usize = 4;
/// How long the registry is waited for while lanes could work; well below any lease.
const REGISTRY_PATIENCE: Duration = Duration::from_millis(500);
/// How long a lane waits before the registry is asked again.
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);
/// Schema ids remembered as missing at most.
const MISSING_SCHEMAS_MAX: usize = 1_000;

impl<B: LaneBus, S: LaneStore> Worker<B, S> {
    pub(super) async fn tick(&mut self) -> Result<(), WorkerError> {
        if self.unpublished() >= self.options.unpublished_max {
            // Kafka is behind: nothing more is read until it has taken what is committed.
            self.bus.acks_ready(self.options.tick_wait).await;
            return Ok(());
        }
        // Migrations have ticks of their own: a lane that is told to stop one has not taken more of its flows.
        if self.works.is_empty() {
            self.take_migrations().await?;
        }
        if self.works.is_empty() {
            self.take_timers().await?;
            self.take_records().await?;
        }
        self.process().await
    }

    /// Timers that are due become works.
    async fn take_timers(&mut self) -> Result<(), WorkerError> {
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        if lanes.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let due = match self.next_timer {
            None => {
                self.next_timer = Some(
                    self.store
                        .next_timer(&lanes)
                        .await?
                        .unwrap_or(signalbox_schemas::Micros(i64::MAX)),
                );
                self.next_timer.is_some_and(|next| next <= now)
            }
            Some(next) => next <= now,
        };
        if due {
            let timers = self.store.due_timers(&lanes, now, TIMERS_MAX).await?;
            self.works.extend(timers.into_iter().map(Work::timer));
            self.next_timer = None;
        }
        Ok(())
    }

    /// Records of the lanes whose turn it is become works.
    async fn take_records(&mut self) -> Result<(), WorkerError> {
        self.read_records().await?;
        let (enough, at_most) = (self.options.tick_records_enough, self.options.tick_records_max);
        for (lane, record) in self.waiting.take(enough.max(1), at_most.max(1)) {
            if !self.lanes.contains_key(&lane) || self.paused.contains_key(&lane) {
                continue;
            }
            let work = self.classify(&record, lane).await?;
            self.works.extend(work);
        }
        Ok(())
    }

    /// What has come joins what waits, as far as there is room. A worker with nothing to do waits for it.
    async fn read_records(&mut self) -> Result<(), WorkerError> {
        let waiting_max = self.options.tick_records_max.saturating_mul(TICKS_WAITING_MAX).max(1);
        let room = waiting_max.saturating_sub(self.waiting.len());
        if room == 0 {
            return Ok(());
        }
        let is_idle = self.works.is_empty() && self.waiting.is_empty();
        let wait = if is_idle { self.wait_for_records() } else { Duration::ZERO };
        for record in self.bus.poll(room, wait).await? {
            let lane = LaneId(u16::try_from(record.partition).unwrap_or(u16::MAX));
            self.waiting.add(lane, Arc::new(record));
        }
        Ok(())
    }

    /// Waits no longer than until the next timer.
    fn wait_for_records(&self) -> Duration {
        match self.next_timer {
            Some(next) => next.since(self.clock.now()).min(self.options.tick_wait),
            None => self.options.tick_wait,
        }
    }

    /// What a record is to its lane; a schema that is not known yet is learnt first. None where the registry is away: that
    /// pauses the lane instead of killing its records.
    async fn classify(
        &mut self,
        record: &Arc<Inbound>,
        lane: LaneId,
    ) -> Result<Option<Work>, WorkerError> {
        loop {
            match self.desk().classify(record, lane) {
                Ok(work) => return Ok(Some(work)),
                Err(UnknownSchema(id)) if self.learn(id).await => {}
                Err(UnknownSchema(_)) => {
                    self.pause(lane)?;
                    return Ok(None);
                }
            }
        }
    }

    /// Whether the registry has said what this schema is, or that there is none.
    async fn learn(&mut self, id: u32) -> bool {
        if Instant::now() < self.registry_away_until {
            return false;
        }
        let error = match tokio::time::timeout(REGISTRY_PATIENCE, self.codec.learn(id)).await {
            Ok(Ok(Some(_))) => return true,
            Ok(Ok(None)) => {
                // Bounded: a flood of made-up ids costs a question each and no memory.
                if self.missing_schemas.len() >= MISSING_SCHEMAS_MAX {
                    self.missing_schemas.clear();
                }
                self.missing_schemas.push(id);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        tracing::warn!(id, error, "the registry is away; the lane waits");
        self.registry_away_until = Instant::now() + REGISTRY_PAUSE;
        false
    }

    /// Reads a lane no further for now; the other lanes go on, and what was decided before is still applied.
    fn pause(&mut self, lane: LaneId) -> Result<(), WorkerError> {
        self.paused.insert(lane, Instant::now() + REGISTRY_PAUSE);
        self.migrations.stale = true;
        self.health.lane(lane, Some("waits for the schema registry".to_owned()));
        let inputs = self.inputs.iter().map(|topic| (topic.clone(), lane.partition()));
        Ok(self.bus.unassign(&inputs.collect::<Vec<_>>())?)
    }

    /// Reads paused lanes on from where they are.
    pub(super) fn end_pauses(&mut self, now: Instant) -> Result<(), WorkerError> {
        let over = self.paused.iter().filter(|(_, until)| **until <= now).map(|(lane, _)| *lane);
        for lane in over.collect::<Vec<_>>() {
            self.assign(lane)?;
        }
        Ok(())
    }

    /// Applies what is waiting, in pieces that the store can take.
    async fn process(&mut self) -> Result<(), WorkerError> {
        while !self.works.is_empty() {
            let count = self.works.len().min(self.batch_max);
            let batch: Vec<Work> = self.works.drain(..count).collect();
            let applied = self.apply(&batch).await;
            if matches!(applied, Ok(true)) {
                self.batch_max =
                    (self.batch_max * 2).clamp(1, self.options.tick_records_max.max(1));
                continue;
            }
            // Tried again, but for lanes that were lost meanwhile: they are another worker's now.
            // Lanes that are paused read them again.
            let held = |work: &Work| {
                self.lanes.contains_key(&work.lane) && !self.paused.contains_key(&work.lane)
            };
            for work in batch.into_iter().rev().filter(held).collect::<Vec<_>>() {
                self.works.push_front(work);
            }
            match applied {
                Ok(_) => {}
                Err(WorkerError::Store(StoreError::TooMuch(error))) => {
                    tracing::warn!(%error, batch = count, "the tick took too long; half of it is tried");
                    self.batch_max = (count / 2).max(1);
                }
                Err(WorkerError::Store(StoreError::BadData(error))) if count > 1 => {
                    tracing::warn!(%error, batch = count, "a value is refused; the record is looked for");
                    self.batch_max = (count / 2).max(1);
                }
                Err(WorkerError::Store(StoreError::BadData(_))) => self.give_up_first(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nothing follows from the one record whose values the store refuses.
    fn give_up_first(&mut self) {
        let Some(work) = self.works.pop_front() else { return };
        if let WorkInput::Timer(timer) = &work.input {
            tracing::error!(flow = %timer.flow, timer = timer.name, "the store refuses what a timer would write");
        }
        self.works.push_front(work.refused(decide::refused_by_store()));
    }

    /// One transaction. True where it was committed.
    async fn apply(&mut self, works: &[Work]) -> Result<bool, WorkerError> {
        let Loaded { flows, erased } = self.load(works).await?;
        let Some(waiting) = self.load_waiting(works).await? else { return Ok(false) };
        let positions: BTreeMap<LaneId, LanePosition> = self.positions(works);
        let now = self.clock.now();
        let subjects = self.subjects(works, &flows, now);
        keys::to_seal(&mut self.vault, &mut self.store, &subjects).await?;
        let ring = self.vault.ring(&subjects);
        let started = Instant::now();
        let (commit, decided) = {
            let tick = Tick {
                now,
                key: &self.options.tenant_key,
                codec: &self.codec,
                library: &self.library,
                forwards: &self.forwards,
                record_bytes_max: self.options.record_bytes_max,
                dedupe_horizon: self.options.dedupe_horizon,
                lanes: &positions,
                flows: &flows,
                erased: &erased,
                ring: &ring,
                waiting: &waiting,
                works,
            };
            let first = tick.decide(&Losers::default());
            if let Some(fault) = first.fault {
                return Err(StoreError::Invariant(fault).into());
            }
            if !first.gaps.is_empty() {
                self.stop_behind_gaps(&first.gaps).await?;
                return Ok(false);
            }
            let contest: Contest = first.contest.clone();
            let mut decided = first;
            let lanes = &self.lanes;
            let mut settle = |losers: Losers| -> TickWrite {
                if losers != Losers::default() {
                    decided = tick.decide_again(&contest, losers);
                }
                if decided.fault.is_some() {
                    // A write of no lane is refused.
                    return TickWrite::default();
                }
                let mut write = std::mem::take(&mut decided.write);
                complete(&mut write, lanes, &positions, &mut decided.lanes);
                write
            };
            let fences: Vec<_> = positions.values().map(|position| position.fence).collect();
            let commit =
                self.store.commit(&fences, &contest, self.options.lease, &mut settle).await?;
            (commit, decided)
        };
        match commit {
            Commit::Done { now } => {
                self.clock.set(now);
                metrics::tick(works.len(), started.elapsed());
                trace(works, &decided);
                self.take_over(decided)?;
                Ok(true)
            }
            Commit::Fenced(lost) => {
                self.check_time().await?;
                self.drop_lanes(&lost)?;
                Ok(false)
            }
            Commit::Erased(subjects) => {
                tracing::info!(
                    ?subjects,
                    "subjects were erased meanwhile; the tick is decided again"
                );
                self.vault.forget(&subjects);
                Ok(false)
            }
        }
    }

    /// Lanes that a tick touches.
    fn positions(&self, works: &[Work]) -> BTreeMap<LaneId, LanePosition> {
        let touched = |id: &LaneId| works.iter().any(|work| work.lane == *id);
        self.lanes
            .iter()
            .filter(|(id, _)| touched(id))
            .map(|(id, lane)| (*id, lane.position.clone()))
            .collect()
    }

    /// Everybody whose personal data a tick may seal.
    fn subjects(
        &self,
        works: &[Work],
        flows: &HashMap<FlowId, Arc<Flow>>,
        now: Micros,
    ) -> BTreeSet<SubjectId> {
        let mut subjects: BTreeSet<SubjectId> = flows.values().map(|flow| flow.subject).collect();
        subjects.extend(works.iter().filter_map(|work| match &work.body {
            Body::Start(start) => Some(start.subject),
            _ => None,
        }));
        subjects.insert(self.options.tenant_key.unattributed(now.day()));
        subjects
    }

    /// Flows that a tick needs, from the cache or the store.
    async fn load(&mut self, works: &[Work]) -> Result<Loaded, WorkerError> {
        let mut erased = HashMap::new();
        let mut flows = HashMap::new();
        let mut missing = Vec::new();
        for id in decide::needed(works) {
            match self.cache.get(&id) {
                Some(flow) => {
                    flows.insert(id, Arc::clone(flow));
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            let found = self.store.load_flows(&missing).await?;
            self.learn_versions_of(found.iter().map(|loaded| &loaded.row)).await?;
            let commands = found.iter().map(|loaded| loaded.command.as_slice());
            keys::to_open(&mut self.vault, &mut self.store, commands).await?;
            for loaded in found {
                let (id, hash) = (loaded.row.id, loaded.hash);
                let command = match self.vault.open(Place::Command(id), &loaded.command) {
                    Ok(plain) => serde_json::from_slice(&plain).map_err(|error| error.to_string()),
                    Err(OpenError::Erased(_)) => {
                        erased.insert(id, hash);
                        Ok(Value::Null)
                    }
                    Err(error) => Err(error.to_string()),
                };
                let command = command.map_err(|error| {
                    StoreError::Invariant(format!("flow {id}: its command cannot be read: {error}"))
                })?;
                let version = self.library.version(&loaded.row.journey, loaded.row.version);
                let version = version.map(Arc::as_ref);
                flows.insert(id, Arc::new(flow_of(loaded, command, version)?));
            }
        }
        Ok(Loaded { flows, erased })
    }

    /// What waits for the flows that may go on in this tick, classified as if it were read now. None where the registry
    /// would have to be asked for a schema and is away: the lane waits for it.
    async fn load_waiting(
        &mut self,
        works: &[Work],
    ) -> Result<Option<HashMap<FlowId, Vec<(i64, Work)>>>, WorkerError> {
        let mut waiting: HashMap<FlowId, Vec<(i64, Work)>> = HashMap::new();
        let flows: BTreeSet<FlowId> = works.iter().filter_map(Work::lets_go_on).collect();
        if flows.is_empty() {
            return Ok(Some(waiting));
        }
        let rows = self.store.parked(&flows.into_iter().collect::<Vec<_>>()).await?;
        let sealed = rows.iter().map(|row| row.record.as_slice());
        keys::to_open(&mut self.vault, &mut self.store, sealed).await?;
        for row in rows {
            let place = Place::Parked { flow: row.flow, seq: row.seq };
            let opened = self.vault.open(place, &row.record).map_err(|error| error.to_string());
            let record =
                opened.and_then(|plain| decode_kept(&plain).map_err(|error| error.to_string()));
            let record = record.map_err(|error| {
                StoreError::Invariant(format!("flow {}: input {}: {error}", row.flow, row.seq))
            })?;
            let Some(work) = self.classify(&Arc::new(record), row.lane).await? else {
                return Ok(None);
            };
            waiting.entry(row.flow).or_default().push((row.seq, work));
        }
        Ok(Some(waiting))
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            codec: &self.codec,
            library: &self.library,
            key: &self.options.tenant_key,
            lanes: self.options.lanes,
            forwards: &self.forwards,
            missing_schemas: &self.missing_schemas,
        }
    }

    /// After the commit: memory follows, and records are published in sequence order.
    fn take_over(&mut self, decided: Decided) -> Result<(), WorkerError> {
        let now = Instant::now();
        self.migrations.stale |= decided.turns_migration;
        for note in &decided.notes {
            tell(note);
        }
        for (id, position) in decided.lanes {
            if let Some(lane) = self.lanes.get_mut(&id) {
                self.heads.moved(&position, self.clock.now());
                lane.take_over(position);
                lane.progress_at = now;
            }
        }
        for flow in decided.flows.into_values() {
            match flow.status {
                Status::Running => drop(self.cache.put(flow.id, flow)),
                Status::Ended => drop(self.cache.pop(&flow.id)),
            }
        }
        if let (Some(next), Some(due)) = (self.next_timer, decided.next_timer) {
            self.next_timer = Some(next.min(due));
        }
        for (lane, journal_seq, out_last) in decided.published_rows {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.publishing_row(journal_seq, out_last);
            }
        }
        // Everything is noted as in flight first: a failure in the middle is settled by reading the logs.
        for (lane, seq, _) in &decided.publish {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.publishing(*seq);
                lane.committed_at(now);
            }
        }
        for (lane, seq, record) in &decided.publish {
            if let Err(error) = self.bus.publish(lane.0, *seq, record) {
                tracing::warn!(%error, "a record was not queued");
                self.producer_broken = true;
                break;
            }
        }
        for lane in self.lanes.values_mut() {
            lane.settle(now);
        }
        Ok(())
    }

    /// Writes acknowledgements that no tick has written.
    pub(super) async fn flush_acks(&mut self) -> Result<(), WorkerError> {
        let mut lanes = std::mem::take(&mut self.lanes);
        let written = self.write_acks(&mut lanes).await;
        self.lanes = lanes;
        let lost = written?;
        if !lost.is_empty() {
            self.check_time().await?;
        }
        self.drop_lanes(&lost)
    }

    /// Writes what of these lanes is acknowledged and was not written; which of them are another worker's.
    pub(super) async fn write_acks(
        &mut self,
        lanes: &mut BTreeMap<LaneId, Lane>,
    ) -> Result<Vec<LaneId>, WorkerError> {
        let positions: BTreeMap<LaneId, LanePosition> = lanes
            .iter()
            .filter(|(_, lane)| lane.has_unwritten_acks())
            .map(|(id, lane)| (*id, lane.position.clone()))
            .collect();
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let fences: Vec<_> = positions.values().map(|position| position.fence).collect();
        let mut after = positions.clone();
        let mut settle = |_: Losers| {
            let mut write = TickWrite::default();
            complete(&mut write, lanes, &positions, &mut after);
            write
        };
        let lease = self.options.lease;
        match self.store.commit(&fences, &Contest::default(), lease, &mut settle).await? {
            Commit::Done { now } => {
                self.clock.set(now);
                for (id, position) in after {
                    if let Some(lane) = lanes.get_mut(&id) {
                        lane.take_over(position);
                    }
                }
                Ok(Vec::new())
            }
            Commit::Fenced(lost) => Ok(lost),
            // Nothing was sealed.
            Commit::Erased(_) => Ok(Vec::new()),
        }
    }
}

/// Notes in the spans of works where they have taken their flows.
fn trace(works: &[Work], decided: &Decided) {
    for work in works.iter().filter(|work| !work.span.is_disabled()) {
        if let Some(flow) = work.flow().and_then(|id| decided.flows.get(&id)) {
            traces::applied(&work.span, flow);
        }
    }
}

/// Flows that a tick needs.
struct Loaded {
    flows: HashMap<FlowId, Arc<Flow>>,
    /// Those whose subject was erased, with the hash of their command.
    erased: HashMap<FlowId, [u8; 32]>,
}

/// Adds to a write what every tick carries: outputs that moved or were acknowledged, and the lane rows.
fn complete(
    write: &mut TickWrite,
    lanes: &BTreeMap<LaneId, Lane>,
    before: &BTreeMap<LaneId, LanePosition>,
    after: &mut BTreeMap<LaneId, LanePosition>,
) {
    for (id, position) in after {
        let Some(lane) = lanes.get(id) else { continue };
        let acked = lane.merge_acks(&mut position.outputs);
        let old = before.get(id).map(|old| &old.outputs);
        let moved = |(output, row): &(&(signalbox_schemas::TopicName, i32), &OutputRow)| {
            acked.contains(*output)
                || old
                    .and_then(|old| old.get(*output))
                    .is_none_or(|was| was.last_seq != row.last_seq)
        };
        write.outputs.extend(position.outputs.iter().filter(moved).map(|(_, row)| row.clone()));
        write.lanes.push(lane.row(position));
    }
}

/// A flow as stored, as the step needs it: its command was kept as it was sent, and is read as its version reads it.
pub(crate) fn flow_of(
    loaded: LoadedFlow,
    command: Value,
    version: Option<&Journey>,
) -> Result<Flow, StoreError> {
    let LoadedFlow { row, record, .. } = loaded;
    let command = match version {
        Some(version) if *version.starts_with() != record && !command.is_null() => {
            let read = version.starting_command(&record, &command);
            read.ok_or_else(|| {
                let wanted = version.starts_with();
                StoreError::Invariant(format!(
                    "flow {}: its {record} is not read as {wanted}",
                    row.id
                ))
            })?
        }
        Some(_) | None => command,
    };
    let data: FlowData = row.data.read().map_err(|error| {
        StoreError::Invariant(format!("flow {}: its data cannot be read: {error}", row.id))
    })?;
    Ok(Flow {
        id: row.id,
        tenant: row.tenant,
        aggregate: row.aggregate,
        subject: row.subject,
        journey: row.journey,
        version: row.version,
        lane: row.lane,
        state: row.state,
        status: if row.ended { Status::Ended } else { Status::Running },
        rev: row.rev,
        started_at: row.started_at,
        command: Arc::new(command),
        data,
    })
}

fn tell(note: &Note) {
    match note {
        Note::Command { record, deprecated } => metrics::command(record, deprecated),
        Note::Started(journey) => metrics::started(journey),
        Note::Ended(journey, state) => metrics::ended(journey, state),
        Note::Dead(dead) => {
            tracing::warn!(
                topic = %dead.topic,
                code = dead.code,
                message = dead.message,
                correlation_id = dead.correlation.map(tracing::field::display),
                traceparent = dead.trace,
                "an input is dead-lettered"
            );
            metrics::dead_letter(dead.topic.as_str(), dead.code);
        }
        Note::Parked(cause) => {
            tracing::warn!(
                topic = %cause.topic,
                code = cause.code,
                message = cause.message,
                correlation_id = cause.correlation.map(tracing::field::display),
                traceparent = cause.trace,
                "a flow is parked: its inputs wait until a person has looked"
            );
            metrics::parked(cause.code);
        }
        Note::Held => metrics::held(),
        Note::Act(act) => metrics::act(act),
        Note::Repeat(kind) => metrics::repeat(kind),
        Note::Migrated(journey) => metrics::migrated(journey),
        Note::NotMigrated(reason) => metrics::not_migrated(reason),
        Note::Conflict => metrics::idempotency_conflict(),
        Note::TimerLate(late) => metrics::timer_lag(*late),
    }
}
