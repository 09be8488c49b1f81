//! `installation`: which Kafka cluster and which Postgres this is. One row.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::lane_store::Installation;

/// The server's identity: the system identifier tells another database, the timeline a promoted standby or a restore.
const CURRENT: &str = "(SELECT system_identifier::text FROM pg_control_system()) AS current_system_identifier, \
     substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS current_timeline";

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Installation, StoreError> {
    let sql = format!(
        "SELECT kafka_cluster, system_identifier, timeline, lost_commits, {CURRENT} FROM installation"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(Installation {
        kafka_cluster: row.try_get("kafka_cluster")?,
        system_identifier: row.try_get("system_identifier")?,
        timeline: row.try_get("timeline")?,
        current_system_identifier: row.try_get("current_system_identifier")?,
        current_timeline: row.try_get("current_timeline")?,
        lost_commits: row.try_get("lost_commits")?,
    })
}

pub(crate) async fn remember(
    connection: &mut PgConnection,
    kafka_cluster: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE installation SET kafka_cluster = coalesce(kafka_cluster, $1), \
         system_identifier = coalesce(system_identifier, (SELECT system_identifier::text FROM pg_control_system())), \
         timeline = coalesce(timeline, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))",
    )
    .bind(kafka_cluster)
    .execute(connection)
    .await?;
    Ok(())
}

/// From now on this server, on its timeline, with this cluster, is the installation, and nothing of it is lost unsettled.
pub(crate) async fn take_over(
    connection: &mut PgConnection,
    kafka_cluster: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE installation SET kafka_cluster = $1, lost_commits = false, \
         system_identifier = (SELECT system_identifier::text FROM pg_control_system()), \
         timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
    )
    .bind(kafka_cluster)
    .execute(connection)
    .await?;
    Ok(())
}
