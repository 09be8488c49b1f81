//! `subject_key`, `erasure` and `rewrapping`: wrapped data keys, made once per subject, their destruction, and their change
//! of envelope. It never sees a key.

use signalbox_schemas::{
    AggregateId, AttemptId, EnvelopeId, FlowId, JourneyName, KeyId, Micros, SubjectId,
};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::BTreeSet;

use crate::error::StoreError;
use crate::keys::{ErasureOrder, Hindrance, KeyRow, NewKey, RewrapOrder, RewrappedKey};
use crate::tables::together::Together;
use crate::tables::{NOW_MICROS, lane_id};

/// A subject that somebody makes a key for at the same moment is looked for again; more often than this is a bug.
const TRIES: usize = 5;

/// The current key of each subject; where there is none, the one given becomes it. In one statement where nobody else
/// makes a key for the same subject. That a subject has one already is found by the index of current keys.
pub(crate) async fn ensure(
    connection: &mut PgConnection,
    wanted: &[NewKey],
) -> Result<Vec<KeyRow>, StoreError> {
    // One order for everybody, or two workers that meet could deadlock.
    let mut left: Vec<&NewKey> = wanted.iter().collect();
    left.sort_by_key(|key| key.subject);
    left.dedup_by_key(|key| key.subject);
    let mut found = Vec::with_capacity(left.len());
    let sql = format!(
        "WITH wanted AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS wanted(subject, wrapped)), \
              made AS (INSERT INTO subject_key (subject, generation, wrapped, created_at) \
                  SELECT wanted.subject, \
                         coalesce((SELECT max(generation) FROM subject_key older WHERE older.subject = wanted.subject), 0) + 1, \
                         wanted.wrapped, {NOW_MICROS} \
                  FROM wanted ORDER BY wanted.subject ON CONFLICT DO NOTHING \
                  RETURNING subject, generation, wrapped, created_at, erased_at) \
         SELECT * FROM made UNION ALL \
         SELECT subject, generation, wrapped, created_at, erased_at FROM subject_key \
         WHERE subject = ANY($1) AND erased_at IS NULL"
    );
    for _ in 0..TRIES {
        if left.is_empty() {
            return Ok(found);
        }
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
            .bind(left.iter().map(|key| key.subject.0).collect::<Vec<_>>())
            .bind(left.iter().map(|key| key.wrapped.clone()).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        let rows: Vec<KeyRow> = rows.iter().map(key).collect::<Result<_, _>>()?;
        left.retain(|key| !rows.iter().any(|row| row.id.subject == key.subject));
        found.extend(rows);
    }
    if left.is_empty() {
        return Ok(found);
    }
    Err(StoreError::Invariant("subject_key: a key can neither be made nor found".to_owned()))
}

/// Keys by name; those that never existed are left out.
pub(crate) async fn find(
    connection: &mut PgConnection,
    ids: &[KeyId],
) -> Result<Vec<KeyRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (subjects, generations) = columns(ids);
    let rows = sqlx::query(
        "SELECT subject, generation, wrapped, created_at, erased_at FROM subject_key \
         WHERE (subject, generation) IN (SELECT * FROM unnest($1::uuid[], $2::integer[]))",
    )
    .bind(subjects)
    .bind(generations)
    .fetch_all(connection)
    .await?;
    rows.iter().map(key).collect()
}

/// Every key of a subject, oldest first.
pub(crate) async fn of_subject(
    connection: &mut PgConnection,
    subject: SubjectId,
) -> Result<Vec<KeyRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT subject, generation, wrapped, created_at, erased_at FROM subject_key WHERE subject = $1 ORDER BY generation",
    )
    .bind(subject.0)
    .fetch_all(connection)
    .await?;
    rows.iter().map(key).collect()
}

