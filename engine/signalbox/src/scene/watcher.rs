//! Reads topics from their beginning to now and on, decodes what comes, and judges it by the consumers' rule.
//! It keeps no group offsets and publishes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use signalbox_bus::{Codec, Inbound, KafkaLaneBus, LaneBus, Position};
use signalbox_schemas::{RecordName, TopicName};

use super::error::SceneError;
use super::prepare::{kafka, partitions};
use super::settings::Settings;
use crate::consumer_rule::{ConsumerRule, Verdict, sighting};

/// Records taken at once.
const BATCH: usize = 1_000;

/// A record with what we make of it.
#[derive(Debug)]
pub struct Seen {
    /// The record.
    pub record: Inbound,
    /// Its name and content, where it can be decoded.
    pub content: Option<(RecordName, Value)>,
    /// What a consumer does with it; `Apply` where no lane published it.
    pub verdict: Verdict,
}

/// Repeats and breaks of the rule, per topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records to be applied.
    pub applied: u64,
    /// Recognised repeats.
    pub duplicates: u64,
    /// Gaps.
    pub gaps: u64,
    /// Repeats that say something else.
    pub altered: u64,
}

/// Reads every partition of some topics.
pub struct Watcher {
    bus: KafkaLaneBus,
    codec: Arc<Codec>,
    rule: ConsumerRule,
    tally: BTreeMap<TopicName, Tally>,
}

impl Watcher {
    /// Starts at the beginning of every partition that `topics` have now.
    ///
    /// # Errors
    /// `Bus` where the cluster cannot be reached, `Data` where a topic does not exist.
    pub fn start(
        settings: &Settings,
        codec: Arc<Codec>,
        name: &str,
        topics: &[&str],
    ) -> Result<Self, SceneError> {
        let mut bus = KafkaLaneBus::connect(&kafka(settings), name)?;
        let mut positions = Vec::new();
        for (name, partitions) in partitions(settings, topics)? {
            let topic = TopicName::from(name);
            let at = |partition| Position { topic: topic.clone(), partition, offset: 0 };
            positions.extend((0..i32::from(partitions)).map(at));
        }
        bus.assign(positions)?;
        Ok(Self { bus, codec, rule: ConsumerRule::new(), tally: BTreeMap::new() })
    }

    /// What has come, as soon as there is something, or nothing after `wait`.
    ///
    /// # Errors
    /// `Bus` where reading fails for good.
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<Seen>, SceneError> {
        let records = self.bus.poll(BATCH, wait).await?;
        Ok(records.into_iter().map(|record| self.see(record)).collect())
    }

    /// Counts per topic so far.
    #[must_use]
    pub fn tally(&self) -> &BTreeMap<TopicName, Tally> {
        &self.tally
    }

    fn see(&mut self, record: Inbound) -> Seen {
        let verdict = sighting(&record).map_or(Verdict::Apply, |seen| self.rule.judge(&seen));
        let tally = self.tally.entry(record.topic.clone()).or_default();
        match verdict {
            Verdict::Apply => tally.applied += 1,
            Verdict::Duplicate => tally.duplicates += 1,
            Verdict::Gap { .. } => tally.gaps += 1,
            Verdict::Altered => tally.altered += 1,
        }
        let content = self.codec.decode(record.payload.as_deref()).ok();
        Seen { record, content, verdict }
    }
}
