//! `lane_output`: the lane's last sequence on each topic and partition, and the offset known to hold one of its records.

use signalbox_schemas::{LaneId, TopicName};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::rows::OutputRow;
use crate::tables::together::Together;
use crate::tables::{lane_id, smallint};

pub(crate) async fn load(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<OutputRow>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows = sqlx::query(
        "SELECT lane, topic, partition, last_seq, last_acked_offset FROM lane_output WHERE lane = ANY($1) \
         ORDER BY lane, topic, partition",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(OutputRow {
                lane: lane_id(row.try_get("lane")?),
                topic: TopicName::from(row.try_get::<String, _>("topic")?),
                partition: row.try_get("partition")?,
                last_seq: row.try_get("last_seq")?,
                last_acked_offset: row.try_get("last_acked_offset")?,
            })
        })
        .collect()
}

/// The last offset that is known, whichever lane wrote there, of each log that is not the writing lane's own.
pub(crate) async fn acked_elsewhere(
    connection: &mut PgConnection,
) -> Result<BTreeMap<(TopicName, i32), i64>, StoreError> {
    let rows = sqlx::query(
        "SELECT topic, partition, max(last_acked_offset) AS acked FROM lane_output \
         WHERE partition <> lane GROUP BY topic, partition",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let topic = TopicName::from(row.try_get::<String, _>("topic")?);
            Ok(((topic, row.try_get("partition")?), row.try_get("acked")?))
        })
        .collect()
}

pub(crate) fn write(together: &mut Together, rows: &[OutputRow]) {
    if rows.is_empty() {
        return;
    }
    let lanes: Vec<i16> = rows.iter().map(|row| smallint(row.lane)).collect();
    let topics: Vec<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    let partitions: Vec<i32> = rows.iter().map(|row| row.partition).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.last_seq).collect();
    let offsets: Vec<i64> = rows.iter().map(|row| row.last_acked_offset).collect();
    together.add_exact(
        "lane_output",
        rows.len(),
        "INSERT INTO lane_output (lane, topic, partition, last_seq, last_acked_offset) \
         SELECT * FROM unnest($1::smallint[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[]) \
         ON CONFLICT (lane, topic, partition) DO UPDATE SET last_seq = excluded.last_seq, \
             last_acked_offset = excluded.last_acked_offset RETURNING 1",
    )
    .bind(lanes)
    .bind(topics)
    .bind(partitions)
    .bind(seqs)
    .bind(offsets);
}
