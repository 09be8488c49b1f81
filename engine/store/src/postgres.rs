//! The lane store over Postgres: one connection per worker, transactions that are never cancelled, and connections that
//! are thrown away on any trouble.

use signalbox_schemas::{FlowId, JourneyName, KeyId, LaneId, Micros, SubjectId};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::error::StoreError;
use crate::journal::JournalRow;
use crate::keys::{KeyRow, NewKey};
use crate::lane_store::{
    ClaimedLane, Commit, Contest, Installation, LaneStore, Losers, PinnedJourney, StopCause,
    TickWrite, WorkerShare,
};
use crate::migration_rows::OpenMigration;
use crate::pool::{self, answered};
use crate::rows::{Forgotten, InputRow, LaneFence, LoadedFlow, ParkedRow, TimerRow};
use crate::tables;
use crate::tables::together::{Ran, Together};

/// The lane store in Postgres.
pub struct PgLaneStore {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// How long the server may take for one call of ours.
    patience: Duration,
}

impl PgLaneStore {
    /// Prepares connections; `lease` bounds how long a statement or an idle transaction may last.
    pub fn new(url: &str, worker: &str, lease: Duration) -> Result<Self, StoreError> {
        // Well below the lease, so that a worker stopped inside its transaction cannot hold a lane's row.
        let limit = (lease.as_millis() / 2).max(500).to_string();
        let options = PgConnectOptions::from_str(url)?
            .application_name(&format!("signalbox-lane {worker}"))
            .options([
                ("statement_timeout", limit.as_str()),
                ("idle_in_transaction_session_timeout", limit.as_str()),
                ("synchronous_commit", "on"),
            ])
            .options(pool::BY_KEY);
        // Who has not been heard for so long has lost its lanes anyway.
        Ok(Self { options, connection: None, patience: lease * 2 })
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Asks on the connection that there is, or on a new one.
    async fn ask<T>(
        &mut self,
        asking: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let patience = self.patience;
        let asked = answered(patience, async { asking(self.connection().await?).await }).await;
        self.keep_or_drop(asked).await
    }

    /// Keeps the connection after success; after any error it may be inside a transaction and is thrown away.
    async fn keep_or_drop<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err()
            && let Some(connection) = self.connection.take()
        {
            drop(connection.close_hard().await);
        }
        result
    }

    /// After a commit whose answer was lost: the lane rows tell whether it happened.
    async fn resolve(
        &mut self,
        fences: &[LaneFence],
        moved: &[LaneFence],
        lost: sqlx::Error,
    ) -> Result<Commit, StoreError> {
        let lanes: Vec<LaneId> = fences.iter().map(|fence| fence.lane).collect();
        let connection = self.connection().await?;
        let now = tables::now(connection).await?;
        let found = tables::lane::read_locked(connection, &lanes).await?;
        let is = |fence: &LaneFence, by: i64| {
            found.contains(&LaneFence { rev: fence.rev + by, ..*fence })
        };
        let tell = |found: &'static str| {
            tracing::warn!(found, error = %lost, "the answer to a commit was lost; its lanes say what became of it");
        };
        if moved.iter().all(|fence| is(fence, 1)) {
            tell("committed");
            return Ok(Commit::Done { now });
        }
        if fences.iter().all(|fence| is(fence, 0)) {
            tell("not committed");
            return Err(StoreError::Retry(lost));
        }
        tell("fenced");
        Ok(Commit::Fenced(
            fences
                .iter()
                .filter(|fence| !is(fence, 0) && !is(fence, 1))
                .map(|fence| fence.lane)
                .collect(),
        ))
    }
}

