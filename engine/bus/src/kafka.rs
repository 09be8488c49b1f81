//! Kafka as a worker uses it: one poll loop and one prober, each on a thread of its own, and one idempotent producer.
//! librdkafka's calls block, and dropping a client can hang: neither ever happens on an async thread.
//! It does not use consumer groups: lanes are leased in Postgres and read by explicit assignment.

mod poll_loop;
mod prober;
mod producer;

pub(crate) use poll_loop::{drain, inbound};

use signalbox_schemas::{Micros, TopicName};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::config::KafkaConfig;
use crate::error::BusError;
use crate::lane_bus::{Ack, LaneBus, LogRange, Position, Stretch};
use crate::record::{Inbound, Outbound};
use poll_loop::{Command, Fetched, PollLoop};
use prober::Prober;
use producer::OrderedProducer;

/// Batches that may wait between the poll loop and the worker before the poll loop stops fetching.
const WAITING_BATCHES: usize = 8;

/// The lane bus over a Kafka cluster.
pub struct KafkaLaneBus {
    config: KafkaConfig,
    client_id: String,
    poll_loop: PollLoop,
    fetched: mpsc::Receiver<Fetched>,
    waiting: VecDeque<Inbound>,
    generations: HashMap<(TopicName, i32), u64>,
    generation: u64,
    prober: Prober,
    producer: OrderedProducer,
}

impl KafkaLaneBus {
    /// Connects. `client_id` names the worker in the brokers' logs; brokers may be away for now.
    pub fn connect(config: &KafkaConfig, client_id: &str) -> Result<Self, BusError> {
        let (deliver, fetched) = mpsc::channel(WAITING_BATCHES);
        Ok(Self {
            poll_loop: PollLoop::spawn(&config.consumer(client_id, "signalbox.engine")?, deliver)?,
            prober: Prober::spawn(
                &config.consumer(&format!("{client_id}-prober"), "signalbox.engine.prober")?,
            )?,
            producer: OrderedProducer::new(&config.producer(client_id)?)?,
            config: config.clone(),
            client_id: client_id.to_owned(),
            fetched,
            waiting: VecDeque::new(),
            generations: HashMap::new(),
            generation: 0,
        })
    }

    /// Takes what was fetched, without records of an assignment that is over.
    fn take(&mut self, fetched: Fetched) -> Result<(), BusError> {
        for (generation, record) in fetched? {
            let current = self.generations.get(&(record.topic.clone(), record.partition));
            if current == Some(&generation) {
                self.waiting.push_back(record);
            }
        }
        Ok(())
    }
}

impl LaneBus for KafkaLaneBus {
    async fn cluster_id(&mut self) -> Result<String, BusError> {
        self.prober.cluster_id().await
    }

    fn assign(&mut self, positions: Vec<Position>) -> Result<(), BusError> {
        self.generation += 1;
        for position in &positions {
            self.generations.insert((position.topic.clone(), position.partition), self.generation);
        }
        self.waiting.retain(|record| {
            !positions.iter().any(|position| {
                position.topic == record.topic && position.partition == record.partition
            })
        });
        self.poll_loop.send(Command::Assign { generation: self.generation, positions })
    }

    fn unassign(&mut self, partitions: &[(TopicName, i32)]) -> Result<(), BusError> {
        for partition in partitions {
            self.generations.remove(partition);
        }
        self.waiting.retain(|record| {
            !partitions.iter().any(|(topic, p)| *topic == record.topic && *p == record.partition)
        });
        self.poll_loop.send(Command::Unassign(partitions.to_vec()))
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Inbound>, BusError> {
        if self.waiting.is_empty() {
            match tokio::time::timeout(wait, self.fetched.recv()).await {
                Ok(Some(fetched)) => self.take(fetched)?,
                Ok(None) => return Err(BusError::Stopped),
                Err(_elapsed) => {}
            }
        }
        while self.waiting.len() < max {
            match self.fetched.try_recv() {
                Ok(fetched) => self.take(fetched)?,
                Err(_) => break,
            }
        }
        let count = self.waiting.len().min(max);
        Ok(self.waiting.drain(..count).collect())
    }

    fn publish(&mut self, lane: u16, lane_seq: i64, record: &Outbound) -> Result<(), BusError> {
        self.producer.send(lane, lane_seq, record)
    }

    fn take_acks(&mut self) -> Result<Vec<Ack>, BusError> {
        self.producer.take_acks()
    }

    async fn acks_ready(&mut self, wait: Duration) {
        self.producer.acks_ready(wait).await;
    }

    async fn reset_producer(&mut self) -> Result<(), BusError> {
        let fresh = OrderedProducer::new(&self.config.producer(&self.client_id)?)?;
        std::mem::replace(&mut self.producer, fresh).abandon().await;
        Ok(())
    }

    async fn ranges(&mut self, logs: &[(TopicName, i32)]) -> Result<Vec<LogRange>, BusError> {
        self.prober.ranges(logs).await
    }

    async fn offset_since(
        &mut self,
        topic: &TopicName,
        partition: i32,
        since: Micros,
    ) -> Result<i64, BusError> {
        self.prober.offset_since(topic, partition, since).await
    }

    async fn read_all(&mut self, stretches: &[Stretch]) -> Result<Vec<Vec<Inbound>>, BusError> {
        self.prober.read_all(stretches).await
    }
}
