//! Databases and logs that go back in time: Postgres restored from a backup, a standby promoted, a partition of Kafka that
//! lost its tail. What operators do is done by the product's own commands, as docs/operations.md says.
//! `SIGNALBOX_RESTORE_GAP=300` forgets five minutes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, Said, verify};
use serde_json::Value;
use signalbox::payouts::{Payout, Wish};
use signalbox::scene::{Decision, SceneError};
use signalbox_schemas::AttemptId;
use signalbox_store::RecoveryStore;
use tokio::time::{Instant, sleep};

use super::crashes::{all_completed, in_mid_work, under_way};
use crate::{ENGINE, Outcome};

const SOON: Duration = Duration::from_secs(60);
/// Seconds that the database forgets, unless the environment says otherwise.
const GAP: u64 = 12;
/// Payouts between two looks at the clock, and how long one lasts.
const WAVE: usize = 4;
const WAVE_LASTS: Duration = Duration::from_millis(500);
const EVENTS: &str = "payments.payout.events.v1";

/// Postgres goes back to an earlier time while payouts are in flight.
pub(crate) async fn restored(on: &mut Installation) -> Outcome {
    let gap = std::env::var("SIGNALBOX_RESTORE_GAP").ok().and_then(|text| text.parse().ok());
    let gap = Duration::from_secs(gap.unwrap_or(GAP));
    on.bank.be_slow(50, 400).await?;
    let mut payouts = on.request(&Wish::default(), WAVE * 4).await?;
    let backup = on.stack().back_up_postgres().await.map_err(SceneError::from)?;
    let before: BTreeSet<String> = keys(on).await?;
    let end = Instant::now() + gap;
    while Instant::now() < end {
        payouts.extend(on.request(&Wish::default(), WAVE).await?);
        on.must_run()?;
        sleep(WAVE_LASTS).await;
    }
    payouts.extend(on.request(&Wish::default(), WAVE * 4).await?);
    sleep(WAVE_LASTS * 2).await;
    let ids = payouts.iter().map(|payout| payout.id.as_str());
    let ended = on.witness.ask(|seen| seen.ended(ids));
    on.stack().restore_postgres(backup).await.map_err(SceneError::from)?;

    until_noticed(on).await?;
    let said = on.run(&["lane", "list"], &[]).await?;
    assert!(said.code == Some(1) && said.err.contains("lane reconcile"), "{said:?}");
    let said = on.run(&["doctor", "--replicas", "1"], &on.vendor_settings()).await?;
    assert!(said.out.contains("commits were lost"), "{said:?}");
    on.stop_engine(ENGINE).await?;
    let found = reconcile(on, &["--json"]).await?;
    let named = names_every_transfer(on, &found, &before).await?;
    let endings = of(&found, "ending").len();
    assert!(endings >= ended, "{ended} payouts ended before the restore, {endings} are named");
    settled(on, &[]).await?;
    on.start_engine(ENGINE).await?;
    let ruled = people_settle(on, &payouts).await?;
    let expected: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    let verified = verify(on, &expected).await?;
    Ok(format!(
        "{} s forgotten with {ended} payouts ended and {} writes that may have been sent, {named} of them transfers at the \
         bank and all named; people ruled on {ruled}; {verified}",
        gap.as_secs(),
        of(&found, "attempt").len()
    ))
}

/// The primary dies, its synchronous standby is promoted, and nothing is lost.
pub(crate) async fn failed_over(on: &mut Installation) -> Outcome {
    let standby = on.stack().follow_postgres().await.map_err(SceneError::from)?;
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    on.stack().fail_over_postgres(standby).await.map_err(SceneError::from)?;
    let paid = keys(on).await?.len();
    on.stop_engine(ENGINE).await?;
    let found = reconcile(on, &["--nothing-lost", "--json"]).await?;
    assert!(of(&found, "installation").iter().any(|told| told.contains("timeline")), "{found:?}");
    assert!(of(&found, "ending").is_empty(), "a synchronous standby lacks endings: {found:?}");
    // Transfers that were on their way may still arrive; new ones are not sent on a server that nobody has confirmed.
    let held = keys(on).await?.len();
    settled(on, &["--nothing-lost"]).await?;
    on.start_engine(ENGINE).await?;
    people_settle(on, &payouts).await?;
    let verified = all_completed(on, payouts).await?;
    Ok(format!(
        "failed over with {under_way} payouts under way and {paid} transfers made, {held} when the new timeline was taken \
         over; {verified}"
    ))
}

