//! `published_ending`: final events that were published and forgotten, put down by recovery. It decides nothing.

use signalbox_schemas::{FlowId, LaneId};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::PublishedEnding;
use crate::tables::{lane_id, smallint};

/// Puts endings down; the first one of a flow stands.
pub(crate) async fn put_down(
    connection: &mut PgConnection,
    endings: &[PublishedEnding],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO published_ending (flow, lane, status, reason) \
         SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(endings.iter().map(|ending| ending.flow.0).collect::<Vec<_>>())
    .bind(endings.iter().map(|ending| smallint(ending.lane)).collect::<Vec<_>>())
    .bind(endings.iter().map(|ending| ending.status.as_str()).collect::<Vec<_>>())
    .bind(endings.iter().map(|ending| ending.reason.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Endings of flows of lanes that have not ended.
pub(crate) async fn open(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<PublishedEnding>, StoreError> {
    let rows = sqlx::query(
        "SELECT ending.flow, ending.lane, ending.status, ending.reason \
         FROM published_ending ending LEFT JOIN flow ON flow.id = ending.flow \
         WHERE ending.lane = ANY($1) AND flow.status IS DISTINCT FROM 'ended'",
    )
    .bind(lanes.iter().copied().map(smallint).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(PublishedEnding {
                flow: FlowId(row.try_get("flow")?),
                lane: lane_id(row.try_get("lane")?),
                status: row.try_get("status")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

/// Endings of flows that moved to another lane follow them. One whose flow is not there again stays where it was told.
pub(crate) async fn follow_flows(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE published_ending SET lane = flow.lane FROM flow \
         WHERE flow.id = published_ending.flow AND flow.lane <> published_ending.lane",
    )
    .execute(connection)
    .await?;
    Ok(())
}
