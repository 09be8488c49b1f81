//! `attempt` and `gate`: permits of write effects. A permit is one compare-and-set; so is giving an attempt up.

use serde_json::Value;
use signalbox_schemas::{AttemptId, FlowId, LaneId, Micros, StepName};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::BTreeSet;

use crate::error::StoreError;
use crate::recovery_rows::DoubtfulAttempt;
use crate::rows::{AttemptRow, Disposition, NewAttempt, PermitRequest, StoredResult};
use crate::tables::together::Together;
use crate::tables::{NOW_MICROS, lane_id, smallint};

/// Its outcome is not known for good.
const OPEN: &str = "(attempt.result IS NULL OR attempt.result->>'outcome' = 'in_doubt')";

const COLUMNS: &str = "id, lane, flow, step, grp, capability, disposition, vendor, sends, request, first_sent_at, result, \
     contradiction, planned_at";

/// Vendors to which money may be sent now: not off, not held, no commits lost, and this is the installation's own server
/// on its own timeline (a promoted standby or a restored copy may have lost permits).
const OPEN_GATES: &str = "SELECT gate.vendor FROM gate, installation \
     WHERE NOT gate.is_off AND NOT gate.write_held AND NOT installation.write_held AND NOT installation.lost_commits \
     AND installation.system_identifier = (SELECT system_identifier::text FROM pg_control_system()) \
     AND installation.timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// Plans attempts. One that exists is asked again under the same id and stays as it is.
pub(crate) fn plan(together: &mut Together, attempts: &[NewAttempt]) {
    if attempts.is_empty() {
        return;
    }
    together.add(
        "attempt",
        "INSERT INTO attempt (id, lane, flow, step, grp, capability, disposition, planned_at) \
         SELECT id, lane, flow, step, grp, capability, 'planned', planned_at \
         FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::bigint[]) \
              AS new(id, lane, flow, step, grp, capability, planned_at) ON CONFLICT (id) DO NOTHING RETURNING 1",
    )
    .bind(attempts.iter().map(|attempt| attempt.id.0).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| smallint(attempt.lane)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.flow.0).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.step.as_str()).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| i32::try_from(attempt.group).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.capability.as_str()).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.planned_at.0).collect::<Vec<_>>());
}

/// Gives attempts up; returns those whose permit was taken before. Rows are locked in id order, here and for permits.
pub(crate) async fn abandon(
    connection: &mut PgConnection,
    ids: &[AttemptId],
) -> Result<BTreeSet<AttemptId>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let wanted: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(
        "WITH mine AS (SELECT id FROM attempt WHERE id = ANY($1) ORDER BY id FOR UPDATE) \
         UPDATE attempt SET disposition = 'abandoned' FROM mine WHERE attempt.id = mine.id AND disposition IN ('planned', 'abandoned') \
         RETURNING attempt.id",
    )
    .bind(wanted)
    .fetch_all(connection)
    .await?;
    let won: BTreeSet<AttemptId> =
        rows.iter().map(|row| row.try_get("id").map(AttemptId)).collect::<Result<_, _>>()?;
    Ok(ids.iter().copied().filter(|id| !won.contains(id)).collect())
}

/// Gives up attempts that were planned in this very transaction: that nobody may have sent one is known.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    ids: &[AttemptId],
) -> Result<(), StoreError> {
    let sent = abandon(connection, ids).await?;
    if sent.is_empty() {
        return Ok(());
    }
    Err(StoreError::Invariant(format!(
        "attempt: planned and given up by one tick, and sent: {sent:?}"
    )))
}

/// Takes permits: `planned` becomes `sending` where the vendor's gate is open and this is the installation's own server.
/// Returns the attempts whose permit was taken now, with the instant.
pub(crate) async fn take_permits(
    connection: &mut PgConnection,
    requests: &[PermitRequest],
) -> Result<Vec<(AttemptId, Micros)>, StoreError> {
    let mut ordered: Vec<&PermitRequest> = requests.iter().collect();
    ordered.sort_by_key(|request| request.attempt);
    let sql = format!(
        "WITH wanted AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS wanted(id, vendor, request)), \
              open AS ({OPEN_GATES}), \
              mine AS (SELECT wanted.* FROM wanted JOIN attempt ON attempt.id = wanted.id JOIN open ON open.vendor = wanted.vendor \
                       WHERE attempt.disposition = 'planned' ORDER BY attempt.id FOR UPDATE OF attempt) \
         UPDATE attempt SET disposition = 'sending', vendor = mine.vendor, sends = 1, request = mine.request, \
                first_sent_at = {NOW_MICROS} \
         FROM mine WHERE attempt.id = mine.id AND attempt.disposition = 'planned' RETURNING attempt.id, attempt.first_sent_at"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ordered.iter().map(|request| request.attempt.0).collect::<Vec<_>>())
        .bind(ordered.iter().map(|request| request.vendor.as_str()).collect::<Vec<_>>())
        .bind(ordered.iter().map(|request| request.request.as_slice()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((AttemptId(row.try_get("id")?), Micros(row.try_get("first_sent_at")?))))
        .collect()
}

/// Vendors whose gate is open now.
pub(crate) async fn open_gates(
    connection: &mut PgConnection,
) -> Result<BTreeSet<String>, StoreError> {
    let rows = sqlx::query(OPEN_GATES).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get("vendor")).collect::<Result<_, _>>()?)
}

