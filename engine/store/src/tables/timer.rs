//! `timer`: when flows are to be woken. Timers fire late, never early.

use signalbox_schemas::{FlowId, LaneId, Micros};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::TimerRow;
use crate::tables::together::Together;
use crate::tables::{lane_id, smallint};

pub(crate) async fn due(
    connection: &mut PgConnection,
    lanes: &[LaneId],
    until: Micros,
    at_most: usize,
) -> Result<Vec<TimerRow>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows = sqlx::query(
        "SELECT lane, due_at, flow, name FROM timer WHERE lane = ANY($1) AND due_at <= $2 \
         ORDER BY due_at, flow, name COLLATE \"C\" LIMIT $3",
    )
    .bind(ids)
    .bind(until.0)
    .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TimerRow {
                due_at: Micros(row.try_get("due_at")?),
                flow: FlowId(row.try_get("flow")?),
                name: row.try_get("name")?,
                lane: lane_id(row.try_get("lane")?),
            })
        })
        .collect()
}

pub(crate) async fn next(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Option<Micros>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    // One index probe per lane; a plain min() over several lanes would read them whole.
    let next: Option<i64> = sqlx::query_scalar(
        "SELECT min(first.due_at) FROM unnest($1::smallint[]) AS mine(id), \
         LATERAL (SELECT due_at FROM timer WHERE timer.lane = mine.id ORDER BY due_at LIMIT 1) AS first",
    )
    .bind(ids)
    .fetch_one(connection)
    .await?;
    Ok(next.map(Micros))
}

pub(crate) fn clear(together: &mut Together, timers: &[(FlowId, String)]) {
    if timers.is_empty() {
        return;
    }
    let flows: Vec<uuid::Uuid> = timers.iter().map(|(flow, _)| flow.0).collect();
    let names: Vec<&str> = timers.iter().map(|(_, name)| name.as_str()).collect();
    together
        .add(
            "timer",
            "DELETE FROM timer USING unnest($1::uuid[], $2::text[]) AS gone(flow, name) \
         WHERE timer.flow = gone.flow AND timer.name = gone.name RETURNING 1",
        )
        .bind(flows)
        .bind(names);
}

pub(crate) fn set(together: &mut Together, timers: &[TimerRow]) {
    if timers.is_empty() {
        return;
    }
    let flows: Vec<uuid::Uuid> = timers.iter().map(|timer| timer.flow.0).collect();
    let names: Vec<&str> = timers.iter().map(|timer| timer.name.as_str()).collect();
    let lanes: Vec<i16> = timers.iter().map(|timer| smallint(timer.lane)).collect();
    let due: Vec<i64> = timers.iter().map(|timer| timer.due_at.0).collect();
    together.add_exact(
        "timer",
        timers.len(),
        "INSERT INTO timer (flow, name, lane, due_at) SELECT * FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[]) \
         ON CONFLICT (flow, name) DO UPDATE SET due_at = excluded.due_at RETURNING 1",
    )
    .bind(flows)
    .bind(names)
    .bind(lanes)
    .bind(due);
}

/// Timers of flows that moved to another lane follow them; how many.
pub(crate) async fn follow_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE timer SET lane = flow.lane FROM flow WHERE flow.id = timer.flow AND flow.lane <> timer.lane",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Timers in another lane than their flow.
pub(crate) async fn away_from_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM timer JOIN flow ON flow.id = timer.flow WHERE flow.lane <> timer.lane",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}
