//! The journal's chain: each row's hash covers the hash before it and the digest of the row's content. Pure; used by
//! whoever writes, verifies online, or verifies an export. It neither reads nor signs: see `export` and `anchor`.
//!
//! The two steps are why an export may leave rows out: the digest of a row that is left out still links what stands
//! before it to what stands after it, and tells nothing of what the row says.

pub(crate) mod anchor;
pub(crate) mod export;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signalbox_schemas::{FlowId, JourneyName, LaneId, Micros, StepName, TopicName};

/// Hash before a lane's first row.
pub const GENESIS: [u8; 32] = [0; 32];

/// One transition of a lane: what came in, what was decided, what is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalRow {
    /// Lane.
    pub lane: LaneId,
    /// Position in the lane's chain, from 1, without gaps.
    pub seq: i64,
    /// The `now` with which it was decided.
    pub at: Micros,
    /// Flow, where the row is about one.
    pub flow: Option<FlowId>,
    /// Revision of the flow afterwards; 0 without a flow.
    pub flow_rev: i64,
    /// `start`, `step`, `reject`, `repeat`, `forward`, `dead_letter`.
    pub kind: String,
    /// Topic of the input; none for a timer.
    pub input_topic: Option<TopicName>,
    /// Partition of the input.
    pub input_partition: Option<i32>,
    /// Offset of the input.
    pub input_offset: Option<i64>,
    /// Who caused it.
    pub actor: String,
    /// Why, in the words of the input.
    pub reason: String,
    /// Journey.
    pub journey: Option<JourneyName>,
    /// Version of the journey.
    pub version: Option<u32>,
    /// State before.
    pub before: Option<StepName>,
    /// State after.
    pub after: Option<StepName>,
    /// The lane's last sequence after the records of this row.
    pub out_last: i64,
    /// The records it publishes, encoded (MessagePack), in sequence order.
    #[serde(with = "hex::serde")]
    pub records: Vec<u8>,
    /// Hash of the row before.
    #[serde(with = "hex::serde")]
    pub prev_hash: Vec<u8>,
    /// Hash of this row.
    #[serde(with = "hex::serde")]
    pub hash: Vec<u8>,
}

impl JournalRow {
    /// What somebody did to a lane as such: of no flow, publishing nothing, not linked yet.
    pub(crate) fn of_lane(
        lane: LaneId,
        seq: i64,
        at: Micros,
        (kind, actor, reason): (&str, &str, &str),
        out_last: i64,
    ) -> Self {
        Self {
            lane,
            seq,
            at,
            flow: None,
            flow_rev: 0,
            kind: kind.to_owned(),
            input_topic: None,
            input_partition: None,
            input_offset: None,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            journey: None,
            version: None,
            before: None,
            after: None,
            out_last,
            records: Vec::new(),
            prev_hash: Vec::new(),
            hash: Vec::new(),
        }
    }
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainBreak {
    /// A row's content is not what was hashed.
    #[error(
        "lane {lane}: journal row {seq} was altered: its content does not have the hash that it carries"
    )]
    Altered {
        /// Lane.
        lane: LaneId,
        /// Row.
        seq: i64,
    },
    /// A row does not follow the one before it.
    #[error(
        "lane {lane}: journal row {seq} does not follow the row before it: rows were removed, added or reordered"
    )]
    Unlinked {
        /// Lane.
        lane: LaneId,
        /// Row.
        seq: i64,
    },
}

/// Links a row to the one before it.
pub fn seal(mut row: JournalRow, prev_hash: &[u8]) -> JournalRow {
    row.prev_hash = prev_hash.to_vec();
    row.hash = link(prev_hash, &content_digest(&row)).to_vec();
    row
}

/// Hash of a row, from the hash of the row before it and the digest of its content.
pub(crate) fn link(prev_hash: &[u8], content: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    field(&mut hash, Some(prev_hash));
    field(&mut hash, Some(content));
    hash.finalize().into()
}

