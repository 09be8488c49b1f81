//! The ordered producer: idempotent, one request in flight, explicit partitions, acknowledgements collected for the worker.
//! It gives up on the first failure: what follows a failed record must not pass it.

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use signalbox_schemas::TopicName;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

use crate::error::BusError;
use crate::lane_bus::Ack;
use crate::record::Outbound;

/// What the delivery callback found, for the worker to take.
#[derive(Default)]
struct Deliveries {
    found: Mutex<Vec<Result<Ack, String>>>,
    news: Notify,
}

struct Collect(Arc<Deliveries>);

impl ClientContext for Collect {}

impl ProducerContext for Collect {
    type DeliveryOpaque = Box<(u16, i64, TopicName)>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, tag: Self::DeliveryOpaque) {
        let (lane, lane_seq, topic) = *tag;
        let found = match delivered {
            Ok(message) => Ok(Ack {
                topic,
                partition: message.partition(),
                offset: message.offset(),
                lane,
                lane_seq,
            }),
            Err((error, _)) => Err(error.to_string()),
        };
        if let Ok(mut list) = self.0.found.lock() {
            list.push(found);
        }
        self.0.news.notify_one();
    }
}

pub(super) struct OrderedProducer {
    producer: ThreadedProducer<Collect>,
    deliveries: Arc<Deliveries>,
}

impl OrderedProducer {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, BusError> {
        let deliveries = Arc::new(Deliveries::default());
        let producer =
            ThreadedProducer::from_config_and_context(config, Collect(Arc::clone(&deliveries)))?;
        Ok(Self { producer, deliveries })
    }

    pub(super) fn send(&self, lane: u16, lane_seq: i64, record: &Outbound) -> Result<(), BusError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(16), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
        let tag = Box::new((lane, lane_seq, record.topic.clone()));
        let mut message = BaseRecord::with_opaque_to(record.topic.as_str(), tag)
            .partition(record.partition)
            .key(record.key.as_slice())
            .headers(headers);
        if let Some(payload) = &record.payload {
            message = message.payload(payload.as_slice());
        }
        self.producer.send(message).map_err(|(error, _)| BusError::Undelivered(error.to_string()))
    }

    pub(super) fn take_acks(&self) -> Result<Vec<Ack>, BusError> {
        let found = match self.deliveries.found.lock() {
            Ok(mut list) => std::mem::take(&mut *list),
            Err(_) => return Err(BusError::Stopped),
        };
        found.into_iter().collect::<Result<_, _>>().map_err(BusError::Undelivered)
    }

    pub(super) async fn acks_ready(&self, wait: Duration) {
        let there = self.deliveries.found.lock().is_ok_and(|list| !list.is_empty());
        if !there {
            drop(tokio::time::timeout(wait, self.deliveries.news.notified()).await);
        }
    }

    /// Drops everything queued. A request that is already on its way may still arrive; it is recognisable.
    pub(super) async fn abandon(self) {
        let drop_it = move || {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            drop(self.producer);
        };
        if tokio::task::spawn_blocking(drop_it).await.is_err() {
            tracing::warn!("the old producer did not stop cleanly");
        }
    }
}
