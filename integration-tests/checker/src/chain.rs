//! The hash chain of an audit export, computed anew as `docs/operations.md` describes it: the digest of each row's content,
//! and each row's hash over the hash before it and that digest.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::evidence::{Evidence, Line, Row};
use crate::report::{Findings, Promise};

/// Hash before a lane's first row, in hexadecimal.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Judges every row of every lane.
pub(crate) fn judge(evidence: &Evidence, found: &mut Findings) {
    let mut anchors: BTreeMap<(u16, i64), &str> = BTreeMap::new();
    let mut course: Option<Course> = None;
    for line in &evidence.export {
        match line {
            Line::Header { .. } => {}
            Line::Anchor { lane, seq, hash } => drop(anchors.insert((*lane, *seq), hash)),
            Line::Stretch { lane, after_seq, after_hash, last_seq } => {
                end(course.take(), found);
                if *after_seq != 0 || after_hash != GENESIS {
                    found.add(
                        Promise::Chain,
                        format!("lane {lane}: the export does not begin at its first row"),
                    );
                }
                let (hash, seq) = (after_hash.clone(), *after_seq);
                course = Some(Course { lane: *lane, seq, hash, last: *last_seq, broken: false });
            }
            Line::Row(row) => match course.as_mut() {
                Some(course) => course.next(row, &anchors, found),
                None => found.add(Promise::Chain, format!("row {} is in no lane", row.seq)),
            },
        }
    }
    end(course, found);
}

fn end(course: Option<Course>, found: &mut Findings) {
    if let Some(course) = course
        && !course.broken
        && course.seq != course.last
    {
        let Course { lane, seq, last, .. } = course;
        found.add(Promise::Chain, format!("lane {lane}: rows end with {seq}, not {last}"));
    }
}

struct Course {
    lane: u16,
    seq: i64,
    hash: String,
    last: i64,
    /// One break is told; what follows it cannot be judged.
    broken: bool,
}

impl Course {
    fn next(&mut self, row: &Row, anchors: &BTreeMap<(u16, i64), &str>, found: &mut Findings) {
        if self.broken {
            return;
        }
        let place = format!("lane {}: journal row {}", self.lane, row.seq);
        let is_next = row.lane == self.lane && row.seq == self.seq + 1;
        let wrong = if !is_next || row.prev_hash != self.hash {
            Some("does not follow the row before it")
        } else if hash(&self.hash, row).as_deref() != Some(row.hash.as_str()) {
            Some("does not have the hash that it carries")
        } else if anchors.get(&(row.lane, row.seq)).is_some_and(|anchor| *anchor != row.hash) {
            Some("contradicts its anchor")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.broken = true;
            found.add(Promise::Chain, format!("{place} {wrong}"));
        }
        (self.seq, self.hash) = (row.seq, row.hash.clone());
    }
}

/// Hash of a row, in hexadecimal; none where what it carries is not hexadecimal.
pub(crate) fn hash(before: &str, row: &Row) -> Option<String> {
    let mut hash = Sha256::new();
    field(&mut hash, Some(&hex::decode(before).ok()?));
    field(&mut hash, Some(&content(row)?));
    Some(hex::encode(hash.finalize()))
}

fn content(row: &Row) -> Option<Vec<u8>> {
    let mut hash = Sha256::new();
    field(&mut hash, Some(&row.lane.to_be_bytes()));
    for number in [row.seq, row.at, row.flow_rev, row.out_last] {
        field(&mut hash, Some(&number.to_be_bytes()));
    }
    let flow = match &row.flow {
        Some(flow) => Some(hex::decode(flow.replace('-', "")).ok()?),
        None => None,
    };
    field(&mut hash, flow.as_deref());
    field(&mut hash, row.input_topic.as_deref().map(str::as_bytes));
    field(&mut hash, row.input_partition.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    field(&mut hash, row.input_offset.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    for text in [&row.kind, &row.actor, &row.reason] {
        field(&mut hash, Some(text.as_bytes()));
    }
    field(&mut hash, row.journey.as_deref().map(str::as_bytes));
    field(&mut hash, row.version.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    field(&mut hash, row.before.as_deref().map(str::as_bytes));
    field(&mut hash, row.after.as_deref().map(str::as_bytes));
    field(&mut hash, Some(&hex::decode(&row.records).ok()?));
    Some(hash.finalize().to_vec())
}

/// Eight bytes of length, -1 where there is nothing, and the bytes.
fn field(hash: &mut Sha256, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    hash.update(length.to_be_bytes());
    hash.update(bytes.unwrap_or_default());
}
