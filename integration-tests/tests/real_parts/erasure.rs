//! One customer among many is erased: their data are unreadable wherever Postgres has them, everybody else's are
//! readable, and the audit trail is as provable as before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use serde_json::{Value, json};
use signalbox::payouts::{Payout, Wish};
use signalbox_schemas::{AttemptId, FlowId, KeyId, LaneId, SubjectId, TenantKey};
use signalbox_vault::{EnvelopeKeys, OpenError, Place, Vault, key_of};
use sqlx::{Connection, PgConnection, Row};
use tokio::time::{Instant, sleep};

use super::canaries::{Canary, dump};
use super::tampering::Desk;
use crate::{ENGINE, Outcome};

/// Customers of the story; `SIGNALBOX_ERASE_SUBJECTS` asks for more.
const SUBJECTS: usize = 60;
const SOON: Duration = Duration::from_secs(30);
const AT_ONCE: &str = "0s";

/// The customer is refused while a payout runs, erased when it has ended, and may come again.
pub(crate) async fn one_of_many(on: &mut Installation) -> Outcome {
    let wished = std::env::var("SIGNALBOX_ERASE_SUBJECTS").ok().and_then(|text| text.parse().ok());
    let others = wished.unwrap_or(SUBJECTS).max(2) - 1;
    let canary = Canary::new();
    let mut theirs = on.payout(&Wish::default());
    canary.mark_payout(&mut theirs, "a");
    on.commands.request(&theirs.id, &theirs.command).await?;
    let mut payouts = on.request(&Wish::default(), others).await?;
    let other =
        payouts.first().cloned().ok_or_else(|| Failure::Broken("nobody else".to_owned()))?;
    payouts.push(theirs.clone());
    let verified =
        verify(on, &payouts.into_iter().map(Expectation::completed).collect::<Vec<_>>()).await?;

    let customer = text(&theirs, "customer_id");
    let listed = on.succeed(&["flow", "list", "--customer", &customer]).await?;
    assert!(listed.contains(&theirs.id) && listed.lines().count() == 1, "{listed}");
    let shown = on.succeed(&["flow", "show", &theirs.id, "--show-personal-data"]).await?;
    assert!(canary.is_in(&shown), "an authorised reader sees nothing:\n{shown}");
    refused_while_running(on, &customer).await?;

    let erased = erase(on, &customer).await?;
    let found = examine(on, &theirs, &canary).await?;
    told_as_erased(on, &theirs, &other, &canary).await?;
    on.succeed(&["subject", "show", "--customer", &customer]).await?;
    let again = on
        .run(
            &[
                "subject",
                "erase",
                "--customer",
                &customer,
                "--actor",
                "ann",
                "--reason",
                "again",
                "--settled-for",
                AT_ONCE,
            ],
            &[],
        )
        .await?;
    assert!(again.code == Some(1) && again.err.contains("was erased on"), "{again:?}");
    proven(on, &theirs).await?;
    comes_again(on, &theirs, &canary).await?;
    Ok(format!(
        "{} customers ({verified}); one erased: {erased}; {found}; audit verify passes online and of an export; the customer came again under a new key",
        others + 1
    ))
}

/// A payout that is under way may have to be sent again; so nobody is erased before it has ended.
async fn refused_while_running(on: &mut Installation, customer: &str) -> Result<(), Failure> {
    on.bank.be_slow(900, 1_200).await?;
    let mut running = on.payout(&Wish::default());
    set(&mut running, "customer_id", customer);
    on.commands.request(&running.id, &running.command).await?;
    on.witness
        .until_course(SOON, &running.id, "an event", |course| !course.statuses.is_empty())
        .await?;
    let arguments =
        ["subject", "erase", "--customer", customer, "--actor", "ann", "--reason", "asked for"];
    let said = on.run(&arguments, &[]).await?;
    assert_eq!(said.code, Some(1), "a customer is erased while a payout runs: {said:?}");
    assert!(said.out.contains(&format!("{} still runs", running.id)), "{said:?}");
    on.bank.be_slow(0, 5).await?;
    verify(on, &[Expectation::completed(running)]).await?;
    // It has only just ended: answers may still be on their way.
    let said = on.run(&arguments, &[]).await?;
    assert!(said.code == Some(1) && said.out.contains("changed at"), "{said:?}");
    Ok(())
}

