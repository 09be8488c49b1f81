//! What recovery needs of a database that was restored to an earlier time, as one trait with two implementations: what it
//! still knows, and one transaction that makes it safe to go on. What is missing is decided elsewhere, from this and the
//! topics.

use signalbox_schemas::{AttemptId, LaneId};
use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::reader::Reader;
use crate::recovery_rows::{Remembered, Settled, Settlement};
use crate::rows::AttemptRow;
use crate::tables;
use crate::tables::together::Together;

/// The database as recovery sees it.
pub trait RecoveryStore: Send + Sync {
    /// What it knows, at one instant.
    fn remembered(&self) -> impl Future<Output = Result<Remembered, StoreError>> + Send;

    /// Those of the attempts that it knows, open or not.
    fn known_attempts(
        &self,
        ids: &[AttemptId],
    ) -> impl Future<Output = Result<Vec<AttemptRow>, StoreError>> + Send;

    /// Makes it safe to go on, or says which lanes stand in the way and changes nothing.
    fn settle(
        &self,
        settlement: &Settlement,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;
}

impl RecoveryStore for Reader {
    async fn remembered(&self) -> Result<Remembered, StoreError> {
        // A connection of its own: where this is given up half way, it ends with its transaction.
        let mut connection = self.connection().await?.detach();
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let lanes = tables::lane::stored(&mut connection).await?;
        let ids: Vec<LaneId> = lanes.iter().map(|lane| lane.fence.lane).collect();
        let remembered = Remembered {
            installation: tables::installation::load(&mut connection).await?,
            inputs: tables::lane_input::load(&mut connection, &ids).await?,
            outputs: tables::lane_output::load(&mut connection, &ids).await?,
            open_attempts: tables::attempt::open(&mut connection).await?,
            last_journaled: tables::journal::last_at(&mut connection).await?,
            lanes,
        };
        connection.execute("COMMIT").await?;
        Ok(remembered)
    }

    async fn known_attempts(&self, ids: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        tables::attempt::find(&mut *self.connection().await?, ids).await
    }

    async fn settle(&self, settlement: &Settlement) -> Result<Settled, StoreError> {
        let mut connection = self.connection().await?.detach();
        connection.execute("BEGIN").await?;
        connection.execute("SET LOCAL lock_timeout = '10s'").await?;
        connection.execute("SET LOCAL synchronous_commit = on").await?;
        let lanes = tables::lane::stored_and_locked(&mut connection).await?;
        let held = settlement.held(&lanes);
        if !held.is_empty() {
            connection.execute("ROLLBACK").await?;
            return Ok(Settled::Held(held));
        }
        write(&mut connection, settlement).await?;
        connection.execute("COMMIT").await?;
        Ok(Settled::Done)
    }
}

async fn write(connection: &mut PgConnection, settlement: &Settlement) -> Result<(), StoreError> {
    tables::attempt::doubt(connection, &settlement.attempts).await?;
    tables::published_ending::put_down(connection, &settlement.endings).await?;
    tables::lane_input::note_read_before(connection, &settlement.read_before).await?;
    let mut together = Together::default();
    tables::lane_output::write(&mut together, &settlement.outputs);
    together.run(connection).await?;
    let by = (settlement.actor.as_str(), settlement.reason.as_str());
    for lane in &settlement.lanes {
        tables::lane::settle(connection, lane, by).await?;
    }
    tables::installation::take_over(connection, &settlement.kafka_cluster).await
}
