//! A consumer in an ordinary group (classic protocol), for stateless adapters. One thread polls; records wait in batches in a
//! bounded channel, and while there is no room for one more partitions are paused, so that the group's poll interval is kept.

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use signalbox_schemas::TopicName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use crate::config::KafkaConfig;
use crate::error::BusError;
use crate::kafka::{drain, inbound};
use crate::record::Inbound;

/// Batches that may wait for the adapter.
const WAITING_BATCHES: usize = 4;
/// How long to wait before a group is joined again, so that two processes of one id do not chase each other.
const BEFORE_JOINING_AGAIN: Duration = Duration::from_secs(1);
/// How long a poll waits for a first record; a stop and a commit wait as long.
const POLL: Duration = Duration::from_millis(50);
/// The same while records are held that the adapter had no room for.
const POLL_HOLDING: Duration = Duration::from_millis(5);
/// Most records in one batch.
const BATCH: usize = 500;
/// Between two commits. Each is a request and a record of Kafka's own; what a crash repeats meanwhile is recognised.
const BETWEEN_COMMITS: Duration = Duration::from_millis(200);

/// The newest position of each partition that is done and not committed yet.
type Done = Arc<Mutex<HashMap<(TopicName, i32), i64>>>;

/// A member of a consumer group.
pub struct GroupConsumer {
    batches: mpsc::Receiver<Vec<Inbound>>,
    records: std::vec::IntoIter<Inbound>,
    done: Done,
}

impl GroupConsumer {
    /// Joins a group. A group that has never committed starts at the beginning of the log.
    /// `member` makes the membership static: a quick restart causes no rebalance.
    pub fn subscribe(
        config: &KafkaConfig,
        group: &str,
        member: &str,
        topics: &[TopicName],
    ) -> Result<Self, BusError> {
        let mut client = config.consumer(member, group)?;
        client
            .set("auto.offset.reset", "earliest")
            .set("group.instance.id", member)
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000");
        let membership = Membership { client, topics: topics.to_vec() };
        let consumer = membership.join()?;
        let (deliver, batches) = mpsc::channel(WAITING_BATCHES);
        let done = Done::default();
        let to_commit = Arc::clone(&done);
        std::thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn(move || run(&membership, consumer, &deliver, &to_commit))
            .map_err(|error| {
                BusError::Config(format!("no thread for the group consumer: {error}"))
            })?;
        Ok(Self { batches, records: Vec::new().into_iter(), done })
    }

    /// The next record; none when the consumer has stopped.
    pub async fn next(&mut self) -> Option<Inbound> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(record);
            }
            self.records = self.batches.recv().await?.into_iter();
        }
    }

    /// Says that everything below `next_offset` is done. Committed soon, not at once: a repeat is normal.
    pub fn commit(
        &self,
        topic: &TopicName,
        partition: i32,
        next_offset: i64,
    ) -> Result<(), BusError> {
        let mut done = self.done.lock().map_err(|_| BusError::Stopped)?;
        done.insert((topic.clone(), partition), next_offset);
        Ok(())
    }
}

/// How the group is joined, once or again.
struct Membership {
    client: ClientConfig,
    topics: Vec<TopicName>,
}

impl Membership {
    fn join(&self) -> Result<BaseConsumer, KafkaError> {
        let consumer = BaseConsumer::from_config(&self.client)?;
        let names: Vec<&str> = self.topics.iter().map(TopicName::as_str).collect();
        consumer.subscribe(&names)?;
        Ok(consumer)
    }

    /// A new client for one that librdkafka has given up: a fatal error never goes away by itself. After a broker's
    /// crash a static member can be fenced by its own earlier attempt to join.
    fn join_again(&self, fatal: &KafkaError) -> Option<BaseConsumer> {
        tracing::warn!(error = %fatal, "the group is joined anew; if this goes on, another process has the same id");
        std::thread::sleep(BEFORE_JOINING_AGAIN);
        match self.join() {
            Ok(consumer) => Some(consumer),
            Err(error) => {
                tracing::error!(%error, "the group cannot be joined again");
                None
            }
        }
    }
}

fn run(
    membership: &Membership,
    mut consumer: BaseConsumer,
    deliver: &mpsc::Sender<Vec<Inbound>>,
    done: &Done,
) {
    let mut names = HashMap::new();
    let mut held: Vec<Inbound> = Vec::new();
    let mut paused = false;
    let mut committed_at = Instant::now();
    loop {
        if deliver.is_closed() {
            // Waits for its answer, so that a graceful stop leaves little to repeat.
            return commit_done(&consumer, done, CommitMode::Sync);
        }
        if committed_at.elapsed() >= BETWEEN_COMMITS {
            commit_done(&consumer, done, CommitMode::Async);
            committed_at = Instant::now();
        }
        if let Err(fatal) = read(&consumer, &mut names, &mut held) {
            // Whoever waits for records finds out by their end.
            let Some(joined) = membership.join_again(&fatal) else { return };
            consumer = joined;
            paused = false;
        }
        if !held.is_empty() {
            match deliver.try_send(std::mem::take(&mut held)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(records)) => held = records,
                Err(mpsc::error::TrySendError::Closed(_)) => continue,
            }
        }
        let should_pause = if paused { !held.is_empty() } else { held.len() >= BATCH };
        if paused != should_pause {
            paused = set_paused(&consumer, should_pause);
        }
    }
}

/// Reads what is there, up to a batch in all; waits a moment for the first record.
///
/// # Errors
/// Those after which the consumer is of no use.
fn read(
    consumer: &BaseConsumer,
    names: &mut HashMap<String, TopicName>,
    held: &mut Vec<Inbound>,
) -> Result<(), KafkaError> {
    let wait = if held.is_empty() { POLL } else { POLL_HOLDING };
    let room = BATCH.saturating_sub(held.len());
    drain(
        consumer,
        (wait, room),
        |message| held.push(inbound(message, names)),
        |error| match error {
            fatal @ KafkaError::MessageConsumptionFatal(_) => Err(fatal),
            passing => {
                tracing::debug!(error = %passing, "kafka group poll is disturbed");
                Ok(())
            }
        },
    )
}

/// Pauses or resumes everything assigned; says whether it is paused now.
fn set_paused(consumer: &BaseConsumer, pause: bool) -> bool {
    let done = consumer
        .assignment()
        .and_then(|all| if pause { consumer.pause(&all) } else { consumer.resume(&all) });
    match done {
        Ok(()) => pause,
        Err(error) => {
            tracing::debug!(%error, "partitions could not be paused or resumed");
            !pause
        }
    }
}

fn commit_done(consumer: &BaseConsumer, done: &Done, mode: CommitMode) {
    let Ok(newest) = done.lock().map(|mut done| std::mem::take(&mut *done)) else { return };
    if newest.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in &newest {
        drop(list.add_partition_offset(topic.as_str(), *partition, Offset::Offset(*offset)));
    }
    if let Err(error) = consumer.commit(&list, mode) {
        tracing::debug!(%error, "a commit was refused; its records will be repeated");
    }
}
