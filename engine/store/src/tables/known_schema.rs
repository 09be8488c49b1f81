//! `known_schema`: Avro schemas by registry id, so that a service can start and read while the registry is away.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;

pub(crate) async fn all(connection: &mut PgConnection) -> Result<Vec<(u32, String)>, StoreError> {
    let rows = sqlx::query("SELECT id, text FROM known_schema").fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let id: i64 = row.try_get("id")?;
            Ok((u32::try_from(id).unwrap_or(0), row.try_get("text")?))
        })
        .collect()
}

pub(crate) async fn remember(
    connection: &mut PgConnection,
    schemas: &[(u32, String)],
) -> Result<(), StoreError> {
    let ids: Vec<i64> = schemas.iter().map(|(id, _)| i64::from(*id)).collect();
    let texts: Vec<&str> = schemas.iter().map(|(_, text)| text.as_str()).collect();
    sqlx::query("INSERT INTO known_schema (id, text) SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING")
        .bind(ids)
        .bind(texts)
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn forget_all(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM known_schema").execute(connection).await?;
    Ok(())
}
