//! `lane`: the fence. Whoever writes for a lane locks its row and finds its own epoch and revision there.

use signalbox_schemas::{LaneId, Micros};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::StoreError;
use crate::growth::LaneFacts;
use crate::journal::{GENESIS, JournalRow, seal};
use crate::lane_store::{ClaimedLane, StopCause};
use crate::reader_rows::LaneStatus;
use crate::recovery_rows::{LANE_BREAK, SettledLane, StoredLane};
use crate::rows::{Forgotten, LaneFence, LaneMove};
use crate::tables::together::Together;
use crate::tables::{all_or_broken, journal, lane_id, smallint};

/// Makes lanes up to a number; those that exist stay as they are.
pub(crate) async fn create(connection: &mut PgConnection, lanes: u16) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO lane (id) SELECT generate_series(0, $1 - 1) ON CONFLICT DO NOTHING")
        .bind(i32::from(lanes))
        .execute(connection)
        .await?;
    Ok(())
}

/// How many lanes there are: an installation's one number of lanes.
pub(crate) async fn count(connection: &mut PgConnection) -> Result<u16, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM lane").fetch_one(connection).await?;
    Ok(u16::try_from(count).unwrap_or(u16::MAX))
}

/// Keeps every lane from being claimed or moved until the transaction ends.
pub(crate) async fn lock_all(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT id FROM lane ORDER BY id FOR UPDATE").execute(connection).await?;
    Ok(())
}

/// What growing needs to know of each lane, in order.
pub(crate) async fn facts(connection: &mut PgConnection) -> Result<Vec<LaneFacts>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, CASE WHEN lease_until >= clock_timestamp() THEN owner END AS holder, stopped, out_seq, pub_seq, \
             journal_seq, journal_head FROM lane ORDER BY id",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(LaneFacts {
                lane: lane_id(row.try_get("id")?),
                holder: row.try_get("holder")?,
                stopped: row.try_get("stopped")?,
                out_seq: row.try_get("out_seq")?,
                pub_seq: row.try_get("pub_seq")?,
                journal_seq: row.try_get("journal_seq")?,
                journal_head: row.try_get("journal_head")?,
            })
        })
        .collect()
}

/// Moves lanes on by a row of each one's journal. Epoch and revision move, so that whoever still takes a lane for its own
/// is fenced.
pub(crate) async fn journaled(
    connection: &mut PgConnection,
    rows: &[JournalRow],
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE lane SET owner = NULL, lease_until = NULL, epoch = epoch + 1, rev = rev + 1, \
             journal_seq = told.seq, journal_head = told.hash \
         FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS told(lane, seq, hash) WHERE lane.id = told.lane",
    )
    .bind(rows.iter().map(|row| smallint(row.lane)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.hash.clone()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_or_broken("lane", rows.len(), done.rows_affected())
}

/// Lanes that worker $1, who holds $2, may take.
pub(crate) const CLAIMABLE: &str = "stopped IS NULL AND id <> ALL($2) AND \
     (owner IS NULL OR owner = $1 OR lease_until < clock_timestamp())";

/// Takes lanes that nobody holds, the one that has waited longest first. A row that somebody has locked is left for the next time.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    worker: &str,
    held: &[LaneId],
    at_most: usize,
    lease: Duration,
) -> Result<Vec<ClaimedLane>, StoreError> {
    let held: Vec<i16> = held.iter().copied().map(smallint).collect();
    // A lane that was given back says by its lease since when it rests.
    let sql = format!(
        "UPDATE lane SET epoch = epoch + 1, owner = $1, lease_until = clock_timestamp() + make_interval(secs => $4) \
         FROM (SELECT id, CASE WHEN owner IS NULL THEN (extract(epoch FROM lease_until) * 1000000)::bigint END AS resting_since \
               FROM lane WHERE {CLAIMABLE} ORDER BY lease_until NULLS FIRST, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS free WHERE lane.id = free.id \
         RETURNING lane.id, epoch, rev, out_seq, pub_seq, pub_journal_seq, journal_seq, journal_head, resting_since"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(worker)
        .bind(held)
        .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
        .bind(lease.as_secs_f64())
        .fetch_all(connection)
        .await?;
    let mut lanes = rows.iter().map(claimed).collect::<Result<Vec<_>, _>>()?;
    lanes.sort_by_key(|lane| lane.fence.lane);
    Ok(lanes)
}

/// Ends sessions that have held the row of an expired lane for longer than its lease: their owner is stopped or cut off.
pub(crate) async fn end_stale_holders(
    connection: &mut PgConnection,
    lease: Duration,
) -> Result<u64, StoreError> {
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(activity.pid) FROM pg_stat_activity activity \
         WHERE activity.xact_start < clock_timestamp() - make_interval(secs => $1) AND activity.pid <> pg_backend_pid() \
           AND activity.datname = current_database() AND activity.application_name LIKE 'signalbox-lane%' \
           AND EXISTS (SELECT 1 FROM lane WHERE owner IS NOT NULL AND lease_until < clock_timestamp() - make_interval(secs => $1))",
    )
    .bind(lease.as_secs_f64())
    .fetch_all(connection)
    .await?;
    Ok(u64::try_from(ended.len()).unwrap_or(0))
}

