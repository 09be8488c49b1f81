//! Publishes commands as a service would, and reads outcomes as a consumer would. Both are threads of their own, because
//! librdkafka's clients block.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{PARTITIONS, Settings};
use crate::load::Peer;
use crate::payout::{Ending, command, id, number};

const WAIT: Duration = Duration::from_millis(100);

/// Starts both; they end when the load lets go of its channels.
pub(super) fn start(settings: &Settings, in_flight: usize) -> Result<Peer> {
    let (asks, asked) = channel(in_flight);
    let (end, endings) = channel(in_flight);
    let producer: Producer = settings.producer().create().context("connecting to Kafka")?;
    let topic = settings.commands();
    let failed = end.clone();
    thread::spawn(move || {
        if let Err(error) = publish(&producer, &topic, asked) {
            let _ = failed.blocking_send(Err(error));
        }
    });
    let consumer: BaseConsumer = settings.consumer("peer-load").create()?;
    let mut everywhere = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        everywhere.add_partition_offset(&settings.events(), partition, Offset::Beginning)?;
    }
    consumer.assign(&everywhere).context("reading outcomes")?;
    thread::spawn(move || read(&consumer, &end));
    Ok(Peer { asks, endings })
}

type Producer = ThreadedProducer<DefaultProducerContext>;

fn publish(producer: &Producer, topic: &str, mut asked: Receiver<usize>) -> Result<()> {
    while let Some(number) = asked.blocking_recv() {
        let (key, payload) = (id(number), command(number).to_string());
        let record = BaseRecord::to(topic).key(&key).payload(&payload);
        producer.send(record).map_err(|(error, _)| error).context("publishing a command")?;
    }
    Ok(())
}

fn read(consumer: &BaseConsumer, end: &Sender<Result<usize>>) {
    while !end.is_closed() {
        let Some(polled) = consumer.poll(WAIT) else { continue };
        let ended = polled.context("reading outcomes").and_then(|record| ended(&record));
        if end.blocking_send(ended).is_err() {
            return;
        }
    }
}

fn ended(record: &BorrowedMessage<'_>) -> Result<usize> {
    let payload = record.payload().unwrap_or_default();
    let ending: Ending = serde_json::from_slice(payload).context("reading an outcome")?;
    match number(&ending.payout_id) {
        Some(number) if ending == Ending::completed(&ending.payout_id) => Ok(number),
        _ => bail!("a payout did not complete: {ending:?}"),
    }
}
