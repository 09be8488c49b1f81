//! What recovery reads and writes, as plain data: what a database that was restored still knows, and what makes it safe to
//! go on. No row knows how it is stored.

use serde_json::Value;
use signalbox_schemas::{LaneId, Micros, TopicName};

use crate::lane_store::Installation;
use crate::rows::{AttemptRow, InputRow, LaneFence, NewAttempt, OutputRow, PublishedEnding};

/// A lane as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLane {
    /// Epoch and revision.
    pub fence: LaneFence,
    /// Who holds it under a lease that runs.
    pub owner: Option<String>,
    /// Last sequence given out.
    pub out_seq: i64,
}

/// What the database knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// Which installation this is, which server answers, and whether commits are known to be lost.
    pub installation: Installation,
    /// Every lane.
    pub lanes: Vec<StoredLane>,
    /// How far they have read.
    pub inputs: Vec<InputRow>,
    /// How far they have written.
    pub outputs: Vec<OutputRow>,
    /// Writes whose outcome is not known for good: planned or sending. Abandoned ones are never sent.
    pub open_attempts: Vec<AttemptRow>,
    /// When a lane last journaled anything.
    pub last_journaled: Option<Micros>,
}

/// A write that may have been sent.
#[derive(Debug, Clone, PartialEq)]
pub struct DoubtfulAttempt {
    /// As its lane planned it.
    pub plan: NewAttempt,
    /// Vendor that is known to have been called for it.
    pub vendor: Option<String>,
    /// When it was called first.
    pub first_sent_at: Option<Micros>,
    /// The outcome that was told, as an attempt keeps it.
    pub result: Option<Value>,
}

/// How far an input had been read before the database forgot it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBefore {
    /// Lane.
    pub lane: LaneId,
    /// Topic.
    pub topic: TopicName,
    /// First offset that the log holds: where an input begins that the database does not know.
    pub start: i64,
    /// Offset at which it ended.
    pub until: i64,
}

/// Where a lane goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledLane {
    /// As it was when it was looked at; nobody may have moved it since.
    pub fence: LaneFence,
    /// The last sequence that anybody gave out.
    pub out_seq: i64,
    /// An epoch above every one that was ever given out.
    pub epoch: i64,
    /// How many of its records are forgotten. Where there are any it is stopped for that, and may be claimed from now on.
    pub forgotten: usize,
}

/// Kind of the journal row that tells of a break.
pub(crate) const LANE_BREAK: &str = "lane_break";

impl SettledLane {
    /// The break in words, for the journal.
    pub(crate) fn told(&self, reason: &str) -> String {
        format!(
            "{reason} (the database was restored or replaced; {} published records of this lane are forgotten, it goes \
             on after sequence {})",
            self.forgotten, self.out_seq
        )
    }
}

/// What makes it safe to go on: one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// Who settles it.
    pub actor: String,
    /// Why, for the journal.
    pub reason: String,
    /// Kafka's cluster id.
    pub kafka_cluster: String,
    /// Every lane.
    pub lanes: Vec<SettledLane>,
    /// Outputs that go on after what their topics hold.
    pub outputs: Vec<OutputRow>,
    /// How far inputs had been read.
    pub read_before: Vec<ReadBefore>,
    /// Writes to be asked about.
    pub attempts: Vec<DoubtfulAttempt>,
    /// Endings that stand.
    pub endings: Vec<PublishedEnding>,
}

impl Settlement {
    /// Lanes that a worker holds, or that were moved since they were looked at.
    pub(crate) fn held(&self, now: &[StoredLane]) -> Vec<LaneId> {
        let free = |lane: &&StoredLane| {
            lane.owner.is_none() && self.lanes.iter().any(|settled| settled.fence == lane.fence)
        };
        now.iter().filter(|lane| !free(lane)).map(|lane| lane.fence.lane).collect()
    }
}

/// How a settlement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Everything is durable.
    Done,
    /// Nothing was changed: these lanes are held by a worker, or were moved by one meanwhile.
    Held(Vec<LaneId>),
}
