//! The consumer: polls a batch, leads its payouts through their steps, publishes their outcomes, then commits the
//! offsets, so that a crash at any place repeats the batch, and a repeat finds what is stored.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Settings;
use super::store::{self, Asked};
use crate::payout::{Answer, Step, ask_vendor};

/// Records of one batch at most: as many as Kafka's own consumers poll at once by default.
const BATCH_MAX: usize = 500;
const WAIT: Duration = Duration::from_millis(100);
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);

/// What one poll brought, and where reading goes on after it.
struct Batch {
    asked: Vec<Asked>,
    next: TopicPartitionList,
}

/// Consumes until it is killed, and says when it is ready.
pub(crate) async fn consume(settings: &Settings) -> Result<()> {
    let consumer: BaseConsumer =
        settings.consumer("peer").create().context("connecting to Kafka")?;
    consumer.subscribe(&[&settings.commands()]).context("subscribing to commands")?;
    let producer: FutureProducer = settings.producer().create()?;
    let connect = || PgConnection::connect(&settings.postgres);
    let mut connections = try_join_all((0..settings.style.connections()).map(|_| connect()))
        .await
        .context("connecting to Postgres")?;
    // One batch is polled while another is worked on.
    let (batches, mut polled) = channel(1);
    let (done, finished) = channel(2);
    thread::spawn(move || {
        let ended = poll_all(&consumer, &batches, finished);
        let _ = batches.blocking_send(Err(ended.err().unwrap_or(anyhow::anyhow!("polling ended"))));
    });
    relay(&mut connections, &producer, &settings.events()).await?;
    println!("ready");
    while let Some(batch) = polled.recv().await {
        let batch = batch?;
        lead(&mut connections, settings.style.size(), &batch.asked).await?;
        relay(&mut connections, &producer, &settings.events()).await?;
        done.send(batch.next).await.ok().context("the polling thread is gone")?;
    }
    bail!("the polling thread is gone")
}

/// Polls batches, and commits the offsets of those that are done.
fn poll_all(
    consumer: &BaseConsumer,
    batches: &Sender<Result<Batch>>,
    mut finished: Receiver<TopicPartitionList>,
) -> Result<()> {
    loop {
        while let Ok(next) = finished.try_recv() {
            consumer.commit(&next, CommitMode::Async).context("committing offsets")?;
        }
        let batch = poll(consumer)?;
        if !batch.asked.is_empty() && batches.blocking_send(Ok(batch)).is_err() {
            return Ok(());
        }
    }
}

/// Waits for one record and takes what else is there.
fn poll(consumer: &BaseConsumer) -> Result<Batch> {
    let mut batch = Batch { asked: Vec::new(), next: TopicPartitionList::new() };
    let mut ids = HashSet::new();
    let mut wait = WAIT;
    while batch.asked.len() < BATCH_MAX {
        let Some(record) = consumer.poll(wait) else { break };
        let record = record.context("reading commands")?;
        wait = Duration::ZERO;
        let id = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        let command: Value = serde_json::from_slice(record.payload().unwrap_or_default())
            .with_context(|| format!("the command of {id} is no JSON"))?;
        if ids.insert(id.clone()) {
            batch.asked.push(Asked { id, command });
        }
        let next = Offset::Offset(record.offset() + 1);
        match batch.next.find_partition(record.topic(), record.partition()) {
            Some(mut known) => known.set_offset(next)?,
            None => batch.next.add_partition_offset(record.topic(), record.partition(), next)?,
        }
    }
    Ok(batch)
}

/// Leads payouts to their ends: every connection takes chunks of so many until none is left.
async fn lead(connections: &mut [PgConnection], size: usize, asked: &[Asked]) -> Result<()> {
    let chunks = Mutex::new(asked.chunks(size));
    let take = &|| chunks.lock().ok().and_then(|mut chunks| chunks.next());
    let work = connections.iter_mut().map(|connection| async move {
        while let Some(chunk) = take() {
            lead_chunk(connection, chunk).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(work).await.map(drop)
}

/// One transaction per step. A payout that is read again goes on from where it stands.
async fn lead_chunk(connection: &mut PgConnection, asked: &[Asked]) -> Result<()> {
    let first = asked.iter().map(|asked| Ok((asked, ask(Step::Identity, &asked.id)?)));
    let first: Vec<(&Asked, Answer)> = first.collect::<Result<_>>()?;
    let reached = store::receive(connection, &first).await?;
    for (from, to) in Step::ALL.into_iter().zip(Step::ALL.into_iter().skip(1)) {
        let stands_before = |id: &&String| reached.get(*id).is_none_or(|step| *step < to);
        let ids: Vec<String> =
            asked.iter().map(|asked| &asked.id).filter(stands_before).cloned().collect();
        if ids.is_empty() {
            continue;
        }
        let answers: Vec<Answer> = ids.iter().map(|id| ask(to, id)).collect::<Result<_>>()?;
        store::advance(connection, from, to, &ids, &answers).await?;
    }
    Ok(())
}

fn ask(step: Step, id: &str) -> Result<Answer> {
    let answer = ask_vendor(step, id);
    anyhow::ensure!(answer.is_good(step), "{id} does not go on: {answer:?}");
    Ok(answer)
}

/// Publishes what waits in the outbox and removes what Kafka has acknowledged.
async fn relay(
    connections: &mut [PgConnection],
    producer: &FutureProducer,
    topic: &str,
) -> Result<()> {
    let connection = connections.first_mut().context("no connection")?;
    let waiting = store::waiting(connection).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let sends = waiting.iter().map(|(id, event)| async move {
        let payload = event.to_string();
        let record = FutureRecord::to(topic).key(id).payload(&payload);
        producer.send(record, PUBLISHED_WITHIN).await.map_err(|(error, _)| error)
    });
    try_join_all(sends).await.context("publishing outcomes")?;
    let ids: Vec<String> = waiting.into_iter().map(|(id, _)| id).collect();
    store::published(connection, &ids).await
}
