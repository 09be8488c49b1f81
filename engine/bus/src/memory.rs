//! The twins in memory of bus and registry: logs, offsets, acknowledgements and failures on demand, all deterministic.
//! It lies about nothing that a worker relies on: order per partition, what is acknowledged is in the log, what was
//! queued and not acknowledged may or may not be.

use signalbox_schemas::{Micros, RecordSchema, TopicName};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::BusError;
use crate::lane_bus::{Ack, LaneBus, LogRange, Position, Stretch};
use crate::record::{Inbound, Outbound};
use crate::registry::RegistryError;

type Logs = BTreeMap<(TopicName, i32), Vec<Inbound>>;

/// A cluster in memory, shared by every bus connected to it.
#[derive(Clone, Default)]
pub struct MemoryBroker {
    logs: Arc<Mutex<Logs>>,
}

impl MemoryBroker {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record, as any producer would; its offset.
    pub fn append(&self, record: &Outbound) -> i64 {
        let mut logs = self.lock();
        let log = logs.entry((record.topic.clone(), record.partition)).or_default();
        let offset = i64::try_from(log.len()).unwrap_or(i64::MAX);
        log.push(Inbound {
            topic: record.topic.clone(),
            partition: record.partition,
            offset,
            timestamp_ms: 0,
            key: Some(record.key.clone()),
            payload: record.payload.clone(),
            headers: record.headers.clone(),
        });
        offset
    }

    /// Everything that a partition holds.
    pub fn log(&self, topic: &TopicName, partition: i32) -> Vec<Inbound> {
        self.lock().get(&(topic.clone(), partition)).cloned().unwrap_or_default()
    }

    /// What a partition holds from an offset on; nothing where it ends before.
    pub fn log_from(&self, topic: &TopicName, partition: i32, offset: usize) -> Vec<Inbound> {
        let logs = self.lock();
        let held = logs.get(&(topic.clone(), partition)).and_then(|log| log.get(offset..));
        held.map(<[Inbound]>::to_vec).unwrap_or_default()
    }

    /// Records that a partition holds: the offset of its next one.
    pub fn end(&self, topic: &TopicName, partition: i32) -> usize {
        self.lock().get(&(topic.clone(), partition)).map_or(0, Vec::len)
    }

    /// Every partition that holds anything.
    pub fn partitions(&self) -> Vec<(TopicName, i32)> {
        self.lock().keys().cloned().collect()
    }

    /// Drops the last records of a partition, as an unclean leader election does.
    pub fn lose_tail(&self, topic: &TopicName, partition: i32, keep: usize) {
        if let Some(log) = self.lock().get_mut(&(topic.clone(), partition)) {
            log.truncate(keep);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registry that may be away, shared by every codec that learns from it.
#[derive(Clone, Default)]
pub struct MemoryRegistry {
    schemas: Arc<HashMap<u32, Arc<RecordSchema>>>,
    away: Arc<AtomicBool>,
    unanswered: Arc<AtomicUsize>,
}

impl MemoryRegistry {
    /// A registry that holds these schemas by their ids.
    pub(crate) fn holding(schemas: HashMap<u32, Arc<RecordSchema>>) -> Self {
        Self { schemas: Arc::new(schemas), ..Self::default() }
    }

    /// From now on it answers nobody, or everybody again.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How often it was asked while it was away.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    /// The text of a schema by its id.
    pub(crate) async fn by_id(&self, id: u32) -> Result<String, RegistryError> {
        tokio::task::yield_now().await;
        if self.away.load(Ordering::SeqCst) {
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            return Err(RegistryError::Unavailable("it is away".to_owned()));
        }
        let found = self.schemas.get(&id).map(|schema| schema.text().to_owned());
        found.ok_or_else(|| RegistryError::Missing(format!("schema id {id}")))
    }
}

/// One worker's connection to a cluster in memory.
pub struct MemoryLaneBus {
    broker: MemoryBroker,
    positions: BTreeMap<(TopicName, i32), i64>,
    queued: VecDeque<(u16, i64, Outbound)>,
    acks: Vec<Ack>,
    broken: bool,
}

impl MemoryLaneBus {
    /// Connects.
    pub fn connect(broker: MemoryBroker) -> Self {
        Self {
            broker,
            positions: BTreeMap::new(),
            queued: VecDeque::new(),
            acks: Vec::new(),
            broken: false,
        }
    }

    /// Delivers up to `count` queued records to the log, in order; the rest waits.
    pub fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some((lane, lane_seq, record)) = self.queued.pop_front() else { return };
            let offset = self.broker.append(&record);
            self.acks.push(Ack {
                topic: record.topic,
                partition: record.partition,
                offset,
                lane,
                lane_seq,
            });
        }
    }

    /// The next records never arrive, and the worker is told so.
    pub fn break_producer(&mut self) {
        self.broken = true;
    }

    /// Records queued and not yet in the log.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }
}

impl LaneBus for MemoryLaneBus {
    async fn cluster_id(&mut self) -> Result<String, BusError> {
        Ok("memory".to_owned())
    }