/// Locks the rows in id order and returns the lanes whose epoch or revision is not as expected.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    fences: &[LaneFence],
) -> Result<Vec<LaneId>, StoreError> {
    let ids: Vec<i16> = fences.iter().map(|fence| smallint(fence.lane)).collect();
    let rows =
        sqlx::query("SELECT id, epoch, rev FROM lane WHERE id = ANY($1) ORDER BY id FOR UPDATE")
            .bind(&ids)
            .fetch_all(connection)
            .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(LaneFence {
            lane: lane_id(row.try_get("id")?),
            epoch: row.try_get("epoch")?,
            rev: row.try_get("rev")?,
        });
    }
    Ok(fences.iter().filter(|fence| !found.contains(fence)).map(|fence| fence.lane).collect())
}

/// The rows as they are, locked: how an ambiguous commit is resolved.
pub(crate) async fn read_locked(
    connection: &mut PgConnection,
    lanes: &[LaneId],
) -> Result<Vec<LaneFence>, StoreError> {
    let ids: Vec<i16> = lanes.iter().copied().map(smallint).collect();
    let rows =
        sqlx::query("SELECT id, epoch, rev FROM lane WHERE id = ANY($1) ORDER BY id FOR UPDATE")
            .bind(&ids)
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(LaneFence {
                lane: lane_id(row.try_get("id")?),
                epoch: row.try_get("epoch")?,
                rev: row.try_get("rev")?,
            })
        })
        .collect()
}

/// Moves lanes on after what they have done.
pub(crate) fn advance(together: &mut Together, lanes: &[LaneMove], lease: Duration) {
    let column = |pick: fn(&LaneMove) -> i64| lanes.iter().map(pick).collect::<Vec<i64>>();
    let ids: Vec<i16> = lanes.iter().map(|lane| smallint(lane.fence.lane)).collect();
    let heads: Vec<Vec<u8>> = lanes.iter().map(|lane| lane.journal_head.clone()).collect();
    together.add_exact(
        "lane",
        lanes.len(),
        "UPDATE lane SET rev = lane.rev + 1, out_seq = moved.out_seq, pub_seq = moved.pub_seq, \
             pub_journal_seq = moved.pub_journal_seq, journal_seq = moved.journal_seq, journal_head = moved.head, \
             lease_until = clock_timestamp() + make_interval(secs => $9) \
         FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[]) \
              AS moved(id, epoch, rev, out_seq, pub_seq, pub_journal_seq, journal_seq, head) \
         WHERE lane.id = moved.id AND lane.epoch = moved.epoch AND lane.rev = moved.rev RETURNING 1",
    )
        .bind(ids)
        .bind(column(|lane| lane.fence.epoch))
        .bind(column(|lane| lane.fence.rev))
        .bind(column(|lane| lane.out_seq))
        .bind(column(|lane| lane.pub_seq))
        .bind(column(|lane| lane.pub_journal_seq))
        .bind(column(|lane| lane.journal_seq))
        .bind(heads)
        .bind(lease.as_secs_f64());
}

pub(crate) async fn renew(
    connection: &mut PgConnection,
    fences: &[LaneFence],
    lease: Duration,
) -> Result<(Vec<LaneId>, Micros), StoreError> {
    let ids: Vec<i16> = fences.iter().map(|fence| smallint(fence.lane)).collect();
    let epochs: Vec<i64> = fences.iter().map(|fence| fence.epoch).collect();
    let rows = sqlx::query(
        "WITH mine AS (SELECT lane.id FROM lane JOIN unnest($1::smallint[], $2::bigint[]) AS held(id, epoch) \
                       ON lane.id = held.id AND lane.epoch = held.epoch ORDER BY lane.id FOR UPDATE OF lane) \
         UPDATE lane SET lease_until = clock_timestamp() + make_interval(secs => $3) FROM mine WHERE lane.id = mine.id \
         RETURNING lane.id",
    )
    .bind(ids)
    .bind(epochs)
    .bind(lease.as_secs_f64())
    .fetch_all(&mut *connection)
    .await?;
    let mut kept = Vec::with_capacity(rows.len());
    for row in &rows {
        kept.push(lane_id(row.try_get("id")?));
    }
    let lost = fences.iter().map(|fence| fence.lane).filter(|lane| !kept.contains(lane)).collect();
    Ok((lost, crate::tables::now(connection).await?))
}

