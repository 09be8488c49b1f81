//! Questions of people and of start-up: flows, journals, journeys, schemas, counts. Nothing on a hot path.

use signalbox_schemas::{
    AttemptId, EnvelopeId, FlowId, KeyId, LaneId, Micros, MigrationId, SubjectId, TopicName,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Executor, Postgres};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::error::StoreError;
use crate::growing;
use crate::growth::{Grown, Growth, GrowthHindrance, GrowthOrder};
use crate::journal::JournalRow;
use crate::keys::{Erasure, ErasureOrder, KeyRow, RewrapOrder, RewrappedKey};
use crate::lane_store::Installation;
use crate::migration_rows::{MigrationCount, MigrationRow, MigrationStatus};
use crate::pool::Pool;
use crate::reader_rows::{JournalSpan, LaneStatus, ServerFacts};
use crate::rows::{AttemptRow, FlowRow, InputRow, LoadedFlow, PeerRow, RecognitionRow};
use crate::schema::{self, Migrated};
use crate::tables;

/// A small pool for questions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: Pool,
}

impl Reader {
    /// Connects lazily.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::open(PgConnectOptions::from_str(url)?, 4, Duration::from_secs(5)) })
    }

    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.pool.acquire().await
    }

    /// Brings the database to this program's schema. Lanes are made where there are none yet.
    pub async fn migrate(&self, lanes: u16) -> Result<Migrated, StoreError> {
        schema::migrate(&mut *self.connection().await?, lanes).await
    }

    /// Refuses a database that this program cannot work on.
    pub async fn require_known_schema(&self) -> Result<(), StoreError> {
        schema::require_known_schema(&mut *self.connection().await?).await
    }

    /// Database time; also tells whether the database answers.
    pub async fn now(&self) -> Result<Micros, StoreError> {
        tables::now(&mut *self.connection().await?).await
    }

    /// Flows of a business id or flow id.
    pub async fn find_flows(&self, text: &str) -> Result<Vec<LoadedFlow>, StoreError> {
        tables::flow::find(&mut *self.connection().await?, text).await
    }

    /// Journal rows about a flow.
    pub async fn journal_of(&self, flow: FlowId) -> Result<Vec<JournalRow>, StoreError> {
        tables::journal::of_flow(&mut *self.connection().await?, flow).await
    }

    /// Attempts of a flow at write effects.
    pub async fn attempts_of(&self, flow: FlowId) -> Result<Vec<AttemptRow>, StoreError> {
        tables::attempt::of_flow(&mut *self.connection().await?, flow).await
    }

    /// Journal rows of a lane after a position.
    pub async fn journal_after(
        &self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> Result<Vec<JournalRow>, StoreError> {
        tables::journal::after(&mut *self.connection().await?, lane, seq, at_most).await
    }

    /// Where the journal tells of flows.
    pub async fn journal_span_of_flows(
        &self,
        flows: &[FlowId],
    ) -> Result<Vec<JournalSpan>, StoreError> {
        tables::journal::span_of_flows(&mut *self.connection().await?, flows).await
    }

    /// Where the journal tells of a time, from an instant until before another.
    pub async fn journal_span_of_time(
        &self,
        from: Micros,
        until: Micros,
    ) -> Result<Vec<JournalSpan>, StoreError> {
        tables::journal::span_of_time(&mut *self.connection().await?, from, until).await
    }

    /// Flows of a subject, newest first.
    pub async fn flows_of_subject(&self, subject: SubjectId) -> Result<Vec<FlowRow>, StoreError> {
        tables::flow::of_subject(&mut *self.connection().await?, subject).await
    }

    /// Keys by name; those that never existed are left out.
    pub async fn keys(&self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        tables::subject_key::find(&mut *self.connection().await?, ids).await
    }

    /// Every key of a subject, oldest first.
    pub async fn keys_of_subject(&self, subject: SubjectId) -> Result<Vec<KeyRow>, StoreError> {
        tables::subject_key::of_subject(&mut *self.connection().await?, subject).await
    }

    /// What flows have found out about a customer, as later flows recognise them.
    pub async fn recognition_of(
        &self,
        subject: SubjectId,
    ) -> Result<Option<RecognitionRow>, StoreError> {
        tables::recognition::of_subject(&mut *self.connection().await?, subject).await
    }

    /// When the oldest key was made.
    pub async fn oldest_key(&self) -> Result<Option<Micros>, StoreError> {
        tables::subject_key::oldest(&mut *self.connection().await?).await
    }

    /// How far a lane has read its inputs.
    pub async fn inputs(&self, lane: LaneId) -> Result<Vec<InputRow>, StoreError> {
        tables::lane_input::load(&mut *self.connection().await?, &[lane]).await
    }

    /// Destroys the keys of subjects in one transaction, during which no tick can be finished; or says what stands in
    /// the way and changes nothing.
    pub async fn erase(&self, order: &ErasureOrder) -> Result<Erasure, StoreError> {
        // A connection of its own: where this is given up half way, it ends with its transaction.
        let mut connection = self.connection().await?.detach();
        connection.execute("BEGIN").await?;
        connection.execute("SET LOCAL lock_timeout = '10s'").await?;
        connection.execute("SET LOCAL synchronous_commit = on").await?;
        tables::subject_key::stand_still(&mut connection).await?;
        let now = tables::now(&mut connection).await?;
        let hindrances = tables::subject_key::hindrances(&mut connection, order, now).await?;
        if !hindrances.is_empty() {
            connection.execute("ROLLBACK").await?;
            return Ok(Erasure::Refused(hindrances));
        }
        let keys = tables::subject_key::destroy(&mut connection, order, now).await?;
        tables::recognition::forget(&mut connection, order).await?;
        connection.execute("COMMIT").await?;
        Ok(Erasure::Done { keys, at: now })
    }

    /// How many keys each envelope key wraps.
    pub async fn envelopes(&self) -> Result<Vec<(EnvelopeId, i64)>, StoreError> {
        tables::subject_key::envelopes(&mut *self.connection().await?).await
    }

    /// Keys that another envelope key than this one wraps, in order, after one.
    pub async fn keys_wrapped_by_others(
        &self,
        envelope: EnvelopeId,
        after: Option<KeyId>,
        at_most: i64,
    ) -> Result<Vec<KeyRow>, StoreError> {
        let connection = &mut *self.connection().await?;
        tables::subject_key::wrapped_by_others(connection, envelope, after, at_most).await
    }

    /// Puts keys wrapped anew in the place of what was read, all at once, and puts down who wanted it. A key that was
    /// destroyed meanwhile stays destroyed. How many were replaced.
    pub async fn rewrap(
        &self,
        keys: &[RewrappedKey],
        order: &RewrapOrder,
    ) -> Result<i64, StoreError> {
        // A single statement is its own transaction.
        tables::subject_key::rewrap(&mut *self.connection().await?, keys, order).await
    }

    /// What the server is and what this user may do there, for a diagnosis.
    pub async fn server(&self) -> Result<ServerFacts, StoreError> {
        tables::server::facts(&mut *self.connection().await?).await
    }

    /// Journey, status, state, and how many flows are there.
    pub async fn flows_by_state(&self) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        tables::flow::count_by_state(&mut *self.connection().await?).await
    }

    /// Flows that are paused or parked, those that changed longest ago first; 1,000 at most.
    pub async fn standing_flows(&self) -> Result<Vec<FlowRow>, StoreError> {
        tables::flow::standing_flows(&mut *self.connection().await?).await
    }

    /// Lets a stopped lane be claimed again; forwards that are `missing` count as taken. Who did it and why becomes a row of
    /// the lane's journal, linked into its chain. False where the lane is not stopped, or does not exist.
    pub async fn start_lane(
        &self,
        lane: LaneId,
        missing: Option<PeerRow>,
        (actor, reason): (&str, &str),
    ) -> Result<bool, StoreError> {
        // A connection of its own: where this is given up half way, it ends with its transaction.
        let mut connection = self.connection().await?.detach();
        connection.execute("BEGIN").await?;
        let started = tables::lane::start(&mut connection, lane, actor, reason).await?;
        if let Some(missing) = missing.filter(|_| started) {
            tables::lane_peer::give_up(&mut connection, missing).await?;
        }
        connection.execute("COMMIT").await?;
        Ok(started)
    }

    /// Which installation this is, which server answers, and whether commits are known to be lost.
    pub async fn installation(&self) -> Result<Installation, StoreError> {
        tables::installation::load(&mut *self.connection().await?).await
    }

    /// How many lanes this installation has.
    ///
    /// # Errors
    /// `Schema` where it has none: `signalbox migrate` has not run.
    pub async fn lane_count(&self) -> Result<u16, StoreError> {
        match tables::lane::count(&mut *self.connection().await?).await? {
            0 => Err(StoreError::Schema("there are no lanes; run `signalbox migrate`".to_owned())),
            lanes => Ok(lanes),
        }
    }

    /// What stands in the way of so many lanes now, and how many flows would move. Changes nothing and holds nobody up.
    pub async fn preview_growth(
        &self,
        to: u16,
    ) -> Result<(Vec<GrowthHindrance>, Grown), StoreError> {
        growing::preview(&mut *self.connection().await?, to).await
    }

    /// Adds lanes and moves every row to the home lane of its key, in one transaction during which no lane can be
    /// claimed; or says what stands in the way and changes nothing. With as many lanes as there are it only verifies.
    ///
    /// # Errors
    /// `Invariant` where a row would not be, or is not, in its home lane; then nothing was changed.
    pub async fn grow(&self, order: &GrowthOrder) -> Result<Growth, StoreError> {
        // A connection of its own: where this is given up half way, it ends with its transaction.
        let mut connection = self.connection().await?.detach();
        growing::grow(&mut connection, order).await
    }

    /// Inputs that lanes read once more since a restore, and up to where.
    pub async fn read_again(&self) -> Result<Vec<(LaneId, TopicName, i64)>, StoreError> {
        let mut connection = self.connection().await?;
        let lanes = tables::lane::status(&mut connection).await?;
        let ids: Vec<LaneId> = lanes.into_iter().map(|lane| lane.lane).collect();
        tables::lane_input::read_before(&mut connection, &ids).await
    }

    /// How far every lane has read every input.
    pub async fn lane_inputs(&self) -> Result<Vec<InputRow>, StoreError> {
        let mut connection = self.connection().await?;
        let lanes = tables::lane::status(&mut connection).await?;
        let ids: Vec<LaneId> = lanes.into_iter().map(|lane| lane.lane).collect();
        tables::lane_input::load(&mut connection, &ids).await
    }

    /// Every lane.
    pub async fn lanes(&self) -> Result<Vec<LaneStatus>, StoreError> {
        tables::lane::status(&mut *self.connection().await?).await
    }

    /// Pins a version of a journey.
    pub async fn deploy_journey(
        &self,
        name: &str,
        version: u32,
        source: &str,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let now = tables::now(&mut connection).await?;
        tables::journey::deploy(&mut connection, name, version, source, now).await
    }

    /// Whether a journey was proven safe: `digest` stands for all that the proof rests on.
    pub async fn is_proven(&self, digest: &[u8; 32]) -> Result<bool, StoreError> {
        tables::journey::is_proven(&mut *self.connection().await?, digest).await
    }

    /// Keeps that a version of a journey was proven safe.
    pub async fn keep_proof(
        &self,
        name: &str,
        version: u32,
        digest: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let now = tables::now(&mut connection).await?;
        tables::journey::keep_proof(&mut connection, name, version, digest, now).await
    }

    /// Name, version and text of every version of every journey.
    pub async fn journeys(&self) -> Result<Vec<(String, u32, String)>, StoreError> {
        tables::journey::unknown(&mut *self.connection().await?, &[]).await
    }

    /// How many flows run under each version of a journey.
    pub async fn flows_by_version(&self, journey: &str) -> Result<Vec<(u32, i64)>, StoreError> {
        tables::flow::count_by_version(&mut *self.connection().await?, journey).await
    }

    /// Running flows of a version, in the order of ids, after one.
    pub async fn flows_of_version(
        &self,
        journey: &str,
        version: u32,
        after: Option<FlowId>,
        at_most: usize,
    ) -> Result<Vec<LoadedFlow>, StoreError> {
        let connection = &mut *self.connection().await?;
        tables::flow::of_version(connection, (journey, version), after, at_most).await
    }

    /// Attempts of flows at write effects that may have been sent.
    pub async fn sending_of(&self, flows: &[FlowId]) -> Result<BTreeSet<AttemptId>, StoreError> {
        tables::attempt::sending_of(&mut *self.connection().await?, flows).await
    }

    /// Puts down a migration. Nothing happens to a flow by it: lanes begin when they are told to.
    pub async fn ask_for_migration(&self, row: &MigrationRow) -> Result<(), StoreError> {
        tables::migration::ask_for(&mut *self.connection().await?, row).await
    }

    /// The latest 100 migrations, or one, with how far they are.
    pub async fn migrations(
        &self,
        only: Option<MigrationId>,
    ) -> Result<Vec<MigrationStatus>, StoreError> {
        tables::migration::status(&mut *self.connection().await?, only).await
    }

    /// What became of the flows of a migration so far.
    pub async fn migration_counts(
        &self,
        id: MigrationId,
    ) -> Result<Vec<MigrationCount>, StoreError> {
        tables::migration::counts(&mut *self.connection().await?, id).await
    }

    /// Schemas whose ids are known.
    pub async fn known_schemas(&self) -> Result<Vec<(u32, String)>, StoreError> {
        tables::known_schema::all(&mut *self.connection().await?).await
    }

    /// Remembers schemas by id.
    pub async fn remember_schemas(&self, schemas: &[(u32, String)]) -> Result<(), StoreError> {
        tables::known_schema::remember(&mut *self.connection().await?, schemas).await
    }

    /// Forgets every schema id, as when a registry was rebuilt and gives other ids.
    pub async fn forget_schemas(&self) -> Result<(), StoreError> {
        tables::known_schema::forget_all(&mut *self.connection().await?).await
    }

    /// Bytes on disk of the whole database, indexes included.
    pub async fn database_bytes(&self) -> Result<i64, StoreError> {
        self.number("SELECT pg_database_size(current_database())").await
    }

    /// Current write-ahead log position in bytes: the difference of two is what was written between them.
    pub async fn wal_bytes(&self) -> Result<i64, StoreError> {
        self.number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").await
    }

    /// The one number that a statement tells.
    async fn number(&self, sql: &'static str) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(sql).fetch_one(&mut *self.connection().await?).await?)
    }
}
