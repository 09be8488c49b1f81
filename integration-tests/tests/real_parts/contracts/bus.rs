//! The bus's twin and Kafka: two workers publish to the same partitions, wait for acknowledgements, and read what either has
//! written: from any offset, again from an earlier one, not any more, and backwards in stretches.
//!
//! It does not ask for the order of records of several partitions, for times, nor how a producer breaks: chaos does.
#![allow(clippy::indexing_slicing, reason = "there are two workers, by number")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use integration_tests::{Failure, Installation};
use signalbox_bus::{
    Ack, Headers, Inbound, KafkaConfig, KafkaLaneBus, LaneBus, LogRange, MemoryBroker,
    MemoryLaneBus, Outbound, Position, Stretch, TopicAdmin,
};
use signalbox_schemas::TopicName;
use signalbox_schemas::topics::WantedTopic;
use tokio::time::Instant;

use super::alike;
use crate::Outcome;

const PARTITIONS: u16 = 3;
/// Things done with each seed.
const ACTS: usize = 120;
const SEEDS: u64 = 4;
/// Most records that are published at once.
const RECORDS_MAX: usize = 40;
/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not come.
const NOTHING: Duration = Duration::from_millis(150);

type Log = (TopicName, i32);

/// The bus's twin and Kafka answer alike.
pub(crate) async fn of_the_bus(on: &mut Installation) -> Outcome {
    let kafka = KafkaConfig { brokers: on.settings().brokers.clone(), properties: BTreeMap::new() };
    let admin = TopicAdmin::connect(&kafka)?;
    let mut told = 0;
    for seed in 1..=SEEDS {
        let topics = ["a", "b"].map(|name| format!("contract.{seed}.{name}"));
        let wanted: Vec<WantedTopic> = topics.iter().map(|name| wanted(name)).collect();
        admin.apply(&admin.plan(&wanted).await?).await?;
        let topics = topics.map(TopicName::from);
        let connect = |name| KafkaLaneBus::connect(&kafka, name);
        let mut real = Play::new([connect("east")?, connect("west")?], topics.clone(), seed);
        real.play().await?;
        let broker = MemoryBroker::new();
        let connect = || MemoryLaneBus::connect(broker.clone());
        let mut simulated = Play::new([connect(), connect()], topics, seed);
        simulated.play().await?;
        told += alike("Kafka", &real.lines, &simulated.lines)
            .map_err(|differs| Failure::Broken(format!("seed {seed}: {differs}")))?;
    }
    Ok(format!("{told} answers of the bus's twin are those of Kafka"))
}

fn wanted(name: &str) -> WantedTopic {
    let name = name.to_owned();
    WantedTopic { name, partitions: PARTITIONS, replicas: 1, config: BTreeMap::new() }
}

/// A bus whose queued records are brought to their logs: Kafka does that by itself, the twin when it is told.
trait Delivering: LaneBus {
    fn deliver_all(&mut self) {}
}

impl Delivering for KafkaLaneBus {}

impl Delivering for MemoryLaneBus {
    fn deliver_all(&mut self) {
        self.deliver(self.queued());
    }
}

/// Two workers on one cluster, who know everything that was written.
struct Play<B> {
    buses: [B; 2],
    /// Next sequence of each worker, who publishes as a lane of their own.
    seqs: [i64; 2],
    /// What each reads, and where it is.
    reading: [BTreeMap<Log, i64>; 2],
    ends: BTreeMap<Log, i64>,
    rng: Rng,
    lines: Vec<String>,
}

impl<B: Delivering> Play<B> {
    fn new(buses: [B; 2], topics: [TopicName; 2], seed: u64) -> Self {
        let logs = topics.into_iter().flat_map(|topic| {
            (0..i32::from(PARTITIONS)).map(move |partition| ((topic.clone(), partition), 0))
        });
        Self {
            buses,
            seqs: [0; 2],
            reading: [BTreeMap::new(), BTreeMap::new()],
            ends: logs.collect(),
            rng: Rng::with_seed(seed),
            lines: Vec::new(),
        }
    }

    async fn play(&mut self) -> Result<(), Failure> {
        for _ in 0..ACTS {
            let who = usize::from(self.rng.bool());
            match self.rng.u8(0..100) {
                0..35 => self.publish(who).await?,
                35..40 => self.begin_anew(who).await?,
                40..55 => self.assign(who)?,
                55..60 => self.unassign(who)?,
                60..80 => self.read(who).await?,
                80..90 => self.ranges(who).await?,
                _ => self.stretches(who).await?,
            }
        }
        self.read(0).await?;
        self.read(1).await?;
        self.ranges(0).await
    }

    fn tell(&mut self, act: &str, answer: String) {
        self.lines.push(format!("{act}: {answer}"));
    }

    fn any_log(&mut self) -> Log {
        let at = self.rng.usize(0..self.ends.len());
        let log = self.ends.keys().nth(at).cloned();
        log.unwrap_or_else(|| (TopicName::from("none"), 0))
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.rng.usize(0..=most);
        (0..count).map(|_| self.rng.u8(..)).collect()
    }

