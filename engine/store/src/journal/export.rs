//! An export of the journal, line by line, and its verification from the lines alone: no database, no Kafka, no clock.
//!
//! An export holds one stretch per lane. Rows that it leaves out are represented by the digest of their content, so the
//! chain is recomputed over them too. A chain that holds proves nothing by itself, since whoever rewrites it can link it
//! anew; it is the signed anchors that prove it, back from each anchor to the beginning of its stretch. What this cannot
//! show is that a selection is complete: a row that was left out could belong to it. A row with a field that is not
//! known is refused: nothing would prove what the field says.

use serde::{Deserialize, Serialize};
use signalbox_schemas::{LaneId, Micros};
use std::collections::BTreeMap;

use super::anchor::{Anchor, AnchorPublicKey};
use super::{ChainBreak, JournalRow, content_digest, link, verify};

/// The format that this program writes and reads.
const FORMAT: u32 = 1;

/// One line of an export, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum ExportLine {
    /// First line.
    Header(ExportHeader),
    /// A signed head; all before the first stretch.
    Anchor(Anchor),
    /// Beginning of a lane's stretch.
    Stretch(Stretch),
    /// A row that was selected.
    Row(Box<JournalRow>),
    /// Rows that were not.
    LeftOut(LeftOut),
}

/// What an export is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHeader {
    /// Version of the format.
    pub format: u32,
    /// What was selected, in words. For the reader: nothing proves it.
    pub selection: String,
    /// Database time of the export.
    pub exported_at: Micros,
}

/// Where a lane's rows begin and how far they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Lane.
    pub lane: LaneId,
    /// Position before the first row; 0 at the beginning of the chain.
    pub after_seq: i64,
    /// Hash at that position.
    #[serde(with = "hex::serde")]
    pub after_hash: Vec<u8>,
    /// Last row.
    pub last_seq: i64,
}

/// Rows without their content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Position of the first.
    pub from_seq: i64,
    /// Digest of the content of each.
    pub digests: Vec<ContentDigest>,
}

/// Digest of a row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentDigest(#[serde(with = "hex::serde")] [u8; 32]);

impl ExportHeader {
    /// Header of an export of today's format.
    pub fn new(selection: String, exported_at: Micros) -> Self {
        Self { format: FORMAT, selection, exported_at }
    }
}

/// What stands in the place of rows that are not to be shown; they follow one another in one lane.
pub fn left_out(rows: &[JournalRow]) -> Option<LeftOut> {
    let first = rows.first()?;
    let digests = rows.iter().map(|row| ContentDigest(content_digest(row))).collect();
    Some(LeftOut { from_seq: first.seq, digests })
}

/// What is wrong with an export, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A line is not what it should be.
    #[error("line {number}: {reason}")]
    Unreadable {
        /// Line, from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no row to be proven; no export is made without one.
    #[error("the export shows no row")]
    Nothing,
    /// The chain does not hold.
    #[error(transparent)]
    Chain(#[from] ChainBreak),
    /// Rows are missing at the end.
    #[error("lane {lane}: the rows end with {seq}, the export says that they end with {last_seq}")]
    Cut {
        /// Lane.
        lane: LaneId,
        /// Last row that is there.
        seq: i64,
        /// Last row that should be.
        last_seq: i64,
    },
    /// An anchor was not signed by the key's owner.
    #[error("lane {lane}: the anchor at row {seq} is forged: the key did not sign it")]
    Forged {
        /// Lane.
        lane: LaneId,
        /// Row that it claims to anchor.
        seq: i64,
    },
    /// An anchor that was signed says another hash than the chain has.
    #[error(
        "lane {lane}: the anchor at row {seq} was signed for another chain: a row between {after} and {seq} was rewritten"
    )]
    Rewritten {
        /// Lane.
        lane: LaneId,
        /// Last position that is proven: every row up to it is as it was.
        after: i64,
        /// The anchor's row.
        seq: i64,
    },
    /// Two anchors that were signed contradict each other.
    #[error(
        "lane {lane}: row {seq} was anchored twice with different hashes: the database was restored, or rewritten"
    )]
    TwoAnchors {
        /// Lane.
        lane: LaneId,
        /// Row.
        seq: i64,
    },
}

