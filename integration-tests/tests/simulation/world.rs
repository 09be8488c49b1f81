//! The world of one run: a store, a broker, two workers that may die, adapters, people and a clock, all from one seed.

use serde_json::Value;
use signalbox_bus::{Codec, Headers, MemoryBroker, MemoryLaneBus, MemoryRegistry, Outbound};
use signalbox_schemas::{Contract, FlowId, KeyId, LaneId, Micros, TenantKey, TopicName, home_lane};
use signalbox_store::{Erasure, ErasureOrder, MemoryStore};
use signalbox_vault::EnvelopeKeys;
use signalbox_worker::{Worker, WorkerOptions};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::adapter::Adapters;
use super::business::{ALL, Business};
use super::check;
use super::chronicle::Chronicle;
use super::faults::{Fate, FaultyBus, FaultyStore, Orphans, Shared};
use super::migrations;
use super::operators::Operators;
use super::people::People;
use super::plan::{Fault, Plan};
use super::restore::Restore;

const START: Micros = Micros(1_800_000_000_000_000);
/// Bytes of the largest record while topics are too narrow.
const NARROW: usize = 3_000;
/// How far somebody sets a clock at most, in microseconds: several leases.
const JUMP_MAX: i64 = 30_000_000;
/// Time that passes in a step, where small ones matter and where not.
const LITTLE: Duration = Duration::from_millis(20);
const STRIDE: Duration = Duration::from_millis(500);
/// Turns until everything must have ended.
const UNTIL_ENDED: usize = 6_000;

pub(super) type SimulatedWorker = Worker<FaultyBus, FaultyStore>;

pub(super) struct Process {
    name: String,
    pub(super) worker: Option<SimulatedWorker>,
    fate: Shared,
    pub(super) paused_until: Option<Instant>,
    /// Lanes when it started.
    lanes: u16,
    pub(super) leaving: bool,
}

pub(crate) struct World {
    pub(super) plan: Plan,
    pub(super) chronicle: Chronicle,
    pub(super) rng: fastrand::Rng,
    pub(crate) broker: MemoryBroker,
    pub(crate) store: MemoryStore,
    pub(crate) codec: Arc<Codec>,
    pub(crate) registry: MemoryRegistry,
    pub(crate) adapters: Adapters,
    people: People,
    operators: Operators,
    /// The envelope key, which survives every crash.
    pub(crate) keys: Arc<EnvelopeKeys>,
    /// Keys that were destroyed, with a flow of whom they were.
    pub(crate) erased: Vec<(FlowId, KeyId)>,
    /// Erasures refused because a flow ran.
    pub(crate) refused: usize,
    pub(crate) restore: Restore,
    pub(super) processes: Vec<Process>,
    orphans: Orphans,
    begun: Instant,
    /// How far the clock of the database is ahead of time, in microseconds; how often it was set back, and the latest that
    /// it has ever shown.
    ahead: i64,
    pub(crate) went_back: usize,
    pub(crate) latest: Micros,
    /// What was asked for: the journey and the id.
    pub(super) commanded: Vec<(&'static Business, String)>,
    /// Commands with the id of another and another meaning.
    pub(crate) contradictions: usize,
    /// Topics take what they should: workers that start from now on know it.
    mended: bool,
    pub(crate) lanes_at_first: u16,
    /// Lanes that workers who left had handed over by then.
    pub(crate) handed_over: usize,
}

/// A clock of its own, which stands still while anybody works.
pub(super) fn simulated_time() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

/// The codec of every run.
fn codec() -> Arc<Codec> {
    static CODEC: LazyLock<Arc<Codec>> =
        LazyLock::new(|| Arc::new(Codec::offline(Contract::builtin().unwrap())));
    Arc::clone(&CODEC)
}

/// The codec with which a process begins: it knows everything, unless it has to learn it.
pub(super) fn codec_of_a_process(
    plan: Plan,
    codec: &Arc<Codec>,
    registry: &MemoryRegistry,
) -> Arc<Codec> {
    match plan.has(Fault::RegistryAway) {
        true => Arc::new(codec.to_learn_from(registry.clone())),
        false => Arc::clone(codec),
    }
}

/// Runs something by such a clock.
pub(super) fn in_simulated_time<T>(run: impl Future<Output = T>) -> T {
    simulated_time().block_on(run)
}

impl World {
    /// One run from one seed; panics with what does not hold.
    pub(crate) fn run(seed: u64, plan: Plan, chronicle: &Chronicle) -> check::Standstills {
        in_simulated_time(async {
            let mut world = Self::new(seed, plan, chronicle);
            world.storm().await;
            world.calm_down().await;
            let mut seen = check::everything(&world, &world.commanded);
            seen.migrated = migrations::judge(&world.store, plan.has(Fault::FromFirst));
            seen.stopped = migrations::stopped(&world.store);
            seen
        })
    }

