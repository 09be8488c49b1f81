//! Operators at work: a payout stands still while they want it, what no flow can process parks one and is set aside by two
//! people, and a stopped lane is started by a command. Everything through the product's own commands.

use std::time::Duration;

use integration_tests::{
    DeadLetter, Expectation, Failure, Installation, answer_to_nothing, verify,
};
use serde_json::json;
use signalbox::payouts::Wish;
use signalbox_store::{FlowRow, LaneFence, LaneStore, PgLaneStore, StopCause};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::Outcome;

const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn act(
    on: &Installation,
    act: &str,
    id: &str,
    actor: &str,
) -> Result<(), Failure> {
    on.succeed(&["flow", act, id, "--actor", actor, "--reason", "INC-7"]).await.map(drop)
}

/// Waits until the payout's flow is as wanted.
pub(crate) async fn until(
    on: &Installation,
    id: &str,
    what: &str,
    wanted: impl Fn(&FlowRow) -> bool,
) -> Result<FlowRow, Failure> {
    on.until_flow(id, SOON, what, wanted).await
}

pub(crate) fn standing(row: &FlowRow) -> Option<&'static str> {
    row.standing.map(signalbox_store::Standing::as_str)
}

/// Paused, its answer waits; resumed, it is applied. An answer to a question that was never asked parks it.
pub(crate) async fn at_work(on: &mut Installation) -> Outcome {
    let slow = || Wish { originator: Some("Kycslow".to_owned()), ..Wish::default() };
    let paused = on.payout(&slow());
    on.commands.request(&paused.id, &paused.command).await?;
    until(on, &paused.id, "a flow", |_| true).await?;
    act(on, "pause", &paused.id, "ann").await?;
    until(on, &paused.id, "a pause", |row| standing(row) == Some("paused")).await?;
    let waits = |row: &FlowRow| row.data.value().pointer("/standstill/next") == Some(&json!(1));
    until(on, &paused.id, "an answer that waits", waits).await?;
    let listed = on.succeed(&["flow", "list", "--standing"]).await?;
    assert!(listed.contains(&paused.id) && listed.contains("INC-7"), "{listed}");
    act(on, "resume", &paused.id, "bob").await?;

    let parked = on.payout(&slow());
    on.commands.request(&parked.id, &parked.command).await?;
    let flow = until(on, &parked.id, "a flow", |_| true).await?;
    answer_to_nothing(on, &flow).await?;
    until(on, &parked.id, "parking", |row| standing(row) == Some("parked")).await?;
    act(on, "set-aside", &parked.id, "ann").await?;
    act(on, "set-aside", &parked.id, "Ann").await?;
    on.witness
        .until_course(SOON, &parked.id, "ann's refusal", |course| !course.rejected.is_empty())
        .await?;
    until(on, &parked.id, "one agreement", |row| standing(row) == Some("parked")).await?;
    nobody_sits_twice(on, &flow).await?;
    act(on, "set-aside", &parked.id, "bob").await?;
    let is_it = |dead: &&DeadLetter| {
        dead.header("dlq.error.code") == "set_aside"
            && dead.record.key_text() == Some(parked.id.as_str())
    };
    on.witness
        .until(SOON, "the answer that was set aside", |seen| {
            seen.dead_letters.iter().find(is_it).cloned()
        })
        .await?;
    let verified =
        verify(on, &[Expectation::completed(paused), Expectation::completed(parked)]).await?;
    Ok(format!("paused and resumed, parked and set aside by two; {verified}"))
}

/// Whatever a program writes, the database lets nobody agree twice and nobody agree out of turn.
async fn nobody_sits_twice(on: &Installation, flow: &FlowRow) -> Result<(), Failure> {
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    for (actor, shift) in [("ann", 1), ("bob", 2)] {
        let refused = sqlx::query(
            "INSERT INTO assent (flow, matter, occasion, seat, people, actor)
             SELECT flow, matter, occasion, seat + $3, 3, $2 FROM assent WHERE flow = $1",
        )
        .bind(uuid(flow))
        .bind(actor)
        .bind(shift)
        .execute(&mut database)
        .await;
        let code = refused.err().and_then(|error| {
            error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()))
        });
        let code = code.unwrap_or_default();
        assert!(code.starts_with("23"), "{actor} took a seat of another: {code:?}");
    }
    Ok(())
}

fn uuid(flow: &FlowRow) -> sqlx::types::Uuid {
    flow.id.0
}

/// A lane that is stopped is listed with its reason, started by a command, served again, and its chain says by whom.
pub(crate) async fn stopped_lane(on: &mut Installation) -> Outcome {
    let status = on.reader.lanes().await?.into_iter().next();
    let status = status.ok_or_else(|| Failure::Broken("there is no lane".to_owned()))?;
    let mut store = PgLaneStore::new(&on.settings().postgres, "story", Duration::from_secs(5))?;
    let fence = LaneFence { lane: status.lane, epoch: status.epoch, rev: 0 };
    let fenced = LaneFence { epoch: status.epoch - 1, ..fence };
    let late = store.stop_lane(fenced, StopCause::LostCommits, "a worker that was paused").await?;
    assert!(
        !late && !on.reader.installation().await?.lost_commits,
        "who is fenced holds money back"
    );
    assert!(store.stop_lane(fence, StopCause::Lane, "a story stops it").await?);
    let said = on.run(&["lane", "list"], &[]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("stopped: a story stops it"), "{said:?}");

    let lane = status.lane.to_string();
    let start = ["lane", "start", &lane, "--actor", "ann", "--reason", "the story goes on"];
    on.succeed(&start).await?;
    assert_eq!(on.run(&start, &[]).await?.code, Some(1), "it is not stopped any more");
    let deadline = Instant::now() + SOON;
    loop {
        let lanes = on.reader.lanes().await?;
        if lanes.iter().all(|lane| lane.owner.is_some() && lane.stopped.is_none()) {
            break;
        }
        assert!(Instant::now() < deadline, "nobody claims the lane: {lanes:?}");
        sleep(Duration::from_millis(100)).await;
    }
    on.succeed(&["audit", "verify"]).await?;
    let rows = on.reader.journal_after(status.lane, status.journal_seq - 1, 10_000).await?;
    let row = rows.iter().find(|row| row.kind == "lane_start" && row.actor == "ann");
    assert!(row.is_some_and(|row| row.reason.contains("a story stops it")), "{rows:?}");
    Ok(format!("lane {lane} was stopped, listed, started by ann and claimed; every chain holds"))
}