/// What was found out about one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StretchReport {
    /// Lane.
    pub lane: LaneId,
    /// Rows that are shown.
    pub rows: u64,
    /// Rows that are represented by their digests.
    pub left_out: u64,
    /// Last row up to which anchors prove everything.
    pub anchored_to: Option<i64>,
    /// Row behind the last one of the stretch that the lane is known to have written, by an anchor. A selection may end
    /// before it; an export of everything may not.
    pub went_on_to: Option<i64>,
    /// Rows shown that no anchor proves.
    pub unproven: u64,
}

/// What was found out about an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// What is wrong; empty where nothing is.
    pub findings: Vec<Finding>,
    /// Lane by lane, in the order of the export.
    pub lanes: Vec<StretchReport>,
}

/// Verifies an export while it is read. Memory grows with anchors and findings, not with rows.
pub struct ExportCheck {
    keys: Vec<AnchorPublicKey>,
    anchors: BTreeMap<LaneId, BTreeMap<i64, Vec<u8>>>,
    number: u64,
    course: Option<Course>,
    report: ExportReport,
}

/// The stretch that is being read.
struct Course {
    stretch: Stretch,
    seq: i64,
    hash: Vec<u8>,
    /// After a break nothing of the lane can be judged any more.
    broken: bool,
    report: StretchReport,
}

impl ExportCheck {
    /// Begins. Several keys are those before and after a change of keys. Without any, anchors are not looked at and
    /// nothing is proven but that the chain holds in itself.
    pub fn new(keys: Vec<AnchorPublicKey>) -> Self {
        let report = ExportReport { findings: Vec::new(), lanes: Vec::new() };
        Self { keys, anchors: BTreeMap::new(), number: 0, course: None, report }
    }

    /// Takes an anchor that was kept elsewhere, before the first line.
    pub fn anchor(&mut self, anchor: Anchor) {
        if self.keys.is_empty() {
            return;
        }
        let (lane, seq) = (anchor.lane, anchor.seq);
        if !self.keys.iter().any(|key| key.has_signed(&anchor)) {
            self.report.findings.push(Finding::Forged { lane, seq });
            return;
        }
        let known = self.anchors.entry(lane).or_default().entry(seq).or_insert(anchor.hash.clone());
        if *known != anchor.hash {
            self.report.findings.push(Finding::TwoAnchors { lane, seq });
        }
    }

    /// Takes the next line.
    pub fn line(&mut self, text: &str) {
        self.number += 1;
        let line = match serde_json::from_str::<ExportLine>(text) {
            Ok(line) => line,
            Err(error) => return self.unreadable(format!("is no line of an export: {error}")),
        };
        match (line, self.number) {
            (ExportLine::Header(header), 1) if header.format == FORMAT => {}
            (ExportLine::Header(header), 1) => {
                self.unreadable(format!(
                    "is of format {}, this program knows {FORMAT}",
                    header.format
                ));
            }
            (_, 1) => self.unreadable("is not the header of an export".to_owned()),
            (ExportLine::Header(_), _) => self.unreadable("is a second header".to_owned()),
            (ExportLine::Anchor(anchor), _) if self.course.is_none() => self.anchor(anchor),
            (ExportLine::Anchor(_), _) => {
                self.unreadable("is an anchor behind the first row".to_owned());
            }
            (ExportLine::Stretch(stretch), _) => self.begin(stretch),
            (ExportLine::Row(row), _) => self.row(&row),
            (ExportLine::LeftOut(rows), _) => self.skip(&rows),
        }
    }

