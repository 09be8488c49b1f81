//! The worker: one loop that shares lanes with other workers, ticks, and keeps what it published in view.
//! No transaction is ever cancelled: the loop awaits each to its end, and limits are the server's.

mod handover;
mod leases;
mod migrations;
pub(crate) mod tick;
mod waiting;

use signalbox_bus::{BusError, Codec, LaneBus};
use signalbox_flow::Flow;
use signalbox_schemas::{FlowId, LaneId, Micros, TopicName, topics::Role};
use signalbox_store::{LaneFence, LaneStore, StoreError};
use signalbox_vault::{KeyProvider, ProviderError, Vault};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::anchors::LaneHeads;
use crate::health::WorkerHealth;
use crate::intake::Work;
use crate::keys::KeyTrouble;
use crate::lane::Lane;
use crate::library::JourneyLibrary;
use crate::metrics;
use crate::options::WorkerOptions;
use handover::Handover;
use migrations::Migrations;
use waiting::Waiting;

/// What a worker cannot mend by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The client has stopped or its configuration is wrong: start the process again.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store cannot be used: see the message.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys of subjects cannot be unwrapped: see the message.
    #[error(transparent)]
    Keys(#[from] ProviderError),
    /// Another cluster or database, or one that lost commits: nothing is done until a person has looked.
    #[error("no lane is claimed: {0}")]
    Installation(String),
    /// Lanes were added since this program started: it knows other homes of keys. Start it again.
    #[error("this program began with {began} lanes and there are {found} now; start it again")]
    Lanes {
        /// Lanes that it knows.
        began: u16,
        /// Lanes there are.
        found: usize,
    },
    /// The contract has no topic for forwards, or none that lanes read.
    #[error("the contract lacks {0}; see topics.yaml")]
    Contract(&'static str),
}

impl From<KeyTrouble> for WorkerError {
    fn from(trouble: KeyTrouble) -> Self {
        match trouble {
            KeyTrouble::Store(error) => Self::Store(error),
            KeyTrouble::Provider(error) => Self::Keys(error),
        }
    }
}

/// How long the loop waits after trouble before it tries again.
const AFTER_TROUBLE: Duration = Duration::from_millis(200);
/// How long acknowledgements may wait to be written while nothing else is.
const IDLE_FLUSH: Duration = Duration::from_secs(1);
/// How often a worker looks whether it should take a lane or give one: what a lane waits for its next owner, at most.
const SHARE_EVERY: Duration = Duration::from_millis(100);
/// The same while lanes come here one after the other.
const SHARE_SOON: Duration = Duration::from_millis(20);
/// How long one turn may claim lanes while others are free: those that are held wait so long, and one claim more, at most.
/// One that is free is read by nobody meanwhile, so it goes first.
const CLAIMING_MAX: Duration = Duration::from_millis(200);

/// A worker over a bus and a store.
pub struct Worker<B: LaneBus, S: LaneStore> {
    options: WorkerOptions,
    bus: B,
    store: S,
    codec: Arc<Codec>,
    library: JourneyLibrary,
    health: Arc<WorkerHealth>,
    heads: Arc<LaneHeads>,
    inputs: Vec<TopicName>,
    /// Topics that lanes publish to, and whether they do so to one another's partitions.
    outputs: Vec<(TopicName, bool)>,
    forwards: TopicName,
    lanes: BTreeMap<LaneId, Lane>,
    handover: Handover,
    /// Flows as committed, by lanes that this worker owns.
    cache: lru::LruCache<FlowId, Arc<Flow>>,
    /// Keys of subjects.
    vault: Vault,
    /// Records read and not yet taken into a tick.
    waiting: Waiting,
    /// Work taken into a tick that has to be tried again.
    works: VecDeque<Work>,
    missing_schemas: Vec<u32>,
    /// Lanes with a record whose schema the registry could not be asked for, and when they are read again.
    paused: BTreeMap<LaneId, Instant>,
    /// Until then the registry is not asked again.
    registry_away_until: Instant,
    /// The lane whose progress is looked at next.
    watched: LaneId,
    clock: Clock,
    next_timer: Option<Micros>,
    due: Due,
    producer_broken: bool,
    /// Whether the brokers have ever answered.
    met_brokers: bool,
    batch_max: usize,
    migrations: Migrations,
}

/// Database time as last told, carried on by the monotonic clock.
struct Clock {
    told: Micros,
    at: Instant,
}

/// When recurring duties are next due.
struct Due {
    heartbeat: Instant,
    share: Instant,
    flush: Instant,
    watch: Instant,
    journal: Instant,
}

impl Clock {
    fn now(&self) -> Micros {
        self.told.after(self.at.elapsed())
    }

    /// Database time never goes back for a worker: timers would fire early otherwise.
    fn set(&mut self, told: Micros) {
        *self = Self { told: told.max(self.now()), at: Instant::now() };
    }
}

/// As logs tell times.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl<B: LaneBus, S: LaneStore> Worker<B, S> {
    /// A worker that owns nothing yet.
    ///
    /// # Errors
    /// The contract lacks a topic that lanes need.
    pub fn new(
        options: WorkerOptions,
        bus: B,
        store: S,
        codec: Arc<Codec>,
        journeys: JourneyLibrary,
        keys: Arc<dyn KeyProvider>,
    ) -> Result<Self, WorkerError> {
        let topics = codec.contract().topics();
        let forwards = topics.of_role(Role::Forward).next().map(|(name, _)| TopicName::from(name));
        let forwards = forwards.ok_or(WorkerError::Contract("a topic of role forward"))?;
        let inputs: Vec<TopicName> =
            topics.lane_inputs().into_iter().map(TopicName::from).collect();
        let outputs = topics.lane_outputs().into_iter();
        let outputs = outputs.map(|(name, any)| (TopicName::from(name), any)).collect();
        let cached = NonZeroUsize::new(options.cached_flows_max).unwrap_or(NonZeroUsize::MIN);
        let now = Instant::now();
        Ok(Self {
            vault: Vault::new(keys, options.cached_keys_max),
            batch_max: options.tick_records_max.max(1),
            options,
            bus,
            store,
            codec,
            library: journeys,
            health: Arc::new(WorkerHealth::default()),
            heads: Arc::new(LaneHeads::default()),
            inputs,
            outputs,
            forwards,
            lanes: BTreeMap::new(),
            handover: Handover::new(now),
            cache: lru::LruCache::new(cached),
            waiting: Waiting::new(),
            works: VecDeque::new(),
            missing_schemas: Vec::new(),
            paused: BTreeMap::new(),
            registry_away_until: now,
            watched: LaneId(0),
            clock: Clock { told: Micros(0), at: now },
            next_timer: None,
            due: Due { heartbeat: now, share: now, flush: now, watch: now, journal: now },
            producer_broken: false,
            met_brokers: false,
            migrations: Migrations::unknown(),
        })
    }

    /// Health, to be shared with an admin server.
    pub fn health(&self) -> Arc<WorkerHealth> {
        Arc::clone(&self.health)
    }

    /// Heads of its lanes, to be anchored.
    pub fn heads(&self) -> Arc<LaneHeads> {
        Arc::clone(&self.heads)
    }

    /// Works until `shutdown` says true, then hands its lanes over one after the other while it works on, and ends.
    ///
    /// # Errors
    /// Only what a restart of the process may mend; trouble with Kafka or Postgres is waited out.
    pub async fn run(mut self, shutdown: watch::Receiver<bool>) -> Result<(), WorkerError> {
        while !*shutdown.borrow() {
            self.turn().await?;
        }
        self.leave().await;
        let deadline = Instant::now() + self.options.lease * 2;
        while self.hands_over() && Instant::now() < deadline {
            self.turn().await?;
        }
        self.stop().await;
        Ok(())
    }

    /// One turn of the loop: duties that are due, then one tick. Public to simulations, which turn workers by hand.
    ///
    /// # Errors
    /// As `run`.
    pub async fn turn(&mut self) -> Result<(), WorkerError> {
        match self.try_turn().await {
            Ok(()) => {
                self.health.problem(None);
                Ok(())
            }
            Err(WorkerError::Store(StoreError::Schema(text))) => {
                Err(WorkerError::Store(StoreError::Schema(text)))
            }
            Err(WorkerError::Bus(error @ (BusError::Stopped | BusError::Config(_)))) => {
                Err(error.into())
            }
            Err(error @ WorkerError::Lanes { .. }) => {
                self.drop_all_lanes().await;
                Err(error)
            }
            Err(WorkerError::Bus(BusError::Undelivered(reason))) => {
                tracing::warn!(reason, "the producer is replaced");
                self.producer_broken = true;
                Ok(())
            }
            Err(WorkerError::Bus(error @ BusError::OutOfRange { .. })) => {
                // Claiming again finds out which lane it is, and stops that one.
                tracing::error!(%error, "an input is not where it was; lanes are claimed again");
                self.drop_all_lanes().await;
                Ok(())
            }
            Err(error @ WorkerError::Installation(_)) => {
                if self.health.problem(Some(error.to_string())) {
                    tracing::error!(%error, "lanes are given back: a person must look");
                }
                self.drop_all_lanes().await;
                tokio::time::sleep(AFTER_TROUBLE * 5).await;
                Ok(())
            }
            Err(WorkerError::Store(StoreError::Invariant(what))) => {
                tracing::error!(what, "an invariant is broken; the lanes of this tick are stopped");
                self.stop_lanes(&what).await;
                self.health.problem(Some(what));
                tokio::time::sleep(AFTER_TROUBLE * 5).await;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the worker waits and tries again");
                self.health.problem(Some(error.to_string()));
                tokio::time::sleep(AFTER_TROUBLE).await;
                Ok(())
            }
        }
    }

    async fn try_turn(&mut self) -> Result<(), WorkerError> {
        let now = Instant::now();
        // Before anything else: claiming a lane publishes, too.
        if self.producer_broken {
            self.replace_producer().await?;
        }
        if now >= self.due.heartbeat {
            self.keep_alive().await?;
            self.due.heartbeat = now + self.options.lease / 5;
        }
        if now >= self.due.share {
            let mut took = self.share_lanes().await?;
            while took && now.elapsed() < CLAIMING_MAX {
                took = self.share_lanes().await?;
            }
            if !took {
                self.health.shared_out();
            }
            self.due.share = match took {
                true => now,
                false if self.handover.goes_on(self.options.lease) => now + SHARE_SOON,
                false => now + SHARE_EVERY,
            };
        }
        if now >= self.due.journal {
            self.store.ensure_journal().await?;
            // A key that was destroyed meanwhile must not stay in memory.
            self.vault.forget_all();
            self.due.journal = now + Duration::from_hours(1);
        }
        self.take_acks()?;
        self.give_rested_lanes().await?;
        self.end_pauses(now)?;
        if now >= self.due.watch {
            self.watch_progress().await?;
            let turns = u32::try_from(self.lanes.len()).unwrap_or(1).max(1);
            self.due.watch = now + self.options.stall_after / (3 * turns);
        }
        self.tick().await?;
        self.take_acks()?;
        self.give_rested_lanes().await?;
        if Instant::now() >= self.due.flush {
            self.flush_acks().await?;
            self.due.flush = Instant::now() + IDLE_FLUSH;
        }
        Ok(())
    }

    /// Takes acknowledgements over.
    fn take_acks(&mut self) -> Result<(), WorkerError> {
        let now = Instant::now();
        for ack in self.bus.take_acks()? {
            let id = LaneId(ack.lane);
            if let Some(lane) = self.lanes.get_mut(&id).or_else(|| self.handover.resting(id)) {
                for took in lane.acknowledged(&ack, now) {
                    metrics::published(took);
                }
            }
        }
        Ok(())
    }

    /// Records committed and not acknowledged, over all lanes.
    fn unpublished(&self) -> usize {
        self.lanes.values().map(Lane::unpublished).sum()
    }

    fn fences(&self) -> Vec<LaneFence> {
        self.lanes.values().map(|lane| lane.position.fence).collect()
    }

    /// A new producer, and for every lane what the old one left undone. Lanes on their way to another worker go: that one
    /// finds in the logs what was published.
    async fn replace_producer(&mut self) -> Result<(), WorkerError> {
        self.bus.reset_producer().await?;
        self.release_resting_lanes().await?;
        self.producer_broken = false;
        metrics::resumed();
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in lanes {
            self.resume_lane(id).await?;
        }
        Ok(())
    }

    /// One lane at a time, so that asking the brokers never holds up the others: how far behind is it, and does it move?
    /// A lane that stands still although there is something to read is assigned anew.
    async fn watch_progress(&mut self) -> Result<(), WorkerError> {
        let next = self.lanes.range(self.watched..).next().or_else(|| self.lanes.iter().next());
        let Some((id, lane)) = next.map(|(id, lane)| (*id, lane)) else { return Ok(()) };
        self.watched = LaneId(id.0.saturating_add(1));
        let inputs = lane.position.inputs.values();
        let (logs, offsets): (Vec<_>, Vec<_>) =
            inputs.map(|row| ((row.topic.clone(), id.partition()), row.next_offset)).unzip();
        let ranges = self.bus.ranges(&logs).await?;
        let lag: i64 =
            ranges.iter().zip(offsets).map(|(range, next)| (range.end - next).max(0)).sum();
        metrics::lag(id, lag);
        let Some(lane) = self.lanes.get_mut(&id) else { return Ok(()) };
        metrics::unpublished(id, lane.unpublished());
        self.health.lane(id, Some(format!("lag {lag}, unpublished {}", lane.unpublished())));
        let waiting = !self.works.is_empty() || !self.waiting.is_empty();
        if lag == 0 || waiting || self.paused.contains_key(&id) {
            lane.progress_at = Instant::now();
        } else if lane.progress_at.elapsed() > self.options.stall_after {
            tracing::error!(lane = id.0, lag, "a lane stands still; its inputs are assigned anew");
            metrics::stalled(id);
            lane.progress_at = Instant::now();
            self.assign(id)?;
        }
        Ok(())
    }

    /// Finishes: everything committed is published, and what is still held is given back at once.
    pub async fn stop(mut self) {
        let resting_since = self.clock.now();
        let deadline = Instant::now() + self.options.lease;
        self.take_resting_lanes_back();
        while self.unpublished() > 0 && Instant::now() < deadline && !self.producer_broken {
            self.bus.acks_ready(Duration::from_millis(20)).await;
            if self.take_acks().is_err() {
                break;
            }
        }
        if let Err(error) = self.flush_acks().await {
            tracing::warn!(%error, "acknowledgements were not written; they will be found in the logs");
        }
        let fences = self.fences();
        if let Err(error) = self.store.release(&fences, resting_since).await {
            tracing::warn!(%error, "lanes were not given back; their leases will expire");
        }
        self.health.problem(Some("stopped".to_owned()));
        tracing::info!(lanes = fences.len(), "worker stopped");
    }
}