/// Erases as soon as what is about the customer is known to be published.
pub(crate) async fn erase(on: &Installation, customer: &str) -> Result<String, Failure> {
    let arguments = [
        "subject",
        "erase",
        "--customer",
        customer,
        "--actor",
        "ann",
        "--reason",
        "asked for",
        "--settled-for",
        AT_ONCE,
    ];
    let deadline = Instant::now() + SOON;
    loop {
        let said = on.run(&arguments, &[]).await?;
        if said.code == Some(0) {
            return Ok(said.out.trim().to_owned());
        }
        assert!(said.out.contains("not acknowledged") && Instant::now() < deadline, "{said:?}");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Every sealed value of the database, and what becomes of it with these envelope keys.
pub(crate) async fn opened(
    on: &Installation,
    keys: EnvelopeKeys,
) -> Result<Vec<(Place, KeyId, Result<Vec<u8>, OpenError>)>, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
    let mut vault = Vault::new(Arc::new(keys), 100_000);
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let sealed = sealed(&mut database).await?;
    let needed = vault.needed(sealed.iter().map(|(_, bytes)| bytes.as_slice()));
    let rows = on.reader.keys(&needed).await?;
    let rows = rows.into_iter().map(|row| (row.id, row.wrapped)).collect();
    vault.learn(rows).await.map_err(|error| broken(&error))?;
    let mut opened = Vec::with_capacity(sealed.len());
    for (place, bytes) in sealed {
        let id = key_of(&bytes).map_err(|error| broken(&error))?;
        opened.push((place, id, vault.open(place, &bytes)));
    }
    Ok(opened)
}

/// Tries every sealed value of the database with every key that is there, and searches the rest for the customer.
async fn examine(on: &Installation, theirs: &Payout, canary: &Canary) -> Result<String, Failure> {
    let keys = EnvelopeKeys::of_text(&on.settings().envelope_key)
        .map_err(|error| Failure::Broken(error.to_string()))?;
    let erased = subject_of(on, &text(theirs, "customer_id"));
    let mut unreadable: BTreeMap<&str, usize> = BTreeMap::new();
    let mut readable: BTreeMap<&str, usize> = BTreeMap::new();
    let mut subjects: BTreeSet<SubjectId> = BTreeSet::new();
    for (place, id, outcome) in opened(on, keys).await? {
        match (outcome, id.subject == erased) {
            (Err(OpenError::Erased(_)), true) => *unreadable.entry(word(&place)).or_default() += 1,
            (Ok(_), false) => {
                subjects.insert(id.subject);
                *readable.entry(word(&place)).or_default() += 1;
            }
            (outcome, theirs) => {
                panic!("{place:?} of the erased customer: {theirs}: {:?}", outcome.err())
            }
        }
    }
    for what in ["command", "journal", "request"] {
        assert!(
            unreadable.contains_key(what),
            "no {what} of the customer was looked at: {unreadable:?}"
        );
    }
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let found: Vec<String> = dump(&mut database)
        .await?
        .into_iter()
        .filter(|(_, line)| canary.is_in(line))
        .map(|(table, _)| table)
        .collect();
    assert!(found.is_empty(), "their data are in clear in {found:?}");
    Ok(format!(
        "of the erased customer nothing is readable ({unreadable:?}); everything of {} others is ({readable:?})",
        subjects.len()
    ))
}

/// What people see: that and when they were erased, and what happened; of others everything.
async fn told_as_erased(
    on: &Installation,
    theirs: &Payout,
    other: &Payout,
    canary: &Canary,
) -> Result<(), Failure> {
    let shown = on.succeed(&["flow", "show", &theirs.id, "--show-personal-data"]).await?;
    assert!(shown.contains("personal data: erased on 20"), "{shown}");
    assert!(
        shown.contains("payout.send success") || shown.contains("-> "),
        "the timeline is gone:\n{shown}"
    );
    assert!(!canary.is_in(&shown), "{shown}");
    let shown = on.succeed(&["flow", "show", &other.id, "--show-personal-data"]).await?;
    assert!(shown.contains(&other.account), "another customer's account is unreadable:\n{shown}");
    let masked = on.succeed(&["flow", "show", &other.id]).await?;
    assert!(!masked.contains(&other.account), "it is shown unasked:\n{masked}");
    Ok(())
}

/// The chain holds with every hash, here and in an export of the erased customer.
async fn proven(on: &Installation, theirs: &Payout) -> Result<(), Failure> {
    on.succeed(&["audit", "verify"]).await?;
    // An anchor is published every second; rows that it covers are proven by it.
    sleep(Duration::from_millis(2_500)).await;
    let desk = Desk::new(on)?;
    for choice in [["--flow", &theirs.id], ["--subject", &text(theirs, "customer_id")]] {
        let told = desk.verify(&desk.export(&choice).await?).await?;
        assert!(told.contains("as they were written"), "{told}");
    }
    Ok(())
}

/// A repeat of the erased command is recognised; a new payout gets a new key; the old data stay unreadable.
async fn comes_again(
    on: &mut Installation,
    theirs: &Payout,
    canary: &Canary,
) -> Result<(), Failure> {
    on.commands.request(&theirs.id, &theirs.command).await?;
    on.witness
        .until_course(SOON, &theirs.id, "an answer to the repeat", |course| course.repeated == 1)
        .await?;
    let mut another = theirs.clone();
    set(&mut another, "remittance", json!({"unstructured": "another"}));
    on.commands.request(&another.id, &another.command).await?;
    on.witness
        .until_course(SOON, &theirs.id, "a conflict", |course| {
            course.rejected.iter().any(|reason| reason == "idempotency_conflict")
        })
        .await?;
    let mut next = on.payout(&Wish::default());
    set(&mut next, "customer_id", text(theirs, "customer_id"));
    on.commands.request(&next.id, &next.command).await?;
    verify(on, &[Expectation::completed(next.clone())]).await?;
    let shown = on.succeed(&["flow", "show", &next.id, "--show-personal-data"]).await?;
    assert!(shown.contains(&next.account), "{shown}");
    let old = on.succeed(&["flow", "show", &theirs.id, "--show-personal-data"]).await?;
    assert!(old.contains("erased on") && !canary.is_in(&old), "{old}");
    on.only_engine(ENGINE).await
}

/// Every sealed value with its place.
async fn sealed(database: &mut PgConnection) -> Result<Vec<(Place, Vec<u8>)>, Failure> {
    let mut found = Vec::new();
    for row in sqlx::query("SELECT flow, content FROM command").fetch_all(&mut *database).await? {
        found.push((Place::Command(FlowId(row.try_get("flow")?)), row.try_get("content")?));
    }
    let rows = sqlx::query("SELECT lane, seq, records FROM journal WHERE length(records) > 0");
    for row in rows.fetch_all(&mut *database).await? {
        let lane = LaneId(u16::try_from(row.try_get::<i16, _>("lane")?).unwrap_or(0));
        found.push((Place::Journal { lane, seq: row.try_get("seq")? }, row.try_get("records")?));
    }
    let rows = sqlx::query("SELECT id, request FROM attempt WHERE request IS NOT NULL");
    for row in rows.fetch_all(&mut *database).await? {
        found.push((Place::Request(AttemptId(row.try_get("id")?)), row.try_get("request")?));
    }
    for row in sqlx::query("SELECT flow, seq, record FROM parked").fetch_all(database).await? {
        let flow = FlowId(row.try_get("flow")?);
        found.push((Place::Parked { flow, seq: row.try_get("seq")? }, row.try_get("record")?));
    }
    Ok(found)
}

fn word(place: &Place) -> &'static str {
    match place {
        Place::Command(_) => "command",
        Place::Journal { .. } => "journal",
        Place::Request(_) => "request",
        Place::Parked { .. } => "parked",
    }
}

fn subject_of(on: &Installation, customer: &str) -> SubjectId {
    TenantKey::new(on.settings().tenant_key.as_bytes()).subject_id(&"default".into(), customer)
}

pub(crate) fn text(payout: &Payout, field: &str) -> String {
    payout.command.get(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

fn set(payout: &mut Payout, field: &str, to: impl Into<Value>) {
    if let Some(fields) = payout.command.as_object_mut() {
        fields.insert(field.to_owned(), to.into());
    }
}
