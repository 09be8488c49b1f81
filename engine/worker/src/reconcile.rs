//! Recovery from a database that was restored to an earlier time, or a promoted standby that lacked commits: what is
//! missing (`plan`, pure), from what the database knows and what the topics hold (`logs`), and how it is settled.
//! It moves no flow: lanes decide again from where their inputs are, and know what is settled here.

mod logs;
mod plan;

pub use plan::{Known, LaneGap, Missing, MissingEnding, MissingWrite, Permits};

use signalbox_bus::{BusError, Codec, LaneBus, RegistryError};
use signalbox_store::{RecoveryStore, Settled, StoreError};

/// What is missing cannot be found out, or not be settled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// As the bus says.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A schema of a record cannot be learnt.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A record that may tell of a write cannot be read.
    #[error(
        "{0} cannot be read, and it may tell of a write; let the registry know its schema again"
    )]
    Unreadable(String),
}

/// Finds out what the database forgot. It changes nothing.
///
/// # Errors
/// Where Kafka, Postgres or the registry does not answer, or a record cannot be read.
pub async fn missing<B: LaneBus, S: RecoveryStore>(
    bus: &mut B,
    store: &S,
    codec: &Codec,
    permits: Permits,
) -> Result<Missing, ReconcileError> {
    let cluster = bus.cluster_id().await?;
    let before = store.remembered().await?;
    let seen = logs::read(bus, codec, &before).await?;
    // Read again: what an engine that runs has committed meanwhile is not missing.
    let remembered = store.remembered().await?;
    let known = store.known_attempts(&seen.attempts()).await?;
    Ok(plan::plan(cluster, &remembered, &known, seen, permits))
}

/// Makes it safe to go on, in one transaction. Nothing is changed where workers hold lanes, or have moved any meanwhile.
///
/// # Errors
/// Where Postgres does not answer.
pub async fn settle<S: RecoveryStore>(
    store: &S,
    missing: &Missing,
    actor: &str,
    reason: &str,
) -> Result<Settled, ReconcileError> {
    Ok(store.settle(&missing.settlement(actor, reason)).await?)
}
