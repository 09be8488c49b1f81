//! `migration`, `migration_lane`, `migration_flow`: bulk moves of flows, how far lanes are, what became of each flow.

use signalbox_schemas::{FlowId, JourneyName, LaneId, Micros, MigrationId, StepName};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::BTreeSet;

use crate::error::StoreError;
use crate::migration_rows::{
    MigratedFlow, MigrationCount, MigrationMove, MigrationRow, MigrationStatus, OpenMigration,
};
use crate::tables::{all_or_broken, integer, lane_id, smallint};

/// Examples kept of each count.
const EXAMPLES: i64 = 3;
const COLUMNS: &str = "migration.id, migration.journey, migration.from_version, migration.to_version, migration.plan, \
     migration.actor, migration.reason, migration.requested_at";

pub(crate) async fn ask_for(
    connection: &mut PgConnection,
    row: &MigrationRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO migration (id, journey, from_version, to_version, plan, actor, reason, requested_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(row.id.0)
    .bind(row.journey.as_str())
    .bind(integer(row.from))
    .bind(integer(row.to))
    .bind(&row.plan)
    .bind(&row.actor)
    .bind(&row.reason)
    .bind(row.requested_at.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// The latest first, or one.
pub(crate) async fn status(
    connection: &mut PgConnection,
    only: Option<MigrationId>,
) -> Result<Vec<MigrationStatus>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, count(migration_lane.lane) AS begun, \
             count(migration_lane.lane) FILTER (WHERE migration_lane.ended) AS done, \
             count(migration_lane.lane) FILTER (WHERE migration_lane.stopped) AS stopped \
         FROM migration LEFT JOIN migration_lane ON migration_lane.migration = migration.id \
         WHERE $1::uuid IS NULL OR migration.id = $1 \
         GROUP BY migration.id ORDER BY migration.requested_at DESC LIMIT 100"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(only.map(|id| id.0))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(MigrationStatus {
                migration: migration(row)?,
                begun: row.try_get("begun")?,
                ended: row.try_get("done")?,
                stopped: row.try_get("stopped")?,
            })
        })
        .collect()
}

/// What became of the flows, by state and answer.
pub(crate) async fn counts(
    connection: &mut PgConnection,
    id: MigrationId,
) -> Result<Vec<MigrationCount>, StoreError> {
    let rows = sqlx::query(
        "SELECT state_before, state_after, refusal, count(*) AS flows, \
             (array_agg(flow ORDER BY flow))[1:$2] AS examples \
         FROM migration_flow WHERE migration = $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )
    .bind(id.0)
    .bind(EXAMPLES)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let after: Option<String> = row.try_get("state_after")?;
            let refusal: Option<String> = row.try_get("refusal")?;
            let examples: Vec<uuid::Uuid> = row.try_get("examples")?;
            Ok(MigrationCount {
                before: StepName::from(row.try_get::<String, _>("state_before")?),
                became: after.map(StepName::from).ok_or(refusal.unwrap_or_default()),
                flows: row.try_get("flows")?,
                examples: examples.into_iter().map(FlowId).collect(),
            })
        })
        .collect()
}

/// Migrations that any lane has begun, with how many lanes have ended them.
pub(crate) async fn ended_by_lanes(
    connection: &mut PgConnection,
) -> Result<Vec<(MigrationId, u16)>, StoreError> {
    let rows = sqlx::query(
        "SELECT migration, count(*) FILTER (WHERE ended) AS done FROM migration_lane GROUP BY migration",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let ended = u16::try_from(row.try_get::<i64, _>("done")?).unwrap_or(0);
            Ok((MigrationId(row.try_get("migration")?), ended))
        })
        .collect()
}

/// What every other lane has ended the lanes from one on have, too: their flows were looked at where they were.
pub(crate) async fn end_in_new_lanes(
    connection: &mut PgConnection,
    first: LaneId,
    lanes: u16,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO migration_lane (migration, lane, ended) \
         SELECT begun.migration, new.lane, true FROM (SELECT DISTINCT migration FROM migration_lane) AS begun, \
             generate_series($1::integer, $2 - 1) AS new(lane)",
    )
    .bind(i32::from(first.0))
    .bind(i32::from(lanes))
    .execute(connection)
    .await?;
    Ok(())
}

