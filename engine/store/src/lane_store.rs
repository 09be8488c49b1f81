//! What a worker needs of the store, as one trait with two implementations: Postgres and a twin in memory.

use signalbox_schemas::{
    AttemptId, FlowId, JourneyName, KeyId, LaneId, Micros, MigrationId, SubjectId, TopicName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::StoreError;
use crate::journal::JournalRow;
use crate::keys::{KeyRow, NewKey};
use crate::migration_rows::{MigratedFlow, MigrationMove, OpenMigration};
use crate::rows::{
    AssentRow, CommandRow, FlowWrite, Forgotten, InputRow, LaneFence, LaneMove, LoadedFlow,
    NewAttempt, OutputRow, ParkedRow, PeerRow, RecognitionRow, StoredResult, TimerRow,
};

/// Which cluster and which database this installation is: a change of either must be noticed before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installation {
    /// Kafka's cluster id, as first seen.
    pub kafka_cluster: Option<String>,
    /// Postgres' system identifier, as first seen.
    pub system_identifier: Option<String>,
    /// Postgres' timeline, as first seen.
    pub timeline: Option<String>,
    /// Identifier of the server that answers now.
    pub current_system_identifier: String,
    /// Timeline of the server that answers now.
    pub current_timeline: String,
    /// A lane found that the database lost commits, and nobody has settled that yet.
    pub lost_commits: bool,
}

/// Why a lane is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Something about this lane.
    Lane,
    /// Its topics hold what the database never gave out. No permit is given from the same instant on.
    LostCommits,
}

/// A lane that this worker owns now, with everything stored about its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedLane {
    /// Epoch and revision for later fences.
    pub fence: LaneFence,
    /// Lanes there are, counted after the claim: more of them cannot be added while the lane is held.
    pub lanes: usize,
    /// Last sequence given out.
    pub out_seq: i64,
    /// Everything up to it is acknowledged.
    pub pub_seq: i64,
    /// Journal rows up to it need not be published again.
    pub pub_journal_seq: i64,
    /// Last journal row.
    pub journal_seq: i64,
    /// Hash of the last journal row.
    pub journal_head: Vec<u8>,
    /// Inputs read so far.
    pub inputs: Vec<InputRow>,
    /// Outputs written so far.
    pub outputs: Vec<OutputRow>,
    /// The last offset that any lane knows of its records in the partition of another.
    pub acked_elsewhere: BTreeMap<(TopicName, i32), i64>,
    /// Forwards taken so far.
    pub peers: Vec<PeerRow>,
    /// What it must know of a time that the database forgot.
    pub forgotten: Forgotten,
    /// Since when nobody reads it, where its last owner gave it back; none where its lease expired or a person started it.
    pub resting_since: Option<Micros>,
}

/// How the lanes are shared among the workers that are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerShare {
    /// Other workers with a fresh heartbeat.
    pub others: usize,
    /// Lanes there are.
    pub lanes: usize,
    /// Lanes that this worker could claim.
    pub free: usize,
    /// Database time now.
    pub now: Micros,
}

/// A version of a journey as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedJourney {
    /// Name.
    pub name: JourneyName,
    /// Version.
    pub version: u32,
    /// The definition.
    pub source: String,
}

/// What a tick wants that others may have taken already: decided in the transaction, before anything is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contest {
    /// Commands to be accepted.
    pub commands: Vec<CommandRow>,
    /// Planned attempts to be abandoned.
    pub abandons: Vec<AttemptId>,
}

/// What of it was lost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losers {
    /// The commands that hold the keys instead (content left out).
    pub commands: Vec<CommandRow>,
    /// Attempts that may already be sent.
    pub sending: BTreeSet<AttemptId>,
}

/// Everything that a tick writes, one net row per key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TickWrite {
    /// Inputs moved: the new row, compared on the old `next_offset`.
    pub inputs: Vec<(i64, InputRow)>,
    /// Outputs moved.
    pub outputs: Vec<OutputRow>,
    /// Forwards taken.
    pub peers: Vec<PeerRow>,
    /// Flows.
    pub flows: Vec<FlowWrite>,
    /// Attempts planned.
    pub attempts: Vec<NewAttempt>,
    /// Those of them that are given up by the same write: nobody may ever send them.
    pub given_up: Vec<AttemptId>,
    /// Attempts on which people have ruled, with what they take to be true: nobody sends them any more.
    pub rulings: Vec<StoredResult>,
    /// What was found out about customers, at most one row for each.
    pub recognitions: Vec<RecognitionRow>,
    /// Timers set; a timer of the same name is replaced.
    pub timers_set: Vec<TimerRow>,
    /// Timers forgotten.
    pub timers_cleared: Vec<(FlowId, String)>,
    /// Inputs that wait for their flows from now on.
    pub parked: Vec<ParkedRow>,
    /// Inputs that wait no longer: flow and position.
    pub unparked: Vec<(FlowId, i64)>,
    /// Agreements of people; the second of one person to one matter is refused as bad data.
    pub assents: Vec<AssentRow>,
    /// Migrations that lanes begin; one that does not exist is refused as bad data.
    pub migrations_begun: Vec<(MigrationId, LaneId)>,
    /// Migrations of which lanes move no more flows, begun or not; one that does not exist is refused as bad data.
    pub migrations_stopped: Vec<(MigrationId, LaneId)>,
    /// How far lanes have come with migrations.
    pub migrations_moved: Vec<MigrationMove>,
    /// What became of flows of migrations.
    pub migrated: Vec<MigratedFlow>,
    /// Keys under which anything of this write was sealed: none of them may be destroyed by the time it is committed.
    pub keys_used: BTreeSet<KeyId>,
    /// Journal rows, linked.
    pub journal: Vec<JournalRow>,
    /// Lane rows, last.
    pub lanes: Vec<LaneMove>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Everything is durable. Database time after it.
    Done {
        /// Database time.
        now: Micros,
    },
    /// Nothing was written: these lanes belong to somebody else now. Forget everything about them.
    Fenced(Vec<LaneId>),
    /// Nothing was written: the keys of these subjects were destroyed meanwhile. Forget them and decide again.
    Erased(Vec<SubjectId>),
}