/// What nearly every tick writes, as one statement that also counts the keys that are still there, and then what few do.
async fn write(
    connection: &mut PgConnection,
    write: &TickWrite,
    lease: Duration,
) -> Result<Prepared, StoreError> {
    if write.lanes.is_empty() {
        return Err(StoreError::Invariant("a tick moves at least one lane".to_owned()));
    }
    let keys: Vec<KeyId> = write.keys_used.iter().copied().collect();
    let mut together = Together::default();
    tables::subject_key::count_held(&mut together, &keys);
    tables::lane_input::advance(&mut together, &write.inputs);
    tables::lane_output::write(&mut together, &write.outputs);
    tables::flow::write(&mut together, &write.flows);
    tables::attempt::plan(&mut together, &write.attempts);
    tables::timer::clear(&mut together, &write.timers_cleared);
    tables::timer::set(&mut together, &write.timers_set);
    tables::journal::append(&mut together, &write.journal);
    tables::lane::advance(&mut together, &write.lanes, lease);
    let Ran { now, touched } = together.run(connection).await?;
    // An erasure waits for ticks that have begun, and none begins while it destroys keys: what it has destroyed is seen here.
    if touched.first() != Some(&keys.len()) {
        let destroyed = tables::subject_key::destroyed(connection, &keys).await?;
        connection.execute("ROLLBACK").await?;
        return Ok(Prepared::Erased(destroyed));
    }
    tables::lane_peer::write(connection, &write.peers).await?;
    tables::attempt::give_up(connection, &write.given_up).await?;
    tables::attempt::rule(connection, &write.rulings).await?;
    tables::parked::take(connection, &write.unparked).await?;
    tables::parked::keep(connection, &write.parked).await?;
    tables::assent::put_down(connection, &write.assents).await?;
    tables::recognition::put_down(connection, &write.recognitions).await?;
    tables::migration::begin(connection, &write.migrations_begun).await?;
    tables::migration::stop(connection, &write.migrations_stopped).await?;
    tables::migration::advance(connection, &write.migrations_moved).await?;
    tables::migration::note(connection, &write.migrated).await?;
    Ok(Prepared::Written { moved: write.lanes.iter().map(|lane| lane.fence).collect(), now })
}

impl LaneStore for PgLaneStore {
    async fn installation(&mut self) -> Result<Installation, StoreError> {
        self.ask(async |connection| tables::installation::load(connection).await).await
    }

    async fn remember_installation(&mut self, kafka_cluster: &str) -> Result<(), StoreError> {
        self.ask(async |connection| tables::installation::remember(connection, kafka_cluster).await)
            .await
    }

    async fn heartbeat(&mut self, worker: &str) -> Result<(), StoreError> {
        self.ask(async |connection| {
            tables::worker::heartbeat(connection, worker, crate::schema::program()).await
        })
        .await
    }

    async fn leave(&mut self, worker: &str) -> Result<(), StoreError> {
        self.ask(async |connection| tables::worker::leave(connection, worker).await).await
    }

    async fn share(
        &mut self,
        worker: &str,
        held: &[LaneId],
        alive_for: Duration,
    ) -> Result<WorkerShare, StoreError> {
        self.ask(async |connection| {
            tables::worker::share(connection, worker, held, alive_for).await
        })
        .await
    }

