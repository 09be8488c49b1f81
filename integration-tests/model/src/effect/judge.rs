//! The model's rows in the product's types, so that the product's own rules judge them.

use serde_json::{Value, json};
use signalbox_adapters::model::{Answer, Evidence, HttpRequest, Idempotency, Outcome};
use signalbox_adapters::rules::{self, Inquiry, Move, Words};
use signalbox_schemas::{AttemptId, ErrorClass, FlowId, LaneId, Micros};
use signalbox_store::{AttemptRow, Disposition as Stored, NewAttempt, Permit};
use uuid::Uuid;

use super::parts::{Attempt, Disposition, Money};

/// What an adapter does with a payment that is not its own to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    Resend(u8),
    Inquire(u8),
    Publish(Money),
    Nothing,
}

/// What the vendor says when it is asked by our reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Executed,
    Refused,
    Nothing,
}

/// `rules::on_permit`, for a permit that was not granted.
pub(super) fn on_permit(attempt: &Attempt, terms: Idempotency, held: bool) -> Course {
    let row = (attempt.disposition != Disposition::Missing).then(|| row(attempt));
    let sends = |sends: u32| u8::try_from(sends).unwrap_or(u8::MAX);
    match rules::on_permit(&Permit::refused(row, held), terms, now(attempt)) {
        Move::Resend { sends: by, .. } => Course::Resend(sends(by)),
        Move::Inquire { sends: by, .. } => Course::Inquire(sends(by)),
        Move::Publish(answer) => Course::Publish(money(&answer)),
        Move::Closed => Course::Publish(Money::Unavailable),
        Move::Send | Move::AskAgain | Move::Drop | Move::Page => Course::Nothing,
    }
}

/// `rules::inquiry`: whether to ask the vendor, or what the row alone tells.
pub(super) fn on_inquiry(attempt: &Attempt) -> Result<u8, Found> {
    let row = (attempt.disposition != Disposition::Missing).then(|| row(attempt));
    match rules::inquiry(row.as_ref()) {
        Inquiry::Ask { sends, .. } => Ok(u8::try_from(sends).unwrap_or(u8::MAX)),
        Inquiry::Answer(answer) if answer.outcome == Outcome::NotExecuted => Err(Found::Refused),
        Inquiry::Answer(_) | Inquiry::Page(_) => Err(Found::Nothing),
    }
}

/// `rules::key_usable`.
pub(super) fn key_usable(attempt: &Attempt, terms: Idempotency) -> bool {
    rules::key_usable(&row(attempt), terms, now(attempt)).is_some()
}

/// `rules::settle`, of a refusal in payout.send's words: whether it is believed.
pub(super) fn refusal_holds(sends: u8, terms: Idempotency) -> bool {
    let refused =
        Answer::of(Outcome::Rejected).class(ErrorClass::Permanent).evidence(Evidence::Refused);
    let settled = rules::settle(Words::Send, refused, u32::from(sends), terms);
    settled.outcome == Outcome::Rejected
}

/// `rules::rests_on`: whether a refusal is believed only as long as nobody else has sent again.
pub(super) fn refusal_rests_on_sends(sends: u8, terms: Idempotency) -> bool {
    let refused =
        Answer::of(Outcome::Rejected).class(ErrorClass::Permanent).evidence(Evidence::Refused);
    rules::rests_on(Words::Send, &refused, u32::from(sends), terms).is_some()
}

/// `rules::settle`, of bytes that did not leave: whether that is believed.
pub(super) fn unsent(sends: u8, terms: Idempotency) -> Money {
    let unsent =
        Answer::unavailable(ErrorClass::Transient, "not_reached").evidence(Evidence::NotSent);
    money(&rules::settle(Words::Send, unsent, u32::from(sends), terms))
}

/// `rules::settle`, of an inquiry, in payout.send's words.
pub(super) fn found(found: Found, sends: u8, terms: Idempotency) -> Money {
    let answer = match found {
        Found::Executed => Answer::of(Outcome::Settled),
        Found::Refused => Answer::of(Outcome::NotExecuted)
            .class(ErrorClass::Permanent)
            .evidence(Evidence::Recorded),
        Found::Nothing => Answer::in_doubt("not_found").evidence(Evidence::NotFound),
    };
    money(&rules::as_sent(rules::settle(Words::Inquire, answer, u32::from(sends), terms)))
}

fn money(answer: &Answer) -> Money {
    match answer.outcome {
        Outcome::Accepted => Money::Accepted,
        Outcome::Rejected | Outcome::RequiresRepair | Outcome::Blocked => Money::Rejected,
        Outcome::Unavailable => Money::Unavailable,
        _ => Money::InDoubt,
    }
}

/// Hours since the permit that stand for an age, in a window of a day.
fn now(attempt: &Attempt) -> Micros {
    let hours = [1, 13, 25][usize::from(attempt.age)];
    Micros(hours * 3_600_000_000)
}

fn row(attempt: &Attempt) -> AttemptRow {
    let begun = attempt.disposition == Disposition::Sending;
    AttemptRow {
        plan: NewAttempt {
            id: AttemptId(Uuid::nil()),
            lane: LaneId(0),
            flow: FlowId(Uuid::nil()),
            step: "send".into(),
            group: 0,
            capability: "payout.send".to_owned(),
            planned_at: Micros(0),
        },
        disposition: match attempt.disposition {
            Disposition::Missing | Disposition::Planned => Stored::Planned,
            Disposition::Sending => Stored::Sending,
            Disposition::Abandoned => Stored::Abandoned,
        },
        vendor: begun.then(|| "vendor".to_owned()),
        sends: u32::from(attempt.sends),
        request: begun
            .then(|| HttpRequest::post("pay", "/payments".to_owned(), &json!({})).write().stored()),
        first_sent_at: begun.then_some(Micros(0)),
        result: attempt.result.map(stored),
        contradiction: None,
    }
}

fn stored(money: Money) -> Value {
    let outcome = match money {
        Money::Accepted => Outcome::Accepted,
        Money::Rejected => Outcome::Rejected,
        Money::InDoubt => Outcome::InDoubt,
        Money::Unavailable => Outcome::Unavailable,
    };
    serde_json::to_value(Answer::of(outcome)).unwrap_or_default()
}
