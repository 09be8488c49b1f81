//! Questions to the log, asked at claim and resume: what does it hold, what stands at its end. One thread, one at a time.

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use signalbox_schemas::{Micros, TopicName};
use std::collections::HashMap;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use super::poll_loop::inbound;
use crate::error::BusError;
use crate::lane_bus::LogRange;
use crate::record::Inbound;

/// How long the brokers may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions that may wait.
const WAITING: usize = 64;

type Answer<T> = oneshot::Sender<Result<T, BusError>>;

enum Question {
    ClusterId(Answer<String>),
    Range(TopicName, i32, Answer<LogRange>),
    Since(TopicName, i32, Micros, Answer<i64>),
    Read { topic: TopicName, partition: i32, from: i64, end: i64, answer: Answer<Vec<Inbound>> },
}

/// Handle to the thread; it ends when this is dropped.
pub(super) struct Prober {
    questions: std_mpsc::SyncSender<Question>,
}

impl Prober {
    pub(super) fn spawn(config: &ClientConfig) -> Result<Self, BusError> {
        let mut config = config.clone();
        config.set("enable.partition.eof", "true");
        // What a read asks for is there. A fetch that waits for more at the end of one log would hold up the read of the
        // next: with the poll loop's 100 ms, claiming eight lanes took longer than their lease.
        config.set("fetch.wait.max.ms", "1");
        let consumer = BaseConsumer::from_config(&config)?;
        let (questions, asked) = std_mpsc::sync_channel::<Question>(WAITING);
        std::thread::Builder::new()
            .name("kafka-probe".to_owned())
            .spawn(move || {
                while let Ok(question) = asked.recv() {
                    reply(&consumer, question);
                }
            })
            .map_err(|error| BusError::Config(format!("no thread for the prober: {error}")))?;
        Ok(Self { questions })
    }

    pub(super) async fn cluster_id(&self) -> Result<String, BusError> {
        self.ask(Question::ClusterId).await
    }

    pub(super) async fn range(
        &self,
        topic: &TopicName,
        partition: i32,
    ) -> Result<LogRange, BusError> {
        self.ask(|answer| Question::Range(topic.clone(), partition, answer)).await
    }

    pub(super) async fn offset_since(
        &self,
        topic: &TopicName,
        partition: i32,
        since: Micros,
    ) -> Result<i64, BusError> {
        self.ask(|answer| Question::Since(topic.clone(), partition, since, answer)).await
    }

    pub(super) async fn read(
        &self,
        topic: &TopicName,
        partition: i32,
        from: i64,
        end: i64,
    ) -> Result<Vec<Inbound>, BusError> {
        if from >= end {
            return Ok(Vec::new());
        }
        self.ask(|answer| Question::Read { topic: topic.clone(), partition, from, end, answer })
            .await
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Question) -> Result<T, BusError> {
        let (answer, told) = oneshot::channel();
        self.questions.try_send(question(answer)).map_err(|_| BusError::Stopped)?;
        // Every question has its own bound; this one is for a client that keeps to none.
        match tokio::time::timeout(PATIENCE * 4, told).await {
            Ok(answered) => answered.map_err(|_| BusError::Stopped)?,
            Err(_elapsed) => Err(BusError::Unreachable("the prober does not answer".to_owned())),
        }
    }
}

/// Whoever asked may have gone; then the answer goes nowhere, which is right.
fn reply(consumer: &BaseConsumer, question: Question) {
    match question {
        Question::ClusterId(answer) => {
            let id = consumer.client().fetch_cluster_id(PATIENCE);
            drop(answer.send(id.ok_or_else(|| BusError::Unreachable("no cluster id".to_owned()))));
        }
        Question::Range(topic, partition, answer) => {
            drop(answer.send(range(consumer, &topic, partition)));
        }
        Question::Since(topic, partition, since, answer) => {
            let at = Offset::Offset(since.0.div_euclid(1_000).max(0));
            drop(answer.send(offset_at(consumer, &topic, partition, at)));
        }
        Question::Read { topic, partition, from, end, answer } => {
            let records = read(consumer, &topic, partition, from, end);
            drop(consumer.unassign());
            drop(answer.send(records));
        }
    }
}

/// First and next offset. `fetch_watermarks` is not used: while a broker restarts it may ignore its timeout and wait for
/// ever (librdkafka#2588); asking for the offsets of the special timestamps -2 and -1 is the same request with a bound.
fn range(consumer: &BaseConsumer, topic: &TopicName, partition: i32) -> Result<LogRange, BusError> {
    let start = offset_at(consumer, topic, partition, Offset::Beginning)?;
    let end = offset_at(consumer, topic, partition, Offset::End)?;
    Ok(LogRange { start, end })
}

fn offset_at(
    consumer: &BaseConsumer,
    topic: &TopicName,
    partition: i32,
    at: Offset,
) -> Result<i64, BusError> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic.as_str(), partition, at)?;
    let told = consumer.offsets_for_times(asked, PATIENCE)?;
    let found = told.find_partition(topic.as_str(), partition);
    let unknown = || BusError::Unreachable(format!("{topic}-{partition}: its range is not known"));
    let found = found.ok_or_else(unknown)?;
    found.error()?;
    match found.offset() {
        Offset::Offset(offset) => Ok(offset),
        // Asked for a time after the last record.
        Offset::End if at != Offset::End => offset_at(consumer, topic, partition, Offset::End),
        _ => Err(unknown()),
    }
}

fn read(
    consumer: &BaseConsumer,
    topic: &TopicName,
    partition: i32,
    from: i64,
    end: i64,
) -> Result<Vec<Inbound>, BusError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic.as_str(), partition, Offset::Offset(from))?;
    consumer.assign(&list)?;
    let mut names = HashMap::new();
    let mut records = Vec::new();
    let mut last_news = Instant::now();
    while last_news.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(50)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
            Some(Err(error)) => tracing::debug!(%error, "kafka probe is disturbed"),
            Some(Ok(message)) => {
                last_news = Instant::now();
                let record = inbound(&message, &mut names);
                let last = record.offset + 1 >= end;
                if record.offset < end {
                    records.push(record);
                }
                if last {
                    return Ok(records);
                }
            }
        }
    }
    Err(BusError::Unreachable(format!(
        "{topic}-{partition}: no answer while reading {from}..{end}"
    )))
}
