//! Somebody with every right on the database changes one byte of the journal.

use integration_tests::{Failure, Installation};
use sqlx::{Connection, PgConnection, Row};

use crate::{ENGINE, Outcome};

/// The row is named, and after the byte was put back the chain holds again.
pub(crate) async fn flipped_byte(on: &mut Installation) -> Outcome {
    on.stop_engine(ENGINE).await?;
    let intact = on.succeed(&["audit", "verify"]).await?;
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    // A row in the middle of the longest chain, with records in it.
    let row = sqlx::query(
        "SELECT lane, seq FROM journal WHERE length(records) > 40 AND lane =
           (SELECT lane FROM journal GROUP BY lane ORDER BY count(*) DESC, lane LIMIT 1)
         ORDER BY seq OFFSET 20 LIMIT 1",
    )
    .fetch_optional(&mut database)
    .await?;
    let row = row.ok_or_else(|| {
        Failure::Broken("the journal is too short to be tampered with".to_owned())
    })?;
    let (lane, seq): (i16, i64) = (row.try_get("lane")?, row.try_get("seq")?);

    flip(&mut database, lane, seq).await?;
    let said = on.run(&["audit", "verify"], &[]).await?;
    let told = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, Some(1), "audit verify must refuse:\n{told}");
    assert!(
        told.contains(&format!("lane {lane}: journal row {seq} was altered")),
        "the row is not named:\n{told}"
    );
    assert_eq!(
        said.out.matches("chain intact").count(),
        intact.matches("chain intact").count() - 1,
        "{told}"
    );

    flip(&mut database, lane, seq).await?;
    let again = on.succeed(&["audit", "verify"]).await?;
    assert_eq!(again, intact);
    let summary = intact.lines().last().unwrap_or_default().to_owned();
    Ok(format!("one byte of row {seq} in lane {lane} flipped: named; put back: {summary}"))
}

/// Changes one bit of what a row publishes. The journal forbids it even to a superuser who forgets the trigger.
async fn flip(database: &mut PgConnection, lane: i16, seq: i64) -> Result<(), Failure> {
    let update = "UPDATE journal SET records = set_byte(records, 30, get_byte(records, 30) # 1) WHERE lane = $1 AND seq = $2";
    let refused = sqlx::query(update).bind(lane).bind(seq).execute(&mut *database).await;
    let refused =
        refused.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    assert_eq!(refused.as_deref(), Some("42501"), "the journal let itself be changed");
    let mut tampering = database.begin().await?;
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tampering).await?;
    let changed =
        sqlx::query(update).bind(lane).bind(seq).execute(&mut *tampering).await?.rows_affected();
    assert_eq!(changed, 1);
    tampering.commit().await?;
    Ok(())
}
