//! A publisher for whoever needs an answer per record: adapters and commands. Lanes use the ordered producer instead.

use rdkafka::config::FromClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::Duration;

use crate::config::KafkaConfig;
use crate::error::BusError;
use crate::record::Outbound;

/// Publishes with acks=all and idempotence. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    producer: FutureProducer,
}

impl Publisher {
    /// Connects; brokers may be away for now.
    pub fn connect(config: &KafkaConfig, client_id: &str) -> Result<Self, BusError> {
        let mut client = config.producer(client_id)?;
        // Nobody counts on the order of two records of which each is waited for, and whoever reads them knows repeats: a record
        // need not wait for the answer to another one.
        client.set("max.in.flight.requests.per.connection", "5");
        Ok(Self { producer: FutureProducer::from_config(&client)? })
    }

    /// Publishes and waits for the acknowledgement of all in-sync replicas; the record's offset.
    pub async fn publish(&self, record: &Outbound) -> Result<i64, BusError> {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut message = FutureRecord::to(record.topic.as_str())
            .key(record.key.as_slice())
            .headers(headers)
            .partition(record.partition);
        if let Some(payload) = &record.payload {
            message = message.payload(payload.as_slice());
        }
        // Waits for room in the queue as long as it takes: what an adapter has done must be told.
        match self.producer.send(message, rdkafka::util::Timeout::Never).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => Err(BusError::Undelivered(error.to_string())),
        }
    }

    /// Number of partitions of a topic.
    pub async fn partitions(&self, topic: &str) -> Result<u16, BusError> {
        use rdkafka::producer::Producer;
        let producer = self.producer.clone();
        let topic = topic.to_owned();
        let count = tokio::task::spawn_blocking(move || {
            let metadata =
                producer.client().fetch_metadata(Some(&topic), Duration::from_secs(10))?;
            Ok::<_, rdkafka::error::KafkaError>(
                metadata.topics().first().map_or(0, |found| found.partitions().len()),
            )
        });
        let count = count.await.map_err(|_| BusError::Stopped)??;
        u16::try_from(count).map_err(|_| {
            BusError::Config(format!("{count} partitions are more than a lane number can be"))
        })
    }
}
