//! More lanes, with payouts in every stage: before checks and between them, at the bank, on hold, paused with an input that
//! waits. Nothing is asked of adapters and producers but to go on. Later stories run on the lanes that this one adds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use rustix::process::Signal;
use serde_json::Value;
use signalbox::payouts::{Payout, Wish};
use signalbox::scene::{Commands, Decision};
use signalbox_bus::{KafkaConfig, TopicAdmin, TopicChange};
use signalbox_schemas::{LaneId, home_lane};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::crashes;
use super::migrating::until_open;
use super::operators::{act, standing, until};
use super::tampering::Desk;
use crate::{ENGINE, OTHER_ENGINE, Outcome};

const SOON: Duration = Duration::from_secs(30);
/// Lanes that are added.
const MORE: u16 = 4;
/// Payouts that wait for people.
const WAITING: usize = 12;
/// Payouts that a producer asks for which knows the old partitions alone.
const STALE: usize = 24;
const COMMANDS: &str = "payments.payout.commands.v1";

/// Payouts under way when lanes are added.
struct UnderWay {
    reviewed: Vec<Payout>,
    held: Vec<Payout>,
    paused: Payout,
    moving: Vec<Payout>,
}

/// What stands in the way is told; then lanes are added, and every payout ends as if nothing had happened.
pub(crate) async fn under_way(on: &mut Installation) -> Outcome {
    let before = on.reader.lane_count().await?;
    let to = before + MORE;
    let frozen = freeze_an_engine(on).await?;
    let payouts = in_every_stage(on).await?;
    let would = refused_while_an_engine_runs(on, to).await?;
    on.stop_engine(ENGINE).await?;
    let late = refused_while_commands_are_unread(on, to).await?;
    begun_and_not_finished(on, to).await?;

    let wanted = to.to_string();
    let grow = ["lane", "grow", "--to", &wanted, "--actor", "ann", "--reason", "CHG-12"];
    let begun = Instant::now();
    let grown = on.succeed(&grow).await?;
    let seconds = begun.elapsed().as_secs_f64();
    for told in [format!("{before} lanes became {to}"), "in the home lane of its key".to_owned()] {
        assert!(grown.contains(&told), "{told} is not told: {grown}");
    }
    let moved = every_row_is_at_home(on, before, to).await?;
    let again = on.succeed(&grow).await?;
    assert!(again.starts_with(&format!("there are {to} lanes already")), "{again}");
    the_number_is_kept(on, before, to).await?;

    // The engine that slept through it knows another number and must not work.
    on.signal_engine(frozen, Signal::CONT)?;
    let end = on.engine_gives_up(frozen, SOON).await?;
    assert!(end.contains(&format!("there are {to} now; start it again")), "{end}");

    on.start_engine(ENGINE).await?;
    on.until_lanes(SOON, ENGINE, |held| held == usize::from(to)).await?;
    let stale = on.learn_partitions().await?;
    let mut expected = asked_for_by(&stale, on).await?;
    settle(on, &stale, &payouts).await?;
    let UnderWay { reviewed, held, paused, moving } = payouts;
    let example = reviewed.iter().chain(&held).find(|payout| moves(payout, before, to)).cloned();
    let all = reviewed.into_iter().chain(held).chain(moving).chain(late).chain([paused]);
    expected.extend(all.map(Expectation::completed));
    let verified = verify(on, &expected).await?;
    let (commands, outcomes) = forwarded(on).await?;
    assert!(commands > 0, "no record of a producer with old partitions was forwarded");
    assert!(outcomes > 0, "no answer was under way while lanes were added");
    let example =
        example.ok_or_else(|| Failure::Broken("no payout changed its lane".to_owned()))?;
    trail_in_two_lanes(on, &example).await?;
    Ok(format!(
        "{before} lanes became {to} in {seconds:.1} s, {moved} flows moved ({would}); {commands} commands and {outcomes} answers forwarded; \
         an engine that slept through it gave up; a payout's trail in two lanes is proven; {verified}"
    ))
}

/// An engine that hangs with lanes of its own, until its leases have expired and the other one has all lanes.
async fn freeze_an_engine(on: &mut Installation) -> Result<signalbox::scene::EngineName, Failure> {
    on.start_engine(OTHER_ENGINE).await?;
    on.until_lanes(SOON, OTHER_ENGINE, |held| held > 0).await?;
    on.signal_engine(OTHER_ENGINE, Signal::STOP)?;
    let all = usize::from(on.reader.lane_count().await?);
    on.until_lanes(SOON * 2, ENGINE, |held| held == all).await?;
    Ok(OTHER_ENGINE)
}

