//! How to reach Kafka and the registry.

use rdkafka::ClientConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Connection to Kafka.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `bootstrap.servers`: host:port, comma separated.
    pub brokers: String,
    /// Further librdkafka properties, such as security.protocol. They win over ours where that is harmless.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// Connection to the schema registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Base URL of the Confluent API.
    pub url: String,
}

/// Properties on which correctness rests: an operator's own setting would be refused.
const OURS: [&str; 8] = [
    "enable.idempotence",
    "acks",
    "message.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "partitioner",
];

impl KafkaConfig {
    /// Refuses properties on which correctness rests.
    pub(crate) fn client(&self, client_id: &str) -> Result<ClientConfig, crate::BusError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id)
            // A connection that leads nowhere has neither an end nor an error; its lanes stand still until this has passed.
            .set("socket.timeout.ms", "10000")
            // Where lanes are added while adapters run, these have new partitions within seconds, not after five minutes.
            .set("topic.metadata.refresh.interval.ms", "10000");
        for (name, value) in &self.properties {
            if OURS.contains(&name.as_str()) {
                return Err(crate::BusError::Config(format!(
                    "{name} is set by Signalbox; remove it"
                )));
            }
            config.set(name, value);
        }
        Ok(config)
    }

    /// Every record is delivered or the failure is known: nothing times out silently (a timed-out record would be a gap).
    pub(crate) fn producer(&self, client_id: &str) -> Result<ClientConfig, crate::BusError> {
        let mut config = self.client(client_id)?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("retry.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "1000")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.max.bytes", "4194304");
        Ok(config)
    }

    /// Fetches at once, never jumps to the end, checks CRCs.
    pub(crate) fn consumer(
        &self,
        client_id: &str,
        group: &str,
    ) -> Result<ClientConfig, crate::BusError> {
        let mut config = self.client(client_id)?;
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "100")
            // Where many wait, the next ones are asked for when these have been taken: while a tick or a group is worked on,
            // what comes gathers at the broker, and one answer brings it all. Where few wait, every request must ask for
            // every partition: one that is left out has nobody who waits for its next record until something else comes.
            .set("queued.min.messages", "10")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "5")
            .set("reconnect.backoff.max.ms", "1000")
            .set("queued.max.messages.kbytes", "65536");
        Ok(config)
    }
}
