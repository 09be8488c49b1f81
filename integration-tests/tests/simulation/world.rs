//! The world of one run: a store, a broker, two workers that may die, adapters, people and a clock, all from one seed.

use serde_json::Value;
use signalbox_bus::{Codec, Headers, MemoryBroker, MemoryLaneBus, Outbound};
use signalbox_schemas::{Contract, FlowId, KeyId, LaneId, Micros, TenantKey, TopicName, home_lane};
use signalbox_store::{Erasure, ErasureOrder, MemoryStore};
use signalbox_vault::EnvelopeKeys;
use signalbox_worker::{JourneyLibrary, Worker, WorkerOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::adapter::Adapters;
use super::business::{ALL, Business};
use super::check;
use super::faults::{Fate, FaultyBus, FaultyStore, Orphans, Shared};
use super::migrations;
use super::operators::Operators;
use super::people::People;
use super::restore::Restore;

/// Which faults a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) flows: usize,
    pub(crate) crashes: bool,
    pub(crate) pauses: bool,
    pub(crate) lost_answers: bool,
    pub(crate) duplicates: bool,
    pub(crate) ambiguous_commits: bool,
    pub(crate) broken_producers: bool,
    pub(crate) foreign_partitions: bool,
    pub(crate) lost_tails: bool,
    /// Operators act, at any moment.
    pub(crate) operators: bool,
    /// Customers are erased, at any moment that allows it.
    pub(crate) erasures: bool,
    /// Answers to questions that were never asked, and requests too large for the topics until somebody widens them.
    pub(crate) bad_data: bool,
    /// The database goes back to an earlier time.
    pub(crate) restores: bool,
    /// Workers leave in order and come again.
    pub(crate) leaves: bool,
    /// Half way, every journey gets a new version, and what runs is moved to it.
    pub(crate) migrates: bool,
    /// Soon after that everybody is told to move no more.
    pub(crate) stops: bool,
    /// Commands come by every major that they have, the same one by several, some with another meaning.
    pub(crate) majors: bool,
    /// The journeys are first those of the commands' first majors.
    pub(crate) from_first: bool,
    /// In the midst of it lanes are added, with everything that is under way; producers learn of it late.
    pub(crate) grows: bool,
}

impl Plan {
    pub(crate) fn calm() -> Self {
        Self {
            flows: 18,
            crashes: false,
            pauses: false,
            lost_answers: false,
            duplicates: false,
            ambiguous_commits: false,
            broken_producers: false,
            foreign_partitions: false,
            lost_tails: false,
            operators: false,
            bad_data: false,
            leaves: false,
            migrates: false,
            stops: false,
            majors: false,
            from_first: false,
            grows: false,
            erasures: false,
            restores: false,
        }
    }

    /// Processes and servers fail in every way, and no record is lost for it.
    pub(crate) fn stormy() -> Self {
        Self {
            crashes: true,
            pauses: true,
            duplicates: true,
            lost_answers: true,
            ambiguous_commits: true,
            broken_producers: true,
            ..Self::calm()
        }
    }
}

const START: Micros = Micros(1_800_000_000_000_000);
/// Bytes of the largest record while topics are too narrow.
const NARROW: usize = 3_000;
/// Turns with faults, then turns until everything must have ended.
const STORMY: usize = 400;
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
    pub(super) rng: fastrand::Rng,
    pub(crate) broker: MemoryBroker,
    pub(crate) store: MemoryStore,
    pub(crate) codec: Arc<Codec>,
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
    /// What was asked for: the journey and the id.
    pub(super) commanded: Vec<(&'static Business, String)>,
    /// Commands with the id of another and another meaning.
    pub(crate) contradictions: usize,
    /// Topics take what they should: workers that start from now on know it.
    mended: bool,
    pub(crate) lanes_at_first: u16,
    /// Lanes that workers who left had handed over by then.
    handed_over: usize,
}

/// A clock of its own, which stands still while anybody works.
pub(super) fn simulated_time() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

/// Runs something by such a clock.
pub(super) fn in_simulated_time<T>(run: impl Future<Output = T>) -> T {
    simulated_time().block_on(run)
}