/// What lanes have begun and not ended, oldest first.
pub(crate) async fn open(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<OpenMigration>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, migration_lane.lane, migration_lane.reached \
         FROM migration_lane JOIN migration ON migration.id = migration_lane.migration \
         WHERE migration_lane.lane = ANY($1) AND NOT migration_lane.ended \
         ORDER BY migration.requested_at, migration_lane.lane"
    );
    let lanes: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(lanes).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(OpenMigration {
                migration: migration(row)?,
                lane: lane_id(row.try_get("lane")?),
                reached: row.try_get::<Option<uuid::Uuid>, _>("reached")?.map(FlowId),
            })
        })
        .collect()
}

/// Flows of the lane that it has not looked at, in the order of ids.
pub(crate) async fn next_flows(
    connection: &mut PgConnection,
    open: &OpenMigration,
    at_most: usize,
) -> Result<Vec<FlowId>, StoreError> {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(
        "SELECT id FROM flow WHERE lane = $1 AND journey = $2 AND version = $3 AND status = 'running' \
             AND ($4::uuid IS NULL OR id > $4) ORDER BY id LIMIT $5",
    )
    .bind(smallint(open.lane))
    .bind(open.migration.journey.as_str())
    .bind(integer(open.migration.from))
    .bind(open.reached.map(|flow| flow.0))
    .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(FlowId).collect())
}

/// Lanes begin. A lane that has begun already is no error: the act was repeated.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    begun: &[(MigrationId, LaneId)],
) -> Result<(), StoreError> {
    if begun.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO migration_lane (migration, lane) SELECT * FROM unnest($1::uuid[], $2::smallint[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(begun.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(begun.iter().map(|(_, lane)| smallint(*lane)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Lanes stop. One that has not begun never will; one that has ended stays so, and so does one that has stopped.
pub(crate) async fn stop(
    connection: &mut PgConnection,
    stopped: &[(MigrationId, LaneId)],
) -> Result<(), StoreError> {
    if stopped.is_empty() {
        return Ok(());
    }
    // Told twice in one tick is told once.
    let stopped: BTreeSet<(MigrationId, LaneId)> = stopped.iter().copied().collect();
    sqlx::query(
        "INSERT INTO migration_lane (migration, lane, ended, stopped) \
         SELECT told.migration, told.lane, true, true FROM unnest($1::uuid[], $2::smallint[]) AS told(migration, lane) \
         ON CONFLICT (migration, lane) DO UPDATE SET ended = true, stopped = true WHERE NOT migration_lane.ended",
    )
    .bind(stopped.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(stopped.iter().map(|(_, lane)| smallint(*lane)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Lanes come further.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    moves: &[MigrationMove],
) -> Result<(), StoreError> {
    if moves.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE migration_lane SET reached = coalesce(moved.reached, migration_lane.reached), ended = moved.ended \
         FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::boolean[]) AS moved(migration, lane, reached, ended) \
         WHERE migration_lane.migration = moved.migration AND migration_lane.lane = moved.lane \
             AND NOT migration_lane.ended",
    )
    .bind(moves.iter().map(|row| row.migration.0).collect::<Vec<_>>())
    .bind(moves.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(moves.iter().map(|row| row.reached.map(|flow| flow.0)).collect::<Vec<_>>())
    .bind(moves.iter().map(|row| row.ended).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("migration_lane", moves.len(), done.rows_affected())
}

/// What became of flows. The first answer about a flow stays.
pub(crate) async fn note(
    connection: &mut PgConnection,
    rows: &[MigratedFlow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let after = |row: &MigratedFlow| row.became.as_ref().ok().map(ToString::to_string);
    sqlx::query(
        "INSERT INTO migration_flow (migration, flow, lane, state_before, state_after, refusal) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::text[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(rows.iter().map(|row| row.migration.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.flow.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.before.to_string()).collect::<Vec<_>>())
    .bind(rows.iter().map(after).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.became.clone().err()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn migration(row: &PgRow) -> Result<MigrationRow, StoreError> {
    let version = |column: &str| -> Result<u32, StoreError> {
        Ok(u32::try_from(row.try_get::<i32, _>(column)?).unwrap_or(0))
    };
    Ok(MigrationRow {
        id: MigrationId(row.try_get("id")?),
        journey: JourneyName::from(row.try_get::<String, _>("journey")?),
        from: version("from_version")?,
        to: version("to_version")?,
        plan: row.try_get("plan")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        requested_at: Micros(row.try_get("requested_at")?),
    })
}