    /// One of two workers leaves in the midst of work, and comes again: each time lanes go to the other one by one, and
    /// never is more than one without a worker.
    pub(crate) fn hand_over(seed: u64, plan: Plan, chronicle: &Chronicle) -> check::Standstills {
        in_simulated_time(async {
            let mut world = Self::new(seed, plan, chronicle);
            world.fates(|fate| fate.calm = true);
            let lanes = usize::from(world.store.lane_count());
            let half = lanes / 2;
            world
                .step_until(lanes, |world| {
                    world.owned("east") == half && world.owned("west") == half
                })
                .await;
            (0..world.plan.flows).for_each(|_| world.command());
            world.leave(0).await;
            world.step_until(1, |world| world.handed_over == half).await;
            let shared = |world: &Self| world.owned("east") == half && world.owned("west") == half;
            world.step_until(1, shared).await;
            world.calm_down().await;
            check::everything(&world, &world.commanded)
        })
    }

    /// The answer of a commit is lost, and before its worker knows what became of it, its producer breaks, twice: what that
    /// worker does not know to be committed must not look to it like commits that Postgres has lost.
    pub(crate) fn commit_in_doubt(
        seed: u64,
        plan: Plan,
        chronicle: &Chronicle,
    ) -> check::Standstills {
        in_simulated_time(async {
            let mut world = Self::new(seed, plan, chronicle);
            world.fates(|fate| fate.calm = true);
            let lanes = usize::from(world.store.lane_count());
            let half = lanes / 2;
            let shared = |world: &Self| world.owned("east") == half && world.owned("west") == half;
            world.step_until(lanes, shared).await;
            (0..world.plan.flows).for_each(|_| world.command());
            for _ in 0..world.rng.usize(1..8) {
                // Something is queued, then the answer is lost, and what is queued is lost too.
                world.fates(|fate| fate.silent = true);
                world.step(LITTLE).await;
                world.fates(|fate| fate.unlucky = true);
                world.step(LITTLE).await;
                world.step(LITTLE).await;
                world.fates(|fate| fate.silent = false);
                for _ in 0..world.rng.usize(3..20) {
                    world.step(LITTLE).await;
                }
            }
            world.calm_down().await;
            check::everything(&world, &world.commanded)
        })
    }

    /// Everybody works in small steps until something is so; so many lanes may be without a worker at most.
    pub(super) async fn step_until(&mut self, free_max: usize, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..UNTIL_ENDED {
            if is_so(self) {
                return;
            }
            self.step(LITTLE).await;
            let free = self.lanes().filter(|lane| self.store.owner(*lane).is_none()).count();
            assert!(free <= free_max, "{free} lanes have no worker");
        }
        panic!("{} lanes were handed over, east has {}", self.handed_over, self.owned("east"));
    }

    /// Everybody works, and some time passes.
    async fn step(&mut self, by: Duration) {
        self.workers_turn().await;
        self.adapters.turn().await;
        self.pass(by).await;
    }