    fn assign(&mut self, positions: Vec<Position>) -> Result<(), BusError> {
        self.positions
            .extend(positions.into_iter().map(|at| ((at.topic, at.partition), at.offset)));
        Ok(())
    }

    fn unassign(&mut self, partitions: &[(TopicName, i32)]) -> Result<(), BusError> {
        partitions.iter().for_each(|partition| {
            self.positions.remove(partition);
        });
        Ok(())
    }

    async fn poll(&mut self, max: usize, _wait: Duration) -> Result<Vec<Inbound>, BusError> {
        let logs = self.broker.lock();
        let mut records = Vec::new();
        for (partition, offset) in &mut self.positions {
            let Some(log) = logs.get(partition) else { continue };
            let from = usize::try_from(*offset).unwrap_or(usize::MAX);
            for record in log.iter().skip(from).take(max - records.len()) {
                *offset = record.offset + 1;
                records.push(record.clone());
            }
        }
        Ok(records)
    }

    fn publish(&mut self, lane: u16, lane_seq: i64, record: &Outbound) -> Result<(), BusError> {
        if self.broken {
            return Err(BusError::Undelivered("the producer is broken".to_owned()));
        }
        self.queued.push_back((lane, lane_seq, record.clone()));
        Ok(())
    }

    fn take_acks(&mut self) -> Result<Vec<Ack>, BusError> {
        if self.broken {
            return Err(BusError::Undelivered("the producer is broken".to_owned()));
        }
        Ok(std::mem::take(&mut self.acks))
    }

    async fn acks_ready(&mut self, _wait: Duration) {}

    async fn reset_producer(&mut self) -> Result<(), BusError> {
        self.queued.clear();
        self.acks.clear();
        self.broken = false;
        Ok(())
    }

    async fn ranges(&mut self, logs: &[(TopicName, i32)]) -> Result<Vec<LogRange>, BusError> {
        let held = self.broker.lock();
        let end = |log: &(TopicName, i32)| {
            i64::try_from(held.get(log).map_or(0, Vec::len)).unwrap_or(i64::MAX)
        };
        Ok(logs.iter().map(|log| LogRange { start: 0, end: end(log) }).collect())
    }

    /// The twin's records have no time: any may be meant.
    async fn offset_since(
        &mut self,
        _topic: &TopicName,
        _partition: i32,
        _since: Micros,
    ) -> Result<i64, BusError> {
        Ok(0)
    }

    async fn read_all(&mut self, stretches: &[Stretch]) -> Result<Vec<Vec<Inbound>>, BusError> {
        let read = |stretch: &Stretch| {
            let from = usize::try_from(stretch.from).unwrap_or(0);
            let log = self.broker.log_from(&stretch.topic, stretch.partition, from).into_iter();
            log.take_while(|record| record.offset < stretch.end).collect()
        };
        Ok(stretches.iter().map(read).collect())
    }
}