/// Checks rows of one lane in order, after a row with the given position and hash (0 and `GENESIS` at the start).
/// Returns position and hash of the last row.
pub fn verify(
    rows: &[JournalRow],
    after_seq: i64,
    after_hash: &[u8],
) -> Result<(i64, Vec<u8>), ChainBreak> {
    let mut seq = after_seq;
    let mut hash = after_hash.to_vec();
    for row in rows {
        if row.seq != seq + 1 || row.prev_hash != hash {
            return Err(ChainBreak::Unlinked { lane: row.lane, seq: row.seq });
        }
        if link(&hash, &content_digest(row)).as_slice() != row.hash {
            return Err(ChainBreak::Altered { lane: row.lane, seq: row.seq });
        }
        seq = row.seq;
        hash.clone_from(&row.hash);
    }
    Ok((seq, hash))
}

/// Digest of what a row says, without its place in the chain.
pub(crate) fn content_digest(row: &JournalRow) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: Option<&[u8]>| field(&mut hash, bytes);
    add(Some(&row.lane.0.to_be_bytes()));
    for number in [row.seq, row.at.0, row.flow_rev, row.out_last] {
        add(Some(&number.to_be_bytes()));
    }
    add(row.flow.map(|flow| *flow.0.as_bytes()).as_ref().map(<[u8; 16]>::as_slice));
    add(row.input_topic.as_ref().map(|topic| topic.as_str().as_bytes()));
    add(row.input_partition.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    add(row.input_offset.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    for text in [&row.kind, &row.actor, &row.reason] {
        add(Some(text.as_bytes()));
    }
    add(row.journey.as_ref().map(|journey| journey.as_str().as_bytes()));
    add(row.version.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    add(row.before.as_ref().map(|state| state.as_str().as_bytes()));
    add(row.after.as_ref().map(|state| state.as_str().as_bytes()));
    add(Some(&row.records));
    hash.finalize().into()
}

/// A length before each field keeps neighbours apart; absence differs from emptiness.
fn field(hash: &mut Sha256, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    hash.update(length.to_be_bytes());
    hash.update(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn row(seq: i64, reason: &str) -> JournalRow {
        JournalRow {
            lane: LaneId(1),
            seq,
            at: Micros(1_000 + seq),
            flow: None,
            flow_rev: 0,
            kind: "step".into(),
            input_topic: Some("t".into()),
            input_partition: Some(1),
            input_offset: Some(seq),
            actor: "adapter".into(),
            reason: reason.into(),
            journey: None,
            version: None,
            before: None,
            after: None,
            out_last: seq,
            records: vec![1, 2, 3],
            prev_hash: Vec::new(),
            hash: Vec::new(),
        }
    }

    fn chain() -> Vec<JournalRow> {
        let mut rows: Vec<JournalRow> = Vec::new();
        for (seq, reason) in (1..).zip(["a", "b", "c"]) {
            let before = rows.last().map_or(GENESIS.to_vec(), |last| last.hash.clone());
            rows.push(seal(row(seq, reason), &before));
        }
        rows
    }

    #[test]
    fn an_untouched_chain_holds() {
        assert_eq!(verify(&chain(), 0, &GENESIS).unwrap().0, 3);
    }

    #[test]
    fn an_altered_row_is_located() {
        let mut rows = chain();
        rows[1].records[0] ^= 1;
        assert_eq!(
            verify(&rows, 0, &GENESIS),
            Err(ChainBreak::Altered { lane: LaneId(1), seq: 2 })
        );
    }

    #[test]
    fn a_removed_or_reordered_row_is_located() {
        let mut removed = chain();
        removed.remove(1);
        assert_eq!(
            verify(&removed, 0, &GENESIS),
            Err(ChainBreak::Unlinked { lane: LaneId(1), seq: 3 })
        );
        let mut swapped = chain();
        swapped.swap(0, 1);
        assert_eq!(
            verify(&swapped, 0, &GENESIS),
            Err(ChainBreak::Unlinked { lane: LaneId(1), seq: 2 })
        );
    }
}