    /// Every worker's turn, one after the other.
    pub(super) async fn workers_turn(&mut self) {
        for index in 0..self.processes.len() {
            self.turn(index).await;
        }
    }

    /// The same happens to every worker.
    pub(super) fn fates(&self, happens: impl Fn(&mut Fate)) {
        self.processes.iter().for_each(|process| happens(&mut process.fate.lock().unwrap()));
    }

    fn lanes(&self) -> impl Iterator<Item = LaneId> {
        (0..self.store.lane_count()).map(LaneId)
    }

    pub(super) fn owned(&self, name: &str) -> usize {
        self.lanes().filter(|lane| self.store.owner(*lane).as_deref() == Some(name)).count()
    }

    async fn leave(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let Some(worker) = &mut process.worker else { return };
        if !process.leaving {
            process.leaving = true;
            self.chronicle.tell(&process.name, || "leaves".to_owned());
            worker.leave().await;
        }
    }

    pub(super) fn new(seed: u64, plan: Plan, chronicle: &Chronicle) -> Self {
        let contract = Contract::builtin().unwrap();
        let codec = codec();
        let lanes = contract.topics().lanes;
        let store = MemoryStore::new(lanes, START);
        let broker = MemoryBroker::new();
        let mut rng = fastrand::Rng::with_seed(seed);
        let keys = Arc::new(EnvelopeKeys::of_text(&"5a".repeat(32)).unwrap());
        let registry = codec.memory_registry();
        let around = (broker.clone(), store.clone(), Arc::clone(&codec), registry.clone());
        let adapters =
            Adapters::new(around, Arc::clone(&keys), rng.fork(), plan, chronicle.clone());
        let mut world = Self {
            plan,
            chronicle: chronicle.clone(),
            restore: Restore::at_some_time(&mut fastrand::Rng::with_seed(!seed)),
            rng,
            adapters,
            people: People::new(broker.clone(), store.clone(), Arc::clone(&codec)),
            operators: Operators::new(broker.clone(), store.clone(), Arc::clone(&codec)),
            keys,
            erased: Vec::new(),
            refused: 0,
            processes: Vec::new(),
            orphans: Orphans::default(),
            begun: Instant::now(),
            ahead: 0,
            went_back: 0,
            latest: START,
            commanded: Vec::new(),
            contradictions: 0,
            mended: false,
            lanes_at_first: lanes,
            handed_over: 0,
            broker,
            store,
            codec,
            registry,
        };
        for name in ["east", "west"] {
            let fate = world.fate(name);
            let worker = Some(world.worker(name, &fate));
            world.processes.push(Process {
                name: name.to_owned(),
                worker,
                fate,
                paused_until: None,
                lanes,
                leaving: false,
            });
        }
        world
    }

    fn fate(&mut self, name: &str) -> Shared {
        let crash_in = self.plan.has(Fault::Crashes).then(|| self.rng.u32(5..400));
        let rng = fastrand::Rng::with_seed(self.rng.u64(..));
        Arc::new(Mutex::new(Fate {
            crash_in,
            ambiguous_commits: self.plan.has(Fault::AmbiguousCommits),
            broken_producers: self.plan.has(Fault::BrokenProducers),
            calm: false,
            ..Fate::calm(name, self.chronicle.clone(), rng)
        }))
    }

    fn worker(&self, name: &str, fate: &Shared) -> SimulatedWorker {
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let mut options = WorkerOptions::new(name, self.store.lane_count(), key);
        options.cached_flows_max = 5;
        // So few that lanes wait for their turns.
        options.tick_records_enough = 2;
        // So few at once that a lane has not moved everything when it is told to stop, or dies.
        options.migrated_flows_max = if self.plan.has(Fault::Stops) { 1 } else { 2 };
        if self.plan.has(Fault::BadData) && !self.mended {
            options.record_bytes_max = NARROW;
        }
        let bus = FaultyBus::new(
            MemoryLaneBus::connect(self.broker.clone()),
            Arc::clone(fate),
            Arc::clone(&self.orphans),
        );
        let store = FaultyStore::new(self.store.clone(), Arc::clone(fate));
        let library = migrations::library_at_first(self.plan.has(Fault::FromFirst));
        let keys = Arc::clone(&self.keys);
        let codec = codec_of_a_process(self.plan, &self.codec, &self.registry);
        Worker::new(options, bus, store, codec, library, keys).unwrap()
    }