/// Makes a vendor's gate known; an existing gate stays as it is.
pub(crate) async fn ensure_gates(
    connection: &mut PgConnection,
    vendors: &[String],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gate (vendor) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(vendors)
    .execute(connection)
    .await?;
    Ok(())
}

/// Raises `sends` from an expected value before a resend; false where somebody else did, where its outcome is known for
/// good, or where the vendor's gate is closed by now.
pub(crate) async fn raise_sends(
    connection: &mut PgConnection,
    id: AttemptId,
    expected: u32,
) -> Result<bool, StoreError> {
    let sql = format!(
        "UPDATE attempt SET sends = sends + 1 WHERE id = $1 AND sends = $2 AND disposition = 'sending' \
         AND {OPEN} AND vendor IN ({OPEN_GATES})"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .bind(i32::try_from(expected).unwrap_or(i32::MAX))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores results: over nothing or over `in_doubt`; another final outcome is kept beside the first. Returns the attempts
/// whose result was not kept, because it rests on fewer sends than there are.
pub(crate) async fn store_results(
    connection: &mut PgConnection,
    results: &[StoredResult],
) -> Result<BTreeSet<AttemptId>, StoreError> {
    let mut ordered: Vec<&StoredResult> = results.iter().collect();
    ordered.sort_by_key(|result| result.attempt);
    let sends =
        |result: &&StoredResult| result.sends.map(|sends| i32::try_from(sends).unwrap_or(i32::MAX));
    let sql = format!(
        "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::jsonb[], $3::integer[]) AS given(id, result, sends)), \
              mine AS (SELECT given.* FROM given JOIN attempt ON attempt.id = given.id ORDER BY attempt.id FOR UPDATE OF attempt) \
         UPDATE attempt SET \
             result = CASE WHEN {OPEN} THEN mine.result ELSE attempt.result END, \
             contradiction = CASE WHEN NOT {OPEN} AND mine.result->>'outcome' <> 'in_doubt' \
                 AND attempt.result->>'outcome' <> mine.result->>'outcome' THEN mine.result ELSE attempt.contradiction END \
         FROM mine \
         WHERE attempt.id = mine.id AND (mine.sends IS NULL OR mine.sends = attempt.sends) RETURNING attempt.id"
    );
    let kept = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(ordered.iter().map(|result| result.attempt.0).collect::<Vec<_>>())
        .bind(ordered.iter().map(|result| sqlx::types::Json(&result.result)).collect::<Vec<_>>())
        .bind(ordered.iter().map(sends).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let kept: BTreeSet<uuid::Uuid> = kept.into_iter().collect();
    let sent_again =
        |result: &&StoredResult| result.sends.is_some() && !kept.contains(&result.attempt.0);
    Ok(ordered.into_iter().filter(sent_again).map(|result| result.attempt).collect())
}

/// Closes attempts on which people have ruled, whoever is at them: one that was not sent never is, and one that was is not
/// sent again.
pub(crate) async fn rule(
    connection: &mut PgConnection,
    rulings: &[StoredResult],
) -> Result<(), StoreError> {
    if rulings.is_empty() {
        return Ok(());
    }
    let ids: Vec<AttemptId> = rulings.iter().map(|ruling| ruling.attempt).collect();
    abandon(connection, &ids).await?;
    store_results(connection, rulings).await?;
    Ok(())
}

pub(crate) async fn find(
    connection: &mut PgConnection,
    ids: &[AttemptId],
) -> Result<Vec<AttemptRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM attempt WHERE id = ANY($1)");
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(attempt).collect()
}

pub(crate) async fn of_flow(
    connection: &mut PgConnection,
    flow: FlowId,
) -> Result<Vec<AttemptRow>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM attempt WHERE flow = $1 ORDER BY planned_at, step, grp");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(flow.0).fetch_all(connection).await?;
    rows.iter().map(attempt).collect()
}

fn attempt(row: &PgRow) -> Result<AttemptRow, StoreError> {
    let disposition: &str = row.try_get("disposition")?;
    let unknown =
        || StoreError::Invariant(format!("attempt: disposition {disposition} is unknown"));
    Ok(AttemptRow {
        plan: NewAttempt {
            id: AttemptId(row.try_get("id")?),
            lane: lane_id(row.try_get("lane")?),
            flow: FlowId(row.try_get("flow")?),
            step: StepName::from(row.try_get::<String, _>("step")?),
            group: u32::try_from(row.try_get::<i32, _>("grp")?).unwrap_or(0),
            capability: row.try_get("capability")?,
            planned_at: Micros(row.try_get("planned_at")?),
        },
        disposition: Disposition::parse(disposition).ok_or_else(unknown)?,
        vendor: row.try_get("vendor")?,
        sends: u32::try_from(row.try_get::<i32, _>("sends")?).unwrap_or(0),
        request: row.try_get("request")?,
        first_sent_at: row.try_get::<Option<i64>, _>("first_sent_at")?.map(Micros),
        result: row.try_get::<Option<Value>, _>("result")?,
        contradiction: row.try_get::<Option<Value>, _>("contradiction")?,
    })
}

/// Attempts of flows whose permit was taken.
pub(crate) async fn sending_of(
    connection: &mut PgConnection,
    flows: &[FlowId],
) -> Result<BTreeSet<AttemptId>, StoreError> {
    let ids: Vec<uuid::Uuid> = flows.iter().map(|flow| flow.0).collect();
    let found: Vec<uuid::Uuid> = sqlx::query_scalar(
        "SELECT id FROM attempt WHERE flow = ANY($1) AND disposition = 'sending'",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(AttemptId).collect())
}

/// Attempts whose outcome is not known for good, but for those that were given up.
pub(crate) async fn open(connection: &mut PgConnection) -> Result<Vec<AttemptRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM attempt WHERE disposition <> 'abandoned' \
         AND {OPEN} ORDER BY planned_at, id"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(attempt).collect()
}