    async fn claim(
        &mut self,
        worker: &str,
        held: &[LaneId],
        at_most: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedLane>, StoreError> {
        self.ask(async |connection| claim(connection, worker, held, at_most, lease).await).await
    }

    async fn renew(
        &mut self,
        fences: &[LaneFence],
        lease: Duration,
    ) -> Result<(Vec<LaneId>, Micros), StoreError> {
        self.ask(async |connection| tables::lane::renew(connection, fences, lease).await).await
    }

    async fn gone_back(&mut self, held: &[LaneFence]) -> Result<Vec<LaneId>, StoreError> {
        self.ask(async |connection| tables::lane::gone_back(connection, held).await).await
    }

    async fn release(
        &mut self,
        fences: &[LaneFence],
        resting_since: Micros,
    ) -> Result<(), StoreError> {
        self.ask(async |connection| tables::lane::release(connection, fences, resting_since).await)
            .await
    }

    async fn stop_lane(
        &mut self,
        fence: LaneFence,
        cause: StopCause,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.ask(async |connection| tables::lane::stop(connection, fence, cause, reason).await)
            .await
    }

    async fn load_flows(&mut self, ids: &[FlowId]) -> Result<Vec<LoadedFlow>, StoreError> {
        self.ask(async |connection| tables::flow::load(connection, ids).await).await
    }

    async fn ensure_keys(&mut self, wanted: &[NewKey]) -> Result<Vec<KeyRow>, StoreError> {
        self.ask(async |connection| tables::subject_key::ensure(connection, wanted).await).await
    }

    async fn keys(&mut self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        self.ask(async |connection| tables::subject_key::find(connection, ids).await).await
    }

    async fn parked(&mut self, flows: &[FlowId]) -> Result<Vec<ParkedRow>, StoreError> {
        self.ask(async |connection| tables::parked::of_flows(connection, flows).await).await
    }

    async fn due_timers(
        &mut self,
        lanes: &[LaneId],
        until: Micros,
        at_most: usize,
    ) -> Result<Vec<TimerRow>, StoreError> {
        self.ask(async |connection| tables::timer::due(connection, lanes, until, at_most).await)
            .await
    }

    async fn next_timer(&mut self, lanes: &[LaneId]) -> Result<Option<Micros>, StoreError> {
        self.ask(async |connection| tables::timer::next(connection, lanes).await).await
    }

    async fn journeys_but(
        &mut self,
        known: &[(JourneyName, u32)],
    ) -> Result<Vec<PinnedJourney>, StoreError> {
        let unknown =
            self.ask(async |connection| tables::journey::unknown(connection, known).await);
        let pinned = |(name, version, source): (String, u32, String)| PinnedJourney {
            name: JourneyName::from(name),
            version,
            source,
        };
        Ok(unknown.await?.into_iter().map(pinned).collect())
    }

    async fn open_migrations(
        &mut self,
        lanes: &[LaneId],
    ) -> Result<Vec<OpenMigration>, StoreError> {
        self.ask(async |connection| tables::migration::open(connection, lanes).await).await
    }

    async fn flows_to_migrate(
        &mut self,
        open: &OpenMigration,
        at_most: usize,
    ) -> Result<Vec<FlowId>, StoreError> {
        self.ask(async |connection| tables::migration::next_flows(connection, open, at_most).await)
            .await
    }

    async fn journal_after(
        &mut self,
        lane: LaneId,
        seq: i64,
        at_most: usize,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.ask(async |connection| tables::journal::after(connection, lane, seq, at_most).await)
            .await
    }

    async fn journal_seq_of(&mut self, lane: LaneId, out_seq: i64) -> Result<i64, StoreError> {
        self.ask(async |connection| tables::journal::seq_of(connection, lane, out_seq).await).await
    }

    async fn begin_inputs(&mut self, rows: &[InputRow]) -> Result<(), StoreError> {
        self.ask(async |connection| tables::lane_input::begin(connection, rows).await).await
    }

    async fn ensure_journal(&mut self) -> Result<(), StoreError> {
        self.ask(async |connection| {
            let now = tables::now(connection).await?;
            crate::schema::ensure_journal_partitions(connection, now).await
        })
        .await
    }

    async fn commit(
        &mut self,
        fences: &[LaneFence],
        contest: &Contest,
        lease: Duration,
        decide: &mut (dyn FnMut(Losers) -> TickWrite + Send),
    ) -> Result<Commit, StoreError> {
        let preparing =
            self.ask(async |connection| prepare(connection, fences, contest, lease, decide).await);
        let (moved, now) = match preparing.await? {
            Prepared::Fenced(lanes) => return Ok(Commit::Fenced(lanes)),
            Prepared::Erased(subjects) => return Ok(Commit::Erased(subjects)),
            Prepared::Written { moved, now } => (moved, now),
        };
        let patience = self.patience;
        let connection = self.connection().await?;
        match answered(patience, connection.execute("COMMIT")).await {
            Ok(_) => Ok(Commit::Done { now }),
            Err(lost) => {
                if let Some(connection) = self.connection.take() {
                    drop(connection.close_hard().await);
                }
                let resolved = answered(patience, self.resolve(fences, &moved, lost)).await;
                self.keep_or_drop(resolved).await
            }
        }
    }
}

/// A transaction before its commit.
enum Prepared {
    Fenced(Vec<LaneId>),
    Erased(Vec<SubjectId>),
    Written { moved: Vec<LaneFence>, now: Micros },
}

async fn prepare(
    connection: &mut PgConnection,
    fences: &[LaneFence],
    contest: &Contest,
    lease: Duration,
    decide: &mut (dyn FnMut(Losers) -> TickWrite + Send),
) -> Result<Prepared, StoreError> {
    connection.execute("BEGIN").await?;
    let lost = tables::lane::lock(connection, fences).await?;
    if !lost.is_empty() {
        connection.execute("ROLLBACK").await?;
        return Ok(Prepared::Fenced(lost));
    }
    let losers = Losers {
        sending: tables::attempt::abandon(connection, &contest.abandons).await?,
        commands: tables::command::accept(connection, &contest.commands).await?,
    };
    write(connection, &decide(losers), lease).await
}

async fn claim(
    connection: &mut PgConnection,
    worker: &str,
    held: &[LaneId],
    at_most: usize,
    lease: Duration,
) -> Result<Vec<ClaimedLane>, StoreError> {
    tables::lane::end_stale_holders(connection, lease).await?;
    let mut lanes = tables::lane::claim(connection, worker, held, at_most, lease).await?;
    if lanes.is_empty() {
        return Ok(lanes);
    }
    let ids: Vec<LaneId> = lanes.iter().map(|lane| lane.fence.lane).collect();
    let mut inputs = group(tables::lane_input::load(connection, &ids).await?, |row| row.lane);
    let mut outputs = group(tables::lane_output::load(connection, &ids).await?, |row| row.lane);
    let acked_elsewhere = tables::lane_output::acked_elsewhere(connection).await?;
    let count = usize::from(tables::lane::count(connection).await?);
    let mut peers = group(tables::lane_peer::load(connection, &ids).await?, |row| row.lane);
    let endings = tables::published_ending::open(connection, &ids).await?;
    let mut endings = group(endings, |ending| ending.lane);
    let mut writes = group(tables::attempt::forgotten(connection, &ids).await?, |write| write.0);
    let mut read = group(tables::lane_input::read_before(connection, &ids).await?, |row| row.0);
    for lane in &mut lanes {
        let id = lane.fence.lane;
        lane.lanes = count;
        lane.inputs = inputs.remove(&id).unwrap_or_default();
        lane.outputs = outputs.remove(&id).unwrap_or_default();
        lane.acked_elsewhere.clone_from(&acked_elsewhere);
        lane.peers = peers.remove(&id).unwrap_or_default();
        let (writes, read) = (writes.remove(&id), read.remove(&id));
        let write = |(_, flow, step, group)| (flow, step, group);
        lane.forgotten = Forgotten {
            endings: endings.remove(&id).unwrap_or_default(),
            writes: writes.unwrap_or_default().into_iter().map(write).collect(),
            read_before: read
                .into_iter()
                .flatten()
                .map(|(_, topic, until)| (topic, until))
                .collect(),
        };
    }
    Ok(lanes)
}

fn group<T>(rows: Vec<T>, lane: impl Fn(&T) -> LaneId) -> BTreeMap<LaneId, Vec<T>> {
    let mut grouped: BTreeMap<LaneId, Vec<T>> = BTreeMap::new();
    for row in rows {
        grouped.entry(lane(&row)).or_default().push(row);
    }
    grouped
}
