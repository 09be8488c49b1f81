//! Anchoring: every so often the heads of the lanes that this worker owns are signed and published, by a task of its own
//! that no tick waits for. What is signed is what the worker has committed, from its own memory; the database is believed
//! once, when a lane is claimed, and what was anchored before bears witness against a head that was rewritten by then. It
//! keeps no state: an anchor that is lost is made up for by the next.

use signalbox_bus::{BusError, Codec, Headers, Outbound, Publisher};
use signalbox_schemas::{EncodeError, LaneId, Micros, RecordName, TopicName};
use signalbox_store::{Anchor, AnchorKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lane::LanePosition;
use crate::metrics;

/// Where anchors are published.
pub const ANCHORS: &str = "signalbox.audit.anchors.v1";
/// What they are.
const RECORD: &str = "signalbox.audit.Anchor";
/// How long one round may take while Kafka is away; the next round tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Heads of the lanes that a worker owns, as last committed. Shared between the worker and its anchoring.
#[derive(Debug, Default)]
pub struct LaneHeads(Mutex<BTreeMap<LaneId, Head>>);

#[derive(Debug, Clone, PartialEq)]
struct Head {
    epoch: i64,
    seq: i64,
    hash: Vec<u8>,
    /// Database time when it was told, and when that was.
    told: (Micros, Instant),
}

impl LaneHeads {
    /// A lane was claimed or has moved.
    pub(crate) fn moved(&self, position: &LanePosition, now: Micros) {
        let head = Head {
            epoch: position.fence.epoch,
            seq: position.journal_seq,
            hash: position.journal_head.clone(),
            told: (now, Instant::now()),
        };
        self.lock().insert(position.fence.lane, head);
    }

    /// A lane is another worker's, or nobody's.
    pub(crate) fn forget(&self, lane: LaneId) {
        self.lock().remove(&lane);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<LaneId, Head>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signs and publishes.
pub struct Anchoring {
    key: AnchorKey,
    codec: Arc<Codec>,
    heads: Arc<LaneHeads>,
    /// Head of each lane that was anchored last; one that has not moved is not anchored again.
    anchored: BTreeMap<LaneId, i64>,
}

impl Anchoring {
    /// Anchoring of a worker's lanes.
    pub fn new(key: AnchorKey, codec: Arc<Codec>, heads: Arc<LaneHeads>) -> Self {
        Self { key, codec, heads, anchored: BTreeMap::new() }
    }

    /// Anchors every so often until told to end, and then once more: what a worker has done is anchored when it stops.
    pub async fn run(
        mut self,
        publisher: Publisher,
        every: Duration,
        mut ending: watch::Receiver<bool>,
    ) {
        loop {
            let ended = tokio::select! {
                () = tokio::time::sleep(every) => false,
                _ = ending.wait_for(|ended| *ended) => true,
            };
            let round = tokio::time::timeout(PATIENCE, self.round(&publisher));
            let trouble = match round.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_elapsed) => Some("kafka has not answered in time".to_owned()),
            };
            if let Some(error) = trouble {
                metrics::anchor_failed();
                tracing::warn!(error, "lane heads were not anchored; the next round tries again");
            }
            if ended {
                return;
            }
        }
    }

    async fn round(&mut self, publisher: &Publisher) -> Result<(), BusError> {
        for anchor in self.due() {
            let record = record(&self.codec, &anchor)
                .map_err(|error| BusError::Config(error.to_string()))?;
            publisher.publish(&record).await?;
            self.anchored.insert(anchor.lane, anchor.seq);
            metrics::anchored(anchor.lane);
        }
        Ok(())
    }

    /// Heads that have moved since they were anchored, signed.
    fn due(&self) -> Vec<Anchor> {
        let heads = self.heads.lock().clone();
        let moved = |(lane, head): &(LaneId, Head)| {
            head.seq > 0 && self.anchored.get(lane).is_none_or(|seq| *seq != head.seq)
        };
        let sign = |(lane, head): (LaneId, Head)| {
            let (told, at) = head.told;
            self.key.sign(lane, head.epoch, head.seq, &head.hash, told.after(at.elapsed()))
        };
        heads.into_iter().filter(moved).map(sign).collect()
    }
}

fn record(codec: &Codec, anchor: &Anchor) -> Result<Outbound, EncodeError> {
    let topic = TopicName::from(ANCHORS);
    let value = serde_json::to_value(anchor).unwrap_or_default();
    let payload = codec.encode(&topic, &RecordName::from(RECORD), &value)?;
    Ok(Outbound {
        topic,
        partition: anchor.lane.partition(),
        key: anchor.lane.to_string().into_bytes(),
        payload: Some(payload),
        headers: Headers::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
    use super::*;
    use signalbox_schemas::Contract;
    use signalbox_store::LaneFence;

    fn position(lane: u16, seq: i64) -> LanePosition {
        LanePosition {
            fence: LaneFence { lane: LaneId(lane), epoch: 5, rev: 1 },
            out_seq: seq,
            journal_seq: seq,
            journal_head: vec![7; 32],
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            peers: BTreeMap::new(),
            past: Arc::default(),
        }
    }

    fn anchoring(heads: &Arc<LaneHeads>) -> Anchoring {
        let key = AnchorKey::parse(&AnchorKey::generate().unwrap()).unwrap();
        let codec = Codec::offline(Contract::builtin().unwrap());
        Anchoring::new(key, Arc::new(codec), Arc::clone(heads))
    }

    #[test]
    fn a_head_is_anchored_once_for_each_time_it_moves() {
        let heads = Arc::new(LaneHeads::default());
        let mut anchoring = anchoring(&heads);
        heads.moved(&position(1, 10), Micros(1));
        heads.moved(&position(2, 0), Micros(1));
        let due = anchoring.due();
        assert_eq!(
            due.iter().map(|anchor| (anchor.lane, anchor.seq)).collect::<Vec<_>>(),
            [(LaneId(1), 10)]
        );
        anchoring.anchored.insert(LaneId(1), 10);
        assert!(anchoring.due().is_empty(), "a lane without news, and one without rows");
        heads.moved(&position(1, 11), Micros(2));
        assert_eq!(anchoring.due()[0].seq, 11);
    }

    #[test]
    fn only_the_owner_of_a_lane_anchors_it() {
        let heads = Arc::new(LaneHeads::default());
        heads.moved(&position(1, 10), Micros(1));
        heads.forget(LaneId(1));
        assert!(anchoring(&heads).due().is_empty());
    }

    #[test]
    fn what_is_published_is_the_anchor_that_was_signed() {
        let heads = Arc::new(LaneHeads::default());
        let anchoring = anchoring(&heads);
        heads.moved(&position(3, 10), Micros(1));
        let signed = anchoring.due().remove(0);
        let published = record(&anchoring.codec, &signed).unwrap();
        assert_eq!((published.partition, published.key.as_slice()), (3, b"3".as_slice()));
        let (_, value) = anchoring.codec.decode(published.payload.as_deref()).unwrap();
        let read: Anchor = serde_json::from_value(value).unwrap();
        assert_eq!(read, signed);
        assert!(anchoring.key.public().has_signed(&read));
    }
}