/// From now on these may have been sent, whatever was known of them: once more often than is known, so that no refusal
/// is taken for a proof. What was given up stays so.
pub(crate) async fn doubt(
    connection: &mut PgConnection,
    attempts: &[DoubtfulAttempt],
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO attempt (id, lane, flow, step, grp, capability, planned_at, vendor, first_sent_at, result, \
                              disposition, sends, forgotten) \
         SELECT given.*, 'sending', 1, true \
         FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::bigint[], \
                     $8::text[], $9::bigint[], $10::jsonb[]) AS given \
         ON CONFLICT (id) DO UPDATE SET disposition = 'sending', sends = attempt.sends + 1, forgotten = true, \
             vendor = coalesce(attempt.vendor, excluded.vendor), \
             first_sent_at = coalesce(attempt.first_sent_at, excluded.first_sent_at), \
             result = CASE WHEN {OPEN} THEN coalesce(excluded.result, attempt.result) ELSE attempt.result END \
         WHERE attempt.disposition <> 'abandoned'"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(attempts.iter().map(|one| one.plan.id.0).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| smallint(one.plan.lane)).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| one.plan.flow.0).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| one.plan.step.as_str()).collect::<Vec<_>>())
        .bind(
            attempts
                .iter()
                .map(|one| i32::try_from(one.plan.group).unwrap_or(i32::MAX))
                .collect::<Vec<_>>(),
        )
        .bind(attempts.iter().map(|one| one.plan.capability.as_str()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| one.plan.planned_at.0).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| one.vendor.as_deref()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|one| one.first_sent_at.map(|at| at.0)).collect::<Vec<_>>())
        .bind(
            attempts
                .iter()
                .map(|one| one.result.as_ref().map(sqlx::types::Json))
                .collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes of lanes that may have been sent although the database had forgotten them, of flows that have not ended.
pub(crate) async fn forgotten(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<(LaneId, FlowId, StepName, u32)>, StoreError> {
    let rows = sqlx::query(
        "SELECT attempt.lane, attempt.flow, step, grp FROM attempt LEFT JOIN flow ON flow.id = attempt.flow \
         WHERE forgotten AND attempt.lane = ANY($1) AND flow.status IS DISTINCT FROM 'ended'",
    )
    .bind(lanes.iter().copied().map(smallint).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let group = u32::try_from(row.try_get::<i32, _>("grp")?).unwrap_or(0);
            let step = StepName::from(row.try_get::<String, _>("step")?);
            Ok((lane_id(row.try_get("lane")?), FlowId(row.try_get("flow")?), step, group))
        })
        .collect()
}

/// Attempts of flows that moved to another lane follow them; how many. Adapters may take permits meanwhile: rows are
/// locked in the order of ids, as everywhere.
pub(crate) async fn follow_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "WITH away AS (SELECT attempt.id, flow.lane FROM attempt JOIN flow ON flow.id = attempt.flow \
                       WHERE flow.lane <> attempt.lane ORDER BY attempt.id FOR UPDATE OF attempt) \
         UPDATE attempt SET lane = away.lane FROM away WHERE attempt.id = away.id",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Attempts in another lane than their flow.
pub(crate) async fn away_from_flows(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM attempt JOIN flow ON flow.id = attempt.flow WHERE flow.lane <> attempt.lane",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}
