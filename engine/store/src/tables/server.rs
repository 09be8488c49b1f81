//! The server and this user's rights there, for a diagnosis. It reads catalogues and settings and changes nothing.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::reader_rows::ServerFacts;
use crate::roles;
use crate::tables::{NOW_MICROS, installation};

/// Days looked at.
const DAYS: i64 = 10;
const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(crate) async fn facts(connection: &mut PgConnection) -> Result<ServerFacts, StoreError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::integer AS version, current_setting('server_version') AS version_text, \
                current_setting('fsync')::boolean AS fsync, current_setting('synchronous_commit') AS synchronous_commit, \
                pg_is_in_recovery() AS standby, current_user::text AS who, \
                (SELECT bool_or(write_held) FROM installation) AS write_held, \
                EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass('journal') AND tgname = 'journal_append_only' \
                        AND tgenabled IN ('O', 'A')) AS guarded",
    )
    .fetch_one(&mut *connection)
    .await?;
    let closed: Vec<String> =
        sqlx::query_scalar("SELECT vendor FROM gate WHERE is_off OR write_held ORDER BY vendor")
            .fetch_all(&mut *connection)
            .await?;
    Ok(ServerFacts {
        version: row.try_get("version")?,
        version_text: row.try_get("version_text")?,
        fsync: row.try_get("fsync")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        standby: row.try_get("standby")?,
        user: row.try_get("who")?,
        missing_privileges: missing_privileges(connection).await?,
        journal_guarded: row.try_get("guarded")?,
        journal_days_ahead: journal_days_ahead(connection).await?,
        write_held: row.try_get::<Option<bool>, _>("write_held")?.unwrap_or(false),
        gates_closed: closed,
        installation: installation::load(connection).await?,
    })
}

async fn missing_privileges(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let (tables, rights): (Vec<&str>, Vec<&str>) = roles::of_services().into_iter().unzip();
    Ok(sqlx::query_scalar(
        "SELECT wanted.name || ': ' || wanted.privilege FROM unnest($1::text[], $2::text[]) AS wanted(name, privilege) \
         WHERE NOT coalesce(has_table_privilege(to_regclass(wanted.name), wanted.privilege), false)",
    )
    .bind(tables)
    .bind(rights)
    .fetch_all(connection)
    .await?)
}

async fn journal_days_ahead(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let sql = format!(
        "SELECT coalesce(min(day), $1) FROM generate_series(0, $1 - 1) AS day \
         WHERE to_regclass('journal_d' || (({NOW_MICROS}) / $2 + day)) IS NULL"
    );
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(DAYS)
        .bind(MICROS_PER_DAY)
        .fetch_one(connection)
        .await?)
}
