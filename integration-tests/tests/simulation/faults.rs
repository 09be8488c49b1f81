//! Bus and store with faults: a crash before or after any operation, commits whose answer is lost, deliveries that are
//! late, partial, or come from a process that is dead already.

use signalbox_bus::{
    Ack, BusError, Inbound, LaneBus, LogRange, MemoryBroker, MemoryLaneBus, Outbound, Position,
    Stretch,
};
use signalbox_schemas::{FlowId, JourneyName, KeyId, LaneId, Micros, TopicName};
use signalbox_store::{
    ClaimedLane, Commit, Contest, InputRow, Installation, JournalRow, KeyRow, LaneFence, LaneStore,
    LoadedFlow, Losers, MemoryStore, NewKey, OpenMigration, ParkedRow, PinnedJourney, StopCause,
    StoreError, TickWrite, TimerRow, WorkerShare,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::chronicle::Chronicle;

/// What is going to happen to one worker process.
pub(crate) struct Fate {
    /// Whose it is, for the chronicle.
    pub(crate) name: String,
    pub(crate) chronicle: Chronicle,
    pub(crate) rng: fastrand::Rng,
    /// Operations until it crashes.
    pub(crate) crash_in: Option<u32>,
    pub(crate) crashed: bool,
    /// The brokers would refuse what its producer still has queued: the log no longer ends where the producer was.
    pub(crate) producer_refused: bool,
    pub(crate) ambiguous_commits: bool,
    pub(crate) broken_producers: bool,
    /// The answer of the next commit that moves a flow is lost, and its producer breaks before it knows what became of it.
    pub(crate) unlucky: bool,
    /// How often its producer still breaks, each time that it asks for acknowledgements.
    pub(crate) breaks: usize,
    /// The brokers take nothing: what is queued waits.
    pub(crate) silent: bool,
    /// Everything is delivered at once and nothing fails: the end of a run.
    pub(crate) calm: bool,
}

pub(crate) type Shared = Arc<Mutex<Fate>>;

impl Fate {
    /// Nothing happens.
    pub(crate) fn calm(name: &str, chronicle: Chronicle, rng: fastrand::Rng) -> Self {
        Self {
            name: name.to_owned(),
            chronicle,
            rng,
            crash_in: None,
            crashed: false,
            producer_refused: false,
            ambiguous_commits: false,
            broken_producers: false,
            unlucky: false,
            breaks: 0,
            silent: false,
            calm: true,
        }
    }

    /// True where the process is dead, from now on or already.
    fn strikes(&mut self) -> bool {
        if let Some(left) = &mut self.crash_in {
            *left = left.saturating_sub(1);
            if *left == 0 && !self.crashed {
                self.crashed = true;
                self.tell(|| "crashes".to_owned());
            }
        }
        self.crashed
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.chronicle.tell(&self.name, what);
    }
}

/// Buses of dead processes whose queued records may still arrive.
pub(crate) type Orphans = Arc<Mutex<Vec<MemoryLaneBus>>>;

pub(crate) struct FaultyBus {
    inner: Option<MemoryLaneBus>,
    fate: Shared,
    orphans: Orphans,
}

impl FaultyBus {
    pub(crate) fn new(inner: MemoryLaneBus, fate: Shared, orphans: Orphans) -> Self {
        Self { inner: Some(inner), fate, orphans }
    }

    /// A bus to which nothing happens.
    pub(crate) fn calm(broker: MemoryBroker) -> Self {
        let rng = fastrand::Rng::with_seed(1);
        let fate = Fate::calm("calm", Chronicle::default(), rng);
        let inner = MemoryLaneBus::connect(broker);
        Self::new(inner, Arc::new(Mutex::new(fate)), Orphans::default())
    }

    fn bus(&mut self) -> Result<&mut MemoryLaneBus, BusError> {
        if self.fate.lock().unwrap().strikes() {
            Err(BusError::Stopped)
        } else {
            Ok(self.inner.as_mut().unwrap())
        }
    }
}

impl Drop for FaultyBus {
    fn drop(&mut self) {
        if !self.fate.lock().unwrap().producer_refused {
            self.orphans.lock().unwrap().extend(self.inner.take());
        }
    }
}

impl LaneBus for FaultyBus {
    async fn cluster_id(&mut self) -> Result<String, BusError> {
        self.bus()?.cluster_id().await
    }

    fn assign(&mut self, positions: Vec<Position>) -> Result<(), BusError> {
        self.bus()?.assign(positions)
    }

    fn unassign(&mut self, partitions: &[(TopicName, i32)]) -> Result<(), BusError> {
        self.bus()?.unassign(partitions)
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Inbound>, BusError> {
        let few = {
            let mut fate = self.fate.lock().unwrap();
            if fate.calm { max } else { fate.rng.usize(1..8) }
        };
        let records = self.bus()?.poll(few.min(max), wait).await?;
        if !records.is_empty() {
            let places = || records.iter().map(Inbound::place).collect::<Vec<_>>().join(" ");
            self.fate.lock().unwrap().tell(|| format!("reads {}", places()));
        }
        Ok(records)
    }

    fn publish(&mut self, lane: u16, lane_seq: i64, record: &Outbound) -> Result<(), BusError> {
        self.bus()?.publish(lane, lane_seq, record)?;
        let at = || format!("{}-{}", record.topic, record.partition);
        self.fate
            .lock()
            .unwrap()
            .tell(|| format!("publishes {lane_seq} of lane {lane} to {}", at()));
        Ok(())
    }

    fn take_acks(&mut self) -> Result<Vec<Ack>, BusError> {
        let queued = self.inner.as_ref().unwrap().queued();
        let (some, breaks) = {
            let mut fate = self.fate.lock().unwrap();
            let most = if fate.silent { 0 } else { queued };
            let some = if fate.calm { most } else { fate.rng.usize(0..=most) };
            let chance = !fate.calm && fate.broken_producers && fate.rng.u8(0..40) == 0;
            let breaks = chance || fate.breaks > 0;
            fate.breaks = fate.breaks.saturating_sub(1);
            (some, breaks)
        };
        let fate = Arc::clone(&self.fate);
        let bus = self.bus()?;
        bus.deliver(some);
        if some > 0 {
            fate.lock().unwrap().tell(|| format!("is acknowledged {some} of {queued}"));
        }
        if breaks {
            fate.lock().unwrap().tell(|| "has a broken producer".to_owned());
            bus.break_producer();
        }
        bus.take_acks()
    }

    async fn acks_ready(&mut self, wait: Duration) {
        let some = usize::from(!self.fate.lock().unwrap().silent);
        if let Ok(bus) = self.bus() {
            bus.deliver(some);
        }
        tokio::time::sleep(wait).await;
    }

    async fn reset_producer(&mut self) -> Result<(), BusError> {
        self.bus()?.reset_producer().await
    }

    async fn ranges(&mut self, logs: &[(TopicName, i32)]) -> Result<Vec<LogRange>, BusError> {
        self.bus()?.ranges(logs).await
    }

    async fn offset_since(
        &mut self,
        topic: &TopicName,
        partition: i32,
        since: Micros,
    ) -> Result<i64, BusError> {
        self.bus()?.offset_since(topic, partition, since).await
    }

    async fn read_all(&mut self, stretches: &[Stretch]) -> Result<Vec<Vec<Inbound>>, BusError> {
        self.bus()?.read_all(stretches).await
    }
}

pub(crate) struct FaultyStore {
    inner: MemoryStore,
    fate: Shared,
}

impl FaultyStore {
    pub(crate) fn new(inner: MemoryStore, fate: Shared) -> Self {
        Self { inner, fate }
    }

    fn store(&mut self) -> Result<&mut MemoryStore, StoreError> {
        if self.fate.lock().unwrap().strikes() { Err(dead()) } else { Ok(&mut self.inner) }
    }
}

/// An error on which a worker gives up, as a dead process does.
fn dead() -> StoreError {
    StoreError::Schema("the process is dead".to_owned())
}

impl LaneStore for FaultyStore {
    async fn installation(&mut self) -> Result<Installation, StoreError> {
        self.store()?.installation().await
    }

    async fn remember_installation(&mut self, kafka_cluster: &str) -> Result<(), StoreError> {
        self.store()?.remember_installation(kafka_cluster).await
    }

    async fn heartbeat(&mut self, worker: &str) -> Result<(), StoreError> {
        self.store()?.heartbeat(worker).await
    }

    async fn leave(&mut self, worker: &str) -> Result<(), StoreError> {
        self.store()?.leave(worker).await
    }

    async fn share(
        &mut self,
        worker: &str,
        held: &[LaneId],
        alive_for: Duration,
    ) -> Result<WorkerShare, StoreError> {
        self.store()?.share(worker, held, alive_for).await
    }

    async fn ensure_journal(&mut self) -> Result<(), StoreError> {
        self.store()?.ensure_journal().await
    }

    async fn claim(
        &mut self,
        worker: &str,
        held: &[LaneId],
        at_most: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedLane>, StoreError> {
        let claimed = self.store()?.claim(worker, held, at_most, lease).await?;
        for lane in &claimed {
            self.fate.lock().unwrap().tell(|| format!("claims {:?}", lane.fence));
        }
        self.store()?;
        Ok(claimed)
    }

    async fn renew(
        &mut self,
        fences: &[LaneFence],
        lease: Duration,
    ) -> Result<(Vec<LaneId>, Micros), StoreError> {
        self.store()?.renew(fences, lease).await
    }

    async fn gone_back(&mut self, held: &[LaneFence]) -> Result<Vec<LaneId>, StoreError> {
        self.store()?.gone_back(held).await
    }

    async fn release(
        &mut self,
        fences: &[LaneFence],
        resting_since: Micros,
    ) -> Result<(), StoreError> {
        self.store()?.release(fences, resting_since).await
    }

    async fn stop_lane(
        &mut self,
        fence: LaneFence,
        cause: StopCause,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.store()?.stop_lane(fence, cause, reason).await
    }

    async fn load_flows(&mut self, ids: &[FlowId]) -> Result<Vec<LoadedFlow>, StoreError> {
        self.store()?.load_flows(ids).await
    }

    async fn ensure_keys(&mut self, wanted: &[NewKey]) -> Result<Vec<KeyRow>, StoreError> {
        self.store()?.ensure_keys(wanted).await
    }

    async fn keys(&mut self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        LaneStore::keys(self.store()?, ids).await
    }

    async fn parked(&mut self, flows: &[FlowId]) -> Result<Vec<ParkedRow>, StoreError> {
        self.store()?.parked(flows).await
    }

    async fn due_timers(
        &mut self,
        lanes: &[LaneId],
        until: Micros,
        at_most: usize,
    ) -> Result<Vec<TimerRow>, StoreError> {
        self.store()?.due_timers(lanes, until, at_most).await
    }

    async fn next_timer(&mut self, lanes: &[LaneId]) -> Result<Option<Micros>, StoreError> {
        self.store()?.next_timer(lanes).await
    }

    async fn journeys_but(
        &mut self,
        known: &[(JourneyName, u32)],
    ) -> Result<Vec<PinnedJourney>, StoreError> {
        self.store()?.journeys_but(known).await
    }

    async fn open_migrations(
        &mut self,
        lanes: &[LaneId],
    ) -> Result<Vec<OpenMigration>, StoreError> {
        self.store()?.open_migrations(lanes).await
    }

    async fn flows_to_migrate(
        &mut self,
        open: &OpenMigration,
        at_most: usize,
    ) -> Result<Vec<FlowId>, StoreError> {
        self.store()?.flows_to_migrate(open, at_most).await
    }

    async fn journal_after(
        &mut self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.store()?.journal_after(lane, seq, at_most).await
    }

    async fn journal_seq_of(&mut self, lane: LaneId, out_seq: i64) -> Result<i64, StoreError> {
        self.store()?.journal_seq_of(lane, out_seq).await
    }

    async fn begin_inputs(&mut self, rows: &[InputRow]) -> Result<(), StoreError> {
        self.store()?.begin_inputs(rows).await
    }

    async fn commit(
        &mut self,
        fences: &[LaneFence],
        contest: &Contest,
        lease: Duration,
        decide: &mut (dyn FnMut(Losers) -> TickWrite + Send),
    ) -> Result<Commit, StoreError> {
        let lost = {
            let mut fate = self.fate.lock().unwrap();
            if !fate.calm && fate.ambiguous_commits { fate.rng.u8(0..10) } else { u8::MAX }
        };
        if lost == 0 {
            // The connection broke before the commit.
            self.fate.lock().unwrap().tell(|| "loses its connection before a commit".to_owned());
            return Err(StoreError::Retry(sqlx::Error::WorkerCrashed));
        }
        let mut rows = Vec::new();
        let mut noted = |losers: Losers| {
            let write = decide(losers);
            rows = write.journal.iter().map(told).collect();
            write
        };
        let committed = self.store()?.commit(fences, contest, lease, &mut noted).await;
        let fate = Arc::clone(&self.fate);
        fate.lock().unwrap().tell(|| {
            let what = match &committed {
                Ok(Commit::Done { .. }) => "commits".to_owned(),
                Ok(other) => format!("does not commit ({other:?})"),
                Err(error) => format!("does not commit ({error})"),
            };
            format!("{what} {}", rows.join("; "))
        });
        let committed = committed?;
        self.store()?;
        let unlucky = {
            let mut fate = fate.lock().unwrap();
            let unlucky = !rows.is_empty() && std::mem::take(&mut fate.unlucky);
            if unlucky {
                fate.breaks = 2;
            }
            unlucky
        };
        if lost == 1 || unlucky {
            // It broke after the commit, and the lane row could not be read either.
            fate.lock().unwrap().tell(|| "loses the answer of that commit".to_owned());
            return Err(StoreError::Retry(sqlx::Error::WorkerCrashed));
        }
        Ok(committed)
    }
}

/// A journal row in a line.
fn told(row: &JournalRow) -> String {
    let input = row.input_topic.as_ref().zip(row.input_offset);
    let input = input.map(|(topic, offset)| format!(" of {topic}@{offset}")).unwrap_or_default();
    let flow = row.flow.map(|flow| format!(" {flow}")).unwrap_or_default();
    let (kind, reason, last) = (&row.kind, &row.reason, row.out_last);
    format!("lane {} #{} {kind}{flow}{input}: {reason}, up to {last}", row.lane, row.seq)
}
