//! The one runtime of all vendors: reads requests, routes, limits, takes permits, calls, keeps results, publishes.
//! It decides nothing that a vendor's model or a rule decides, and knows neither journeys nor lanes' state.

mod batch;
mod conversation;
mod desk;
mod http;
mod intake;
mod offsets;
mod pace;
mod publish;
mod request;
mod safe;

#[cfg(test)]
mod tests;

use serde_json::Value;
use signalbox_bus::{BusError, Codec, GroupConsumer, Inbound, KafkaConfig, Outbound, Publisher};
use signalbox_schemas::{Contract, TopicName};
use signalbox_store::AttemptStore;
use signalbox_vault::KeyProvider;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::model::VendorError;
use crate::routing::Policy;
use crate::vendors::Listing;
use desk::Desk;
use intake::{Bounds, serve};

/// How the adapter is run. It cannot be printed, as the settings hold secrets.
#[derive(Clone)]
pub struct AdapterOptions {
    /// Vendors that the policy may name: those of this program, or those that a simulation brings.
    pub vendors: &'static [Listing],
    /// Routes and limits.
    pub policy: Policy,
    /// Each vendor's own settings, secrets among them; a vendor refuses keys that it does not know.
    pub settings: BTreeMap<String, Value>,
    /// Who keeps the envelope key: requests that move money are stored sealed.
    pub keys: Arc<dyn KeyProvider>,
    /// Capabilities served by this process; empty: every one of the contract.
    pub capabilities: Vec<String>,
    /// Name of this process among its kind, stable over restarts.
    pub member: String,
    /// Most requests of one capability under way at once.
    pub under_way_max: usize,
    /// A write leaves within this many milliseconds of its permit, or not at all.
    pub permit_age_ms_max: u64,
    /// How long a stop waits for requests under way, in milliseconds.
    pub drain_ms_max: u64,
}

/// Kafka, as the binary has connected it.
pub struct AdapterBus {
    /// How to reach it.
    pub kafka: KafkaConfig,
    /// Codec with the ids of the contract's schemas.
    pub codec: Arc<Codec>,
}

/// Why the adapter stops.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A vendor cannot be made ready: correct its settings.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// A capability is not in the contract: correct the options.
    #[error("capability {0} is not in the contract")]
    Capability(String),
    /// The HTTP client cannot be made: a bug, or no certificates on this machine.
    #[error("no HTTP client: {0}")]
    Http(#[source] reqwest::Error),
    /// Kafka refuses the client: correct the configuration.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The consumer of a capability has ended by itself: start again.
    #[error("the consumer of {0} has ended")]
    ConsumerEnded(String),
    /// The contract cannot be loaded, or a request panicked: a bug.
    #[error("a bug in the adapter; see the log")]
    Bug,
}

/// Where requests come from.
pub trait Inlet: Send + 'static {
    /// The next request; none when there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Inbound>> + Send;
    /// Everything below an offset is done.
    fn commit(&self, topic: &TopicName, partition: i32, next_offset: i64) -> Result<(), BusError>;
}

/// Where outcomes go.
pub trait Outlet: Clone + Send + Sync + 'static {
    /// Publishes; the record's offset once every in-sync replica has it.
    fn publish(&self, record: &Outbound) -> impl Future<Output = Result<i64, BusError>> + Send;
}

impl Inlet for GroupConsumer {
    async fn next(&mut self) -> Option<Inbound> {
        Self::next(self).await
    }

    fn commit(&self, topic: &TopicName, partition: i32, next_offset: i64) -> Result<(), BusError> {
        Self::commit(self, topic, partition, next_offset)
    }
}

impl Outlet for Publisher {
    async fn publish(&self, record: &Outbound) -> Result<i64, BusError> {
        Self::publish(self, record).await
    }
}

/// Serves every capability until `stop` turns true. Returns early only on trouble that a restart or a person must settle.
pub async fn run<S: AttemptStore + 'static>(
    options: AdapterOptions,
    bus: AdapterBus,
    attempts: S,
    stop: watch::Receiver<bool>,
) -> Result<(), AdapterError> {
    let publisher = Publisher::connect(&bus.kafka, &options.member)?;
    let member = options.member.clone();
    let inlet = |capability: &str, topics: &[TopicName]| {
        GroupConsumer::subscribe(
            &bus.kafka,
            &group_of(capability),
            &format!("{member}-{capability}"),
            topics,
        )
    };
    run_on(options, Arc::clone(&bus.codec), attempts, inlet, publisher, stop).await
}

/// Serves every capability on any bus: `inlet` makes the consumer of a capability.
pub async fn run_on<S, I, O>(
    options: AdapterOptions,
    codec: Arc<Codec>,
    attempts: S,
    inlet: impl Fn(&str, &[TopicName]) -> Result<I, BusError>,
    outlet: O,
    stop: watch::Receiver<bool>,
) -> Result<(), AdapterError>
where
    S: AttemptStore + 'static,
    I: Inlet,
    O: Outlet,
{
    let contract: &'static Contract = codec.contract();
    let desk = Arc::new(Desk::new(&options, codec, Arc::new(attempts))?);
    let mut stopping = stop.clone();
    // In this order always: the same inputs give the same run.
    tokio::select! {
        biased;
        () = desk.ensure_gates() => {}
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    }
    let bounds = Bounds {
        under_way_max: options.under_way_max.max(1),
        drain: Duration::from_millis(options.drain_ms_max),
    };
    let names: Vec<String> = if options.capabilities.is_empty() {
        contract.capabilities().map(|capability| capability.name.clone()).collect()
    } else {
        options.capabilities
    };
    let mut serving = JoinSet::new();
    for name in names {
        let capability =
            contract.capability(&name).cloned().ok_or(AdapterError::Capability(name))?;
        let inlet = inlet(&capability.name, &request::topics_of(&capability))?;
        serving.spawn(serve(
            Arc::clone(&desk),
            capability,
            inlet,
            outlet.clone(),
            bounds,
            stop.clone(),
        ));
    }
    while let Some(ended) = serving.join_next().await {
        ended.map_err(|_| AdapterError::Bug)??;
    }
    Ok(())
}

/// Consumer group of a capability.
pub fn group_of(capability: &str) -> String {
    format!("signalbox.adapter.{capability}")
}