    /// Faults rain while commands come in.
    async fn storm(&mut self) {
        for turn in 0..self.plan.turns {
            self.chronicle.tell("turn", || turn.to_string());
            if turn % 12 == 0 && self.commanded.len() < self.plan.flows {
                self.command();
            }
            self.anything().await;
            if self.plan.has(Fault::Restores) {
                self.lose_time(turn).await;
            }
            // With a migration, in the midst of it: until it has ended it stands in the way.
            let first = if self.plan.has(Fault::Migrates) {
                self.plan.turns / 2
            } else {
                self.plan.turns / 3
            };
            if self.plan.has(Fault::Grows) && turn > first && turn % 10 == 0 {
                self.grow().await;
            }
            if self.plan.has(Fault::Migrates) && turn == self.plan.turns / 2 {
                migrations::ask(&self.store, self.plan.has(Fault::FromFirst), self.store.clock());
            }
            if self.plan.has(Fault::Migrates)
                && (turn == self.plan.turns / 2 || turn == self.plan.turns / 2 + 20)
            {
                // Told twice: it begins once.
                migrations::begin(&self.broker, &self.codec, self.store.lane_count());
            }
            if self.plan.has(Fault::Stops)
                && matches!(turn.checked_sub(self.plan.turns / 2), Some(12 | 16))
            {
                // Told twice: it stops once, and what is told to begin after it does not.
                migrations::stop(&self.broker, &self.codec, self.store.lane_count());
            }
        }
        while self.commanded.len() < self.plan.flows {
            self.command();
        }
    }

    /// No more faults; everything has to come to its end.
    pub(super) async fn calm_down(&mut self) {
        self.chronicle.tell("turn", || "no more faults".to_owned());
        self.registry.set_away(false);
        for process in &mut self.processes {
            process.paused_until = None;
            let mut fate = process.fate.lock().unwrap();
            (fate.calm, fate.crash_in) = (true, None);
        }
        if self.plan.has(Fault::BadData) {
            // The fix is a setting, so every worker is started again.
            self.mended = true;
            for process in &mut self.processes {
                process.fate.lock().unwrap().crashed = true;
            }
        }
        self.adapters.calm_down().await;
        for turn in 0..UNTIL_ENDED {
            if turn % 20 == 0 {
                self.operators.mend(&self.store.flows());
            }
            self.workers_turn().await;
            self.late_deliveries(usize::MAX);
            self.adapters.turn().await;
            let (books, lanes) = (self.books(), self.known_lanes());
            self.people.turn(&mut self.rng, lanes, books.as_ref());
            self.pass(STRIDE).await;
            if self.is_over() {
                self.said_again().await;
                return self.last_wishes().await;
            }
        }
        let left: Vec<String> = self
            .store
            .flows()
            .iter()
            .filter(|flow| !flow.ended)
            .map(|flow| format!("{} in {} {}", flow.aggregate, flow.state, flow.data.as_str()))
            .collect();
        let stopped: Vec<_> = self.lanes().filter_map(|lane| self.store.stopped(lane)).collect();
        panic!(
            "flows do not end: {} of {} began, commits lost: {}, lanes stopped: {stopped:?}: {left:?}",
            self.store.flows().len(),
            self.commanded.len(),
            self.store.lost_commits()
        );
    }

