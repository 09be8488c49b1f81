//! `journey`: every version of every journey ever used, as text; `journey_proof`: what was proven safe, and need not be
//! proven again.

use signalbox_schemas::{JourneyName, Micros};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::tables::integer;

/// Pins a version. The same text again is no change; another text under the same version is refused.
pub(crate) async fn deploy(
    connection: &mut PgConnection,
    name: &str,
    version: u32,
    source: &str,
    now: Micros,
) -> Result<(), StoreError> {
    let number = integer(version);
    sqlx::query("INSERT INTO journey (name, version, source, deployed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(number)
        .bind(source)
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    let pinned: String =
        sqlx::query_scalar("SELECT source FROM journey WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(number)
            .fetch_one(connection)
            .await?;
    if pinned == source {
        return Ok(());
    }
    Err(StoreError::Schema(format!(
        "journey {name} version {version} is already in use with another definition; give the new definition a new version"
    )))
}

/// Name, version and text of every version but those that are known.
pub(crate) async fn unknown(
    connection: &mut PgConnection,
    known: &[(JourneyName, u32)],
) -> Result<Vec<(String, u32, String)>, StoreError> {
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let versions: Vec<i32> = known.iter().map(|(_, version)| integer(*version)).collect();
    let rows = sqlx::query(
        "SELECT name, version, source FROM journey WHERE (name, version) NOT IN \
             (SELECT * FROM unnest($1::text[], $2::integer[])) ORDER BY name, version",
    )
    .bind(names)
    .bind(versions)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let version: i32 = row.try_get("version")?;
            Ok((row.try_get("name")?, u32::try_from(version).unwrap_or(0), row.try_get("source")?))
        })
        .collect()
}

/// Whether a proof was kept.
pub(crate) async fn is_proven(
    connection: &mut PgConnection,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let found = "SELECT EXISTS (SELECT FROM journey_proof WHERE digest = $1)";
    Ok(sqlx::query_scalar(found).bind(digest.as_slice()).fetch_one(connection).await?)
}

/// Keeps a proof. One that is kept already is no change.
pub(crate) async fn keep_proof(
    connection: &mut PgConnection,
    name: &str,
    version: u32,
    digest: &[u8; 32],
    now: Micros,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO journey_proof (digest, name, version, proven_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(digest.as_slice())
        .bind(name)
        .bind(integer(version))
        .bind(now.0)
        .execute(connection)
        .await?;
    Ok(())
}
