//! `lane_peer`: how far each lane has taken the forwards of each other lane.

use signalbox_schemas::LaneId;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::rows::PeerRow;
use crate::tables::{all_or_broken, lane_id, smallint};

pub(crate) async fn load(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<PeerRow>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows = sqlx::query("SELECT lane, source, last_seq FROM lane_peer WHERE lane = ANY($1)")
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(PeerRow {
                lane: lane_id(row.try_get("lane")?),
                source: lane_id(row.try_get("source")?),
                last_seq: row.try_get("last_seq")?,
            })
        })
        .collect()
}

/// Gives up forwards that are missing: those of the source up to a sequence count as taken.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    missing: PeerRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO lane_peer (lane, source, last_seq) VALUES ($1, $2, $3) \
         ON CONFLICT (lane, source) DO UPDATE SET last_seq = greatest(lane_peer.last_seq, excluded.last_seq)",
    )
    .bind(smallint(missing.lane))
    .bind(smallint(missing.source))
    .bind(missing.last_seq)
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn write(
    connection: &mut PgConnection,
    rows: &[PeerRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let lanes: Vec<i16> = rows.iter().map(|row| smallint(row.lane)).collect();
    let sources: Vec<i16> = rows.iter().map(|row| smallint(row.source)).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.last_seq).collect();
    let done = sqlx::query(
        "INSERT INTO lane_peer (lane, source, last_seq) SELECT * FROM unnest($1::smallint[], $2::smallint[], $3::bigint[]) \
         ON CONFLICT (lane, source) DO UPDATE SET last_seq = excluded.last_seq",
    )
    .bind(lanes)
    .bind(sources)
    .bind(seqs)
    .execute(connection)
    .await?;
    all_or_broken("lane_peer", rows.len(), done.rows_affected())
}