    /// When everything has ended everybody can be erased; what comes about them afterwards changes nothing of it.
    async fn last_wishes(&mut self) {
        if !self.plan.has(Fault::Erasures) {
            return;
        }
        for _ in 0..8 * self.commanded.len() {
            self.erase();
            self.workers_turn().await;
            if let Some((business, id)) = self.rng.choice(&self.commanded).cloned() {
                let request = self.request_of(business, &id);
                let lanes = self.known_lanes();
                self.request(business, &id, (&request, self.plan.has(Fault::FromFirst)), lanes);
            }
            self.adapters.turn().await;
            self.pass(Duration::from_millis(900)).await;
        }
    }

    /// When everything has ended, everything is said again in the other major: it is still the same.
    async fn said_again(&mut self) {
        if !self.plan.has(Fault::Majors) {
            return;
        }
        for (business, id) in self.commanded.clone() {
            let lanes = self.known_lanes();
            let request = self.request_of(business, &id);
            self.request(business, &id, (&request, true), lanes);
            self.request(business, &id, (&request, false), lanes);
        }
        for _ in 0..20 {
            self.step(STRIDE).await;
        }
    }

    fn is_over(&self) -> bool {
        let flows = self.store.flows();
        flows.len() == self.commanded.len()
            && flows.iter().all(|flow| flow.ended)
            && self.store.all_parked().is_empty()
            && self.adapters.is_idle()
            && (!self.plan.has(Fault::Migrates) || migrations::are_over(&self.store))
    }

    async fn anything(&mut self) {
        match self.rng.u8(0..10) {
            0..=4 => {
                let index = self.rng.usize(0..self.processes.len());
                self.turn(index).await;
            }
            5..=6 => self.adapters.turn().await,
            7 => {
                let (books, lanes) = (self.books(), self.known_lanes());
                self.people.turn(&mut self.rng, lanes, books.as_ref());
                if self.plan.has(Fault::Operators) {
                    self.operators.turn(&mut self.rng, &self.commanded);
                }
                if self.plan.has(Fault::Erasures) {
                    self.erase();
                }
            }
            8 => {
                let some = self.rng.usize(0..4);
                self.late_deliveries(some);
                self.disturb().await;
            }
            _ => {
                let by = Duration::from_millis(self.rng.u64(1..800));
                self.pass(by).await;
            }
        }
    }

    /// A worker's turn; a dead one is started again.
    pub(super) async fn turn(&mut self, index: usize) {
        let now = Instant::now();
        if self.processes[index].paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.processes[index].paused_until = None;
        let Some(mut worker) = self.processes[index].worker.take() else {
            let name = self.processes[index].name.clone();
            let fate = self.fate(&name);
            fate.lock().unwrap().calm = self.processes[index].fate.lock().unwrap().calm;
            if fate.lock().unwrap().calm {
                fate.lock().unwrap().crash_in = None;
            }
            let worker = self.worker(&name, &fate);
            self.chronicle.tell(&name, || "begins".to_owned());
            self.processes[index].lanes = self.store.lane_count();
            self.processes[index].fate = fate;
            self.processes[index].worker = Some(worker);
            return;
        };
        let held_before = self.owned(&self.processes[index].name);
        let alive = worker.turn().await.is_ok();
        self.sync_clock();
        check::every_flow_is_woken_in_time(self);
        if self.processes[index].leaving {
            let held = self.owned(&self.processes[index].name);
            self.handed_over += held_before.saturating_sub(held);
        }
        if alive && self.processes[index].leaving && !worker.hands_over() {
            self.processes[index].leaving = false;
            worker.stop().await;
        } else if alive {
            self.processes[index].worker = Some(worker);
        } else {
            self.chronicle.tell(&self.processes[index].name, || "is dead".to_owned());
            self.processes[index].leaving = false;
            let was_killed = self.processes[index].fate.lock().unwrap().crashed;
            let knew = self.processes[index].lanes;
            assert!(
                was_killed || knew < self.store.lane_count(),
                "a worker gave up without being killed, and it knew all lanes"
            );
        }
    }