/// A broker restarts on an older copy of its logs: what it had acknowledged since is published again.
pub(crate) async fn lost_tail(on: &mut Installation) -> Outcome {
    let copies = tempfile::tempdir().map_err(Failure::while_doing("making a folder"))?;
    let mut payouts = on.request(&Wish::default(), WAVE).await?;
    all_completed(on, payouts.clone()).await?;
    on.stack().stop_kafka().await.map_err(SceneError::from)?;
    let logs = on.stack().kafka_logs();
    for folder in partitions(&logs)? {
        copy(&logs.join(&folder), &copies.path().join(&folder))?;
    }
    on.stack().start_kafka().await.map_err(SceneError::from)?;
    let lost = on.request(&Wish::default(), WAVE * 8).await?;
    all_completed(on, lost.clone()).await?;
    on.stack().stop_kafka().await.map_err(SceneError::from)?;
    for folder in partitions(&logs)? {
        let replacing = Failure::while_doing(format!("replacing {folder}"));
        std::fs::remove_dir_all(logs.join(&folder)).map_err(replacing)?;
        copy(&copies.path().join(&folder), &logs.join(&folder))?;
    }
    on.stack().start_kafka().await.map_err(SceneError::from)?;
    let late = on.request(&Wish::default(), WAVE * 8).await?;
    // Whoever read what was lost is at offsets that mean something else now: this consumer begins anew.
    on.look_anew().await?;
    let published = lost.len();
    payouts.extend(lost.into_iter().chain(late));
    let verified = all_completed(on, payouts).await?;
    Ok(format!("the events of {published} payouts were lost and published again; {verified}"))
}