    /// Ends, and tells.
    pub fn finish(mut self) -> ExportReport {
        self.end_course();
        if self.number == 0 {
            self.unreadable("there is none: the export is empty".to_owned());
        }
        let shows_nothing = self.report.lanes.iter().all(|lane| lane.rows == 0);
        if self.report.findings.is_empty() && shows_nothing {
            self.report.findings.push(Finding::Nothing);
        }
        self.report
    }

    fn unreadable(&mut self, reason: String) {
        self.report.findings.push(Finding::Unreadable { number: self.number, reason });
    }

    fn begin(&mut self, stretch: Stretch) {
        self.end_course();
        if self.report.lanes.iter().any(|known| known.lane == stretch.lane) {
            self.unreadable(format!("begins lane {} a second time", stretch.lane));
        }
        let (lane, seq, hash) = (stretch.lane, stretch.after_seq, stretch.after_hash.clone());
        let report = StretchReport {
            lane,
            rows: 0,
            left_out: 0,
            anchored_to: None,
            went_on_to: None,
            unproven: 0,
        };
        self.course = Some(Course { stretch, seq, hash, broken: false, report });
    }

    fn row(&mut self, row: &JournalRow) {
        let Some(course) = self.course.as_mut() else {
            return self.unreadable("is a row outside of any stretch".to_owned());
        };
        if course.broken {
            return;
        }
        let lane = course.stretch.lane;
        let checked = if row.lane == lane {
            verify(std::slice::from_ref(row), course.seq, &course.hash)
        } else {
            Err(ChainBreak::Unlinked { lane, seq: row.seq })
        };
        match checked {
            Ok((seq, hash)) => {
                (course.seq, course.hash) = (seq, hash);
                course.report.rows += 1;
                course.report.unproven += 1;
                let found = course.compare(&self.anchors);
                self.report.findings.extend(found);
            }
            Err(broken) => {
                course.broken = true;
                self.report.findings.push(broken.into());
            }
        }
    }

    fn skip(&mut self, rows: &LeftOut) {
        let Some(course) = self.course.as_mut() else {
            return self.unreadable("leaves rows out outside of any stretch".to_owned());
        };
        if !course.broken && rows.from_seq != course.seq + 1 {
            course.broken = true;
            let (lane, seq) = (course.stretch.lane, rows.from_seq);
            self.report.findings.push(ChainBreak::Unlinked { lane, seq }.into());
        }
        for digest in &rows.digests {
            if course.broken {
                return;
            }
            course.seq += 1;
            course.hash = link(&course.hash, &digest.0).to_vec();
            course.report.left_out += 1;
            let found = course.compare(&self.anchors);
            self.report.findings.extend(found);
        }
    }

    fn end_course(&mut self) {
        let Some(mut course) = self.course.take() else { return };
        let (lane, seq, last_seq) = (course.stretch.lane, course.seq, course.stretch.last_seq);
        if !course.broken && seq != last_seq {
            self.report.findings.push(Finding::Cut { lane, seq, last_seq });
        }
        let newest = self.anchors.get(&lane).and_then(|anchors| anchors.keys().next_back());
        course.report.went_on_to = newest.copied().filter(|newest| *newest > seq);
        self.report.lanes.push(course.report);
    }
}

impl Course {
    /// Compares the chain with the anchor at its position, where there is one.
    fn compare(&mut self, anchors: &BTreeMap<LaneId, BTreeMap<i64, Vec<u8>>>) -> Option<Finding> {
        let (lane, seq) = (self.stretch.lane, self.seq);
        let anchored = anchors.get(&lane)?.get(&seq)?;
        if *anchored == self.hash {
            self.report.anchored_to = Some(seq);
            self.report.unproven = 0;
            return None;
        }
        self.broken = true;
        let after = self.report.anchored_to.unwrap_or(self.stretch.after_seq);
        Some(Finding::Rewritten { lane, after, seq })
    }
}

#[cfg(test)]
mod tests;
