//! Anchors as engines have published them, read back from their topic. They are shown as they are: whether one is
//! genuine is for `verify` to say, with the public key.

use signalbox_bus::{Codec, Inbound, KafkaLaneBus, LaneBus, TopicAdmin};
use signalbox_schemas::{LaneId, TopicName};
use signalbox_store::Anchor;
use signalbox_worker::ANCHORS;

use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Records read at once.
const PAGE: i64 = 20_000;

/// Prints all anchors, one per line.
pub(super) async fn run(config: &Config) -> Result<(), CliError> {
    let mut shelf = Shelf::open(config).await?;
    let partitions = TopicAdmin::connect(config.kafka()?)?.partitions()?;
    for lane in 0..partitions.get(ANCHORS).copied().unwrap_or(0) {
        for anchor in shelf.of(LaneId(lane)).await? {
            output::json(&anchor)?;
        }
    }
    Ok(())
}

/// The topic of anchors.
pub(crate) struct Shelf {
    bus: KafkaLaneBus,
    codec: Codec,
    topic: TopicName,
}

impl Shelf {
    /// Connects.
    pub(crate) async fn open(config: &Config) -> Result<Self, CliError> {
        Ok(Self {
            bus: KafkaLaneBus::connect(config.kafka()?, "signalbox-audit")?,
            codec: wiring::codec(config).await?,
            topic: TopicName::from(ANCHORS),
        })
    }

    /// A lane's anchors, oldest first.
    pub(crate) async fn of(&mut self, lane: LaneId) -> Result<Vec<Anchor>, CliError> {
        let range = self.bus.range(&self.topic, lane.partition()).await?;
        let mut anchors = Vec::new();
        let mut from = range.start;
        while from < range.end {
            let end = range.end.min(from.saturating_add(PAGE));
            for inbound in self.bus.read(&self.topic, lane.partition(), from, end).await? {
                anchors.push(self.decode(&inbound)?);
            }
            from = end;
        }
        Ok(anchors)
    }

    /// A lane's last anchor and the broker's time of it in milliseconds.
    pub(crate) async fn last(&mut self, lane: LaneId) -> Result<Option<(Anchor, i64)>, CliError> {
        let range = self.bus.range(&self.topic, lane.partition()).await?;
        let from = range.start.max(range.end - 1);
        let read = self.bus.read(&self.topic, lane.partition(), from, range.end).await?;
        read.last().map(|inbound| Ok((self.decode(inbound)?, inbound.timestamp_ms))).transpose()
    }

    fn decode(&self, inbound: &Inbound) -> Result<Anchor, CliError> {
        let foreign = |reason: String| {
            CliError::Refused(format!("{} is no anchor: {reason}", inbound.place()))
        };
        let payload = inbound.payload.as_deref();
        let (_, value) = self.codec.decode(payload).map_err(|error| foreign(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
    }
}