/// The store as a worker sees it.
pub trait LaneStore: Send {
    /// Which installation this is, and which server answers.
    fn installation(&mut self) -> impl Future<Output = Result<Installation, StoreError>> + Send;

    /// Remembers the installation where nothing is remembered yet.
    fn remember_installation(
        &mut self,
        kafka_cluster: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says that the worker is alive.
    fn heartbeat(&mut self, worker: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says that the worker is going: others count it no more and take its share, although it may hold lanes still.
    fn leave(&mut self, worker: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How the lanes are shared now; a worker is alive for as long after its heartbeat. Cheap enough to be asked often.
    fn share(
        &mut self,
        worker: &str,
        held: &[LaneId],
        alive_for: Duration,
    ) -> impl Future<Output = Result<WorkerShare, StoreError>> + Send;

    /// Makes sure that journal partitions exist ahead of today.
    fn ensure_journal(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes up to `at_most` lanes that nobody holds, or that this worker held before it was started again; not those
    /// that it holds now. Raises their epoch. Ends the sessions that hold an expired lane's
    /// row for longer than its lease.
    fn claim(
        &mut self,
        worker: &str,
        held: &[LaneId],
        at_most: usize,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<ClaimedLane>, StoreError>> + Send;

    /// Prolongs leases; returns the lanes that are lost and database time. Does not move `rev`.
    fn renew(
        &mut self,
        fences: &[LaneFence],
        lease: Duration,
    ) -> impl Future<Output = Result<(Vec<LaneId>, Micros), StoreError>> + Send;

    /// Which of the lanes are stored as they were before what their owner has committed: the database went back in time
    /// under it. Where there is any, no permit is given and no lane is claimed from the same instant on.
    fn gone_back(
        &mut self,
        held: &[LaneFence],
    ) -> impl Future<Output = Result<Vec<LaneId>, StoreError>> + Send;

    /// Gives lanes back that nobody reads since an instant. Lanes that are lost already are no error.
    fn release(
        &mut self,
        fences: &[LaneFence],
        resting_since: Micros,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Marks a lane as stopped with a reason and gives it back: nobody claims it until an operator clears it. Nothing
    /// happens where the lane has another owner by now: whoever was stopped between claiming and looking has seen that
    /// owner's records and knows nothing. Whether the lane is stopped by this.
    fn stop_lane(
        &mut self,
        fence: LaneFence,
        cause: StopCause,
        reason: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Flows by id, with the commands that started them.
    fn load_flows(
        &mut self,
        ids: &[FlowId],
    ) -> impl Future<Output = Result<Vec<LoadedFlow>, StoreError>> + Send;

    /// The current key of each subject; where there is none, the one given becomes it. Durable when this returns.
    fn ensure_keys(
        &mut self,
        wanted: &[NewKey],
    ) -> impl Future<Output = Result<Vec<KeyRow>, StoreError>> + Send;

    /// Keys by name; those that never existed are left out.
    fn keys(
        &mut self,
        ids: &[KeyId],
    ) -> impl Future<Output = Result<Vec<KeyRow>, StoreError>> + Send;

    /// Inputs that wait for these flows, in order.
    fn parked(
        &mut self,
        flows: &[FlowId],
    ) -> impl Future<Output = Result<Vec<ParkedRow>, StoreError>> + Send;

    /// Timers of lanes that are due, earliest first; those of one instant by flow and name.
    fn due_timers(
        &mut self,
        lanes: &[LaneId],
        until: Micros,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<TimerRow>, StoreError>> + Send;

    /// Earliest timer of lanes.
    fn next_timer(
        &mut self,
        lanes: &[LaneId],
    ) -> impl Future<Output = Result<Option<Micros>, StoreError>> + Send;

    /// Pinned versions of journeys but those that are known.
    fn journeys_but(
        &mut self,
        known: &[(JourneyName, u32)],
    ) -> impl Future<Output = Result<Vec<PinnedJourney>, StoreError>> + Send;

    /// Migrations that lanes have begun and not ended, oldest first.
    fn open_migrations(
        &mut self,
        lanes: &[LaneId],
    ) -> impl Future<Output = Result<Vec<OpenMigration>, StoreError>> + Send;

    /// Running flows of a lane that a migration is about and that it has not looked at, in the order of ids.
    fn flows_to_migrate(
        &mut self,
        open: &OpenMigration,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<FlowId>, StoreError>> + Send;

    /// Journal rows after a position, in order.
    fn journal_after(
        &mut self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<JournalRow>, StoreError>> + Send;

    /// Position of the last journal row all of whose records have a sequence of `out_seq` or less; 0 for none.
    fn journal_seq_of(
        &mut self,
        lane: LaneId,
        out_seq: i64,
    ) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Positions of inputs that are read for the first time.
    fn begin_inputs(
        &mut self,
        rows: &[InputRow],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One transaction: fence, contest, then what `decide` makes of the losers, then commit. An ambiguous commit is
    /// resolved by reading the lane row again.
    fn commit(
        &mut self,
        fences: &[LaneFence],
        contest: &Contest,
        lease: Duration,
        decide: &mut (dyn FnMut(Losers) -> TickWrite + Send),
    ) -> impl Future<Output = Result<Commit, StoreError>> + Send;
}
