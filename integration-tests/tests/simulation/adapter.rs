//! The real adapter runtime over twins: requests from the broker, permits from the store, answers onto topics. The process
//! dies at any of its awaits and begins again where it last committed; the store and the brokers fail it now and then;
//! outcomes are delayed, doubled and reordered. What vendors do is theirs.

use serde_json::json;
use signalbox_adapters::{AdapterOptions, Inlet, Outlet, Policy, VendorPolicy, run_on};
use signalbox_bus::{BusError, Codec, Inbound, MemoryBroker, MemoryRegistry, Outbound};
use signalbox_schemas::{AttemptId, FlowId, KeyId, Micros, TopicName};
use signalbox_store::{
    AttemptRow, AttemptStore, FlowRow, KeyRow, MemoryStore, Permit, PermitRequest, RecognitionRow,
    StoreError, StoredResult,
};
use signalbox_vault::EnvelopeKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::chronicle::Chronicle;
use super::plan::{Fault, Plan};
use super::vendor::{Books, LISTINGS, NAME, SharedBooks};
use super::world::codec_of_a_process;

/// Turns of its tasks in one turn of the world, at most; and all that it may need once nothing fails.
const STEPS: usize = 60;
const STEPS_UNTIL_DONE: usize = 400;

/// The adapter process, and what is around it.
pub(crate) struct Adapters {
    process: Option<(JoinHandle<()>, watch::Sender<bool>)>,
    around: Shared,
    books: SharedBooks,
    codec: Arc<Codec>,
    registry: MemoryRegistry,
    keys: Arc<EnvelopeKeys>,
}

type Shared = Arc<Mutex<Around>>;

/// What survives the process.
struct Around {
    rng: fastrand::Rng,
    plan: Plan,
    chronicle: Chronicle,
    broker: MemoryBroker,
    store: MemoryStore,
    codec: Arc<Codec>,
    /// Where each partition of requests is read on after a restart.
    committed: BTreeMap<(TopicName, i32), usize>,
    /// Requests that may still be read in this turn.
    readable: usize,
    may_read: Arc<Notify>,
    /// Records that are under way.
    delayed: Vec<Outbound>,
    /// The database forgot some time: an attempt that does not exist is no mistake.
    restored: bool,
    /// What must never happen in the process and did.
    wrong: Vec<String>,
}

impl Adapters {
    pub(crate) fn new(
        (broker, store, codec, registry): (MemoryBroker, MemoryStore, Arc<Codec>, MemoryRegistry),
        keys: Arc<EnvelopeKeys>,
        mut rng: fastrand::Rng,
        plan: Plan,
        chronicle: Chronicle,
    ) -> Self {
        // Retries are spread by chance, and a run is one thread.
        fastrand::seed(rng.u64(..));
        let books = Books::open(rng.fork(), plan);
        let around = Around {
            rng,
            plan,
            chronicle,
            broker,
            store,
            codec: Arc::clone(&codec),
            committed: BTreeMap::new(),
            readable: 0,
            may_read: Arc::default(),
            delayed: Vec::new(),
            restored: false,
            wrong: Vec::new(),
        };
        Self { process: None, around: Arc::new(Mutex::new(around)), books, codec, registry, keys }
    }

    /// Some requests are read, what is under way goes on for a while, some outcomes arrive. The process may die.
    pub(crate) async fn turn(&mut self) {
        self.books.lock().unwrap().turn();
        if self.process.is_none() {
            self.begin();
        }
        let calm = self.around.lock().unwrap().plan == Plan::CALM;
        let (steps, dies) = {
            let mut around = self.around.lock().unwrap();
            around.readable = if calm { usize::MAX } else { around.rng.usize(0..12) };
            around.may_read.notify_waiters();
            let steps = if calm { STEPS_UNTIL_DONE } else { around.rng.usize(1..STEPS) };
            let dies = around.plan.has(Fault::Crashes) && around.rng.u8(0..30) == 0;
            let moved = around.plan.has(Fault::Duplicates) && around.rng.u8(0..40) == 0;
            (steps, dies || moved)
        };
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        if dies {
            self.die().await;
        }
        let mut around = self.around.lock().unwrap();
        around.arrive();
        assert!(around.wrong.is_empty(), "{}", around.wrong.join("; "));
    }

    /// No more faults. The process begins once more: of what it committed some may have been lost.
    pub(crate) async fn calm_down(&mut self) {
        self.around.lock().unwrap().plan = Plan::CALM;
        self.books.lock().unwrap().plan = Plan::CALM;
        self.die().await;
    }

    /// From now on attempts may be missing.
    pub(crate) fn database_was_restored(&self) {
        self.around.lock().unwrap().restored = true;
    }

    /// How often each payment was carried out.
    pub(crate) fn ledger(&self) -> BTreeMap<AttemptId, u32> {
        self.books.lock().unwrap().ledger.clone()
    }

    /// Whether the payment of an attempt was called back.
    pub(crate) fn is_recalled(&self, attempt: AttemptId) -> bool {
        self.books.lock().unwrap().recalled.contains(&attempt)
    }

