//! `recognition`: whom flows recognise, one row per customer, the youngest finding. It judges no age.

use signalbox_schemas::{FlowId, Likeness, Micros, SubjectId};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::keys::ErasureOrder;
use crate::rows::{Known, RecognitionRow};

/// Puts down what was found out, in one order for everybody: two lanes may know the same customer.
pub(crate) async fn put_down(
    connection: &mut PgConnection,
    rows: &[RecognitionRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let watched = |row: &RecognitionRow| row.known.is_some_and(|known| known.watched);
    sqlx::query(
        "INSERT INTO recognition AS held (subject, likeness, watched, flow, at) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::uuid[], $5::bigint[]) AS found(subject) \
         ORDER BY subject \
         ON CONFLICT (subject) DO UPDATE SET likeness = excluded.likeness, watched = excluded.watched, \
             flow = excluded.flow, at = excluded.at WHERE held.at <= excluded.at",
    )
    .bind(rows.iter().map(|row| row.subject.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.known.map(|known| known.likeness.0)).collect::<Vec<_>>())
    .bind(rows.iter().map(watched).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.flow.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.at.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// What was found out about the customers whom flows are about, by flow.
pub(crate) async fn of_flows(
    connection: &mut PgConnection,
    flows: &[FlowId],
) -> Result<BTreeMap<FlowId, RecognitionRow>, StoreError> {
    let found = sqlx::query(
        "SELECT flow.id AS asked, held.subject, held.likeness, held.watched, held.flow, held.at \
         FROM flow JOIN recognition held ON held.subject = flow.subject WHERE flow.id = ANY($1)",
    )
    .bind(flows.iter().map(|flow| flow.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    found.into_iter().map(|row| Ok((FlowId(row.try_get("asked")?), read(row)?))).collect()
}

/// What was found out about a customer.
pub(crate) async fn of_subject(
    connection: &mut PgConnection,
    subject: SubjectId,
) -> Result<Option<RecognitionRow>, StoreError> {
    let found = sqlx::query(
        "SELECT subject, likeness, watched, flow, at FROM recognition WHERE subject = $1",
    )
    .bind(subject.0)
    .fetch_optional(connection)
    .await?;
    found.map(read).transpose()
}

fn read(row: PgRow) -> Result<RecognitionRow, StoreError> {
    let watched = row.try_get("watched")?;
    let likeness: Option<uuid::Uuid> = row.try_get("likeness")?;
    Ok(RecognitionRow {
        subject: SubjectId(row.try_get("subject")?),
        known: likeness.map(|likeness| Known { likeness: Likeness(likeness), watched }),
        flow: FlowId(row.try_get("flow")?),
        at: Micros(row.try_get("at")?),
    })
}

/// Forgets customers who are erased.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    order: &ErasureOrder,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM recognition WHERE subject = ANY($1)")
        .bind(order.subjects.iter().map(|subject| subject.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
