//! Answers to people's questions as plain data: a lane, a server, a stretch of the journal. No row knows how it is found.

use signalbox_schemas::LaneId;

use crate::lane_store::Installation;

/// One lane as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Lane.
    pub lane: LaneId,
    /// Who owns it.
    pub owner: Option<String>,
    /// Newest migration that the owner's program knows, where it says so.
    pub program: Option<i64>,
    /// Why it is stopped, if it is.
    pub stopped: Option<String>,
    /// Epoch of its owner.
    pub epoch: i64,
    /// Records committed and not yet known to be published.
    pub unpublished: i64,
    /// Position of its journal.
    pub journal_seq: i64,
    /// Hash of its last journal row.
    pub journal_head: Vec<u8>,
}

/// What a diagnosis asks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Version as a number: 150004 is 15.4.
    pub version: i32,
    /// Version in words.
    pub version_text: String,
    /// Whether commits are flushed to disk.
    pub fsync: bool,
    /// `synchronous_commit` of this session.
    pub synchronous_commit: String,
    /// Whether it is a standby, where nothing can be written.
    pub standby: bool,
    /// User of this session.
    pub user: String,
    /// `table: PRIVILEGE` for each that this user lacks.
    pub missing_privileges: Vec<String>,
    /// Whether the trigger that keeps the journal from being changed is there and on.
    pub journal_guarded: bool,
    /// Days from today on for which journal partitions exist without a gap, at most ten.
    pub journal_days_ahead: i64,
    /// Whether write effects are held back for every vendor.
    pub write_held: bool,
    /// Vendors whose gate is closed.
    pub gates_closed: Vec<String>,
    /// Identity of cluster and database as remembered, and as they are.
    pub installation: Installation,
}

/// Rows of one lane's journal, from the first to the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSpan {
    /// Lane.
    pub lane: LaneId,
    /// First row.
    pub first: i64,
    /// Last row.
    pub last: i64,
}
