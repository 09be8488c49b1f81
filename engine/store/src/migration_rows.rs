//! Rows of migrations as plain data: the job, how far a lane is, what became of a flow. No row knows how it is stored.

use signalbox_schemas::{FlowId, JourneyName, LaneId, Micros, MigrationId, StepName};

/// A migration as it was asked for. It is never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationRow {
    /// Identity.
    pub id: MigrationId,
    /// Journey.
    pub journey: JourneyName,
    /// Version that the flows run under.
    pub from: u32,
    /// Version that they are moved to.
    pub to: u32,
    /// The plan, as text.
    pub plan: String,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When it was asked for.
    pub requested_at: Micros,
}

/// A migration that a lane has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMigration {
    /// What is to be done.
    pub migration: MigrationRow,
    /// The lane.
    pub lane: LaneId,
    /// The last flow of the lane that was looked at, in the order of ids.
    pub reached: Option<FlowId>,
}

/// How far a lane has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationMove {
    /// The migration.
    pub migration: MigrationId,
    /// The lane.
    pub lane: LaneId,
    /// The last flow that was looked at; none where there was none to look at.
    pub reached: Option<FlowId>,
    /// Whether it was the lane's last.
    pub ended: bool,
}

/// What became of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratedFlow {
    /// The migration.
    pub migration: MigrationId,
    /// The flow.
    pub flow: FlowId,
    /// Its lane.
    pub lane: LaneId,
    /// State in which it was.
    pub before: StepName,
    /// State to which it was moved, or the code of why it was not.
    pub became: Result<StepName, String>,
}

/// Flows of which the same became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationCount {
    /// State in which they were.
    pub before: StepName,
    /// State to which they were moved, or the code of why they were not.
    pub became: Result<StepName, String>,
    /// How many.
    pub flows: i64,
    /// Some of them.
    pub examples: Vec<FlowId>,
}

/// A migration with how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// What was asked for.
    pub migration: MigrationRow,
    /// Lanes that have begun.
    pub begun: i64,
    /// Lanes that have ended.
    pub ended: i64,
    /// Lanes among them that were stopped before they had looked at every flow.
    pub stopped: i64,
}