    /// Stops a worker for longer than its lease, lets one leave, sets a clock, sends the registry away, or takes the tail of
    /// a topic away.
    async fn disturb(&mut self) {
        if self.plan.has(Fault::Leaves) && self.rng.u8(0..3) == 0 {
            let index = self.rng.usize(0..self.processes.len());
            self.leave(index).await;
        }
        if self.plan.has(Fault::Pauses) && self.rng.u8(0..6) == 0 {
            let index = self.rng.usize(0..self.processes.len());
            let long = Duration::from_millis(self.rng.u64(3_000..12_000));
            self.processes[index].paused_until = Some(Instant::now() + long);
            let name = &self.processes[index].name;
            self.chronicle.tell(name, || format!("is stopped for {} ms", long.as_millis()));
        }
        if self.plan.has(Fault::LostTails) && self.rng.u8(0..6) == 0 {
            self.lose_a_tail();
        }
        if self.plan.has(Fault::ClockJumps) && self.rng.u8(0..4) == 0 {
            let by = self.rng.i64(-JUMP_MAX..JUMP_MAX);
            self.chronicle.tell("time", || format!("of the database jumps by {by} us"));
            self.ahead += by;
            self.went_back += usize::from(by < 0);
            self.sync_clock();
        }
        if self.plan.has(Fault::RegistryAway) && self.rng.u8(0..3) == 0 {
            let away = self.rng.bool();
            self.chronicle
                .tell("registry", || if away { "is away" } else { "is there" }.to_owned());
            self.registry.set_away(away);
        }
    }

    /// An event topic loses its last records, and every worker that wrote there has to find out.
    fn lose_a_tail(&mut self) {
        let topic = TopicName::from(ALL[self.rng.usize(0..ALL.len())].events);
        let partition = i32::from(self.rng.u16(0..self.store.lane_count()));
        let held = self.broker.end(&topic, partition);
        if held > 0 {
            let kept = held - self.rng.usize(1..=held.min(3));
            self.broker.lose_tail(&topic, partition, kept);
            self.chronicle
                .tell("broker", || format!("loses {topic}-{partition} from offset {kept} on"));
            // A producer notices a leader change; here every process is restarted instead.
            for process in &mut self.processes {
                let mut fate = process.fate.lock().unwrap();
                (fate.crashed, fate.producer_refused) = (true, true);
            }
            self.orphans.lock().unwrap().clear();
        }
    }

    /// Every engine is stopped, and what it had queued is gone: some of it arrived, the rest never will.
    pub(crate) fn stop_engines(&mut self) {
        for process in &mut self.processes {
            process.worker = None;
            (process.paused_until, process.leaving) = (None, false);
        }
        let some = self.rng.usize(0..8);
        self.late_deliveries(some);
        self.orphans.lock().unwrap().clear();
    }

    /// Somebody wants to be erased: refused while their flow runs, done once it has ended and its records are out.
    fn erase(&mut self) {
        let flows = self.store.flows();
        let Some(flow) = self.rng.choice(&flows) else { return };
        let order = ErasureOrder {
            subjects: vec![flow.subject],
            actor: "ann".to_owned(),
            reason: "a simulated wish".to_owned(),
            settled_for: Duration::from_secs(2),
        };
        let mut theirs = flows.iter().filter(|other| other.subject == flow.subject);
        let running = theirs.any(|flow| !flow.ended);
        match self.store.erase(&order) {
            Erasure::Refused(_) if running => self.refused += 1,
            Erasure::Refused(_) => {}
            Erasure::Done { keys, .. } => {
                self.chronicle
                    .tell("people", || format!("erase the subject of {}", flow.aggregate));
                assert!(!running, "{} was erased while a flow ran", flow.aggregate);
                self.erased.extend(keys.into_iter().map(|key| (flow.id, key)));
            }
        }
    }

