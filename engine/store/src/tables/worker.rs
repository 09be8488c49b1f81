//! `worker`: who is alive, so that lanes are shared evenly.

use signalbox_schemas::{LaneId, Micros};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::time::Duration;

use crate::error::StoreError;
use crate::lane_store::WorkerShare;
use crate::tables::{NOW_MICROS, lane, smallint};

pub(crate) async fn heartbeat(
    connection: &mut PgConnection,
    worker: &str,
    program: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO worker (id, heartbeat, program) VALUES ($1, clock_timestamp(), $2) \
         ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat, program = excluded.program",
    )
    .bind(worker)
    .bind(program)
    .execute(connection)
    .await?;
    Ok(())
}

/// Two small tables, read without a lock.
pub(crate) async fn share(
    connection: &mut PgConnection,
    worker: &str,
    held: &[LaneId],
    alive_for: Duration,
) -> Result<WorkerShare, StoreError> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM worker WHERE id <> $1 AND heartbeat > clock_timestamp() - make_interval(secs => $3)) AS others, \
                count(*) AS lanes, count(*) FILTER (WHERE {}) AS free, {NOW_MICROS} AS now FROM lane",
        lane::CLAIMABLE
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(worker)
        .bind(held.iter().copied().map(smallint).collect::<Vec<i16>>())
        .bind(alive_for.as_secs_f64())
        .fetch_one(connection)
        .await?;
    let count = |column: &str| -> Result<usize, StoreError> {
        Ok(usize::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    };
    Ok(WorkerShare {
        others: count("others")?,
        lanes: count("lanes")?,
        free: count("free")?,
        now: Micros(row.try_get("now")?),
    })
}

pub(crate) async fn leave(connection: &mut PgConnection, worker: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM worker WHERE id = $1").bind(worker).execute(connection).await?;
    Ok(())
}

/// Workers that could not go on with what needs a program: those with a fresh heartbeat whose program is older. One that
/// does not say its program is `at_least` what the database has admitted; before there was a column for it nobody did.
pub(crate) async fn left_behind(
    connection: &mut PgConnection,
    needed: i64,
    at_least: i64,
    alive_for: Duration,
) -> Result<Vec<String>, StoreError> {
    let names = sqlx::query_scalar(
        "SELECT id FROM worker WHERE heartbeat > clock_timestamp() - make_interval(secs => $3) \
         AND coalesce((to_jsonb(worker) ->> 'program')::bigint, $2) < $1 ORDER BY id",
    )
    .bind(needed)
    .bind(at_least)
    .bind(alive_for.as_secs_f64())
    .fetch_all(connection)
    .await?;
    Ok(names)
}
