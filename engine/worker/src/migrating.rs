//! What a lane does for a migration: one flow at a time, in portions, in its ticks like any other work. How a flow is moved
//! `signalbox_flow` decides; who begins a migration is an operator's act like any other.

use signalbox_flow::{Migration, MigrationPlan};
use signalbox_schemas::{FlowId, LaneId};
use signalbox_store::OpenMigration;
use std::sync::Arc;

use crate::library::JourneyLibrary;

/// A migration that a lane carries out.
#[derive(Debug)]
pub(crate) struct Job {
    /// How far the lane was when it was read; who wants it, and why.
    pub(crate) open: OpenMigration,
    pub(crate) lane: LaneId,
    pub(crate) migration: Migration,
}

/// One flow to be moved; none where there is none left and the lane has ended.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) job: Arc<Job>,
    pub(crate) flow: Option<FlowId>,
}

/// Why a migration cannot be carried out by this engine. It stays open for one that can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JobError {
    /// The plan means nothing here: it was written for another version of this program.
    #[error("the plan cannot be used: {0}")]
    Plan(String),
    /// A version is not known: it cannot be read by this program.
    #[error("version {0} of the journey is not known here")]
    Version(u32),
}

impl Job {
    /// A job with its versions.
    pub(crate) fn new(open: OpenMigration, library: &JourneyLibrary) -> Result<Self, JobError> {
        let plan = MigrationPlan::parse(&open.migration.plan)
            .map_err(|error| JobError::Plan(error.to_string()))?;
        let version = |version: u32| {
            let found = library.version(&plan.journey, version);
            found.map(Arc::clone).ok_or(JobError::Version(version))
        };
        let (old, new) = (version(plan.from)?, version(plan.to)?);
        let migration =
            Migration::new(plan, old, new).map_err(|error| JobError::Plan(error.to_string()))?;
        Ok(Self { lane: open.lane, migration, open })
    }
}
