//! `flow`: where every journey under way is. Written with the revision that must be there.

use signalbox_schemas::{
    AggregateId, FlowId, JourneyName, LaneId, Micros, RecordName, StepName, SubjectId, Tenant,
};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::error::StoreError;
use crate::growth::FlowHome;
use crate::rows::{FlowRow, FlowWrite, JsonText, LoadedFlow, Standing};
use crate::tables::together::Together;
use crate::tables::{all_or_broken, command, integer, lane_id, smallint};

const COLUMNS: &str = "flow.id, flow.tenant, flow.aggregate, flow.subject, flow.lane, flow.journey, flow.version, flow.state, flow.status, \
     flow.rev, flow.started_at, flow.updated_at, flow.standing, flow.data::text AS data";

pub(crate) async fn load(
    connection: &mut PgConnection,
    ids: &[FlowId],
) -> Result<Vec<LoadedFlow>, StoreError> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let sql = format!(
        "SELECT {COLUMNS}, command.content, command.hash, command.record FROM flow JOIN command ON command.flow = flow.id WHERE flow.id = ANY($1)"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(loaded).collect()
}

/// Flows of a business id or a flow id given as text, newest first: how people look one up.
pub(crate) async fn find(
    connection: &mut PgConnection,
    text: &str,
) -> Result<Vec<LoadedFlow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, command.content, command.hash, command.record FROM flow JOIN command ON command.flow = flow.id \
         WHERE flow.id IN (SELECT id FROM flow WHERE aggregate = $1 UNION SELECT $2::uuid) ORDER BY flow.started_at DESC LIMIT 100"
    );
    let id = uuid::Uuid::parse_str(text).ok();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(text).bind(id);
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(loaded).collect()
}

/// Flows of a subject, newest first.
pub(crate) async fn of_subject(
    connection: &mut PgConnection,
    subject: SubjectId,
) -> Result<Vec<FlowRow>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM flow WHERE flow.subject = $1 ORDER BY flow.started_at DESC");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(subject.0).fetch_all(connection).await?;
    rows.iter().map(flow).collect()
}

/// How many flows are in each state of each journey.
pub(crate) async fn count_by_state(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String, String, i64)>, StoreError> {
    let rows = sqlx::query("SELECT journey, status, state, count(*) AS flows FROM flow GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get("journey")?,
                row.try_get("status")?,
                row.try_get("state")?,
                row.try_get("flows")?,
            ))
        })
        .collect()
}

/// Flows that stand still, longest first.
pub(crate) async fn standing_flows(
    connection: &mut PgConnection,
) -> Result<Vec<FlowRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM flow WHERE standing IS NOT NULL ORDER BY updated_at LIMIT 1000"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(flow).collect()
}

/// Running flows of a version, in the order of ids, after one.
pub(crate) async fn of_version(
    connection: &mut PgConnection,
    (journey, number): (&str, u32),
    after: Option<FlowId>,
    at_most: usize,
) -> Result<Vec<LoadedFlow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, command.content, command.hash, command.record FROM flow JOIN command ON command.flow = flow.id \
         WHERE flow.journey = $1 AND flow.version = $2 AND flow.status = 'running' AND ($3::uuid IS NULL OR flow.id > $3) \
         ORDER BY flow.id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(journey)
        .bind(integer(number))
        .bind(after.map(|flow| flow.0))
        .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(loaded).collect()
}

/// How many flows run under each version of a journey.
pub(crate) async fn count_by_version(
    connection: &mut PgConnection,
    journey: &str,
) -> Result<Vec<(u32, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT version, count(*) AS flows FROM flow WHERE journey = $1 AND status = 'running' GROUP BY 1 ORDER BY 1",
    )
    .bind(journey)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let version: i32 = row.try_get("version")?;
            Ok((u32::try_from(version).unwrap_or(0), row.try_get("flows")?))
        })
        .collect()
}

/// Flows with their keys and lanes, in the order of ids, after one.
pub(crate) async fn homes(
    connection: &mut PgConnection,
    after: Option<FlowId>,
    at_most: usize,
) -> Result<Vec<FlowHome>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, aggregate, lane FROM flow WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after.map(|flow| flow.0))
    .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(FlowHome {
                flow: FlowId(row.try_get("id")?),
                aggregate: AggregateId::from(row.try_get::<String, _>("aggregate")?),
                lane: lane_id(row.try_get("lane")?),
            })
        })
        .collect()
}