    fn record(&mut self) -> Outbound {
        let (topic, partition) = self.any_log();
        let mut headers = Headers::new();
        for _ in 0..self.rng.usize(0..4) {
            // Names come again, values are any bytes.
            let name = ["ce_id", "lane", "x"][self.rng.usize(0..3)];
            let value = self.bytes(12);
            headers.push(name, &value);
        }
        let is_tombstone = self.rng.u8(0..8) == 0;
        let (key, payload) = (self.bytes(10), self.bytes(2_000));
        Outbound { topic, partition, key, payload: (!is_tombstone).then_some(payload), headers }
    }

    /// Some records are published, and every one is acknowledged at its offset.
    async fn publish(&mut self, who: usize) -> Result<(), Failure> {
        let count = self.rng.usize(1..=RECORDS_MAX);
        for _ in 0..count {
            let record = self.record();
            self.seqs[who] += 1;
            let lane = u16::try_from(who).unwrap_or_default();
            self.buses[who].publish(lane, self.seqs[who], &record)?;
            if let Some(end) = self.ends.get_mut(&(record.topic, record.partition)) {
                *end += 1;
            }
        }
        self.buses[who].deliver_all();
        let mut acks: Vec<Ack> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while acks.len() < count && Instant::now() < deadline {
            self.buses[who].acks_ready(NOTHING).await;
            acks.extend(self.buses[who].take_acks()?);
        }
        // Partitions are acknowledged in any order; each in its own.
        acks.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        self.tell("publish", format!("{acks:?}"));
        Ok(())
    }

    /// A new producer goes on where the old one ended.
    async fn begin_anew(&mut self, who: usize) -> Result<(), Failure> {
        self.buses[who].reset_producer().await?;
        let left = self.buses[who].take_acks()?;
        self.tell("a new producer", format!("{left:?}"));
        Ok(())
    }

    /// Reads some logs, or reads them again, from anywhere in them.
    fn assign(&mut self, who: usize) -> Result<(), Failure> {
        let logs: BTreeSet<Log> = (0..self.rng.usize(1..4)).map(|_| self.any_log()).collect();
        let mut positions = Vec::new();
        for log in logs {
            let end = self.ends.get(&log).copied().unwrap_or_default();
            let offset = self.rng.i64(0..=end);
            self.reading[who].insert(log.clone(), offset);
            positions.push(Position { topic: log.0, partition: log.1, offset });
        }
        Ok(self.buses[who].assign(positions)?)
    }

    fn unassign(&mut self, who: usize) -> Result<(), Failure> {
        let log = self.any_log();
        self.reading[who].remove(&log);
        Ok(self.buses[who].unassign(&[log])?)
    }

    /// Reads everything there is of what is assigned, in portions, and then there is nothing more.
    async fn read(&mut self, who: usize) -> Result<(), Failure> {
        let most = self.rng.usize(1..60);
        let ends = &self.ends;
        let left = |(log, at): (&Log, &i64)| ends.get(log).copied().unwrap_or_default() - at;
        let wanted: i64 = self.reading[who].iter().map(left).sum();
        let wanted = usize::try_from(wanted).unwrap_or_default();
        let mut records: Vec<Inbound> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while records.len() < wanted && Instant::now() < deadline {
            let portion = self.buses[who].poll(most, NOTHING).await?;
            if portion.len() > most {
                return Err(Failure::Broken(format!(
                    "{} records instead of {most}",
                    portion.len()
                )));
            }
            records.extend(portion);
        }
        records.extend(self.buses[who].poll(most, NOTHING).await?);
        for (log, at) in &mut self.reading[who] {
            *at = self.ends.get(log).copied().unwrap_or_default();
        }
        records.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let told = told(&records);
        self.tell("read", told);
        Ok(())
    }

    async fn ranges(&mut self, who: usize) -> Result<(), Failure> {
        let logs: BTreeSet<Log> = (0..self.rng.usize(1..8)).map(|_| self.any_log()).collect();
        let logs: Vec<Log> = logs.into_iter().collect();
        let ranges: Vec<LogRange> = self.buses[who].ranges(&logs).await?;
        self.tell("ranges", format!("{ranges:?}"));
        Ok(())
    }

    async fn stretches(&mut self, who: usize) -> Result<(), Failure> {
        let mut stretches = Vec::new();
        let logs: BTreeSet<Log> = (0..self.rng.usize(1..4)).map(|_| self.any_log()).collect();
        for log in logs {
            let held = self.ends.get(&log).copied().unwrap_or_default();
            let from = self.rng.i64(0..=held);
            let end = self.rng.i64(from..=held);
            stretches.push(Stretch { topic: log.0, partition: log.1, from, end });
        }
        let found = self.buses[who].read_all(&stretches).await?;
        let found: Vec<String> = found.iter().map(|records| told(records)).collect();
        self.tell("stretches", format!("{stretches:?} {found:?}"));
        Ok(())
    }
}

/// Everything of records but when they were written.
fn told(records: &[Inbound]) -> String {
    let told = |record: &Inbound| {
        let Inbound { key, payload, headers, .. } = record;
        format!("{} {key:?} {payload:?} {headers:?}", record.place())
    };
    records.iter().map(told).collect::<Vec<_>>().join("; ")
}
