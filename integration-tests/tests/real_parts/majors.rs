//! Two majors of a command at once: services move one after another, and nobody notices who has moved.

use std::time::Duration;

use integration_tests::{
    Course, DeadLetter, Expectation, FIRST_REQUEST_PAYOUT, Failure, Installation, in_first_major,
    verify,
};
use serde_json::{Value, json};
use signalbox::payouts::{Payout, REQUEST_PAYOUT, Wish};
use signalbox::scene::{COMMANDS, Commands};
use signalbox_schemas::headers;

use crate::Outcome;

const SOON: Duration = Duration::from_secs(30);
/// The service that has not moved yet, and the one that has.
const OLD: &str = "/services/branch-payouts";
const NEW: &str = "/services/app-payouts";

/// Payouts by either major and by both; repeats, contradictions, cancellations and a broken record.
pub(crate) async fn side_by_side(on: &mut Installation) -> Outcome {
    let services = Services { old: on.commands.of(OLD), new: on.commands.of(NEW) };
    let (by_old, by_new) = (on.payout(&Wish::default()), on.payout(&Wish::default()));
    services.old_asks(&by_old).await?;
    services.new_asks(&by_new).await?;

    // The service moves between two attempts to ask, in either direction.
    let moved = on.payout(&Wish::default());
    services.old_asks(&moved).await?;
    services.new_asks(&moved).await?;
    let went_back = on.payout(&Wish::default());
    services.new_asks(&went_back).await?;
    services.old_asks(&went_back).await?;
    for payout in [&moved, &went_back] {
        let once = |course: &Course| course.repeated == 1 && course.rejected.is_empty();
        on.witness.until_course(SOON, &payout.id, "the answer to a repeat", once).await?;
    }

    // The same id with another meaning, in either direction.
    let (one, other) = (on.payout(&Wish::default()), on.payout(&Wish::default()));
    services.old_asks(&one).await?;
    services.new_asks(&with_amount(&one, 1)).await?;
    services.new_asks(&other).await?;
    services.old_asks(&with_amount(&other, 1)).await?;
    for payout in [&one, &other] {
        let refused = |course: &Course| course.rejected == ["idempotency_conflict"];
        on.witness.until_course(SOON, &payout.id, "a rejection", refused).await?;
    }

    // What comes after a request finds its flow, whichever major that came by and whoever says it.
    let slow = Wish { originator: Some("Kycslow".to_owned()), ..Wish::default() };
    let (first, second) = (on.payout(&slow), on.payout(&slow));
    services.old_asks(&first).await?;
    services.new.cancel(&first.id).await?;
    services.new_asks(&second).await?;
    services.old.cancel(&second.id).await?;

    broken_one_is_set_aside(on).await?;

    let paid = [by_old, by_new, moved, went_back, one, other];
    let count = paid.len();
    let expected = paid.into_iter().map(Expectation::completed);
    let not_paid = [first, second].into_iter().map(|payout| Expectation {
        payout,
        ends: vec!["cancelled".to_owned()],
        transfers: 0,
    });
    let verified = verify(on, &expected.chain(not_paid).collect::<Vec<_>>()).await?;
    let told = owners_see_who_has_not_moved(on).await?;
    Ok(format!(
        "{count} payouts by two majors, one transfer each, and two cancelled; {told}; {verified}"
    ))
}

/// A service for each major.
struct Services {
    old: Commands,
    new: Commands,
}

impl Services {
    async fn old_asks(&self, payout: &Payout) -> Result<(), Failure> {
        let command = in_first_major(&payout.command);
        Ok(self.old.command(FIRST_REQUEST_PAYOUT, &payout.id, &command).await?)
    }

    async fn new_asks(&self, payout: &Payout) -> Result<(), Failure> {
        Ok(self.new.command(REQUEST_PAYOUT, &payout.id, &payout.command).await?)
    }
}

fn with_amount(payout: &Payout, minor_units: i64) -> Payout {
    let mut other = payout.clone();
    if let Some(amount) = other.command.pointer_mut("/amount/minor_units") {
        *amount = json!(minor_units);
    }
    other
}

/// A record of the newer major that was cut is a dead letter, byte for byte; one of the older major behind it is not.
async fn broken_one_is_set_aside(on: &mut Installation) -> Result<(), Failure> {
    let broken = on.payout(&Wish::default());
    let mut cut = on.commands.encode(COMMANDS, REQUEST_PAYOUT, &broken.command)?;
    cut.truncate(cut.len() - 5);
    on.commands.publish_raw(COMMANDS, &broken.id, cut.clone()).await?;
    let is_it = |dead: &&DeadLetter| dead.record.key_text() == Some(broken.id.as_str());
    let found = on.witness.until(SOON, "the dead letter of a cut record", |seen| {
        seen.dead_letters.iter().find(is_it).cloned()
    });
    let found = found.await?;
    assert_eq!(found.record.topic.as_str(), format!("{COMMANDS}.dlq"));
    assert_eq!(found.record.payload.as_deref(), Some(cut.as_slice()), "other bytes");
    assert_eq!(found.header(headers::DLQ_CODE), "undecodable");
    // Asked for again, whole and in the older major, it is paid like any other.
    let command = in_first_major(&broken.command);
    on.commands.of(OLD).command(FIRST_REQUEST_PAYOUT, &broken.id, &command).await?;
    verify(on, &[Expectation::completed(broken)]).await?;
    Ok(())
}

/// The deprecated major is counted by the engine, and who sends it is told from the topic.
async fn owners_see_who_has_not_moved(on: &Installation) -> Result<String, Failure> {
    let said = on.succeed(&["topics", "senders", COMMANDS, "--deprecated", "--json"]).await?;
    let lines: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = |field: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.get(field).and_then(Value::as_str)).collect()
    };
    assert_eq!(told("record"), [FIRST_REQUEST_PAYOUT], "{said}");
    assert_eq!(told("source"), [OLD], "{said}");
    let records = lines.first().and_then(|line| line.get("records")).and_then(Value::as_u64);
    assert_eq!(records, Some(7), "{said}");
    let mut metrics = String::new();
    for address in on.admin_addresses() {
        metrics.push_str(&on.get(&format!("http://{address}/metrics")).await?.1);
    }
    let counts = |line: &&str| {
        line.starts_with("signalbox_commands_total")
            && line.contains(&format!("record=\"{FIRST_REQUEST_PAYOUT}\""))
            && line.contains("deprecated=\"yes\"")
    };
    let counted = metrics.lines().find(counts).and_then(|line| line.rsplit(' ').next());
    assert_eq!(counted, Some("7"), "{metrics}");
    Ok(format!("{OLD} sent 7 of the deprecated major"))
}