async fn in_every_stage(on: &mut Installation) -> Result<UnderWay, Failure> {
    let review = Wish { originator: Some("Fraudreview".to_owned()), ..Wish::default() };
    let mut reviewed = on.request(&review, WAITING).await?;
    until_open(on, &reviewed, "review_fraud").await?;
    let hold = Wish { beneficiary: Some("Hit".to_owned()), ..Wish::default() };
    let held = on.request(&hold, WAITING / 2).await?;
    until_open(on, &held, "compliance_hold").await?;
    // One stands still, and the decision about it waits.
    let paused = reviewed.remove(0);
    act(on, "pause", &paused.id, "ann").await?;
    until(on, &paused.id, "a pause", |row| standing(row) == Some("paused")).await?;
    on.commands.decide(&decision(&paused, "review_fraud", "approve", "fay")).await?;
    let waits = |row: &signalbox_store::FlowRow| {
        row.data.value().pointer("/standstill/next").and_then(Value::as_i64) == Some(1)
    };
    until(on, &paused.id, "a decision that waits", waits).await?;
    let moving = crashes::in_mid_work(on).await?;
    for payout in &moving {
        until(on, &payout.id, "a flow", |_| true).await?;
    }
    Ok(UnderWay { reviewed, held, paused, moving })
}

/// The dry run says who holds lanes and what would move, and changes nothing.
async fn refused_while_an_engine_runs(on: &Installation, to: u16) -> Result<String, Failure> {
    let said = on.run(&["lane", "grow", "--to", &to.to_string(), "--dry-run"], &[]).await?;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains(&format!("is held by {}", ENGINE.0)), "{}", said.out);
    assert!(said.out.contains(&format!("widen     {COMMANDS} from")), "{}", said.out);
    let would = said.out.lines().find(|line| line.starts_with("dry run: "));
    Ok(would.unwrap_or_default().to_owned())
}

/// A command that nobody has read could be overtaken by a later one. An engine reads them and is stopped again, while their
/// first questions are at the vendors.
async fn refused_while_commands_are_unread(
    on: &mut Installation,
    to: u16,
) -> Result<Vec<Payout>, Failure> {
    let late = on.request(&Wish::default(), WAITING).await?;
    let grow = ["lane", "grow", "--to", &to.to_string(), "--actor", "ann", "--reason", "CHG-12"];
    let said = on.run(&grow, &[]).await?;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("records that were not read"), "{}", said.out);
    on.start_engine(ENGINE).await?;
    for payout in &late {
        until(on, &payout.id, "a flow", |_| true).await?;
    }
    on.stop_engine(ENGINE).await?;
    Ok(late)
}

/// As after a crash: a topic is wider already, lanes are not there. No engine works until it is finished.
async fn begun_and_not_finished(on: &Installation, to: u16) -> Result<(), Failure> {
    let kafka = KafkaConfig { brokers: on.settings().brokers.clone(), properties: BTreeMap::new() };
    let admin = TopicAdmin::connect(&kafka)?;
    let wider = TopicChange::Widen { topic: COMMANDS.to_owned(), from: to - MORE, to };
    admin.apply(&[wider]).await?;
    let said =
        on.run(&["engine", "--worker-id", "early", "--admin-listen", "127.0.0.1:0"], &[]).await?;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(
        said.err.contains(&format!("finish with `signalbox lane grow --to {to}`")),
        "{}",
        said.err
    );
    Ok(())
}

/// Counted by the tests themselves: how many flows live elsewhere than before.
async fn every_row_is_at_home(on: &Installation, before: u16, to: u16) -> Result<usize, Failure> {
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let rows: Vec<(String, i16)> = sqlx::query_as(
        "SELECT flow.aggregate, flow.lane FROM flow
         UNION ALL SELECT flow.aggregate, timer.lane FROM timer JOIN flow ON flow.id = timer.flow
         UNION ALL SELECT flow.aggregate, attempt.lane FROM attempt JOIN flow ON flow.id = attempt.flow
         UNION ALL SELECT flow.aggregate, parked.lane FROM parked JOIN flow ON flow.id = parked.flow",
    )
    .fetch_all(&mut database)
    .await?;
    for (key, lane) in &rows {
        assert_eq!(home_lane(key.as_bytes(), to).partition(), i32::from(*lane), "{key}");
    }
    let flows: Vec<String> =
        sqlx::query_scalar("SELECT aggregate FROM flow").fetch_all(&mut database).await?;
    let moved = |key: &&String| home_lane(key.as_bytes(), before) != home_lane(key.as_bytes(), to);
    Ok(flows.iter().filter(moved).count())
}

