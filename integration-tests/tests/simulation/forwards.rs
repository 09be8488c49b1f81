//! Forwards as another lane publishes them, laid on the topic by hand, to a worker over store and bus in memory: one after
//! the other, twice, and over a gap. How lanes forward, other simulations show.

use serde_json::Value;
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_schemas::{Contract, LaneId, Micros, TenantKey, TopicName, headers, home_lane};
use signalbox_store::MemoryStore;
use signalbox_vault::EnvelopeKeys;
use signalbox_worker::{JourneyLibrary, Worker, WorkerOptions};
use std::sync::Arc;
use std::time::Duration;

use super::business::ALL;
use super::faults::FaultyBus;
use super::world::in_simulated_time;

const FORWARDS: &str = "signalbox.forwards.v1";
/// Turns of the worker after which everything that it can do is done.
const TURNS: usize = 60;

/// A worker with every lane, and one of them as the home of what is forwarded.
pub(crate) struct Home {
    broker: MemoryBroker,
    pub(crate) store: MemoryStore,
    codec: Arc<Codec>,
    worker: Worker<FaultyBus, MemoryStore>,
    pub(crate) lane: LaneId,
    source: LaneId,
}

/// Forwards are taken in order and once; one before which another is missing stops the lane, and no other.
pub(crate) fn stop_behind_a_gap() {
    in_simulated_time(async {
        let mut home = Home::new();
        let ids = home.ids();
        // Every lane is claimed first: what the source never gave out would stop it then.
        home.work().await;
        home.forward(&ids[0], 3, 0);
        home.forward(&ids[1], 5, 3);
        home.forward(&ids[1], 5, 3);
        home.work().await;
        assert_eq!((home.begun(), home.stopped()), (2, Vec::new()));

        home.forward(&ids[2], 9, 7);
        home.work().await;
        assert_eq!(home.begun(), 2, "what follows the gap was taken");
        let [(lane, reason)] = home.stopped().try_into().unwrap();
        assert_eq!(lane, home.lane);
        let told = format!(
            "a forward of lane {} is missing: 9 follows 7, and the last one taken is 5",
            home.source
        );
        assert!(reason.contains(&told), "{reason}");
    });
}

impl Home {
    pub(crate) fn new() -> Self {
        let contract = Contract::builtin().unwrap();
        let codec = Arc::new(Codec::offline(contract));
        let broker = MemoryBroker::new();
        let store = MemoryStore::new(contract.topics().lanes, Micros(1_800_000_000_000_000));
        let bus = FaultyBus::calm(broker.clone());
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let options = WorkerOptions::new("home", store.lane_count(), key);
        let journeys = integration_tests::journeys(contract).unwrap();
        let library = JourneyLibrary::new(journeys).unwrap();
        let keys = Arc::new(EnvelopeKeys::of_text(&"5a".repeat(32)).unwrap());
        let worker =
            Worker::new(options, bus, store.clone(), Arc::clone(&codec), library, keys).unwrap();
        Self { broker, store, codec, worker, lane: LaneId(0), source: LaneId(1) }
    }

    /// Business ids whose home is the lane.
    pub(crate) fn ids(&self) -> Vec<String> {
        let lanes = self.store.lane_count();
        let here = |id: &String| home_lane(id.as_bytes(), lanes) == self.lane;
        (0..1_000).map(|number| format!("f{number}")).filter(here).take(3).collect()
    }

    /// A command that another lane forwards, with its place among those of that lane.
    pub(crate) fn forward(&self, id: &str, seq: i64, prev: i64) {
        let business = &ALL[0];
        let request = (business.request)(id);
        self.forward_record((business.commands, business.starts_with), &request, id, (seq, prev));
    }

    /// The same for any record.
    pub(crate) fn forward_record(
        &self,
        (topic, record): (&str, &str),
        value: &Value,
        id: &str,
        (seq, prev): (i64, i64),
    ) {
        self.broker.append(&Outbound {
            payload: Some(self.codec.encode(&topic.into(), &record.into(), value).unwrap()),
            topic: TopicName::from(FORWARDS),
            partition: self.lane.partition(),
            key: id.as_bytes().to_vec(),
            headers: Headers::new()
                .with(headers::FORWARD_TOPIC, topic)
                .with(headers::LANE, self.source.to_string())
                .with(headers::LANE_SEQ, seq.to_string())
                .with(headers::PREV_SEQ, prev.to_string()),
        });
    }

    pub(crate) async fn work(&mut self) {
        for _ in 0..TURNS {
            self.worker.turn().await.unwrap();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }

    fn begun(&self) -> usize {
        self.store.flows().len()
    }

    /// Lanes that are stopped, and why.
    pub(crate) fn stopped(&self) -> Vec<(LaneId, String)> {
        let lanes = (0..self.store.lane_count()).map(LaneId);
        lanes.filter_map(|lane| Some((lane, self.store.stopped(lane)?))).collect()
    }
}
