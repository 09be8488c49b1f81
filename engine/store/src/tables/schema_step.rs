//! `schema_step`: what each migration says about the programs that can work on its result, beside the list that the
//! migrator keeps of those carried out.

use sqlx::postgres::PgConnection;

use crate::error::StoreError;

/// SQLSTATE of a table that does not exist.
const NO_TABLE: &str = "42P01";

/// Which programs can work on a database: those that know at least `oldest_program`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaWindow {
    /// Newest migration that was carried out.
    pub(crate) newest: i64,
    /// The oldest program that every migration carried out still works with.
    pub(crate) oldest_program: i64,
}

/// Which programs can work here; none where the database is empty. A migration of which nothing is kept works with nobody
/// older than itself.
pub(crate) async fn window(
    connection: &mut PgConnection,
) -> Result<Option<SchemaWindow>, StoreError> {
    let newest = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let newest: Option<Option<i64>> =
        where_there_is(sqlx::query_scalar(newest).fetch_one(&mut *connection).await)?;
    let Some(newest) = newest.flatten() else { return Ok(None) };
    let oldest = "SELECT max(coalesce(oldest_program, version)) \
                  FROM _sqlx_migrations LEFT JOIN schema_step USING (version) WHERE success";
    let oldest: Option<i64> =
        where_there_is(sqlx::query_scalar(oldest).fetch_one(connection).await)?;
    Ok(Some(SchemaWindow { newest, oldest_program: oldest.unwrap_or(newest) }))
}

/// Migrations carried out, where there are any.
pub(crate) async fn carried_out(connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT version FROM _sqlx_migrations WHERE success";
    Ok(where_there_is(sqlx::query_scalar(sql).fetch_all(connection).await)?.unwrap_or_default())
}

/// Keeps what migrations say; what is kept already stays.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    steps: &[(i64, i64)],
) -> Result<(), StoreError> {
    let column = |pick: fn(&(i64, i64)) -> i64| steps.iter().map(pick).collect::<Vec<i64>>();
    sqlx::query(
        "INSERT INTO schema_step (version, oldest_program) \
         SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING",
    )
    .bind(column(|step| step.0))
    .bind(column(|step| step.1))
    .execute(connection)
    .await?;
    Ok(())
}

fn where_there_is<T>(read: Result<T, sqlx::Error>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error)
            if error
                .as_database_error()
                .is_some_and(|inner| inner.code().as_deref() == Some(NO_TABLE)) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}