    /// Records that dead processes had queued may still arrive.
    fn late_deliveries(&mut self, count: usize) {
        for bus in self.orphans.lock().unwrap().iter_mut() {
            bus.deliver(count);
        }
    }

    pub(super) async fn pass(&mut self, by: Duration) {
        self.chronicle.tell("time", || format!("passes by {} ms", by.as_millis()));
        tokio::time::advance(by).await;
        self.sync_clock();
    }

    /// The store's clock follows the simulated one, as far ahead of it or behind it as somebody has set it.
    pub(super) fn sync_clock(&mut self) {
        let now = Micros(START.after(self.begun.elapsed()).0 + self.ahead);
        self.store.set_clock(now);
        self.latest = self.latest.max(now);
    }

    /// Something is asked for; sometimes twice, sometimes at a foreign partition, sometimes taken back.
    pub(super) fn command(&mut self) {
        let number = self.commanded.len();
        let business = &ALL[number % ALL.len()];
        let word = business.words[self.rng.usize(0..business.words.len())];
        let id = format!("f{number}-{word}");
        let request = self.request_of(business, &id);
        let copies = if self.plan.has(Fault::Duplicates) { self.rng.usize(1..4) } else { 1 };
        let lanes = self.known_lanes();
        for _ in 0..copies {
            let older = self.speaks_older();
            self.request(business, &id, (&request, older), lanes);
        }
        if self.plan.has(Fault::Majors) && self.rng.u8(0..3) == 0 {
            let older = self.speaks_older();
            let mut other = request.clone();
            other["customer_id"] = "somebody else".into();
            self.request(business, &id, (&other, older), lanes);
            self.contradictions += 1;
        }
        for (record, value) in (business.follow_up)(&id) {
            self.publish(business, &id, (record, &value), lanes);
        }
        self.commanded.push((business, id));
    }

    /// What is asked for under an id.
    fn request_of(&self, business: &Business, id: &str) -> Value {
        let mut request = (business.request)(id);
        if self.plan.has(Fault::BadData)
            && business.file == "payout.yaml"
            && id.len().is_multiple_of(3)
        {
            // It says so much that asking a bank for it needs a wide topic.
            request["remittance"]["unstructured"] = "words ".repeat(NARROW / 6).into();
        }
        request
    }

    /// Whether a service says something in the older major. Nobody says it in the newer one before the journey knows it.
    fn speaks_older(&mut self) -> bool {
        let known = !self.plan.has(Fault::FromFirst) || migrations::are_over(&self.store);
        !known || self.plan.has(Fault::Majors) && self.rng.bool()
    }

    /// Asks for something, in the older major of the command or not.
    fn request(
        &mut self,
        business: &Business,
        id: &str,
        (request, older): (&Value, bool),
        lanes: u16,
    ) {
        match business.older.as_ref().filter(|_| older) {
            Some(before) => {
                let told = (before.told)(request);
                self.publish(business, id, (before.record, &told), lanes);
            }
            None => self.publish(business, id, (business.starts_with, request), lanes),
        }
    }

    fn publish(
        &mut self,
        business: &Business,
        id: &str,
        (record, value): (&str, &Value),
        lanes: u16,
    ) {
        let topic = TopicName::from(business.commands);
        let home = home_lane(id.as_bytes(), lanes);
        let foreign = self.plan.has(Fault::ForeignPartitions)
            && record == business.starts_with
            && self.rng.bool();
        let partition = if foreign { i32::from(self.rng.u16(0..lanes)) } else { home.partition() };
        self.chronicle.tell("customer", || format!("{id}: {record} at {topic}-{partition}"));
        self.broker.append(&Outbound {
            payload: Some(self.codec.encode(&topic, &record.into(), value).unwrap()),
            topic,
            partition,
            key: id.as_bytes().to_vec(),
            headers: Headers::new(),
        });
    }
}
