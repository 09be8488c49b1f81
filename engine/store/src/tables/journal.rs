//! `journal`: append-only. It is written in the tick's transaction and read only to resume, to verify and to explain.

use signalbox_schemas::{FlowId, JourneyName, LaneId, Micros, StepName, TopicName};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::error::StoreError;
use crate::journal::JournalRow;
use crate::reader_rows::JournalSpan;
use crate::tables::together::Together;
use crate::tables::{lane_id, smallint};

const COLUMNS: &str = "lane, seq, at, flow, flow_rev, kind, input_topic, input_partition, input_offset, actor, reason, journey, \
     version, state_before, state_after, out_last, records, prev_hash, hash";
const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(crate) fn append(together: &mut Together, rows: &[JournalRow]) {
    if rows.is_empty() {
        return;
    }
    let sql = format!(
        "INSERT INTO journal ({COLUMNS}) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], \
         $6::text[], $7::text[], $8::integer[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::integer[], $14::text[], \
         $15::text[], $16::bigint[], $17::bytea[], $18::bytea[], $19::bytea[]) RETURNING 1"
    );
    together
        .add_exact("journal", rows.len(), &sql)
        .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.flow.map(|flow| flow.0)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.flow_rev).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.input_topic.as_ref().map(TopicName::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|row| row.input_partition).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.input_offset).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.journey.as_ref().map(JourneyName::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(
            rows.iter()
                .map(|row| row.version.and_then(|version| i32::try_from(version).ok()))
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|row| row.before.as_ref().map(StepName::as_str)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.after.as_ref().map(StepName::as_str)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.out_last).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.records.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.prev_hash.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.hash.as_slice()).collect::<Vec<_>>());
}

/// Rows of a lane after a position, in order.
pub(crate) async fn after(
    connection: &mut PgConnection,
    lane: LaneId,
    seq: i64,
    at_most: usize,
) -> Result<Vec<JournalRow>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM journal WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(smallint(lane))
        .bind(seq)
        .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(journal_row).collect()
}

/// Rows about a flow, in order: by its revision, and by sequence within a lane. They are in several lanes where lanes were
/// added meanwhile; what two lanes tell of one revision is ordered by when each began to. Time alone orders nothing, as
/// somebody may have set the clock back.
pub(crate) async fn of_flow(
    connection: &mut PgConnection,
    flow: FlowId,
) -> Result<Vec<JournalRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM journal WHERE flow = $1 \
         ORDER BY flow_rev, min(at) OVER (PARTITION BY flow_rev, lane), lane, seq"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(flow.0).fetch_all(connection).await?;
    rows.iter().map(journal_row).collect()
}

/// Lanes with rows about flows, and the first and last of these rows.
pub(crate) async fn span_of_flows(
    connection: &mut PgConnection,
    flows: &[FlowId],
) -> Result<Vec<JournalSpan>, StoreError> {
    let flows: Vec<uuid::Uuid> = flows.iter().map(|flow| flow.0).collect();
    let rows = sqlx::query(
        "SELECT lane, min(seq) AS first, max(seq) AS last FROM journal WHERE flow = ANY($1) GROUP BY lane ORDER BY lane",
    )
    .bind(flows)
    .fetch_all(connection)
    .await?;
    rows.iter().map(span).collect()
}

/// Lanes with rows of a time, and the first and last of these rows.
pub(crate) async fn span_of_time(
    connection: &mut PgConnection,
    from: Micros,
    until: Micros,
) -> Result<Vec<JournalSpan>, StoreError> {
    let rows = sqlx::query(
        "SELECT lane, min(seq) AS first, max(seq) AS last FROM journal WHERE at >= $1 AND at < $2 GROUP BY lane ORDER BY lane",
    )
    .bind(from.0)
    .bind(until.0)
    .fetch_all(connection)
    .await?;
    rows.iter().map(span).collect()
}

fn span(row: &PgRow) -> Result<JournalSpan, StoreError> {
    Ok(JournalSpan {
        lane: lane_id(row.try_get("lane")?),
        first: row.try_get("first")?,
        last: row.try_get("last")?,
    })
}

/// Position of the last row whose records all have a sequence of `out_seq` or less.
pub(crate) async fn seq_of(
    connection: &mut PgConnection,
    lane: LaneId,
    out_seq: i64,
) -> Result<i64, StoreError> {
    let seq: Option<i64> =
        sqlx::query_scalar("SELECT max(seq) FROM journal WHERE lane = $1 AND out_last <= $2")
            .bind(smallint(lane))
            .bind(out_seq)
            .fetch_one(connection)
            .await?;
    Ok(seq.unwrap_or(0))
}

/// When anything was last journaled.
pub(crate) async fn last_at(connection: &mut PgConnection) -> Result<Option<Micros>, StoreError> {
    let at: Option<i64> = sqlx::query_scalar(
        "SELECT max(journal.at) FROM lane JOIN journal ON journal.lane = lane.id AND journal.seq = lane.journal_seq",
    )
    .fetch_one(connection)
    .await?;
    Ok(at.map(Micros))
}

/// Creates the partition of a day counted from today; one that exists stays.
pub(crate) async fn ensure_partition(
    connection: &mut PgConnection,
    now: Micros,
    day: i64,
) -> Result<(), StoreError> {
    sqlx::query("SELECT ensure_journal_partition($1)")
        .bind(now.0.div_euclid(MICROS_PER_DAY) + day)
        .execute(connection)
        .await?;
    Ok(())
}

fn journal_row(row: &PgRow) -> Result<JournalRow, StoreError> {
    let step = |column: &str| -> Result<Option<StepName>, StoreError> {
        Ok(row.try_get::<Option<String>, _>(column)?.map(StepName::from))
    };
    Ok(JournalRow {
        lane: lane_id(row.try_get("lane")?),
        seq: row.try_get("seq")?,
        at: Micros(row.try_get("at")?),
        flow: row.try_get::<Option<uuid::Uuid>, _>("flow")?.map(FlowId),
        flow_rev: row.try_get("flow_rev")?,
        kind: row.try_get("kind")?,
        input_topic: row.try_get::<Option<String>, _>("input_topic")?.map(TopicName::from),
        input_partition: row.try_get("input_partition")?,
        input_offset: row.try_get("input_offset")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        journey: row.try_get::<Option<String>, _>("journey")?.map(JourneyName::from),
        version: row
            .try_get::<Option<i32>, _>("version")?
            .and_then(|version| u32::try_from(version).ok()),
        before: step("state_before")?,
        after: step("state_after")?,
        out_last: row.try_get("out_last")?,
        records: row.try_get("records")?,
        prev_hash: row.try_get("prev_hash")?,
        hash: row.try_get("hash")?,
    })
}
