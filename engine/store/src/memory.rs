//! The store's twin in memory: the same promises as Postgres, in one process, on a clock that the test moves.
//! It refuses what Postgres would refuse (fences, revisions, compare on offsets) and nothing else.

mod attempts;
mod growth;
mod keys;
mod migrations;
mod people;
mod recovery;

use signalbox_schemas::{
    AttemptId, FlowId, JourneyName, KeyId, LaneId, Micros, SubjectId, Tenant, TopicName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::StoreError;
use crate::journal::JournalRow;
use crate::keys::{KeyRow, NewKey};
use crate::lane_store::{
    ClaimedLane, Commit, Contest, Installation, LaneStore, Losers, PinnedJourney, StopCause,
    TickWrite, WorkerShare,
};
use crate::migration_rows::OpenMigration;
use crate::rows::{
    AssentRow, AttemptRow, CommandRow, Disposition, FlowRow, InputRow, LaneFence, LoadedFlow,
    OutputRow, ParkedRow, PeerRow, PublishedEnding, RecognitionRow, TimerRow,
};

pub use recovery::MemoryBackup;

/// What one lane row holds.
#[derive(Debug, Clone, Default)]
struct LaneState {
    epoch: i64,
    rev: i64,
    owner: Option<String>,
    lease_until: Micros,
    resting_since: Option<Micros>,
    out_seq: i64,
    pub_seq: i64,
    pub_journal_seq: i64,
    journal_seq: i64,
    journal_head: Vec<u8>,
    stopped: Option<String>,
}

/// A transaction works on a copy: rows that there are many of are shared with it.
#[derive(Debug, Clone, Default)]
struct Tables {
    now: Micros,
    installation: Installation,
    workers: BTreeMap<String, Micros>,
    lanes: BTreeMap<LaneId, LaneState>,
    inputs: BTreeMap<(LaneId, TopicName), InputRow>,
    outputs: BTreeMap<(LaneId, TopicName, i32), OutputRow>,
    peers: BTreeMap<(LaneId, LaneId), PeerRow>,
    flows: BTreeMap<FlowId, Arc<FlowRow>>,
    commands: BTreeMap<(Tenant, String), Arc<CommandRow>>,
    attempts: BTreeMap<AttemptId, AttemptRow>,
    timers: BTreeMap<(FlowId, String), TimerRow>,
    parked: BTreeMap<(FlowId, i64), ParkedRow>,
    assents: Vec<AssentRow>,
    recognitions: BTreeMap<SubjectId, RecognitionRow>,
    migrations: migrations::Migrations,
    journal: BTreeMap<LaneId, Vec<Arc<JournalRow>>>,
    keys: BTreeMap<KeyId, KeyRow>,
    /// Attempts that a settlement put in doubt.
    forgotten: BTreeSet<AttemptId>,
    endings: BTreeMap<FlowId, PublishedEnding>,
    read_before: BTreeMap<(LaneId, TopicName), i64>,
}

/// A database in memory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryStore {
    /// A database with so many lanes, at an instant.
    pub fn new(lanes: u16, now: Micros) -> Self {
        let store = Self::default();
        {
            let mut tables = store.lock();
            tables.now = now;
            tables.lanes = (0..lanes).map(|lane| (LaneId(lane), LaneState::default())).collect();
        }
        store
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut tables = self.lock();
        tables.now = tables.now.after(by);
    }

    /// Sets its time, as somebody does who sets the clock of a server: forward or back.
    pub fn set_clock(&self, now: Micros) {
        self.lock().now = now;
    }

    /// Database time.
    pub fn clock(&self) -> Micros {
        self.lock().now
    }

    /// A lane's journal.
    pub fn journal(&self, lane: LaneId) -> Vec<JournalRow> {
        let tables = self.lock();
        let rows = tables.journal.get(&lane).into_iter().flatten();
        rows.map(|row| JournalRow::clone(row)).collect()
    }

    /// Every flow.
    pub fn flows(&self) -> Vec<FlowRow> {
        self.lock().flows.values().map(|flow| FlowRow::clone(flow)).collect()
    }

    /// Every attempt.
    pub fn attempts(&self) -> Vec<AttemptRow> {
        self.lock().attempts.values().cloned().collect()
    }

    /// Every input that waits for its flow.
    pub fn all_parked(&self) -> Vec<ParkedRow> {
        self.lock().parked.values().cloned().collect()
    }

    /// Every timer's row.
    pub fn all_timers(&self) -> Vec<TimerRow> {
        self.lock().timers.values().cloned().collect()
    }

    /// Every agreement of people.
    pub fn assents(&self) -> Vec<AssentRow> {
        self.lock().assents.clone()
    }

    /// Who owns a lane.
    pub fn owner(&self, lane: LaneId) -> Option<String> {
        self.lock().lanes.get(&lane).and_then(|state| state.owner.clone())
    }

    /// Why a lane is stopped, if it is.
    pub fn stopped(&self, lane: LaneId) -> Option<String> {
        self.lock().lanes.get(&lane).and_then(|state| state.stopped.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn holds(&self, fence: &LaneFence) -> bool {
        self.lanes.get(&fence.lane).is_some_and(|lane| lane.epoch == fence.epoch)
    }

    fn fence_matches(&self, fence: &LaneFence) -> bool {
        self.lanes
            .get(&fence.lane)
            .is_some_and(|lane| lane.epoch == fence.epoch && lane.rev == fence.rev)
    }

    /// Lanes that a worker, who holds some, may take.
    fn claimable(&self, worker: &str, held: &[LaneId]) -> impl Iterator<Item = LaneId> {
        let is_free = move |(id, lane): &(&LaneId, &LaneState)| {
            lane.stopped.is_none()
                && !held.contains(id)
                && (lane.owner.is_none()
                    || lane.owner.as_deref() == Some(worker)
                    || lane.lease_until < self.now)
        };
        self.lanes.iter().filter(is_free).map(|(id, _)| *id)
    }

    /// As `tables::lane_output::acked_elsewhere`.
    fn acked_elsewhere(&self) -> BTreeMap<(TopicName, i32), i64> {
        let mut acked = BTreeMap::new();
        for row in self.outputs.values().filter(|row| row.partition != row.lane.partition()) {
            let last = acked.entry((row.topic.clone(), row.partition)).or_insert(-1);
            *last = row.last_acked_offset.max(*last);
        }
        acked
    }

    fn contest(&mut self, contest: &Contest) -> Losers {
        let mut losers = Losers::default();
        for id in &contest.abandons {
            match self.attempts.get_mut(id) {
                Some(row) if row.disposition != Disposition::Sending => {
                    row.disposition = Disposition::Abandoned
                }
                _ => {
                    losers.sending.insert(*id);
                }
            }
        }
        for row in &contest.commands {
            let key = (row.tenant.clone(), row.key.clone());
            let holder = self
                .commands
                .get(&key)
                .or_else(|| self.commands.values().find(|held| held.flow == row.flow));
            match holder {
                Some(held) => losers
                    .commands
                    .push(CommandRow { content: Vec::new(), ..CommandRow::clone(held) }),
                None => {
                    self.commands.insert(key, Arc::new(row.clone()));
                }
            }
        }
        losers
    }

    fn write(&mut self, write: &TickWrite, lease: Duration) -> Result<(), StoreError> {
        let broken = |what: &str| StoreError::Invariant(format!("{what}: not as expected"));
        for (old, row) in &write.inputs {
            let held = self
                .inputs
                .get_mut(&(row.lane, row.topic.clone()))
                .filter(|held| held.next_offset == *old);
            *held.ok_or_else(|| broken("lane_input"))? = row.clone();
        }
        for row in &write.outputs {
            self.outputs.insert((row.lane, row.topic.clone(), row.partition), row.clone());
        }
        for row in &write.peers {
            self.peers.insert((row.lane, row.source), *row);
        }
        for flow in &write.flows {
            if self.flows.get(&flow.row.id).map(|held| held.rev) != flow.expected_rev {
                return Err(broken("flow"));
            }
            self.flows.insert(flow.row.id, Arc::new(flow.row.clone()));
        }
        for plan in &write.attempts {
            let row = AttemptRow {
                plan: plan.clone(),
                disposition: Disposition::Planned,
                vendor: None,
                sends: 0,
                request: None,
                first_sent_at: None,
                result: None,
                contradiction: None,
            };
            self.attempts.entry(plan.id).or_insert(row);
        }
        for id in &write.given_up {
            let planned = |row: &&mut AttemptRow| row.disposition == Disposition::Planned;
            let row = self.attempts.get_mut(id).filter(planned).ok_or_else(|| broken("attempt"))?;
            row.disposition = Disposition::Abandoned;
        }
        for ruling in &write.rulings {
            if let Some(row) = self.attempts.get_mut(&ruling.attempt) {
                row.rule(ruling);
            }
        }
        for timer in &write.timers_cleared {
            self.timers.remove(timer);
        }
        for timer in &write.timers_set {
            self.timers.insert((timer.flow, timer.name.clone()), timer.clone());
        }
        self.write_parked(write)?;
        self.write_recognitions(&write.recognitions);
        self.migrations.write(write)?;
        for row in &write.journal {
            let log = self.journal.entry(row.lane).or_default();
            if i64::try_from(log.len()).unwrap_or(i64::MAX) + 1 != row.seq {
                return Err(broken("journal"));
            }
            log.push(Arc::new(row.clone()));
        }
        let until = self.now.after(lease);
        for moved in &write.lanes {
            let lane = self.lanes.get_mut(&moved.fence.lane).ok_or_else(|| broken("lane"))?;
            lane.rev += 1;
            lane.lease_until = until;
            (lane.out_seq, lane.pub_seq) = (moved.out_seq, moved.pub_seq);
            (lane.journal_seq, lane.pub_journal_seq) = (moved.journal_seq, moved.pub_journal_seq);
            lane.journal_head.clone_from(&moved.journal_head);
        }
        Ok(())
    }
}

impl LaneStore for MemoryStore {
    async fn installation(&mut self) -> Result<Installation, StoreError> {
        Ok(self.lock().installation.clone())
    }

    async fn remember_installation(&mut self, kafka_cluster: &str) -> Result<(), StoreError> {
        let mut tables = self.lock();
        let seen = &mut tables.installation;
        seen.kafka_cluster.get_or_insert_with(|| kafka_cluster.to_owned());
        seen.system_identifier.get_or_insert_with(String::new);
        seen.timeline.get_or_insert_with(String::new);
        Ok(())
    }

    async fn heartbeat(&mut self, worker: &str) -> Result<(), StoreError> {
        let mut tables = self.lock();
        let now = tables.now;
        tables.workers.insert(worker.to_owned(), now);
        Ok(())
    }

    async fn leave(&mut self, worker: &str) -> Result<(), StoreError> {
        self.lock().workers.remove(worker);
        Ok(())
    }

    async fn share(
        &mut self,
        worker: &str,
        held: &[LaneId],
        alive_for: Duration,
    ) -> Result<WorkerShare, StoreError> {
        let tables = self.lock();
        let now = tables.now;
        let is_other = |(name, seen): &(&String, &Micros)| {
            name.as_str() != worker && now.since(**seen) < alive_for
        };
        Ok(WorkerShare {
            others: tables.workers.iter().filter(is_other).count(),
            lanes: tables.lanes.len(),
            free: tables.claimable(worker, held).count(),
            now,
        })
    }

    async fn ensure_journal(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn claim(
        &mut self,
        worker: &str,
        held: &[LaneId],
        at_most: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedLane>, StoreError> {
        let mut tables = self.lock();
        let now = tables.now;
        let ids: Vec<LaneId> = tables.claimable(worker, held).take(at_most).collect();
        let lanes = tables.lanes.len();
        let mut claimed = Vec::new();
        for id in ids {
            let inputs = tables.inputs.values().filter(|row| row.lane == id).cloned().collect();
            let outputs = tables.outputs.values().filter(|row| row.lane == id).cloned().collect();
            let acked_elsewhere = tables.acked_elsewhere();
            let peers = tables.peers.values().filter(|row| row.lane == id).copied().collect();
            let forgotten = tables.forgotten_of(id);
            let Some(lane) = tables.lanes.get_mut(&id) else { continue };
            lane.epoch += 1;
            lane.owner = Some(worker.to_owned());
            lane.lease_until = now.after(lease);
            claimed.push(ClaimedLane {
                fence: LaneFence { lane: id, epoch: lane.epoch, rev: lane.rev },
                lanes,
                out_seq: lane.out_seq,
                pub_seq: lane.pub_seq,
                pub_journal_seq: lane.pub_journal_seq,
                journal_seq: lane.journal_seq,
                journal_head: lane.journal_head.clone(),
                inputs,
                outputs,
                acked_elsewhere,
                peers,
                forgotten,
                resting_since: lane.resting_since.take(),
            });
        }
        Ok(claimed)
    }

    async fn renew(
        &mut self,
        fences: &[LaneFence],
        lease: Duration,
    ) -> Result<(Vec<LaneId>, Micros), StoreError> {
        let mut tables = self.lock();
        let now = tables.now;
        let (held, lost): (Vec<&LaneFence>, Vec<&LaneFence>) =
            fences.iter().partition(|fence| tables.holds(fence));
        for fence in held {
            if let Some(lane) = tables.lanes.get_mut(&fence.lane) {
                lane.lease_until = now.after(lease);
            }
        }
        Ok((lost.into_iter().map(|fence| fence.lane).collect(), now))
    }

    async fn gone_back(&mut self, held: &[LaneFence]) -> Result<Vec<LaneId>, StoreError> {
        let mut tables = self.lock();
        let is_older = |fence: &&LaneFence| {
            let stored = tables.lanes.get(&fence.lane);
            stored.is_some_and(|lane| (lane.epoch, lane.rev) < (fence.epoch, fence.rev))
        };
        let older: Vec<LaneId> = held.iter().filter(is_older).map(|fence| fence.lane).collect();
        tables.installation.lost_commits |= !older.is_empty();
        Ok(older)
    }

    async fn release(
        &mut self,
        fences: &[LaneFence],
        resting_since: Micros,
    ) -> Result<(), StoreError> {
        let mut tables = self.lock();
        let held: Vec<LaneId> =
            fences.iter().filter(|fence| tables.holds(fence)).map(|fence| fence.lane).collect();
        for id in held {
            if let Some(lane) = tables.lanes.get_mut(&id) {
                (lane.owner, lane.resting_since) = (None, Some(resting_since));
            }
        }
        Ok(())
    }

    async fn stop_lane(
        &mut self,
        fence: LaneFence,
        cause: StopCause,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let mut tables = self.lock();
        if tables.holds(&fence)
            && let Some(lane) = tables.lanes.get_mut(&fence.lane)
        {
            lane.stopped = Some(reason.to_owned());
            lane.owner = None;
            tables.installation.lost_commits |= cause == StopCause::LostCommits;
            return Ok(true);
        }
        Ok(false)
    }

    async fn load_flows(&mut self, ids: &[FlowId]) -> Result<Vec<LoadedFlow>, StoreError> {
        let tables = self.lock();
        let load = |id: &FlowId| {
            let row = FlowRow::clone(tables.flows.get(id)?);
            let command = tables.commands.values().find(|command| command.flow == *id)?;
            let CommandRow { record, content, hash, .. } = CommandRow::clone(command);
            Some(LoadedFlow { row, record, command: content, hash })
        };
        Ok(ids.iter().filter_map(load).collect())
    }

    async fn ensure_keys(&mut self, wanted: &[NewKey]) -> Result<Vec<KeyRow>, StoreError> {
        let mut tables = self.lock();
        Ok(wanted.iter().map(|new| keys::ensure(&mut tables, new)).collect())
    }

    async fn keys(&mut self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        let tables = self.lock();
        Ok(ids.iter().filter_map(|id| tables.keys.get(id).cloned()).collect())
    }

    async fn parked(&mut self, flows: &[FlowId]) -> Result<Vec<ParkedRow>, StoreError> {
        let tables = self.lock();
        Ok(tables.parked.values().filter(|row| flows.contains(&row.flow)).cloned().collect())
    }

    async fn due_timers(
        &mut self,
        lanes: &[LaneId],
        until: Micros,
        at_most: usize,
    ) -> Result<Vec<TimerRow>, StoreError> {
        let tables = self.lock();
        let mut due: Vec<TimerRow> = tables
            .timers
            .values()
            .filter(|timer| timer.due_at <= until && lanes.contains(&timer.lane))
            .cloned()
            .collect();
        due.sort();
        due.truncate(at_most);
        Ok(due)
    }

    async fn next_timer(&mut self, lanes: &[LaneId]) -> Result<Option<Micros>, StoreError> {
        Ok(self
            .lock()
            .timers
            .values()
            .filter(|timer| lanes.contains(&timer.lane))
            .map(|timer| timer.due_at)
            .min())
    }

    async fn journeys_but(
        &mut self,
        known: &[(JourneyName, u32)],
    ) -> Result<Vec<PinnedJourney>, StoreError> {
        Ok(self.lock().migrations.journeys_but(known))
    }

    async fn open_migrations(
        &mut self,
        lanes: &[LaneId],
    ) -> Result<Vec<OpenMigration>, StoreError> {
        Ok(self.lock().migrations.open(lanes))
    }

    async fn flows_to_migrate(
        &mut self,
        open: &OpenMigration,
        at_most: usize,
    ) -> Result<Vec<FlowId>, StoreError> {
        let tables = self.lock();
        let wanted = |flow: &&Arc<FlowRow>| {
            (flow.lane, flow.version) == (open.lane, open.migration.from)
                && flow.journey == open.migration.journey
                && !flow.ended
                && open.reached.is_none_or(|reached| flow.id > reached)
        };
        Ok(tables.flows.values().filter(wanted).map(|flow| flow.id).take(at_most).collect())
    }

    async fn journal_after(
        &mut self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> Result<Vec<JournalRow>, StoreError> {
        let tables = self.lock();
        let rows = tables.journal.get(&lane).map(Vec::as_slice).unwrap_or_default();
        let rows = rows.iter().filter(|row| row.seq > seq).take(at_most);
        Ok(rows.map(|row| JournalRow::clone(row)).collect())
    }

    async fn journal_seq_of(&mut self, lane: LaneId, out_seq: i64) -> Result<i64, StoreError> {
        let tables = self.lock();
        let rows = tables.journal.get(&lane).map(Vec::as_slice).unwrap_or_default();
        Ok(rows.iter().filter(|row| row.out_last <= out_seq).map(|row| row.seq).max().unwrap_or(0))
    }

    async fn begin_inputs(&mut self, rows: &[InputRow]) -> Result<(), StoreError> {
        let mut tables = self.lock();
        for row in rows {
            tables.inputs.entry((row.lane, row.topic.clone())).or_insert_with(|| row.clone());
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        fences: &[LaneFence],
        contest: &Contest,
        lease: Duration,
        decide: &mut (dyn FnMut(Losers) -> TickWrite + Send),
    ) -> Result<Commit, StoreError> {
        let mut tables = self.lock();
        let lost: Vec<LaneId> = fences
            .iter()
            .filter(|fence| !tables.fence_matches(fence))
            .map(|fence| fence.lane)
            .collect();
        if !lost.is_empty() {
            return Ok(Commit::Fenced(lost));
        }
        // A transaction works on a copy: an error leaves nothing behind.
        let mut copy = tables.clone();
        let losers = copy.contest(contest);
        let decided = decide(losers);
        copy.write(&decided, lease)?;
        let destroyed = keys::destroyed(&copy, &decided.keys_used);
        if !destroyed.is_empty() {
            return Ok(Commit::Erased(destroyed));
        }
        *tables = copy;
        Ok(Commit::Done { now: tables.now })
    }
}
