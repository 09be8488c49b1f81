//! `lane_input`: how far each lane has read each input. Moved by compare on the old offset, in the tick's transaction.

use signalbox_schemas::{LaneId, TopicName};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::recovery_rows::ReadBefore;
use crate::rows::InputRow;
use crate::tables::together::Together;
use crate::tables::{lane_id, smallint};

pub(crate) async fn load(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<InputRow>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows = sqlx::query(
        "SELECT lane, topic, next_offset, last_offset, last_record_hash FROM lane_input WHERE lane = ANY($1) ORDER BY lane, topic",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let hash: Option<Vec<u8>> = row.try_get("last_record_hash")?;
            Ok(InputRow {
                lane: lane_id(row.try_get("lane")?),
                topic: TopicName::from(row.try_get::<String, _>("topic")?),
                next_offset: row.try_get("next_offset")?,
                last_offset: row.try_get("last_offset")?,
                last_record_hash: hash.and_then(|bytes| bytes.try_into().ok()),
            })
        })
        .collect()
}

/// Positions of inputs that were never read; existing ones stay.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    rows: &[InputRow],
) -> Result<(), StoreError> {
    let lanes: Vec<i16> = rows.iter().map(|row| smallint(row.lane)).collect();
    let topics: Vec<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    let offsets: Vec<i64> = rows.iter().map(|row| row.next_offset).collect();
    sqlx::query(
        "INSERT INTO lane_input (lane, topic, next_offset) SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(lanes)
    .bind(topics)
    .bind(offsets)
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) fn advance(together: &mut Together, moves: &[(i64, InputRow)]) {
    if moves.is_empty() {
        return;
    }
    let lanes: Vec<i16> = moves.iter().map(|(_, row)| smallint(row.lane)).collect();
    let topics: Vec<&str> = moves.iter().map(|(_, row)| row.topic.as_str()).collect();
    let old: Vec<i64> = moves.iter().map(|(old, _)| *old).collect();
    let next: Vec<i64> = moves.iter().map(|(_, row)| row.next_offset).collect();
    let last: Vec<Option<i64>> = moves.iter().map(|(_, row)| row.last_offset).collect();
    let hashes: Vec<Option<Vec<u8>>> =
        moves.iter().map(|(_, row)| row.last_record_hash.map(|hash| hash.to_vec())).collect();
    together.add_exact(
        "lane_input",
        moves.len(),
        "UPDATE lane_input SET next_offset = moved.next, last_offset = moved.last, last_record_hash = moved.hash \
         FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) \
              AS moved(lane, topic, old, next, last, hash) \
         WHERE lane_input.lane = moved.lane AND lane_input.topic = moved.topic AND lane_input.next_offset = moved.old RETURNING 1",
    )
    .bind(lanes)
    .bind(topics)
    .bind(old)
    .bind(next)
    .bind(last)
    .bind(hashes);
}

/// Notes up to which offsets inputs had been read before the database forgot it.
pub(crate) async fn note_read_before(
    connection: &mut PgConnection,
    rows: &[ReadBefore],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO lane_input (lane, topic, next_offset, read_before) \
         SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[]) \
         ON CONFLICT (lane, topic) DO UPDATE SET read_before = greatest(lane_input.read_before, excluded.read_before)",
    )
    .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.start).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.until).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Up to which offsets lanes had read their inputs before the database forgot it, where they are not there again.
pub(crate) async fn read_before(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<(LaneId, TopicName, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT lane, topic, read_before FROM lane_input WHERE lane = ANY($1) AND next_offset < read_before",
    )
    .bind(lanes.iter().copied().map(smallint).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let topic = TopicName::from(row.try_get::<String, _>("topic")?);
            Ok((lane_id(row.try_get("lane")?), topic, row.try_get("read_before")?))
        })
        .collect()
}