/// Lanes whose row is older than what their owner knows; where there are any, every permit is held from now on.
pub(crate) async fn gone_back(
    connection: &mut PgConnection,
    held: &[LaneFence],
) -> Result<Vec<LaneId>, StoreError> {
    let rows = sqlx::query(
        "WITH older AS (SELECT lane.id FROM lane \
                        JOIN unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS held(id, epoch, rev) ON lane.id = held.id \
                        WHERE (lane.epoch, lane.rev) < (held.epoch, held.rev)), \
         marked AS (UPDATE installation SET lost_commits = true WHERE EXISTS (SELECT 1 FROM older)) \
         SELECT id FROM older ORDER BY id",
    )
    .bind(held.iter().map(|fence| smallint(fence.lane)).collect::<Vec<_>>())
    .bind(held.iter().map(|fence| fence.epoch).collect::<Vec<_>>())
    .bind(held.iter().map(|fence| fence.rev).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(lane_id(row.try_get("id")?))).collect()
}

pub(crate) async fn release(
    connection: &mut PgConnection,
    fences: &[LaneFence],
    resting_since: Micros,
) -> Result<(), StoreError> {
    let ids: Vec<i16> = fences.iter().map(|fence| smallint(fence.lane)).collect();
    let epochs: Vec<i64> = fences.iter().map(|fence| fence.epoch).collect();
    sqlx::query(
        "UPDATE lane SET owner = NULL, lease_until = to_timestamp($3::double precision / 1000000) \
         FROM unnest($1::smallint[], $2::bigint[]) AS held(id, epoch) \
         WHERE lane.id = held.id AND lane.epoch = held.epoch",
    )
    .bind(ids)
    .bind(epochs)
    .bind(resting_since.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Stops a lane whose epoch is as expected; where commits are lost, every permit is held from the same instant on. Whether
/// the epoch was as expected.
pub(crate) async fn stop(
    connection: &mut PgConnection,
    fence: LaneFence,
    cause: StopCause,
    reason: &str,
) -> Result<bool, StoreError> {
    let stopped = sqlx::query_scalar(
        "WITH mine AS (UPDATE lane SET stopped = $3, owner = NULL, lease_until = NULL \
                       WHERE id = $1 AND epoch = $2 RETURNING id), \
              held AS (UPDATE installation SET lost_commits = true \
                       WHERE $4 AND EXISTS (SELECT 1 FROM mine)) \
         SELECT EXISTS (SELECT 1 FROM mine)",
    )
    .bind(smallint(fence.lane))
    .bind(fence.epoch)
    .bind(reason)
    .bind(cause == StopCause::LostCommits)
    .fetch_one(connection)
    .await?;
    Ok(stopped)
}

/// Clears a stop and journals who did it. The row is locked and its revision and epoch move, so that whoever still takes
/// the lane for its own is fenced.
pub(crate) async fn start(
    connection: &mut PgConnection,
    lane: LaneId,
    actor: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    let found = sqlx::query(
        "SELECT stopped, out_seq, journal_seq, journal_head FROM lane WHERE id = $1 AND stopped IS NOT NULL FOR UPDATE",
    )
    .bind(smallint(lane))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found else { return Ok(false) };
    let stopped: String = found.try_get("stopped")?;
    let told = format!("{reason} (was stopped: {stopped})");
    let out_seq = found.try_get("out_seq")?;
    let row = act(connection, lane, &found, ("lane_start", actor, &told), out_seq).await?;
    sqlx::query(
        "UPDATE lane SET stopped = NULL, owner = NULL, lease_until = NULL, epoch = epoch + 1, rev = rev + 1, \
             journal_seq = $2, journal_head = $3 WHERE id = $1",
    )
    .bind(smallint(lane))
    .bind(row.seq)
    .bind(&row.hash)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Journals what somebody did to a lane, after its last row.
async fn act(
    connection: &mut PgConnection,
    lane: LaneId,
    found: &PgRow,
    (kind, actor, reason): (&str, &str, &str),
    out_last: i64,
) -> Result<JournalRow, StoreError> {
    let head: Vec<u8> = found.try_get("journal_head")?;
    let seq: i64 = found.try_get("journal_seq")?;
    let at = crate::tables::now(&mut *connection).await?;
    let row = JournalRow::of_lane(lane, seq + 1, at, (kind, actor, reason), out_last);
    let row = seal(row, if head.is_empty() { &GENESIS } else { &head });
    let mut together = Together::default();
    journal::append(&mut together, std::slice::from_ref(&row));
    together.run(connection).await?;
    Ok(row)
}

const STORED: &str = "SELECT id, epoch, rev, out_seq, CASE WHEN lease_until > clock_timestamp() THEN owner END AS owner \
     FROM lane ORDER BY id";

/// Every lane as recovery sees it.
pub(crate) async fn stored(connection: &mut PgConnection) -> Result<Vec<StoredLane>, StoreError> {
    stored_lanes(sqlx::query(STORED).fetch_all(connection).await?)
}

/// The same, and nobody moves them until the transaction ends.
pub(crate) async fn stored_and_locked(
    connection: &mut PgConnection,
) -> Result<Vec<StoredLane>, StoreError> {
    let sql = format!("{STORED} FOR UPDATE");
    stored_lanes(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?)
}

fn stored_lanes(rows: Vec<PgRow>) -> Result<Vec<StoredLane>, StoreError> {
    rows.iter()
        .map(|row| {
            Ok(StoredLane {
                fence: LaneFence {
                    lane: lane_id(row.try_get("id")?),
                    epoch: row.try_get("epoch")?,
                    rev: row.try_get("rev")?,
                },
                owner: row.try_get("owner")?,
                out_seq: row.try_get("out_seq")?,
            })
        })
        .collect()
}

/// Journals the break and lets a lane go on after everything that anybody gave out. Its row is locked.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    lane: &SettledLane,
    (actor, reason): (&str, &str),
) -> Result<(), StoreError> {
    let id = lane.fence.lane;
    let found = sqlx::query("SELECT journal_seq, journal_head FROM lane WHERE id = $1")
        .bind(smallint(id))
        .fetch_one(&mut *connection)
        .await?;
    let told = lane.told(reason);
    let row = act(connection, id, &found, (LANE_BREAK, actor, &told), lane.out_seq).await?;
    sqlx::query(
        "UPDATE lane SET stopped = CASE WHEN $6 THEN NULL ELSE stopped END, owner = NULL, lease_until = NULL, \
             epoch = $2, rev = rev + 1, out_seq = $3, journal_seq = $4, journal_head = $5 WHERE id = $1",
    )
    .bind(smallint(id))
    .bind(lane.epoch)
    .bind(lane.out_seq)
    .bind(row.seq)
    .bind(&row.hash)
    .bind(lane.forgotten > 0)
    .execute(connection)
    .await?;
    Ok(())
}

fn claimed(row: &PgRow) -> Result<ClaimedLane, StoreError> {
    Ok(ClaimedLane {
        fence: LaneFence {
            lane: lane_id(row.try_get("id")?),
            epoch: row.try_get("epoch")?,
            rev: row.try_get("rev")?,
        },
        lanes: 0,
        out_seq: row.try_get("out_seq")?,
        pub_seq: row.try_get("pub_seq")?,
        pub_journal_seq: row.try_get("pub_journal_seq")?,
        journal_seq: row.try_get("journal_seq")?,
        journal_head: row.try_get("journal_head")?,
        inputs: Vec::new(),
        outputs: Vec::new(),
        acked_elsewhere: BTreeMap::new(),
        peers: Vec::new(),
        forgotten: Forgotten::default(),
        resting_since: row.try_get::<Option<i64>, _>("resting_since")?.map(Micros),
    })
}

/// Every lane as operators see it.
pub(crate) async fn status(connection: &mut PgConnection) -> Result<Vec<LaneStatus>, StoreError> {
    let rows = sqlx::query("SELECT lane.id, owner, program, stopped, epoch, out_seq - pub_seq AS unpublished, journal_seq, journal_head \
                            FROM lane LEFT JOIN worker ON worker.id = owner ORDER BY lane.id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(LaneStatus {
                lane: lane_id(row.try_get("id")?),
                owner: row.try_get("owner")?,
                program: row.try_get("program")?,
                stopped: row.try_get("stopped")?,
                epoch: row.try_get("epoch")?,
                unpublished: row.try_get("unpublished")?,
                journal_seq: row.try_get("journal_seq")?,
                journal_head: row.try_get("journal_head")?,
            })
        })
        .collect()
}
