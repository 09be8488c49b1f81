//! Records that no engine can process: they land on the dead-letter topic as they were, with their cause, and the
//! partition goes on behind them.

use std::time::Duration;

use integration_tests::{DeadLetter, Expectation, Failure, Installation, verify};
use signalbox::payouts::{Payout, REQUEST_PAYOUT, Wish};
use signalbox::scene::COMMANDS;
use signalbox_schemas::{LaneId, headers, home_lane};

use crate::Outcome;

const SOON: Duration = Duration::from_secs(30);
/// No registry of a test gives out an id this high.
const UNKNOWN_SCHEMA: u32 = 900_001;

struct Poison {
    what: &'static str,
    key: String,
    payload: Vec<u8>,
    code: &'static str,
    class: &'static str,
}

/// Four sorts of poison and a good payout behind them, all in one partition.
pub(crate) async fn set_aside(on: &mut Installation) -> Outcome {
    let lanes = on.reader.lane_count().await?;
    let good = on.payout(&Wish::default());
    let lane = home_lane(good.id.as_bytes(), lanes);
    let poisons = poisons(on, lane, lanes)?;
    for poison in &poisons {
        on.commands.publish_raw(COMMANDS, &poison.key, poison.payload.clone()).await?;
    }
    on.commands.request(&good.id, &good.command).await?;
    for poison in &poisons {
        let what = format!("the dead letter of a record that is {}", poison.what);
        let is_it = |dead: &&DeadLetter| dead.record.key_text() == Some(poison.key.as_str());
        let found =
            on.witness.until(SOON, &what, |seen| seen.dead_letters.iter().find(is_it).cloned());
        expect(&found.await?, poison, lane);
    }
    let verified = verify(on, &[Expectation::completed(good)]).await?;
    let told: Vec<&str> = poisons.iter().map(|poison| poison.what).collect();
    Ok(format!(
        "dead letters, byte for byte, of records that are {}; behind them {verified}",
        told.join(", ")
    ))
}

fn expect(dead: &DeadLetter, poison: &Poison, lane: LaneId) {
    let what = poison.what;
    assert_eq!(dead.record.topic.as_str(), format!("{COMMANDS}.dlq"), "{what}");
    assert_eq!(
        dead.record.payload.as_deref(),
        Some(poison.payload.as_slice()),
        "{what}: other bytes"
    );
    assert_eq!(dead.header(headers::DLQ_TOPIC), COMMANDS, "{what}");
    assert_eq!(dead.header(headers::DLQ_PARTITION), lane.0.to_string(), "{what}");
    assert!(dead.header(headers::DLQ_OFFSET).parse::<u64>().is_ok(), "{what}");
    assert!(!dead.header(headers::DLQ_STAGE).is_empty(), "{what}");
    assert_eq!(dead.header(headers::DLQ_EXCEPTION), poison.code, "{what}");
    assert_eq!(dead.header(headers::DLQ_CODE), poison.code, "{what}");
    assert_eq!(dead.header(headers::DLQ_CLASS), poison.class, "{what}");
    assert!(!dead.header(headers::DLQ_MESSAGE).is_empty(), "{what}: no cause");
}

fn poisons(on: &mut Installation, lane: LaneId, lanes: u16) -> Result<Vec<Poison>, Failure> {
    let whole: Payout = on.payout(&Wish::default());
    let whole = on.commands.encode(COMMANDS, REQUEST_PAYOUT, &whole.command)?;
    let truncated = whole.iter().copied().take(whole.len() - 7).collect();
    let mut unknown = vec![0];
    unknown.extend(UNKNOWN_SCHEMA.to_be_bytes());
    unknown.extend(whole.iter().skip(5));
    let poison = |what, payload, code, class| Poison {
        what,
        key: key_in(lane, lanes, what),
        payload,
        code,
        class,
    };
    Ok(vec![
        poison("truncated", truncated, "undecodable", "permanent"),
        poison("garbage", b"\xff no record at all".to_vec(), "undecodable", "permanent"),
        poison("of an unknown schema", unknown, "undecodable", "permanent"),
        poison("keyed by another id", whole, "key_mismatch", "requires_repair"),
    ])
}

/// A key that lives in this lane.
fn key_in(lane: LaneId, lanes: u16, what: &str) -> String {
    let keys = (0..).map(|number| format!("poison {what} {number}"));
    let mut at_home = keys.filter(|key| home_lane(key.as_bytes(), lanes) == lane);
    at_home.next().unwrap_or_default()
}