impl World {
    /// One run from one seed; panics with what does not hold.
    pub(crate) fn run(seed: u64, plan: Plan) -> check::Standstills {
        in_simulated_time(async {
            let mut world = Self::new(seed, plan);
            world.storm().await;
            world.calm_down().await;
            let mut seen = check::everything(&world, &world.commanded);
            seen.migrated = migrations::judge(&world.store, plan.from_first);
            seen.stopped = migrations::stopped(&world.store);
            seen.handed_over = world.handed_over;
            seen
        })
    }

    /// One of two workers leaves in the midst of work, and comes again: each time lanes go to the other one by one, and
    /// never is more than one without a worker.
    pub(crate) fn hand_over(seed: u64) {
        in_simulated_time(async {
            let mut world = Self::new(seed, Plan::calm());
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
            check::everything(&world, &world.commanded);
        });
    }

    /// Everybody works in small steps until something is so; so many lanes may be without a worker at most.
    pub(super) async fn step_until(&mut self, free_max: usize, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..UNTIL_ENDED {
            if is_so(self) {
                return;
            }
            for index in 0..self.processes.len() {
                self.turn(index).await;
            }
            self.adapters.turn(&mut self.rng, self.plan).await;
            self.pass(Duration::from_millis(20)).await;
            let free = self.lanes().filter(|lane| self.store.owner(*lane).is_none()).count();
            assert!(free <= free_max, "{free} lanes have no worker");
        }
        panic!("{} lanes were handed over, east has {}", self.handed_over, self.owned("east"));
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
            worker.leave().await;
        }
    }

    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let contract = Contract::builtin().unwrap();
        let codec = Arc::new(Codec::offline(contract));
        let lanes = contract.topics().lanes;
        let store = MemoryStore::new(lanes, START);
        let broker = MemoryBroker::new();
        let mut world = Self {
            plan,
            restore: Restore::at_some_time(&mut fastrand::Rng::with_seed(!seed)),
            rng: fastrand::Rng::with_seed(seed),
            adapters: Adapters::new(broker.clone(), store.clone(), Arc::clone(&codec)),
            people: People::new(broker.clone(), store.clone(), Arc::clone(&codec)),
            operators: Operators::new(broker.clone(), store.clone(), Arc::clone(&codec)),
            keys: Arc::new(EnvelopeKeys::of_text(&"5a".repeat(32)).unwrap()),
            erased: Vec::new(),
            refused: 0,
            processes: Vec::new(),
            orphans: Orphans::default(),
            begun: Instant::now(),
            commanded: Vec::new(),
            contradictions: 0,
            mended: false,
            lanes_at_first: lanes,
            handed_over: 0,
            broker,
            store,
            codec,
        };
        for name in ["east", "west"] {
            let fate = world.fate();
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

    fn fate(&mut self) -> Shared {
        let crash_in = self.plan.crashes.then(|| self.rng.u32(5..400));
        Arc::new(Mutex::new(Fate {
            rng: fastrand::Rng::with_seed(self.rng.u64(..)),
            crash_in,
            crashed: false,
            producer_refused: false,
            ambiguous_commits: self.plan.ambiguous_commits,
            broken_producers: self.plan.broken_producers,
            silent: false,
            calm: false,
        }))
    }

    fn worker(&self, name: &str, fate: &Shared) -> SimulatedWorker {
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let mut options = WorkerOptions::new(name, self.store.lane_count(), key);
        options.cached_flows_max = 5;
        if self.plan.stops {
            // So small that a lane has not moved everything when it is told to stop.
            options.migrated_flows_max = 1;
        }
        if self.plan.bad_data && !self.mended {
            options.record_bytes_max = NARROW;
        }
        let bus = FaultyBus::new(
            MemoryLaneBus::connect(self.broker.clone()),
            Arc::clone(fate),
            Arc::clone(&self.orphans),
        );
        let store = FaultyStore::new(self.store.clone(), Arc::clone(fate));
        let first = |business: &Business| {
            let [first, _] = migrations::versions(business, self.plan.from_first);
            first
        };
        let library = JourneyLibrary::new(ALL.iter().map(first).collect()).unwrap();
        let keys = Arc::clone(&self.keys);
        Worker::new(options, bus, store, Arc::clone(&self.codec), library, keys).unwrap()
    }

    /// Faults rain while commands come in.
    async fn storm(&mut self) {
        for turn in 0..STORMY {
            if turn % 12 == 0 && self.commanded.len() < self.plan.flows {
                self.command();
            }
            self.anything().await;
            if self.plan.restores {
                self.lose_time(turn).await;
            }
            // With a migration, in the midst of it: until it has ended it stands in the way.
            let first = if self.plan.migrates { STORMY / 2 } else { STORMY / 3 };
            if self.plan.grows && turn > first && turn % 10 == 0 {
                self.grow().await;
            }
            if self.plan.migrates && turn == STORMY / 2 {
                migrations::ask(&self.store, self.plan.from_first, self.store.clock());
            }
            if self.plan.migrates && (turn == STORMY / 2 || turn == STORMY / 2 + 20) {
                // Told twice: it begins once.
                migrations::begin(&self.broker, &self.codec, self.store.lane_count());
            }
            if self.plan.stops && matches!(turn.checked_sub(STORMY / 2), Some(12 | 16)) {
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
        for process in &mut self.processes {
            process.paused_until = None;
            let mut fate = process.fate.lock().unwrap();
            (fate.calm, fate.crash_in) = (true, None);
        }
        if self.plan.bad_data {
            // The fix is a setting, so every worker is started again.
            self.mended = true;
            for process in &mut self.processes {
                process.fate.lock().unwrap().crashed = true;
            }
        }
        let calm = Plan { lost_tails: false, ..Plan::calm() };
        for turn in 0..UNTIL_ENDED {
            if turn % 20 == 0 {
                self.operators.mend(&self.store.flows());
            }
            for index in 0..self.processes.len() {
                self.turn(index).await;
            }
            self.late_deliveries(usize::MAX);
            self.adapters.turn(&mut self.rng, calm).await;
            let (books, lanes) = (self.books(), self.known_lanes());
            self.people.turn(&mut self.rng, lanes, books.as_ref());
            self.pass(Duration::from_millis(500)).await;
            if self.is_over() {
                self.said_again(calm).await;
                return self.last_wishes(calm).await;
            }
        }
        let left: Vec<String> = self
            .store
            .flows()
            .iter()
            .filter(|flow| !flow.ended)
            .map(|flow| format!("{} in {} {}", flow.aggregate, flow.state, flow.data.as_str()))
            .collect();
        panic!(
            "flows do not end: {left:?}; {} of {} began",
            self.store.flows().len(),
            self.commanded.len()
        );
    }

    /// When everything has ended everybody can be erased; what comes about them afterwards changes nothing of it.
    async fn last_wishes(&mut self, calm: Plan) {
        if !self.plan.erasures {
            return;
        }
        for _ in 0..8 * self.commanded.len() {
            self.erase();
            for index in 0..self.processes.len() {
                self.turn(index).await;
            }
            if let Some((business, id)) = self.rng.choice(&self.commanded).cloned() {
                let request = (business.request)(&id);
                let lanes = self.known_lanes();
                self.request(business, &id, (&request, self.plan.from_first), lanes);
            }
            self.adapters.turn(&mut self.rng, calm).await;
            self.pass(Duration::from_millis(900)).await;
        }
    }

    /// When everything has ended, everything is said again in the other major: it is still the same.
    async fn said_again(&mut self, calm: Plan) {
        if !self.plan.majors {
            return;
        }
        for (business, id) in self.commanded.clone() {
            let lanes = self.known_lanes();
            self.request(business, &id, (&(business.request)(&id), true), lanes);
            self.request(business, &id, (&(business.request)(&id), false), lanes);
        }
        for _ in 0..20 {
            for index in 0..self.processes.len() {
                self.turn(index).await;
            }
            self.adapters.turn(&mut self.rng, calm).await;
            self.pass(Duration::from_millis(500)).await;
        }
    }

    fn is_over(&self) -> bool {
        let flows = self.store.flows();
        flows.len() == self.commanded.len()
            && flows.iter().all(|flow| flow.ended)
            && self.store.all_parked().is_empty()
            && self.adapters.is_idle()
            && (!self.plan.migrates || migrations::are_over(&self.store))
    }

    async fn anything(&mut self) {
        match self.rng.u8(0..10) {
            0..=4 => {
                let index = self.rng.usize(0..self.processes.len());
                self.turn(index).await;
            }
            5..=6 => self.adapters.turn(&mut self.rng, self.plan).await,
            7 => {
                let (books, lanes) = (self.books(), self.known_lanes());
                self.people.turn(&mut self.rng, lanes, books.as_ref());
                if self.plan.operators {
                    self.operators.turn(&mut self.rng, &self.commanded);
                }
                if self.plan.erasures {
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
            let fate = self.fate();
            fate.lock().unwrap().calm = self.processes[index].fate.lock().unwrap().calm;
            if fate.lock().unwrap().calm {
                fate.lock().unwrap().crash_in = None;
            }
            let worker = self.worker(&self.processes[index].name.clone(), &fate);
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
            self.processes[index].leaving = false;
            let was_killed = self.processes[index].fate.lock().unwrap().crashed;
            let knew = self.processes[index].lanes;
            assert!(
                was_killed || knew < self.store.lane_count(),
                "a worker gave up without being killed, and it knew all lanes"
            );
        }
    }

    /// Stops a worker for longer than its lease, lets one leave, or takes the tail of a topic away.
    async fn disturb(&mut self) {
        if self.plan.leaves && self.rng.u8(0..3) == 0 {
            let index = self.rng.usize(0..self.processes.len());
            self.leave(index).await;
        }
        if self.plan.pauses && self.rng.u8(0..6) == 0 {
            let index = self.rng.usize(0..self.processes.len());
            let long = Duration::from_millis(self.rng.u64(3_000..12_000));
            self.processes[index].paused_until = Some(Instant::now() + long);
        }
        if self.plan.lost_tails && self.rng.u8(0..6) == 0 {
            self.lose_a_tail();
        }
    }

    /// An event topic loses its last records, and every worker that wrote there has to find out.
    fn lose_a_tail(&mut self) {
        let topic = TopicName::from(ALL[self.rng.usize(0..ALL.len())].events);
        let partition = i32::from(self.rng.u16(0..self.store.lane_count()));
        let held = self.broker.log(&topic, partition).len();
        if held > 0 {
            self.broker.lose_tail(&topic, partition, held - self.rng.usize(1..=held.min(3)));
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
        tokio::time::advance(by).await;
        self.sync_clock();
    }

    /// The store's clock follows the simulated one.
    pub(super) fn sync_clock(&mut self) {
        let should = START.after(self.begun.elapsed());
        self.store.advance(should.since(self.store.clock()));
    }

    /// Something is asked for; sometimes twice, sometimes at a foreign partition, sometimes taken back.
    pub(super) fn command(&mut self) {
        let number = self.commanded.len();
        let business = &ALL[number % ALL.len()];
        let word = business.words[self.rng.usize(0..business.words.len())];
        let id = format!("f{number}-{word}");
        let mut request = (business.request)(&id);
        if self.plan.bad_data && business.file == "payout.yaml" && id.len() % 3 == 0 {
            // It says so much that asking a bank for it needs a wide topic.
            request["remittance"]["unstructured"] = "words ".repeat(NARROW / 6).into();
        }
        let copies = if self.plan.duplicates { self.rng.usize(1..4) } else { 1 };
        let lanes = self.known_lanes();
        for _ in 0..copies {
            let older = self.speaks_older();
            self.request(business, &id, (&request, older), lanes);
        }
        if self.plan.majors && self.rng.u8(0..3) == 0 {
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

    /// Whether a service says something in the older major. Nobody says it in the newer one before the journey knows it.
    fn speaks_older(&mut self) -> bool {
        let known = !self.plan.from_first || migrations::are_over(&self.store);
        !known || self.plan.majors && self.rng.bool()
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
        let foreign =
            self.plan.foreign_partitions && record == business.starts_with && self.rng.bool();
        let partition = if foreign { i32::from(self.rng.u16(0..lanes)) } else { home.partition() };
        self.broker.append(&Outbound {
            payload: Some(self.codec.encode(&topic, &record.into(), value).unwrap()),
            topic,
            partition,
            key: id.as_bytes().to_vec(),
            headers: Headers::new(),
        });
    }
}