fn moves(payout: &Payout, before: u16, to: u16) -> bool {
    home_lane(payout.id.as_bytes(), before) != home_lane(payout.id.as_bytes(), to)
}

/// Neither a migration nor the topics of the file bring the old number back.
async fn the_number_is_kept(on: &Installation, before: u16, to: u16) -> Result<(), Failure> {
    let said = on.succeed(&["migrate"]).await?;
    assert!(said.contains(&format!("{to} lanes")), "{said}");
    let said = on.run(&["migrate", "--lanes", &before.to_string()], &[]).await?;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let said = on.succeed(&["topics", "plan", "--replicas", "1"]).await?;
    assert!(said.contains("nothing to change"), "{said}");
    Ok(())
}

/// A producer that has not heard of it puts new payouts where they would have lived.
async fn asked_for_by(
    stale: &Commands,
    on: &mut Installation,
) -> Result<Vec<Expectation>, Failure> {
    let mut expected = Vec::new();
    for _ in 0..STALE {
        let payout = on.payout(&Wish::default());
        stale.request(&payout.id, &payout.command).await?;
        expected.push(Expectation::completed(payout));
    }
    Ok(expected)
}

/// People decide, half of them with consoles that have not heard of it.
async fn settle(on: &Installation, stale: &Commands, payouts: &UnderWay) -> Result<(), Failure> {
    for (place, payout) in payouts.reviewed.iter().enumerate() {
        let by = if place % 2 == 0 { stale } else { &on.commands };
        by.decide(&decision(payout, "review_fraud", "approve", "fay")).await?;
    }
    for payout in &payouts.held {
        for actor in ["ann", "bob"] {
            stale.decide(&decision(payout, "compliance_hold", "release", actor)).await?;
        }
    }
    act(on, "resume", &payouts.paused.id, "bob").await
}

fn decision(payout: &Payout, step: &str, decision: &str, actor: &str) -> Decision {
    Decision {
        case: payout.id.clone(),
        journey: "payout".to_owned(),
        step: step.to_owned(),
        decision: decision.to_owned(),
        actor: actor.to_owned(),
    }
}

/// Commands and answers that lanes have sent home since they were added.
async fn forwarded(on: &Installation) -> Result<(i64, i64), Failure> {
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let count = "SELECT count(*) FROM journal WHERE kind = 'forward' AND input_topic LIKE $1
                 AND at > (SELECT max(at) FROM journal WHERE kind = 'lanes')";
    let mut counts = [0; 2];
    for (place, topics) in ["%.commands.v1", "%.outcomes.v1"].into_iter().enumerate() {
        let found = sqlx::query_scalar(count).bind(topics).fetch_one(&mut database).await?;
        if let Some(count) = counts.get_mut(place) {
            *count = found;
        }
    }
    Ok(counts.into())
}

/// What a payout did before is in the chain of one lane and what it did afterwards in that of another; both are proven.
async fn trail_in_two_lanes(on: &mut Installation, payout: &Payout) -> Result<(), Failure> {
    // An engine that stops in order anchors once more: then the last rows are proven, too.
    on.stop_engine(ENGINE).await?;
    let flow = on.reader.find_flows(&payout.id).await?.remove(0).row;
    let journal = on.reader.journal_of(flow.id).await?;
    let lanes: BTreeSet<LaneId> = journal.iter().map(|row| row.lane).collect();
    assert_eq!(lanes.len(), 2, "the trail of {} is in {lanes:?}", payout.id);
    let revisions: Vec<i64> =
        journal.iter().map(|row| row.flow_rev).filter(|rev| *rev > 0).collect();
    assert!(revisions.is_sorted(), "rows of two lanes are told out of order: {revisions:?}");
    let desk = Desk::new(on)?;
    let export = desk.export(&["--flow", &payout.id]).await?;
    let proof = desk.verify(&export).await?;
    let told =
        format!("{} rows are as they were written, which signed anchors prove", journal.len());
    assert!(proof.contains(&told), "{proof}");
    Ok(())
}
