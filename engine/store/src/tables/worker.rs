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
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO worker (id, heartbeat) VALUES ($1, clock_timestamp()) \
         ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat",
    )
    .bind(worker)
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