    /// Whether what was sent once may be sent again.
    pub(crate) fn send_again(&self) -> bool {
        self.books.lock().unwrap().honours_keys
    }

    /// Whether nothing is under way any more.
    pub(crate) fn is_idle(&self) -> bool {
        let around = self.around.lock().unwrap();
        let behind = self.codec.contract().capabilities().any(|capability| {
            let topic = capability.requests_topic();
            (0..i32::from(around.store.lane_count())).any(|lane| {
                let done = around.committed.get(&(topic.clone(), lane)).copied().unwrap_or(0);
                around.broker.end(&topic, lane) > done
            })
        });
        !behind && around.delayed.is_empty() && self.books.lock().unwrap().is_idle()
    }

    fn begin(&mut self) {
        self.around.lock().unwrap().tell("begins");
        let vendors = BTreeMap::from([(NAME.to_owned(), VendorPolicy::inside())]);
        let served = ["kyc.check", "aml.screen", "fraud.score", "payout.send"];
        let capabilities = served.map(|capability| (capability.to_owned(), NAME.to_owned())).into();
        let options = AdapterOptions {
            vendors: LISTINGS,
            policy: Policy { version: 1, capabilities, vendors },
            settings: BTreeMap::new(),
            keys: self.keys.clone(),
            capabilities: Vec::new(),
            member: "adapter".to_owned(),
            under_way_max: 8,
            permit_age_ms_max: 2_000,
            drain_ms_max: 1_000,
        };
        let (stop, stopping) = watch::channel(false);
        let around = Arc::clone(&self.around);
        let inlet = move |_: &str, topics: &[TopicName]| {
            let may_read = Arc::clone(&around.lock().unwrap().may_read);
            let around = Arc::clone(&around);
            Ok(Requests { topics: topics.to_vec(), next: BTreeMap::new(), may_read, around })
        };
        let attempts = Attempts(Arc::clone(&self.around));
        let outlet = Outcomes(Arc::clone(&self.around));
        let plan = self.around.lock().unwrap().plan;
        let codec = codec_of_a_process(plan, &self.codec, &self.registry);
        let running = run_on(options, codec, attempts, inlet, outlet, stopping);
        let around = Arc::clone(&self.around);
        let process = tokio::spawn(async move {
            let ended = running.await;
            around.lock().unwrap().wrong.push(format!("the adapter has ended: {ended:?}"));
        });
        self.process = Some((process, stop));
    }

    async fn die(&mut self) {
        let Some((process, _)) = self.process.take() else { return };
        self.around.lock().unwrap().tell("dies");
        process.abort();
        drop(process.await);
        // Tasks that it had spawned go with it.
        tokio::task::yield_now().await;
    }
}

impl Around {
    fn tell(&self, what: &str) {
        self.chronicle.tell("adapter", || what.to_owned());
    }

    fn arrive(&mut self) {
        for _ in 0..self.rng.usize(0..=self.delayed.len()) {
            let any = self.rng.usize(0..self.delayed.len());
            self.broker.append(&self.delayed.swap_remove(any));
        }
    }

    /// Whether something goes wrong now that does so once in so many times.
    fn fails(&mut self, once_in: u8) -> bool {
        self.plan.has(Fault::LostAnswers) && self.rng.u8(0..once_in) == 0
    }

    fn send(&mut self, record: &Outbound) {
        let is_outcome = record.topic.as_str().ends_with(".outcomes.v1");
        if is_outcome && self.plan.has(Fault::BadData) && self.rng.u8(0..20) == 0 {
            let foreign = self.of_nobody(record);
            self.delayed.push(foreign);
        }
        let twice = self.plan.has(Fault::Duplicates) && self.rng.bool();
        self.delayed.extend(std::iter::repeat_n(record.clone(), 1 + usize::from(twice)));
    }

    /// The answer under an attempt that does not exist: no flow can process it.
    fn of_nobody(&mut self, record: &Outbound) -> Outbound {
        let (name, mut value) = self.codec.decode(record.payload.as_deref()).unwrap();
        let asked = value["ref"]["attempt_id"].as_str().unwrap();
        value["ref"]["attempt_id"] = json!(format!("{:08x}{}", self.rng.u32(..), &asked[8..]));
        let payload = self.codec.encode(&record.topic, &name, &value).unwrap();
        Outbound { payload: Some(payload), ..record.clone() }
    }
}

/// Requests of one capability.
struct Requests {
    topics: Vec<TopicName>,
    next: BTreeMap<(TopicName, i32), usize>,
    may_read: Arc<Notify>,
    around: Shared,
}

impl Requests {
    fn take(&mut self) -> Option<Inbound> {
        let mut around = self.around.lock().unwrap();
        if around.readable == 0 {
            return None;
        }
        for lane in 0..i32::from(around.store.lane_count()) {
            for topic in &self.topics {
                let at = (topic.clone(), lane);
                let committed = around.committed.get(&at).copied().unwrap_or(0);
                let next = self.next.entry(at).or_insert(committed);
                if *next < around.broker.end(topic, lane) {
                    let record = around.broker.log_from(topic, lane, *next).swap_remove(0);
                    *next += 1;
                    around.readable -= 1;
                    around.tell(&format!("reads {}", record.place()));
                    return Some(record);
                }
            }
        }
        None
    }
}

