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
use crate::lane_bus::{LogRange, Stretch};
use crate::record::Inbound;

/// How long the brokers may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(4);
/// Without a record for so long, and with the end of some log reached, several logs have told what they hold.
const QUIET: Duration = Duration::from_millis(20);
/// Questions that may wait.
const WAITING: usize = 64;

type Answer<T> = oneshot::Sender<Result<T, BusError>>;

enum Question {
    ClusterId(Answer<String>),
    Ranges(Vec<(TopicName, i32)>, Answer<Vec<LogRange>>),
    Since(TopicName, i32, Micros, Answer<i64>),
    Read(Vec<Stretch>, Answer<Vec<Vec<Inbound>>>),
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

    pub(super) async fn ranges(
        &self,
        logs: &[(TopicName, i32)],
    ) -> Result<Vec<LogRange>, BusError> {
        self.ask(|answer| Question::Ranges(logs.to_vec(), answer)).await
    }

    pub(super) async fn offset_since(
        &self,
        topic: &TopicName,
        partition: i32,
        since: Micros,
    ) -> Result<i64, BusError> {
        self.ask(|answer| Question::Since(topic.clone(), partition, since, answer)).await
    }

    pub(super) async fn read_all(
        &self,
        stretches: &[Stretch],
    ) -> Result<Vec<Vec<Inbound>>, BusError> {
        self.ask(|answer| Question::Read(stretches.to_vec(), answer)).await
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
        Question::Ranges(logs, answer) => {
            drop(answer.send(ranges(consumer, &logs)));
        }
        Question::Since(topic, partition, since, answer) => {
            let at = Offset::Offset(since.0.div_euclid(1_000).max(0));
            drop(answer.send(offset_at(consumer, &topic, partition, at)));
        }
        Question::Read(stretches, answer) => {
            let records = read_all(consumer, &stretches);
            drop(consumer.unassign());
            drop(answer.send(records));
        }
    }
}

/// First and next offset of each log. `fetch_watermarks` is not used: while a broker restarts it may ignore its timeout and
/// wait for ever (librdkafka#2588); asking for the offsets of the special timestamps -2 and -1 is the same request with a
/// bound, and asks every broker once for all its logs.
fn ranges(consumer: &BaseConsumer, logs: &[(TopicName, i32)]) -> Result<Vec<LogRange>, BusError> {
    if logs.is_empty() {
        return Ok(Vec::new());
    }
    let starts = offsets_at(consumer, logs, Offset::Beginning)?;
    let ends = offsets_at(consumer, logs, Offset::End)?;
    Ok(starts.into_iter().zip(ends).map(|(start, end)| LogRange { start, end }).collect())
}

/// For each log the offset at a special place, or of the first record at or after a time in ms, the log's end where there is
/// none.
fn offsets_at(
    consumer: &BaseConsumer,
    logs: &[(TopicName, i32)],
    at: Offset,
) -> Result<Vec<i64>, BusError> {
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in logs {
        asked.add_partition_offset(topic.as_str(), *partition, at)?;
    }
    let told = consumer.offsets_for_times(asked, PATIENCE)?;
    let offset = |(topic, partition): &(TopicName, i32)| {
        let unknown =
            || BusError::Unreachable(format!("{topic}-{partition}: its range is not known"));
        let found = told.find_partition(topic.as_str(), *partition).ok_or_else(unknown)?;
        found.error()?;
        match found.offset() {
            Offset::Offset(offset) => Ok(offset),
            // Asked for a time after the last record.
            Offset::End if at != Offset::End => offset_at(consumer, topic, *partition, Offset::End),
            _ => Err(unknown()),
        }
    };
    logs.iter().map(offset).collect()
}

/// As `offsets_at`, of one log.
fn offset_at(
    consumer: &BaseConsumer,
    topic: &TopicName,
    partition: i32,
    at: Offset,
) -> Result<i64, BusError> {
    let told = offsets_at(consumer, &[(topic.clone(), partition)], at)?.pop();
    told.ok_or_else(|| BusError::Unreachable(format!("{topic}-{partition}: no offset is told")))
}

/// All stretches at once. One whose end is not reached by a record (it was compacted, or is none) is read again alone: where
/// several logs are read, the client does not tell of which it has reached the end.
fn read_all(consumer: &BaseConsumer, stretches: &[Stretch]) -> Result<Vec<Vec<Inbound>>, BusError> {
    let mut readings: Vec<Reading> = stretches.iter().map(Reading::new).collect();
    read(consumer, &mut readings)?;
    for reading in readings.iter_mut().filter(|reading| !reading.done) {
        reading.records.clear();
        read(consumer, std::slice::from_mut(reading))?;
    }
    Ok(readings.into_iter().map(|reading| reading.records).collect())
}

/// A stretch and what was read of it.
struct Reading {
    stretch: Stretch,
    records: Vec<Inbound>,
    done: bool,
}

impl Reading {
    fn new(stretch: &Stretch) -> Self {
        let done = stretch.from >= stretch.end;
        Self { stretch: stretch.clone(), records: Vec::new(), done }
    }

    fn is_of(&self, record: &Inbound) -> bool {
        self.stretch.topic == record.topic && self.stretch.partition == record.partition
    }

    /// Whether it was waited for.
    fn take(&mut self, record: Inbound) -> bool {
        let waited = !self.done;
        self.done |= record.offset + 1 >= self.stretch.end;
        if waited && record.offset < self.stretch.end {
            self.records.push(record);
        }
        waited
    }

    fn add_to(&self, list: &mut TopicPartitionList) -> Result<(), BusError> {
        let Stretch { topic, partition, from, .. } = &self.stretch;
        Ok(list.add_partition_offset(topic.as_str(), *partition, Offset::Offset(*from))?)
    }
}

/// Reads until everything is done. Of several, those may be left that have no record at their end.
fn read(consumer: &BaseConsumer, readings: &mut [Reading]) -> Result<(), BusError> {
    let mut list = TopicPartitionList::new();
    for reading in readings.iter().filter(|reading| !reading.done) {
        reading.add_to(&mut list)?;
    }
    if list.count() == 0 {
        return Ok(());
    }
    consumer.assign(&list)?;
    // What was paused below in an earlier assignment stays paused in the client until it is told otherwise.
    consumer.resume(&list)?;
    let alone = list.count() == 1;
    let (mut names, mut at_an_end, mut last_news) = (HashMap::new(), false, Instant::now());
    while last_news.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(10)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => at_an_end = true,
            Some(Err(error)) => tracing::debug!(%error, "kafka probe is disturbed"),
            Some(Ok(message)) => {
                let record = inbound(&message, &mut names);
                let reading = readings.iter_mut().find(|reading| reading.is_of(&record));
                let Some(reading) = reading else { continue };
                if reading.take(record) {
                    last_news = Instant::now();
                    if reading.done && !alone {
                        // What follows in its log would hold the others up.
                        let mut finished = TopicPartitionList::new();
                        reading.add_to(&mut finished)?;
                        consumer.pause(&finished)?;
                    }
                }
            }
        }
        if readings.iter().all(|reading| reading.done) {
            return Ok(());
        }
        if at_an_end && (alone || last_news.elapsed() > QUIET) {
            readings.iter_mut().for_each(|reading| reading.done |= alone);
            return Ok(());
        }
    }
    Err(BusError::Unreachable(format!("no answer while reading {list:?}")))
}
