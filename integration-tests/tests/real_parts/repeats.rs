//! Commands that repeat, contradict or take back an earlier one, and holds that people release.

use std::time::Duration;

use integration_tests::{Course, Expectation, Failure, Installation, verify};
use signalbox::payouts::Wish;
use signalbox::scene::Decision;

use crate::Outcome;

const SOON: Duration = Duration::from_secs(30);

fn ends(payout: signalbox::payouts::Payout, status: &str, transfers: usize) -> Expectation {
    Expectation { payout, ends: vec![status.to_owned()], transfers }
}

/// The same bytes again are answered; other content under the same id is refused; both leave the payout as it is.
pub(crate) async fn same_command(on: &mut Installation) -> Outcome {
    let payout = on.payout(&Wish::default());
    for _ in 0..3 {
        on.commands.request(&payout.id, &payout.command).await?;
    }
    let mut other = payout.command.clone();
    if let Some(amount) = other.pointer_mut("/amount/minor_units") {
        *amount = 1.into();
    }
    on.commands.request(&payout.id, &other).await?;
    let answered = |course: &Course| course.repeated == 2 && course.rejected.len() == 1;
    let course =
        on.witness.until_course(SOON, &payout.id, "two repeats and a rejection", answered).await?;
    assert_eq!(course.rejected, ["idempotency_conflict"]);
    let verified = verify(on, &[Expectation::completed(payout.clone())]).await?;
    // After its end a repeat is still answered, and starts nothing.
    on.commands.request(&payout.id, &payout.command).await?;
    let third = |course: &Course| course.repeated == 3;
    let course = on
        .witness
        .until_course(SOON, &payout.id, "the answer to a repeat after the end", third)
        .await?;
    assert_eq!(course.endings.len(), 1, "a repeat ended the payout again: {course:?}");
    Ok(format!("three repeats answered, idempotency_conflict for other content; {verified}"))
}

/// Before sending a cancellation ends the payout unpaid; after it the payment is recalled, or it is too late.
pub(crate) async fn cancelling(on: &mut Installation) -> Outcome {
    let before = on.payout(&Wish { originator: Some("Kycslow".to_owned()), ..Wish::default() });
    on.commands.request(&before.id, &before.command).await?;
    on.commands.cancel(&before.id).await?;

    let after = on.payout(&Wish::default());
    on.commands.request(&after.id, &after.command).await?;
    let sent = |course: &Course| course.statuses.iter().any(|status| status == "submitted");
    on.witness.until_course(SOON, &after.id, "the event submitted", sent).await?;
    on.commands.cancel(&after.id).await?;

    let late = Expectation {
        payout: after,
        ends: vec!["recalled".to_owned(), "completed".to_owned()],
        transfers: 1,
    };
    let verified = verify(on, &[ends(before, "cancelled", 0), late]).await?;

    // Nobody can cancel what was never asked for.
    let stranger = on.payout(&Wish::default());
    on.commands.cancel(&stranger.id).await?;
    let refused = |course: &Course| !course.rejected.is_empty();
    let course = on.witness.until_course(SOON, &stranger.id, "a rejection", refused).await?;
    assert_eq!(course.rejected, ["no_such_flow"]);
    Ok(format!(
        "cancelled before sending, recalled or too late after it, no_such_flow without a payout; {verified}"
    ))
}

/// One person may decide as often as they like: it takes a second one to release a hold.
pub(crate) async fn hold(on: &mut Installation) -> Outcome {
    let payout = on.payout(&Wish { beneficiary: Some("Hit".to_owned()), ..Wish::default() });
    let id = payout.id.clone();
    on.commands.request(&id, &payout.command).await?;
    on.witness
        .until_course(SOON, &id, "an open compliance task", |course| {
            course.has_task("compliance_hold", "opened")
        })
        .await?;
    release(on, &id, "ann").await?;
    on.witness
        .until_course(SOON, &id, "a first confirmation", |course| {
            course.has_task("compliance_hold", "confirmed")
        })
        .await?;
    release(on, &id, "ann").await?;
    let decided = on.witness.until_course(
        SOON,
        &id,
        "the refusal of a second decision by the same person",
        |course| !course.rejected.is_empty(),
    );
    let course = decided.await?;
    assert!(
        course.endings.is_empty() && !course.has_task("compliance_hold", "closed"),
        "{course:?}"
    );
    release(on, &id, "bob").await?;
    let verified = verify(on, &[Expectation::completed(payout)]).await?;
    Ok(format!("ann twice released nothing, ann and bob did; {verified}"))
}

async fn release(on: &Installation, payout: &str, actor: &str) -> Result<(), Failure> {
    let decision = Decision {
        case: payout.to_owned(),
        step: "compliance_hold".to_owned(),
        journey: "payout".to_owned(),
        decision: "release".to_owned(),
        actor: actor.to_owned(),
    };
    Ok(on.commands.decide(&decision).await?)
}