impl Inlet for Requests {
    async fn next(&mut self) -> Option<Inbound> {
        loop {
            if let Some(record) = self.take() {
                return Some(record);
            }
            self.may_read.notified().await;
        }
    }

    fn commit(&self, topic: &TopicName, partition: i32, next_offset: i64) -> Result<(), BusError> {
        let mut around = self.around.lock().unwrap();
        let lost = around.plan.has(Fault::Duplicates) && around.rng.u8(0..10) == 0;
        if !lost {
            let next = usize::try_from(next_offset).unwrap();
            around.committed.insert((topic.clone(), partition), next);
        }
        Ok(())
    }
}

/// Where the process publishes.
#[derive(Clone)]
struct Outcomes(Shared);

impl Outlet for Outcomes {
    async fn publish(&self, record: &Outbound) -> Result<i64, BusError> {
        tokio::task::yield_now().await;
        let mut around = self.0.lock().unwrap();
        around.tell(&format!("publishes to {}-{}", record.topic, record.partition));
        if around.fails(20) {
            return Err(BusError::Undelivered("no answer".to_owned()));
        }
        around.send(record);
        if around.fails(20) {
            return Err(BusError::Undelivered("the answer is lost".to_owned()));
        }
        Ok(0)
    }
}

/// The store as the process sees it.
struct Attempts(Shared);

impl Attempts {
    /// Before a statement and after it: it fails, or its answer is lost.
    async fn store(&self) -> Result<MemoryStore, StoreError> {
        tokio::task::yield_now().await;
        self.fails()?;
        Ok(self.0.lock().unwrap().store.clone())
    }

    fn fails(&self) -> Result<(), StoreError> {
        match self.0.lock().unwrap().fails(40) {
            true => Err(StoreError::Retry(sqlx::Error::WorkerCrashed)),
            false => Ok(()),
        }
    }
}

impl AttemptStore for Attempts {
    async fn take_permits(&self, requests: &[PermitRequest]) -> Result<Vec<Permit>, StoreError> {
        let permits = self.store().await?.take_permits(requests).await?;
        {
            let mut around = self.0.lock().unwrap();
            for (request, permit) in requests.iter().zip(&permits) {
                let attempt = request.attempt;
                around.tell(&format!("asks for a permit of {attempt}: {}", word(permit)));
                if matches!(permit, Permit::Missing) && !around.restored {
                    let wrong = format!("attempt {attempt} is asked for and does not exist");
                    around.wrong.push(wrong);
                }
            }
        }
        self.fails()?;
        Ok(permits)
    }

    async fn raise_sends(&self, attempt: AttemptId, expected: u32) -> Result<bool, StoreError> {
        let raised = self.store().await?.raise_sends(attempt, expected).await?;
        self.0.lock().unwrap().tell(&format!("sends {attempt} again: {raised}"));
        self.fails()?;
        Ok(raised)
    }

    async fn store_results(
        &self,
        results: &[StoredResult],
    ) -> Result<BTreeSet<AttemptId>, StoreError> {
        let not_kept = self.store().await?.store_results(results).await?;
        self.fails()?;
        Ok(not_kept)
    }

    async fn find(&self, attempts: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        self.store().await?.find(attempts).await
    }

    async fn keys_of(
        &self,
        attempts: &[AttemptId],
    ) -> Result<Vec<(AttemptId, KeyRow)>, StoreError> {
        self.store().await?.keys_of(attempts).await
    }

    async fn keys(&self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        self.store().await?.keys(ids).await
    }

    /// Whoever is special was approved too long ago.
    async fn recognitions(
        &self,
        flows: &[FlowId],
    ) -> Result<(BTreeMap<FlowId, RecognitionRow>, Micros), StoreError> {
        let store = self.store().await?;
        let (mut found, now) = store.recognitions(flows).await?;
        let special = |row: &FlowRow| {
            ["hardfail", "stepup"].iter().any(|word| row.aggregate.as_str().contains(word))
        };
        for row in store.flows().into_iter().filter(special) {
            found.entry(row.id).and_modify(|known| known.at = Micros(0));
        }
        Ok((found, now))
    }

    async fn ensure_gates(&self, vendors: &[String]) -> Result<(), StoreError> {
        self.store().await?.ensure_gates(vendors).await
    }

    async fn now(&self) -> Result<Micros, StoreError> {
        self.store().await?.now().await
    }
}

fn word(permit: &Permit) -> &'static str {
    match permit {
        Permit::Granted { .. } => "granted",
        Permit::Sending(_) => "taken before",
        Permit::Answered(_) => "answered",
        Permit::Abandoned => "given up",
        Permit::Missing => "missing",
        Permit::GateClosed => "closed",
    }
}
