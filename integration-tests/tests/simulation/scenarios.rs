//! The scenarios on a stage of twins: the real worker over store and bus in memory, on a clock that is moved. Answers,
//! commands and decisions are records; what comes of them is read from the store and the topics. No faults: other
//! simulations have them.

use integration_tests::{Onlooker, Part, Script, flow_of, journeys, scripts};
use serde_json::Value;
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_flow::{Cue, Flow, Journey, Sight, Stage};
use signalbox_schemas::{
    Attempt, AttemptId, Contract, Micros, RecordName, StepName, TenantKey, TopicName, home_lane,
};
use signalbox_store::{AttemptStore, MemoryStore, PermitRequest};
use signalbox_vault::EnvelopeKeys;
use signalbox_worker::{JourneyLibrary, Worker, WorkerOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::faults::FaultyBus;
use super::world::simulated_time;

const START: Micros = Micros(1_800_000_000_000_000);
/// Turns of the worker within which something must have happened.
const TURNS_MAX: usize = 2_000;
/// Turns after which everything that a tick publishes lies on its topic.
const TURNS_TO_PUBLISH: usize = 8;
/// Time that passes with each turn.
const TURN: Duration = Duration::from_millis(1);

/// Plays every scenario on a stage of its own; what does not hold.
pub(crate) fn all() -> Vec<String> {
    let contract = Contract::builtin().unwrap();
    let journeys = journeys(contract).unwrap();
    let play = |script: Script| {
        let journey = |journey: &&Journey| journey.name().as_str() == script.scenario.journey();
        let journey = journeys.iter().find(journey).unwrap();
        script.play(journey, contract, &mut Simulated::begin(&script, journey))
    };
    scripts().unwrap().into_iter().filter_map(play).collect()
}

struct Simulated {
    runtime: Runtime,
    world: World,
    onlooker: Onlooker,
}

/// Everything around the flow.
struct World {
    broker: MemoryBroker,
    store: MemoryStore,
    codec: Arc<Codec>,
    key: TenantKey,
    worker: Worker<FaultyBus, MemoryStore>,
    begun: Instant,
    part: Part,
}

impl Simulated {
    /// Publishes the command and waits until its flow has begun.
    fn begin(script: &Script, journey: &Journey) -> Self {
        let runtime = simulated_time();
        let (world, flow) = runtime.block_on(async {
            let key = TenantKey::new(b"the key of scenarios".to_vec());
            let mut world = World::new(script.part(journey, &key), key);
            let command = Arc::clone(&world.part.command);
            world.publish(&commands_of(journey.starts_with()), journey.starts_with(), &command);
            world.until("the flow to begin", |world| world.flow().is_some()).await;
            world.publish_everything().await;
            let flow = world.flow().unwrap();
            (world, flow)
        });
        Self { runtime, world, onlooker: Onlooker::new(flow) }
    }
}

impl Stage for Simulated {
    fn flow(&self) -> &Flow {
        &self.onlooker.flow
    }

    fn now(&self) -> Micros {
        self.world.store.clock()
    }

    fn attempt(&self, step: &StepName, group: u32) -> Option<AttemptId> {
        let named = Attempt { flow: self.onlooker.flow.id, step: step.clone(), group };
        Some(self.world.key.attempt_id(&named))
    }

    fn happen(&mut self, said: &str, cue: &Cue<'_>) -> Result<(), String> {
        let is_record = matches!(cue, Cue::Answer { .. } | Cue::Command { .. });
        self.onlooker.told(said, is_record);
        let world = &mut self.world;
        self.runtime.block_on(async {
            match *cue {
                Cue::Answer { capability, value, .. } => {
                    let topic = TopicName::from(format!("{capability}.outcomes.v1"));
                    let record = RecordName::from(format!("{capability}.Outcome"));
                    world.take(&topic, &record, value).await;
                }
                Cue::Command { record, value } => {
                    world.take(&commands_of(record), record, value).await;
                }
                Cue::Pass { until } => world.pass_until(until).await,
                Cue::Permit { attempt } => {
                    let vendor = "vendor".to_owned();
                    let wanted = PermitRequest { attempt, vendor, request: Vec::new() };
                    world.store.take_permits(&[wanted]).await.map_err(|error| error.to_string())?;
                }
            }
            world.publish_everything().await;
            Ok(())
        })
    }

    fn look(&mut self) -> Result<Vec<Sight>, String> {
        let world = &self.world;
        let flow = world.flow().ok_or("the flow is gone")?;
        let found = self.runtime.block_on(world.store.recognitions(&[flow.id]));
        let recognition = found.map_err(|error| error.to_string())?.0.into_values().next();
        Ok(self.onlooker.look(flow, &world.published(), recognition, world.store.clock()))
    }
}

impl World {
    fn new(part: Part, key: TenantKey) -> Self {
        let contract = Contract::builtin().unwrap();
        let codec = Arc::new(Codec::offline(contract));
        let (broker, store) =
            (MemoryBroker::new(), MemoryStore::new(contract.topics().lanes, START));
        let worker = Worker::new(
            WorkerOptions::new("stage", store.lane_count(), key.clone()),
            FaultyBus::calm(broker.clone()),
            store.clone(),
            Arc::clone(&codec),
            JourneyLibrary::new(journeys(contract).unwrap()).unwrap(),
            Arc::new(EnvelopeKeys::of_text(&"5a".repeat(32)).unwrap()),
        );
        let worker = worker.unwrap();
        Self { broker, store, codec, key, worker, begun: Instant::now(), part }
    }

    fn flow(&self) -> Option<Flow> {
        let row = self.store.flows().into_iter().find(|flow| flow.id == self.part.id)?;
        flow_of(row, &self.part.command)
    }

    /// Publishes a record about the flow; its offset.
    fn publish(&self, topic: &TopicName, record: &RecordName, value: &Value) -> i64 {
        let key = self.part.aggregate.as_bytes();
        self.broker.append(&Outbound {
            payload: Some(self.codec.encode(topic, record, value).unwrap()),
            topic: topic.clone(),
            partition: home_lane(key, self.codec.contract().topics().lanes).partition(),
            key: key.to_vec(),
            headers: Headers::new(),
        })
    }

    /// Publishes a record, and waits until its lane has taken it.
    async fn take(&mut self, topic: &TopicName, record: &RecordName, value: &Value) {
        let offset = self.publish(topic, record, value);
        let key = self.part.aggregate.as_bytes();
        let lane = home_lane(key, self.codec.contract().topics().lanes);
        let taken = |world: &Self| world.store.next_offset(lane, topic) > offset;
        self.until(&format!("{record} to be taken"), taken).await;
    }

    /// Time passes; each timer that is due meanwhile fires when it is.
    async fn pass_until(&mut self, until: Micros) {
        loop {
            let timers = self.flow().map(|flow| flow.data.timers).unwrap_or_default();
            let next = timers.values().copied().filter(|due| *due <= until).min();
            let to = next.unwrap_or(until).max(self.store.clock());
            self.pass(to.since(self.store.clock())).await;
            let Some(due) = next else { return };
            let fired = move |world: &Self| {
                world.flow().is_some_and(|flow| !flow.data.timers.values().any(|at| *at <= due))
            };
            self.until("a timer that is due", fired).await;
        }
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if is_so(self) {
                return;
            }
            self.turn().await;
        }
        panic!("{}: waited in vain for {what}", self.part.aggregate);
    }

    async fn publish_everything(&mut self) {
        for _ in 0..TURNS_TO_PUBLISH {
            self.turn().await;
        }
    }

    async fn turn(&mut self) {
        self.worker.turn().await.unwrap();
        self.pass(TURN).await;
    }

    async fn pass(&mut self, by: Duration) {
        tokio::time::advance(by).await;
        self.store.set_clock(START.after(self.begun.elapsed()));
    }

    /// Everything that was published about the flow, topic by topic: the order within a topic is what a consumer sees.
    fn published(&self) -> Vec<(RecordName, Value)> {
        let mut seen: Vec<(i64, RecordName, Value)> = Vec::new();
        for (topic, partition) in self.broker.partitions() {
            for record in self.broker.log(&topic, partition) {
                let seq = record.number(signalbox_schemas::headers::LANE_SEQ);
                if let Some(seq) =
                    seq.filter(|_| record.key.as_deref() == Some(self.part.aggregate.as_bytes()))
                {
                    let (name, value) = self.codec.decode(record.payload.as_deref()).unwrap();
                    seen.push((seq, name, value));
                }
            }
        }
        seen.sort_by_key(|(seq, ..)| *seq);
        seen.into_iter().map(|(_, name, value)| (name, value)).collect()
    }
}

/// The topic that takes a command.
fn commands_of(record: &RecordName) -> TopicName {
    let mut topics =
        Contract::builtin().unwrap().topics().of_role(signalbox_schemas::topics::Role::Command);
    let takes = |names: &[String]| names.iter().any(|name| name == record.as_str());
    TopicName::from(topics.find(|(_, topic)| takes(&topic.schemas.value)).unwrap().0)
}
