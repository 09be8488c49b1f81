//! Tables and transitions. Each function that writes is one transaction; whoever calls again with the same payouts does
//! no harm, since a payout moves only from the state that it must be in.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::{Connection, PgConnection, query, query_as, query_scalar};

use crate::payout::{Answer, Ending, Step};

const TABLES: [&str; 3] = [
    "CREATE TABLE payouts (
        id text PRIMARY KEY,
        state text NOT NULL,
        command jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 80)",
    "CREATE TABLE transitions (
        payout_id text NOT NULL,
        state text NOT NULL,
        answer jsonb NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (payout_id, state)
    )",
    "CREATE TABLE outbox (payout_id text PRIMARY KEY, event jsonb NOT NULL)",
];

/// A command as it was read.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) command: Value,
}

/// What a payout has come to when the answer to a step is stored. With the answer to `Fraud` its permit is taken: from
/// then on it may have been paid.
fn state_after(step: Step) -> &'static str {
    match step {
        Step::Identity => "identified",
        Step::Sanctions => "screened",
        Step::Fraud => "permitted",
        Step::Payment => "completed",
    }
}

/// Connects and makes the tables, which must not be there.
pub(super) async fn create_tables(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await.context("connecting to Postgres")?;
    for table in TABLES {
        query(table).execute(&mut connection).await.context("creating a table")?;
    }
    Ok(())
}

/// Payouts that are new, with the answer to their first step. Says which step each one has
/// behind it: one that is read again may be further.
pub(super) async fn receive(
    connection: &mut PgConnection,
    asked: &[(&Asked, Answer)],
) -> Result<HashMap<String, Step>> {
    let ids: Vec<&str> = asked.iter().map(|(asked, _)| asked.id.as_str()).collect();
    let commands: Vec<&Value> = asked.iter().map(|(asked, _)| &asked.command).collect();
    let mut transaction = connection.begin().await?;
    let new: Vec<String> = query_scalar(
        "INSERT INTO payouts (id, state, command)
         SELECT id, $3, command FROM unnest($1::text[], $2::jsonb[]) AS asked (id, command)
         ON CONFLICT (id) DO NOTHING RETURNING id",
    )
    .bind(&ids)
    .bind(&commands)
    .bind(state_after(Step::Identity))
    .fetch_all(&mut *transaction)
    .await?;
    let new: HashSet<String> = new.into_iter().collect();
    let (new, answers): (Vec<String>, Vec<Answer>) = asked
        .iter()
        .filter(|(asked, _)| new.contains(&asked.id))
        .map(|(asked, answer)| (asked.id.clone(), answer.clone()))
        .unzip();
    note(&mut transaction, Step::Identity, &new, &answers).await?;
    transaction.commit().await?;
    let mut reached: HashMap<String, Step> =
        new.into_iter().map(|id| (id, Step::Identity)).collect();
    if reached.len() < asked.len() {
        let states: Vec<(String, String)> =
            query_as("SELECT id, state FROM payouts WHERE id = ANY($1)")
                .bind(&ids)
                .fetch_all(connection)
                .await?;
        for (id, state) in states {
            let step = Step::ALL.into_iter().find(|step| state_after(*step) == state);
            reached.insert(id, step.with_context(|| format!("a payout is {state:?}"))?);
        }
    }
    Ok(reached)
}

/// One step further with these answers, for payouts that are where the step begins.
pub(super) async fn advance(
    connection: &mut PgConnection,
    from: Step,
    to: Step,
    ids: &[String],
    answers: &[Answer],
) -> Result<()> {
    let mut transaction = connection.begin().await?;
    let moved = query(
        "UPDATE payouts SET state = $2, updated_at = now() WHERE id = ANY($1) AND state = $3",
    )
    .bind(ids)
    .bind(state_after(to))
    .bind(state_after(from))
    .execute(&mut *transaction)
    .await?;
    anyhow::ensure!(
        usize::try_from(moved.rows_affected())? == ids.len(),
        "another consumer has moved one of {ids:?}"
    );
    note(&mut transaction, to, ids, answers).await?;
    if to == Step::Payment {
        let events: Vec<Value> = ids
            .iter()
            .map(|id| serde_json::to_value(Ending::completed(id)))
            .collect::<Result<_, _>>()?;
        query(
            "INSERT INTO outbox (payout_id, event) SELECT * FROM unnest($1::text[], $2::jsonb[])",
        )
        .bind(ids)
        .bind(&events)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The row that explains a transition afterwards.
async fn note(
    connection: &mut PgConnection,
    step: Step,
    ids: &[String],
    answers: &[Answer],
) -> Result<()> {
    let answers: Vec<Value> = answers.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    query(
        "INSERT INTO transitions (payout_id, state, answer)
         SELECT id, $3, answer FROM unnest($1::text[], $2::jsonb[]) AS noted (id, answer)",
    )
    .bind(ids)
    .bind(&answers)
    .bind(state_after(step))
    .execute(connection)
    .await?;
    Ok(())
}

/// Events that wait to be published, those of earlier runs included.
pub(super) async fn waiting(connection: &mut PgConnection) -> Result<Vec<(String, Value)>> {
    Ok(query_as("SELECT payout_id, event FROM outbox").fetch_all(connection).await?)
}

/// Events that Kafka has.
pub(super) async fn published(connection: &mut PgConnection, ids: &[String]) -> Result<()> {
    query("DELETE FROM outbox WHERE payout_id = ANY($1)").bind(ids).execute(connection).await?;
    Ok(())
}