/// The current keys of the subjects of attempts. An attempt that does not exist is left out.
pub(crate) async fn of_attempts(
    connection: &mut PgConnection,
    attempts: &[AttemptId],
) -> Result<Vec<(AttemptId, KeyRow)>, StoreError> {
    let ids: Vec<uuid::Uuid> = attempts.iter().map(|attempt| attempt.0).collect();
    let rows = sqlx::query(
        "SELECT attempt.id, held.subject, held.generation, held.wrapped, held.created_at, held.erased_at \
         FROM attempt JOIN flow ON flow.id = attempt.flow \
              JOIN subject_key held ON held.subject = flow.subject AND held.erased_at IS NULL \
         WHERE attempt.id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((AttemptId(row.try_get("id")?), key(row)?))).collect()
}

/// Counts those of the keys that are there. The bound keeps the server from going through all keys there are instead.
pub(crate) fn count_held(together: &mut Together, ids: &[KeyId]) {
    let (subjects, generations) = columns(ids);
    together
        .add(
            "subject_key",
            "SELECT 1 FROM unnest($1::uuid[], $2::integer[]) AS used(subject, generation), \
             LATERAL (SELECT generation FROM subject_key WHERE subject = used.subject AND erased_at IS NULL LIMIT 1) AS held \
             WHERE held.generation = used.generation",
        )
        .bind(subjects)
        .bind(generations);
}

/// Those of the keys that are destroyed, or unknown: a database that was restored has forgotten keys that workers still
/// held, and nobody could ever open what is sealed under one.
pub(crate) async fn destroyed(
    connection: &mut PgConnection,
    ids: &[KeyId],
) -> Result<Vec<SubjectId>, StoreError> {
    let rows = sqlx::query(
        "SELECT subject, generation FROM subject_key WHERE subject = ANY($1) AND erased_at IS NULL",
    )
    .bind(ids.iter().map(|id| id.subject.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut held = BTreeSet::new();
    for row in &rows {
        let subject = SubjectId(row.try_get("subject")?);
        held.insert(KeyId { subject, generation: row.try_get("generation")? });
    }
    Ok(ids.iter().filter(|id| !held.contains(id)).map(|id| id.subject).collect())
}

/// When the oldest key was made.
pub(crate) async fn oldest(connection: &mut PgConnection) -> Result<Option<Micros>, StoreError> {
    let at: Option<i64> =
        sqlx::query_scalar("SELECT min(created_at) FROM subject_key").fetch_one(connection).await?;
    Ok(at.map(Micros))
}

/// Waits for the ticks that have begun and keeps every other from beginning until the transaction ends: each begins by
/// locking its lanes' rows.
pub(crate) async fn stand_still(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("LOCK TABLE lane IN EXCLUSIVE MODE").execute(connection).await?;
    Ok(())
}

/// What stands in the way of an erasure: flows that run or changed a moment ago, and records that may have to be
/// published again. At most 20 of each.
pub(crate) async fn hindrances(
    connection: &mut PgConnection,
    order: &ErasureOrder,
    now: Micros,
) -> Result<Vec<Hindrance>, StoreError> {
    let subjects: Vec<uuid::Uuid> = order.subjects.iter().map(|subject| subject.0).collect();
    let settled = i64::try_from(order.settled_for.as_micros()).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "SELECT id, aggregate, journey, status, updated_at FROM flow \
         WHERE subject = ANY($1) AND (status = 'running' OR updated_at > $2) ORDER BY started_at LIMIT 20",
    )
    .bind(&subjects)
    .bind(now.0.saturating_sub(settled))
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Vec::new();
    for row in &rows {
        let aggregate = AggregateId::from(row.try_get::<String, _>("aggregate")?);
        found.push(match row.try_get::<&str, _>("status")? {
            "running" => Hindrance::Running {
                flow: FlowId(row.try_get("id")?),
                aggregate,
                journey: JourneyName::from(row.try_get::<String, _>("journey")?),
            },
            _ => Hindrance::JustChanged { aggregate, at: Micros(row.try_get("updated_at")?) },
        });
    }
    // Sealed bytes name their subject after their first byte.
    let rows = sqlx::query(
        "SELECT journal.lane, min(journal.seq) AS seq FROM journal JOIN lane ON lane.id = journal.lane \
         WHERE journal.seq > lane.pub_journal_seq AND journal.out_last > lane.pub_seq AND length(journal.records) > 0 \
           AND substring(journal.records FROM 2 FOR 16) = ANY($1) GROUP BY journal.lane ORDER BY journal.lane LIMIT 20",
    )
    .bind(order.subjects.iter().map(|subject| subject.0.as_bytes().to_vec()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let (lane, seq) = (lane_id(row.try_get("lane")?), row.try_get("seq")?);
        found.push(Hindrance::Unpublished { lane, seq });
    }
    Ok(found)
}

/// Destroys the current keys of subjects and puts down who wanted it. Returns the keys destroyed.
pub(crate) async fn destroy(
    connection: &mut PgConnection,
    order: &ErasureOrder,
    now: Micros,
) -> Result<Vec<KeyId>, StoreError> {
    let rows = sqlx::query(
        "WITH gone AS (UPDATE subject_key SET wrapped = NULL, erased_at = $2 \
                       WHERE subject = ANY($1) AND erased_at IS NULL RETURNING subject, generation) \
         SELECT subject, generation FROM gone ORDER BY subject",
    )
    .bind(order.subjects.iter().map(|subject| subject.0).collect::<Vec<_>>())
    .bind(now.0)
    .fetch_all(&mut *connection)
    .await?;
    let gone: Vec<KeyId> = rows.iter().map(id).collect::<Result<_, _>>()?;
    let (subjects, generations) = columns(&gone);
    sqlx::query(
        "INSERT INTO erasure (subject, generation, at, actor, reason) \
         SELECT subject, generation, $3, $4, $5 FROM unnest($1::uuid[], $2::integer[]) AS gone(subject, generation)",
    )
    .bind(subjects)
    .bind(generations)
    .bind(now.0)
    .bind(&order.actor)
    .bind(&order.reason)
    .execute(connection)
    .await?;
    Ok(gone)
}

/// How many keys each envelope key wraps. A wrapped key names it after its first byte.
pub(crate) async fn envelopes(
    connection: &mut PgConnection,
) -> Result<Vec<(EnvelopeId, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT substring(wrapped FROM 2 FOR 8) AS envelope, count(*) AS keys FROM subject_key \
         WHERE wrapped IS NOT NULL GROUP BY envelope ORDER BY envelope",
    )
    .fetch_all(connection)
    .await?;
    let count = |row: &PgRow| {
        let named: [u8; 8] = row.try_get::<&[u8], _>("envelope")?.try_into().map_err(|_| {
            StoreError::Invariant("subject_key: a wrapped key names no envelope key".to_owned())
        })?;
        Ok((EnvelopeId(named), row.try_get("keys")?))
    };
    rows.iter().map(count).collect()
}

/// Keys that another envelope key than this one wraps, in order, after one.
pub(crate) async fn wrapped_by_others(
    connection: &mut PgConnection,
    envelope: EnvelopeId,
    after: Option<KeyId>,
    at_most: i64,
) -> Result<Vec<KeyRow>, StoreError> {
    let before_all = KeyId { subject: SubjectId::from_bytes([0; 16]), generation: 0 };
    let after = after.unwrap_or(before_all);
    let rows = sqlx::query(
        "SELECT subject, generation, wrapped, created_at, erased_at FROM subject_key \
         WHERE (subject, generation) > ($1, $2) AND wrapped IS NOT NULL AND substring(wrapped FROM 2 FOR 8) <> $3 \
         ORDER BY subject, generation LIMIT $4",
    )
    .bind(after.subject.0)
    .bind(after.generation)
    .bind(envelope.0.as_slice())
    .bind(at_most)
    .fetch_all(connection)
    .await?;
    rows.iter().map(key).collect()
}

/// Puts keys wrapped anew in the place of what was read, and puts down who wanted it. One that is not as it was read,
/// because it was destroyed, stays as it is. How many were replaced.
pub(crate) async fn rewrap(
    connection: &mut PgConnection,
    keys: &[RewrappedKey],
    order: &RewrapOrder,
) -> Result<i64, StoreError> {
    let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
    let (subjects, generations) = columns(&ids);
    let sql = format!(
        "WITH anew AS (SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bytea[], $4::bytea[]) \
                           AS anew(subject, generation, before, after)), \
              mine AS (SELECT held.subject, held.generation, anew.after FROM subject_key held \
                           JOIN anew ON (anew.subject, anew.generation) = (held.subject, held.generation) \
                       WHERE held.wrapped = anew.before ORDER BY held.subject, held.generation FOR UPDATE OF held), \
              done AS (UPDATE subject_key held SET wrapped = mine.after FROM mine \
                       WHERE (held.subject, held.generation) = (mine.subject, mine.generation) RETURNING 1), \
              told AS (INSERT INTO rewrapping (at, envelope, keys, actor, reason) \
                       SELECT {NOW_MICROS}, $5, count(*), $6, $7 FROM done HAVING count(*) > 0) \
         SELECT count(*) AS replaced FROM done"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(subjects)
        .bind(generations)
        .bind(keys.iter().map(|key| key.before.as_slice()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.after.as_slice()).collect::<Vec<_>>())
        .bind(order.envelope.0.as_slice())
        .bind(&order.actor)
        .bind(&order.reason)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("replaced")?)
}

fn columns(ids: &[KeyId]) -> (Vec<uuid::Uuid>, Vec<i32>) {
    ids.iter().map(|id| (id.subject.0, id.generation)).unzip()
}

fn id(row: &PgRow) -> Result<KeyId, StoreError> {
    let subject = SubjectId(row.try_get("subject")?);
    Ok(KeyId { subject, generation: row.try_get("generation")? })
}

fn key(row: &PgRow) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: id(row)?,
        wrapped: row.try_get("wrapped")?,
        created_at: Micros(row.try_get("created_at")?),
        erased_at: row.try_get::<Option<i64>, _>("erased_at")?.map(Micros),
    })
}
