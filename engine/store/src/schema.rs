//! Migrations: forward only, a command of their own. Services refuse a schema that they do not know.

use signalbox_schemas::Micros;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::tables::journal;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Days for which journal partitions exist ahead of today.
const DAYS_AHEAD: i64 = 8;

/// Brings the database to this program's schema, creates the journal's partitions and, where there are none yet, lanes.
/// Running it again is safe.
pub async fn migrate(connection: &mut PgConnection, lanes: u16) -> Result<(), StoreError> {
    MIGRATOR.run(&mut *connection).await.map_err(|error| StoreError::Schema(error.to_string()))?;
    if crate::tables::lane::count(connection).await? == 0 {
        crate::tables::lane::create(connection, lanes).await?;
    }
    let now = crate::tables::now(connection).await?;
    ensure_journal_partitions(connection, now).await
}

/// Refuses a database that is older or newer than this program, with what to do.
pub async fn require_current_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found: Result<Option<i64>, sqlx::Error> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await;
    match found {
        Ok(Some(found)) if found == known => Ok(()),
        Ok(Some(found)) if found > known => Err(StoreError::Schema(format!(
            "the database has schema {found}, newer than {known} of this program; run the newer program"
        ))),
        Ok(found) => Err(StoreError::Schema(format!(
            "the database has schema {}, this program needs {known}; run `signalbox migrate`",
            found.unwrap_or(0)
        ))),
        Err(error)
            if error
                .as_database_error()
                .is_some_and(|inner| inner.code().as_deref() == Some("42P01")) =>
        {
            Err(StoreError::Schema("the database is empty; run `signalbox migrate`".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A missing partition stops every lane, so partitions exist a week ahead.
pub(crate) async fn ensure_journal_partitions(
    connection: &mut PgConnection,
    now: Micros,
) -> Result<(), StoreError> {
    for day in -1..DAYS_AHEAD {
        journal::ensure_partition(connection, now, day).await?;
    }
    Ok(())
}
