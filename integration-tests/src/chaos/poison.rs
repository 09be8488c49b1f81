//! Records that nobody can process, as a broken program might publish them: one that nobody can read, and one that is read
//! and answers what was never asked, which parks its flow until two people set it aside.

use std::time::Duration;

use serde_json::json;
use signalbox::payouts::Wish;
use signalbox::scene::COMMANDS;
use signalbox_store::FlowRow;
use tokio::time::{Instant, sleep};

use super::fault::{Hand, clock_ms};
use crate::failure::Failure;
use crate::installation::Installation;

const OUTCOMES: &str = "kyc.check.outcomes.v1";
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Exit code of a command where Kafka, the registry or Postgres does not answer.
const SERVER_FAILS: i32 = 3;

/// Publishes both, and has people set aside what parks a flow.
pub(crate) async fn publish(hand: &mut Hand<'_>) -> Result<i64, Failure> {
    let key = format!("poison {}", hand.random.u64(..));
    let garbage: Vec<u8> = std::iter::repeat_with(|| hand.random.u8(1..)).take(60).collect();
    hand.site.on.commands.publish_raw(COMMANDS, &key, garbage).await?;

    // Its identity check is slow, so that it is still asked for when the wrong answer comes.
    let slow = Wish { originator: Some("Kycslow".to_owned()), ..Wish::default() };
    let id = hand.load.bring(slow).await?;
    let on = &hand.site.on;
    let flow = on.until_flow(&id, PATIENCE, "a flow", |_| true).await?;
    answer_to_nothing(on, &flow).await?;
    let parked = on
        .until_flow(&id, PATIENCE, "an end of waiting", |flow| {
            flow.standing.is_some() || flow.ended
        })
        .await?;
    if !parked.ended {
        for actor in ["ann", "bob"] {
            let words = ["flow", "set-aside", &id, "--actor", actor, "--reason", "INC-7"];
            act(on, &words).await?;
        }
    }
    Ok(clock_ms())
}

/// What an operator does, once more where a server does not answer.
async fn act(on: &Installation, words: &[&str]) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = on.run(words, &[]).await?;
        match said.code {
            Some(0) => return Ok(()),
            Some(SERVER_FAILS) if Instant::now() < deadline => sleep(LOOK).await,
            _ => return Err(Failure::Broken(format!("{words:?}: {}", said.err))),
        }
    }
}

/// An answer that fits its record, to a call that its flow never made.
///
/// # Errors
/// `Scene` where Kafka does not take it.
pub async fn answer_to_nothing(on: &Installation, flow: &FlowRow) -> Result<(), Failure> {
    let answer = json!({
        "ref": {"attempt_id": "8d8ac610-566d-8ef0-9c22-186b2a5ed793", "flow_id": flow.id,
                "aggregate_id": flow.aggregate, "tenant": flow.tenant, "lane": flow.lane, "answered_at": 0},
        "outcome": "pass"});
    let payload = on.commands.encode(OUTCOMES, "kyc.check.Outcome", &answer)?;
    Ok(on.commands.publish_raw(OUTCOMES, flow.aggregate.as_str(), payload).await?)
}
