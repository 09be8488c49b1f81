//! `worker`: who is alive, so that lanes are shared evenly.

use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::time::Duration;

use crate::error::StoreError;
use crate::lane_store::WorkerShare;
use crate::tables::NOW_MICROS;
use signalbox_schemas::Micros;

pub(crate) async fn heartbeat(
    connection: &mut PgConnection,
    worker: &str,
    alive_for: Duration,
) -> Result<WorkerShare, StoreError> {
    sqlx::query(
        "INSERT INTO worker (id, heartbeat) VALUES ($1, clock_timestamp()) \
         ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat",
    )
    .bind(worker)
    .execute(&mut *connection)
    .await?;
    let sql = format!(
        "SELECT (SELECT count(*) FROM worker WHERE heartbeat > clock_timestamp() - make_interval(secs => $1)) AS workers, \
         (SELECT count(*) FROM lane) AS lanes, {NOW_MICROS} AS now"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(alive_for.as_secs_f64())
        .fetch_one(connection)
        .await?;
    let count = |column: &str| -> Result<usize, StoreError> {
        Ok(usize::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    };
    Ok(WorkerShare {
        workers: count("workers")?.max(1),
        lanes: count("lanes")?,
        now: Micros(row.try_get("now")?),
    })
}

pub(crate) async fn leave(connection: &mut PgConnection, worker: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM worker WHERE id = $1").bind(worker).execute(connection).await?;
    Ok(())
}
