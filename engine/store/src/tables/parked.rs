//! `parked`: inputs that wait for their flows to go on, in the order that the flows gave them.

use signalbox_schemas::FlowId;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::ParkedRow;
use crate::tables::{all_or_broken, lane_id, smallint};

pub(crate) async fn of_flows(
    connection: &mut PgConnection,
    flows: &[FlowId],
) -> Result<Vec<ParkedRow>, StoreError> {
    let ids: Vec<uuid::Uuid> = flows.iter().map(|flow| flow.0).collect();
    let rows = sqlx::query(
        "SELECT flow, seq, lane, record FROM parked WHERE flow = ANY($1) ORDER BY flow, seq",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedRow {
                flow: FlowId(row.try_get("flow")?),
                seq: row.try_get("seq")?,
                lane: lane_id(row.try_get("lane")?),
                record: row.try_get("record")?,
            })
        })
        .collect()
}

pub(crate) async fn keep(
    connection: &mut PgConnection,
    rows: &[ParkedRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "INSERT INTO parked (flow, seq, lane, record) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bytea[])",
    )
    .bind(rows.iter().map(|row| row.flow.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.record.clone()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("parked", rows.len(), done.rows_affected())
}

pub(crate) async fn take(
    connection: &mut PgConnection,
    keys: &[(FlowId, i64)],
) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "DELETE FROM parked USING unnest($1::uuid[], $2::bigint[]) AS gone(flow, seq) \
         WHERE parked.flow = gone.flow AND parked.seq = gone.seq",
    )
    .bind(keys.iter().map(|(flow, _)| flow.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("parked", keys.len(), done.rows_affected())
}

/// Inputs of flows that moved to another lane follow them; how many.
pub(crate) async fn follow_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE parked SET lane = flow.lane FROM flow WHERE flow.id = parked.flow AND flow.lane <> parked.lane",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Inputs in another lane than their flow.
pub(crate) async fn away_from_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM parked JOIN flow ON flow.id = parked.flow WHERE flow.lane <> parked.lane",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}
