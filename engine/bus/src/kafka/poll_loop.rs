//! The one poll loop: a consumer on its own thread that reads assigned partitions and hands records over in batches.
//! It stamps each record with the generation of its assignment, so that what was fetched before a hand-over is told apart.

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use signalbox_schemas::TopicName;
use std::collections::HashMap;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::error::BusError;
use crate::lane_bus::Position;
use crate::record::{Headers, Inbound};

/// Records with the generation of their assignment, or why reading failed.
pub(super) type Fetched = Result<Vec<(u64, Inbound)>, BusError>;

/// Most records in one batch.
const BATCH: usize = 1_000;
/// How long a poll waits for the first record; commands wait as long.
const FIRST_POLL: Duration = Duration::from_millis(10);
/// Commands that may wait.
const WAITING_COMMANDS: usize = 1_024;

/// What the loop is told.
pub(super) enum Command {
    /// Read these too.
    Assign {
        /// Stamped on their records.
        generation: u64,
        /// From where.
        positions: Vec<Position>,
    },
    /// Read these no more.
    Unassign(Vec<(TopicName, i32)>),
}

/// Handle to the thread; it ends when this is dropped.
pub(super) struct PollLoop {
    commands: std_mpsc::SyncSender<Command>,
}

impl PollLoop {
    pub(super) fn spawn(
        config: &ClientConfig,
        deliver: mpsc::Sender<Fetched>,
    ) -> Result<Self, BusError> {
        let consumer = BaseConsumer::from_config(config)?;
        let (commands, told) = std_mpsc::sync_channel(WAITING_COMMANDS);
        std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || run(&consumer, &told, &deliver))
            .map_err(|error| BusError::Config(format!("no thread for the poll loop: {error}")))?;
        Ok(Self { commands })
    }

    pub(super) fn send(&self, command: Command) -> Result<(), BusError> {
        self.commands.send(command).map_err(|_| BusError::Stopped)
    }
}

fn run(
    consumer: &BaseConsumer,
    told: &std_mpsc::Receiver<Command>,
    deliver: &mpsc::Sender<Fetched>,
) {
    let mut generations: HashMap<(TopicName, i32), u64> = HashMap::new();
    let mut names: HashMap<String, TopicName> = HashMap::new();
    loop {
        loop {
            match told.try_recv() {
                Ok(command) => {
                    if let Err(error) = obey(consumer, command, &mut generations)
                        && deliver.blocking_send(Err(error.into())).is_err()
                    {
                        return;
                    }
                }
                Err(std_mpsc::TryRecvError::Empty) => break,
                Err(std_mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let fetched = fetch(consumer, &generations, &mut names);
        let nothing = matches!(&fetched, Ok(records) if records.is_empty());
        if !nothing && deliver.blocking_send(fetched).is_err() {
            return;
        }
    }
}

fn obey(
    consumer: &BaseConsumer,
    command: Command,
    generations: &mut HashMap<(TopicName, i32), u64>,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    match command {
        Command::Assign { generation, positions } => {
            let mut again = TopicPartitionList::new();
            for position in positions {
                list.add_partition_offset(
                    position.topic.as_str(),
                    position.partition,
                    Offset::Offset(position.offset),
                )?;
                if generations
                    .insert((position.topic.clone(), position.partition), generation)
                    .is_some()
                {
                    again.add_partition(position.topic.as_str(), position.partition);
                }
            }
            if again.count() > 0 {
                consumer.incremental_unassign(&again)?;
            }
            consumer.incremental_assign(&list)
        }
        Command::Unassign(partitions) => {
            for (topic, partition) in partitions {
                if generations.remove(&(topic.clone(), partition)).is_some() {
                    list.add_partition(topic.as_str(), partition);
                }
            }
            if list.count() == 0 { Ok(()) } else { consumer.incremental_unassign(&list) }
        }
    }
}

fn fetch(
    consumer: &BaseConsumer,
    generations: &HashMap<(TopicName, i32), u64>,
    names: &mut HashMap<String, TopicName>,
) -> Fetched {
    let mut records = Vec::new();
    let take = |message: &BorrowedMessage<'_>| {
        let record = inbound(message, names);
        if let Some(generation) = generations.get(&(record.topic.clone(), record.partition)) {
            records.push((*generation, record));
        }
    };
    // Records read before an error are re-read after the lane was claimed again.
    drain(consumer, (FIRST_POLL, BATCH), take, |error| worth_reporting(error).map_or(Ok(()), Err))?;
    Ok(records)
}

/// Reads what is there, so many records at most; waits a moment for the first. It polls at least once, as a group counts on
/// that. An error that `judge` lets pass is passed over.
pub(crate) fn drain<E>(
    consumer: &BaseConsumer,
    (mut wait, at_most): (Duration, usize),
    mut take: impl FnMut(&BorrowedMessage<'_>),
    mut judge: impl FnMut(KafkaError) -> Result<(), E>,
) -> Result<(), E> {
    let mut taken = 0;
    loop {
        match consumer.poll(wait) {
            Some(Ok(message)) => take(&message),
            Some(Err(error)) => judge(error)?,
            None => return Ok(()),
        }
        taken += 1;
        if taken >= at_most {
            return Ok(());
        }
        wait = Duration::ZERO;
    }
}

/// librdkafka reconnects by itself; only what it cannot mend is reported.
fn worth_reporting(error: KafkaError) -> Option<BusError> {
    match error {
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
        ) => Some(BusError::OutOfRange { topic: "an input".to_owned(), partition: -1, offset: -1 }),
        KafkaError::MessageConsumptionFatal(code) => Some(BusError::Config(code.to_string())),
        transient => {
            tracing::debug!(error = %transient, "kafka poll is disturbed");
            None
        }
    }
}

/// A record as our own data.
pub(crate) fn inbound(
    message: &BorrowedMessage<'_>,
    names: &mut HashMap<String, TopicName>,
) -> Inbound {
    let topic = match names.get(message.topic()) {
        Some(known) => known.clone(),
        None => {
            let name = TopicName::from(message.topic());
            names.insert(message.topic().to_owned(), name.clone());
            name
        }
    };
    let mut headers = Headers::for_record();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        headers.push(header.key, header.value.unwrap_or_default());
    }
    Inbound {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
