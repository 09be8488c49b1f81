//! `assent`: who agreed to what takes several people. Its constraints refuse a second seat of one person.

use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::AssentRow;
use crate::tables::all_or_broken;

pub(crate) async fn put_down(
    connection: &mut PgConnection,
    rows: &[AssentRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let done = sqlx::query(
        "INSERT INTO assent (flow, matter, occasion, seat, people, actor) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[], $5::integer[], $6::text[])",
    )
    .bind(rows.iter().map(|row| row.flow.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.matter.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.occasion).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| count(row.seat)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| count(row.people)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("assent", rows.len(), done.rows_affected())
}
