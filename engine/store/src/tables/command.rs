//! `command`: what started each flow, once per tenant and idempotency key, for as long as a repeat could come.

use signalbox_schemas::{FlowId, Micros, RecordName, Tenant};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::CommandRow;

/// Accepts commands; returns the rows that hold the keys of those that were not accepted.
pub(crate) async fn accept(
    connection: &mut PgConnection,
    rows: &[CommandRow],
) -> Result<Vec<CommandRow>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // One order of keys for everybody, or two workers that meet could deadlock.
    let mut ordered: Vec<&CommandRow> = rows.iter().collect();
    ordered.sort_by(|a, b| (&a.tenant, &a.key).cmp(&(&b.tenant, &b.key)));
    let tenants: Vec<&str> = ordered.iter().map(|row| row.tenant.as_str()).collect();
    let keys: Vec<&str> = ordered.iter().map(|row| row.key.as_str()).collect();
    let hashes: Vec<Vec<u8>> = ordered.iter().map(|row| row.hash.to_vec()).collect();
    let flows: Vec<uuid::Uuid> = ordered.iter().map(|row| row.flow.0).collect();
    let records: Vec<&str> = ordered.iter().map(|row| row.record.as_str()).collect();
    let contents: Vec<&[u8]> = ordered.iter().map(|row| row.content.as_slice()).collect();
    let times: Vec<i64> = ordered.iter().map(|row| row.accepted_at.0).collect();
    let accepted = sqlx::query(
        "INSERT INTO command (tenant, key, hash, flow, record, content, accepted_at) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::text[], $6::bytea[], $7::bigint[]) \
         ON CONFLICT DO NOTHING RETURNING flow",
    )
    .bind(tenants)
    .bind(keys)
    .bind(hashes)
    .bind(flows)
    .bind(records)
    .bind(contents)
    .bind(times)
    .fetch_all(&mut *connection)
    .await?;
    if accepted.len() == rows.len() {
        return Ok(Vec::new());
    }
    let won: Vec<uuid::Uuid> =
        accepted.iter().map(|row| row.try_get("flow")).collect::<Result<_, _>>()?;
    let lost: Vec<&CommandRow> =
        ordered.into_iter().filter(|row| !won.contains(&row.flow.0)).collect();
    holders(connection, &lost).await
}

/// Who holds the keys, or the flows, of these commands.
async fn holders(
    connection: &mut PgConnection,
    lost: &[&CommandRow],
) -> Result<Vec<CommandRow>, StoreError> {
    let tenants: Vec<&str> = lost.iter().map(|row| row.tenant.as_str()).collect();
    let keys: Vec<&str> = lost.iter().map(|row| row.key.as_str()).collect();
    let flows: Vec<uuid::Uuid> = lost.iter().map(|row| row.flow.0).collect();
    let rows = sqlx::query(
        "SELECT tenant, key, hash, flow, record, accepted_at FROM command \
         JOIN unnest($1::text[], $2::text[]) AS lost(tenant, key) USING (tenant, key) \
         UNION SELECT tenant, key, hash, flow, record, accepted_at FROM command WHERE flow = ANY($3)",
    )
    .bind(tenants)
    .bind(keys)
    .bind(flows)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(CommandRow {
                tenant: Tenant::from(row.try_get::<String, _>("tenant")?),
                key: row.try_get("key")?,
                hash: hash(row.try_get("hash")?)?,
                flow: FlowId(row.try_get("flow")?),
                record: RecordName::from(row.try_get::<String, _>("record")?),
                content: Vec::new(),
                accepted_at: Micros(row.try_get("accepted_at")?),
            })
        })
        .collect()
}

pub(crate) fn hash(stored: Vec<u8>) -> Result<[u8; 32], StoreError> {
    stored.try_into().map_err(|_| StoreError::Invariant("command: a hash has 32 bytes".to_owned()))
}