/// Until a lane has found out that commits are lost; from then on no money moves.
async fn until_noticed(on: &Installation) -> Result<(), Failure> {
    let deadline = Instant::now() + SOON;
    loop {
        if on.reader.installation().await.is_ok_and(|installation| installation.lost_commits) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = "a lane that notices the restore".to_owned();
            let seen = format!("{:?}", on.reader.lanes().await?);
            return Err(Failure::Late { what, seconds: SOON.as_secs(), seen });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What the command tells, one value per line; it must say that something is to be settled.
async fn reconcile(on: &Installation, also: &[&str]) -> Result<Vec<Value>, Failure> {
    let arguments: Vec<&str> = ["lane", "reconcile"].iter().chain(also).copied().collect();
    let said: Said = on.run(&arguments, &[]).await?;
    assert!(said.code == Some(1) && said.err.contains("--apply"), "{said:?}");
    let told: Result<Vec<Value>, _> = said.out.lines().map(serde_json::from_str).collect();
    told.map_err(|error| Failure::Broken(format!("{error}: {}", said.out)))
}

/// Settles, and then nothing is left to be settled.
async fn settled(on: &Installation, also: &[&str]) -> Result<(), Failure> {
    let by = ["lane", "reconcile", "--apply", "--actor", "ann", "--reason", "INC-12"];
    let arguments: Vec<&str> = by.iter().chain(also).copied().collect();
    // A commit whose answer was lost leaves its lanes with an engine that is gone, until their leases end.
    let deadline = Instant::now() + SOON;
    let said = loop {
        let said = on.run(&arguments, &[]).await?;
        if !said.err.contains("wait a lease") || Instant::now() > deadline {
            break said;
        }
        sleep(Duration::from_millis(500)).await;
    };
    assert!(said.out.contains("settled: lanes may be claimed"), "{said:?}");
    let said = on.succeed(&["lane", "reconcile"]).await?;
    assert!(said.contains("nothing is missing"), "{said}");
    Ok(())
}

/// Values of a field among what was told.
fn of(found: &[Value], field: &str) -> Vec<String> {
    let values = found.iter().filter_map(|told| told.get(field)?.as_str());
    values.map(str::to_owned).collect()
}

/// Every transfer since the backup is named, unless the database knows its outcome. How many are named.
async fn names_every_transfer(
    on: &Installation,
    found: &[Value],
    before: &BTreeSet<String>,
) -> Result<usize, Failure> {
    let named: BTreeSet<String> = of(found, "attempt").into_iter().collect();
    let (mut transfers, mut others) = (0, Vec::new());
    for key in keys(on).await?.difference(before) {
        if named.contains(key) {
            transfers += 1;
            continue;
        }
        let id = key.parse().map(AttemptId);
        others.push(id.map_err(|error| Failure::Broken(format!("key {key}: {error}")))?);
    }
    let known = on.reader.known_attempts(&others).await?;
    let settled =
        |id: &&AttemptId| known.iter().any(|row| row.plan.id == **id && row.result.is_some());
    let missed: Vec<&AttemptId> = others.iter().filter(|id| !settled(id)).collect();
    assert!(missed.is_empty(), "the bank made transfers that nobody names: {missed:?}");
    assert!(transfers > 0, "the restore forgot no transfer, so the story proves nothing");
    Ok(transfers)
}

/// Keys of every transfer in the bank's ledger.
async fn keys(on: &Installation) -> Result<BTreeSet<String>, Failure> {
    let ledger = on.bank.ledger().await?;
    Ok(ledger.into_iter().filter_map(|transfer| transfer.idempotency_key).collect())
}

/// People look into the bank's books where the product cannot know, and let go on what waited too long for money to be
/// let go. How many payouts they ruled on.
async fn people_settle(on: &mut Installation, payouts: &[Payout]) -> Result<usize, Failure> {
    let deadline = Instant::now() + SOON * 3;
    let mut decided: BTreeSet<(String, &str, usize)> = BTreeSet::new();
    let mut ruled = BTreeSet::new();
    loop {
        let open: Vec<&Payout> = payouts
            .iter()
            .filter(|payout| on.witness.course(&payout.id).endings.is_empty())
            .collect();
        if open.is_empty() {
            return Ok(ruled.len());
        }
        on.must_run()?;
        if Instant::now() > deadline {
            let seen: Vec<_> = open.iter().map(|payout| on.witness.course(&payout.id)).collect();
            return Err(Failure::Late {
                what: format!("an ending of {} payouts", open.len()),
                seconds: (SOON * 3).as_secs(),
                seen: format!("{seen:?}"),
            });
        }
        let transfers = on.bank.transfers_per_account().await?;
        for payout in open {
            let paid = transfers.get(&payout.account).is_some_and(|count| *count > 0);
            for (step, decision) in [
                ("settle_doubt", if paid { "executed" } else { "not_executed" }),
                ("review_sending", "approve"),
            ] {
                let openings = openings(on, payout, step);
                if openings == 0 || !decided.insert((payout.id.clone(), step, openings)) {
                    continue;
                }
                ruled.insert(payout.id.clone());
                for actor in ["ann", "bob"] {
                    on.commands.decide(&ruling(payout, step, decision, actor)).await?;
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// How often people were called to a step of a payout.
fn openings(on: &Installation, payout: &Payout, step: &str) -> usize {
    let course = on.witness.course(&payout.id);
    let calls = |status: &str| matches!(status, "opened" | "escalated");
    course.tasks.iter().filter(|task| task.step == step && calls(&task.status)).count()
}

fn ruling(payout: &Payout, step: &str, decision: &str, actor: &str) -> Decision {
    Decision {
        case: payout.id.clone(),
        journey: "payout".to_owned(),
        step: step.to_owned(),
        decision: decision.to_owned(),
        actor: actor.to_owned(),
    }
}

/// Folders of the partitions of the payouts' events.
fn partitions(logs: &Path) -> Result<Vec<String>, Failure> {
    let reading = || Failure::while_doing("reading Kafka's folder");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(logs).map_err(reading())? {
        let name = entry.map_err(reading())?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(EVENTS).and_then(|rest| rest.strip_prefix('-'));
        if number.is_some_and(|number| number.parse::<u16>().is_ok()) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Copies a folder without folders in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let copying = || Failure::while_doing(format!("copying {}", from.display()));
    std::fs::create_dir(to).map_err(copying())?;
    for entry in std::fs::read_dir(from).map_err(copying())? {
        let entry = entry.map_err(copying())?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(copying())?;
    }
    Ok(())
}