/// Moves flows to other lanes. Their revision stays: nothing has happened to them.
pub(crate) async fn rehome(
    connection: &mut PgConnection,
    rows: &[(FlowId, LaneId)],
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE flow SET lane = moved.lane FROM unnest($1::uuid[], $2::smallint[]) AS moved(id, lane) \
         WHERE flow.id = moved.id",
    )
    .bind(rows.iter().map(|(flow, _)| flow.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, lane)| smallint(*lane)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("flow", rows.len(), done.rows_affected())
}

pub(crate) fn write(together: &mut Together, writes: &[FlowWrite]) {
    let (new, changed): (Vec<&FlowWrite>, Vec<&FlowWrite>) =
        writes.iter().partition(|write| write.expected_rev.is_none());
    insert(together, &new);
    update(together, &changed);
}

fn insert(together: &mut Together, writes: &[&FlowWrite]) {
    if writes.is_empty() {
        return;
    }
    let rows: Vec<&FlowRow> = writes.iter().map(|write| &write.row).collect();
    together.add_exact(
        "flow",
        rows.len(),
        "INSERT INTO flow (id, tenant, aggregate, lane, journey, version, state, status, rev, started_at, updated_at, standing, data, subject) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::integer[], $7::text[], \
             $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[]::jsonb[], $14::uuid[]) RETURNING 1",
    )
    .bind(rows.iter().map(|row| row.id.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.aggregate.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.journey.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| integer(row.version)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| status(row)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.rev).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.started_at.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.updated_at.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| standing(row)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.data.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subject.0).collect::<Vec<_>>());
}

fn update(together: &mut Together, writes: &[&FlowWrite]) {
    if writes.is_empty() {
        return;
    }
    let rows: Vec<&FlowRow> = writes.iter().map(|write| &write.row).collect();
    together.add_exact(
        "flow",
        rows.len(),
        "UPDATE flow SET state = moved.state, status = moved.status, rev = moved.rev, updated_at = moved.updated_at, \
             standing = moved.standing, data = moved.data, version = moved.version \
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[]::jsonb[], \
              $9::integer[]) AS moved(id, expected, state, status, rev, updated_at, standing, data, version) \
         WHERE flow.id = moved.id AND flow.rev = moved.expected RETURNING 1",
    )
    .bind(rows.iter().map(|row| row.id.0).collect::<Vec<_>>())
    .bind(writes.iter().map(|write| write.expected_rev.unwrap_or(0)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| status(row)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.rev).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.updated_at.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| standing(row)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.data.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| integer(row.version)).collect::<Vec<_>>());
}

fn loaded(row: &PgRow) -> Result<LoadedFlow, StoreError> {
    Ok(LoadedFlow {
        row: flow(row)?,
        record: RecordName::from(row.try_get::<String, _>("record")?),
        command: row.try_get("content")?,
        hash: command::hash(row.try_get("hash")?)?,
    })
}

fn standing(row: &FlowRow) -> Option<&'static str> {
    row.standing.map(Standing::as_str)
}

fn status(row: &FlowRow) -> &'static str {
    if row.ended { "ended" } else { "running" }
}

fn flow(row: &PgRow) -> Result<FlowRow, StoreError> {
    Ok(FlowRow {
        id: FlowId(row.try_get("id")?),
        tenant: Tenant::from(row.try_get::<String, _>("tenant")?),
        aggregate: AggregateId::from(row.try_get::<String, _>("aggregate")?),
        subject: SubjectId(row.try_get("subject")?),
        lane: lane_id(row.try_get("lane")?),
        journey: JourneyName::from(row.try_get::<String, _>("journey")?),
        version: u32::try_from(row.try_get::<i32, _>("version")?).unwrap_or(0),
        state: StepName::from(row.try_get::<String, _>("state")?),
        ended: row.try_get::<&str, _>("status")? == "ended",
        rev: row.try_get("rev")?,
        started_at: Micros(row.try_get("started_at")?),
        updated_at: Micros(row.try_get("updated_at")?),
        standing: row.try_get::<Option<&str>, _>("standing")?.and_then(Standing::parse),
        data: JsonText::stored(row.try_get("data")?),
    })
}
