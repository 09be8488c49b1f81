//! Questions of people and of start-up: flows, journals, journeys, schemas, counts. Nothing on a hot path.

use signalbox_schemas::{FlowId, LaneId, Micros};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;

use crate::error::StoreError;
use crate::journal::JournalRow;
use crate::rows::{AttemptRow, LoadedFlow};
use crate::schema;
use crate::tables;

/// One lane as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Lane.
    pub lane: LaneId,
    /// Who owns it.
    pub owner: Option<String>,
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

/// A small pool for questions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: PgPool,
}

impl Reader {
    /// Connects lazily.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy(url)?;
        Ok(Self { pool })
    }

    /// Brings the database to this program's schema.
    pub async fn migrate(&self, lanes: u16) -> Result<(), StoreError> {
        schema::migrate(&mut *self.pool.acquire().await?, lanes).await
    }

    /// Refuses a database that is older or newer than this program.
    pub async fn require_current_schema(&self) -> Result<(), StoreError> {
        schema::require_current_schema(&mut *self.pool.acquire().await?).await
    }

    /// Database time; also tells whether the database answers.
    pub async fn now(&self) -> Result<Micros, StoreError> {
        tables::now(&mut *self.pool.acquire().await?).await
    }

    /// Flows of a business id or flow id.
    pub async fn find_flows(&self, text: &str) -> Result<Vec<LoadedFlow>, StoreError> {
        tables::flow::find(&mut *self.pool.acquire().await?, text).await
    }

    /// Journal rows about a flow.
    pub async fn journal_of(&self, flow: FlowId) -> Result<Vec<JournalRow>, StoreError> {
        tables::journal::of_flow(&mut *self.pool.acquire().await?, flow).await
    }

    /// Attempts of a flow at write effects.
    pub async fn attempts_of(&self, flow: FlowId) -> Result<Vec<AttemptRow>, StoreError> {
        tables::attempt::of_flow(&mut *self.pool.acquire().await?, flow).await
    }

    /// Journal rows of a lane after a position.
    pub async fn journal_after(
        &self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> Result<Vec<JournalRow>, StoreError> {
        tables::journal::after(&mut *self.pool.acquire().await?, lane, seq, at_most).await
    }

    /// Journey, status, state, and how many flows are there.
    pub async fn flows_by_state(&self) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        tables::flow::count_by_state(&mut *self.pool.acquire().await?).await
    }

    /// Every lane.
    pub async fn lanes(&self) -> Result<Vec<LaneStatus>, StoreError> {
        tables::lane::status(&mut *self.pool.acquire().await?).await
    }

    /// Pins a version of a journey.
    pub async fn deploy_journey(
        &self,
        name: &str,
        version: u32,
        source: &str,
    ) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let now = tables::now(&mut connection).await?;
        tables::journey::deploy(&mut connection, name, version, source, now).await
    }

    /// Name, version and text of every version of every journey.
    pub async fn journeys(&self) -> Result<Vec<(String, u32, String)>, StoreError> {
        tables::journey::all(&mut *self.pool.acquire().await?).await
    }

    /// Schemas whose ids are known.
    pub async fn known_schemas(&self) -> Result<Vec<(u32, String)>, StoreError> {
        tables::known_schema::all(&mut *self.pool.acquire().await?).await
    }

    /// Remembers schemas by id.
    pub async fn remember_schemas(&self, schemas: &[(u32, String)]) -> Result<(), StoreError> {
        tables::known_schema::remember(&mut *self.pool.acquire().await?, schemas).await
    }

    /// Forgets every schema id, as when a registry was rebuilt and gives other ids.
    pub async fn forget_schemas(&self) -> Result<(), StoreError> {
        tables::known_schema::forget_all(&mut *self.pool.acquire().await?).await
    }

    /// Current write-ahead log position in bytes: the difference of two is what was written between them.
    pub async fn wal_bytes(&self) -> Result<i64, StoreError> {
        let row =
            sqlx::query("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS bytes")
                .fetch_one(&self.pool)
                .await?;
        Ok(row.try_get("bytes")?)
    }
}
