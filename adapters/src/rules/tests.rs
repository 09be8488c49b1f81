//! The rules as tables: each row is a situation, its last column what may be done.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::json;
use signalbox_schemas::{AttemptId, FlowId, LaneId, Likeness, SubjectId};
use signalbox_store::{Known, NewAttempt};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::*;

const HOUR: i64 = 3_600_000_000;
const KEYS: Idempotency =
    Idempotency { honours_keys: true, window_secs: 86_400, replays_refusals: false };
const REPLAYS: Idempotency = Idempotency { replays_refusals: true, ..KEYS };
const NO_KEYS: Idempotency =
    Idempotency { honours_keys: false, window_secs: 0, replays_refusals: false };

fn row(disposition: Disposition) -> AttemptRow {
    let plan = NewAttempt {
        id: AttemptId(Uuid::nil()),
        lane: LaneId(0),
        flow: FlowId(Uuid::nil()),
        step: "send".into(),
        group: 0,
        capability: "payout.send".to_owned(),
        planned_at: Micros(0),
    };
    let sent = disposition == Disposition::Sending;
    AttemptRow {
        plan,
        disposition,
        vendor: sent.then(|| "v".to_owned()),
        sends: u32::from(sent),
        request: sent.then(|| request().stored()),
        first_sent_at: sent.then_some(Micros(0)),
        result: None,
        contradiction: None,
    }
}

fn request() -> HttpRequest {
    HttpRequest::post("create", "/transfers".to_owned(), &json!({"amount": 5})).write()
}

#[test]
fn only_who_was_approved_as_this_very_person_and_not_too_long_ago_is_recognised() {
    let likeness = |number| Likeness(Uuid::from_u128(number));
    let found = |watched| RecognitionRow {
        subject: SubjectId(Uuid::nil()),
        known: Some(Known { likeness: likeness(1), watched }),
        flow: FlowId(Uuid::nil()),
        at: Micros(0),
    };
    let nobody = RecognitionRow { known: None, ..found(false) };
    let rows = [
        (None, 1, 0, Outcome::Stranger),
        (Some(nobody), 1, 0, Outcome::Stranger),
        (Some(found(false)), 2, 0, Outcome::Stranger),
        (Some(found(false)), 1, 24, Outcome::Recognised),
        (Some(found(false)), 1, 25, Outcome::Outdated),
        (Some(found(true)), 1, 24, Outcome::Watched),
        (Some(found(true)), 1, 25, Outcome::Outdated),
    ];
    for (row, asked, hours, outcome) in rows {
        let call = match Ask::read(
            "payout.inquire",
            json!({"call": call(), "subject_attempt": Uuid::nil()}),
        ) {
            Ok(ask) => ask.call().clone(),
            Err(error) => panic!("{error}"),
        };
        let request =
            RecogniseRequest { call, likeness: likeness(asked), fresh_for_ms: 24 * 3_600_000 };
        let said = recognise(row.as_ref(), &request, Micros(hours * HOUR));
        assert_eq!(said, outcome, "{row:?} asked for {asked} after {hours} h");
    }
}

fn call() -> serde_json::Value {
    json!({"attempt_id": Uuid::nil(), "flow_id": Uuid::nil(), "aggregate_id": "p-1", "tenant": "acme", "lane": 0,
        "step": "s", "group": 0, "reply_by": 0, "excluded": []})
}

#[test]
fn a_redelivered_write_is_sent_again_only_under_a_key_that_is_still_remembered() {
    let sending = || Permit::Sending(Box::new(row(Disposition::Sending)));
    let resend = |hours: u64| Move::Resend {
        request: request(),
        sends: 1,
        age: Duration::from_secs(hours * 3_600),
    };
    let inquire = || Move::Inquire { request: Some(request()), sends: 1 };
    let rows = [
        (Permit::Granted { first_sent_at: Micros(0) }, KEYS, 0, Move::Send),
        (sending(), KEYS, 11, resend(11)),
        (sending(), KEYS, 12, inquire()),
        (sending(), KEYS, 30, inquire()),
        (sending(), NO_KEYS, 0, inquire()),
        (Permit::Sending(Box::new(row(Disposition::Planned))), KEYS, 0, Move::AskAgain),
        (Permit::Abandoned, KEYS, 0, Move::Drop),
        (Permit::Missing, KEYS, 0, Move::Page),
        (Permit::GateClosed, KEYS, 0, Move::Closed),
    ];
    for (permit, terms, hours, expected) in rows {
        assert_eq!(
            on_permit(&permit, terms, Micros(hours * HOUR)),
            expected,
            "{permit:?} after {hours} h"
        );
    }
}

#[test]
fn each_move_has_a_name_of_its_own() {
    let moves = [
        Move::Send,
        Move::Resend { request: request(), sends: 1, age: Duration::ZERO },
        Move::Inquire { request: None, sends: 1 },
        Move::Publish(Answer::of(Outcome::Accepted)),
        Move::AskAgain,
        Move::Drop,
        Move::Page,
        Move::Closed,
    ];
    let words: BTreeSet<&str> = moves.iter().map(Move::word).collect();
    assert_eq!(words.len(), moves.len());
    assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
}

#[test]
fn a_stored_result_is_published_again_as_it_was() {
    let answer = Answer::of(Outcome::Accepted).reference(Some("t-1"));
    let mut answered = row(Disposition::Sending);
    answered.result = Some(serde_json::to_value(&answer).unwrap());
    let permit = Permit::Answered(Box::new(answered.clone()));
    assert_eq!(on_permit(&permit, KEYS, Micros(0)), Move::Publish(answer));
    answered.result = Some(json!({"colour": "blue"}));
    let unreadable = on_permit(&Permit::Answered(Box::new(answered)), KEYS, Micros(0));
    assert_eq!(unreadable, Move::Inquire { request: Some(request()), sends: 1 });
}

#[test]
fn a_request_whose_stored_bytes_are_lost_is_never_made_up_again() {
    let mut lost = row(Disposition::Sending);
    lost.request = Some(b"not a request".to_vec());
    let expected = Move::Inquire { request: None, sends: 1 };
    assert_eq!(on_permit(&Permit::Sending(Box::new(lost.clone())), KEYS, Micros(0)), expected);
    let asked = Inquiry::Ask { vendor: Some("v".to_owned()), request: None, sends: 1 };
    assert_eq!(inquiry(Some(&lost)), asked);
    // As recovery puts it down: nobody knows who was called, and it may have been more than once.
    let forgotten =
        AttemptRow { vendor: None, request: None, first_sent_at: None, sends: 2, ..lost };
    let asked = Inquiry::Ask { vendor: None, request: None, sends: 2 };
    assert_eq!(inquiry(Some(&forgotten)), asked);
    let permit = Permit::Sending(Box::new(forgotten));
    let expected = Move::Inquire { request: None, sends: 2 };
    assert_eq!(on_permit(&permit, KEYS, Micros(0)), expected);
}

#[test]
fn a_refusal_is_believed_only_where_it_proves_that_nothing_was_executed() {
    let rows = [
        // evidence, sends, terms, believed
        (Evidence::Recorded, 1, KEYS, true),
        (Evidence::Recorded, 3, NO_KEYS, true),
        (Evidence::Refused, 1, KEYS, true),
        (Evidence::Refused, 2, KEYS, false),
        (Evidence::Refused, 2, REPLAYS, true),
        (Evidence::NotSent, 1, NO_KEYS, true),
        (Evidence::NotSent, 2, REPLAYS, false),
        (Evidence::NotFound, 1, REPLAYS, false),
        (Evidence::None, 1, REPLAYS, false),
        (Evidence::None, 0, NO_KEYS, true),
    ];
    for (evidence, sends, terms, believed) in rows {
        let said_no = [
            (Words::Send, Outcome::Rejected),
            (Words::Send, Outcome::RequiresRepair),
            (Words::Send, Outcome::Blocked),
            (Words::Send, Outcome::Unavailable),
            (Words::Inquire, Outcome::NotExecuted),
            (Words::Inquire, Outcome::Blocked),
            (Words::Recall, Outcome::Unavailable),
        ];
        for (words, no) in said_no {
            let settled = settle(words, Answer::of(no).evidence(evidence), sends, terms).outcome;
            let expected = if believed { no } else { Outcome::InDoubt };
            assert_eq!(settled, expected, "{no:?} with {evidence:?} after {sends} sends");
        }
    }
}

/// Somebody who was paused may send once more after an answer was given.
#[test]
fn a_refusal_rests_on_the_sends_that_it_was_given_for_unless_one_more_would_change_nothing() {
    let rows = [
        // evidence, terms, whether it rests on its sends
        (Evidence::Recorded, NO_KEYS, false),
        (Evidence::Refused, REPLAYS, false),
        (Evidence::Refused, KEYS, true),
        (Evidence::NotSent, REPLAYS, true),
        (Evidence::NotFound, REPLAYS, true),
        (Evidence::None, REPLAYS, true),
    ];
    for (evidence, terms, rests) in rows {
        for sends in [1, 3] {
            let no = Answer::of(Outcome::Rejected).evidence(evidence);
            let expected = rests.then_some(sends);
            assert_eq!(rests_on(Words::Send, &no, sends, terms), expected, "{evidence:?} {sends}");
            let yes = Answer::of(Outcome::Accepted).evidence(evidence);
            assert_eq!(rests_on(Words::Send, &yes, sends, terms), None, "{evidence:?} {sends}");
        }
    }
}

#[test]
fn a_yes_needs_no_proof() {
    for (words, yes) in [
        (Words::Send, Outcome::Accepted),
        (Words::Inquire, Outcome::Settled),
        (Words::Inquire, Outcome::Unavailable),
        (Words::Recall, Outcome::Recalled),
    ] {
        assert_eq!(settle(words, Answer::of(yes), 5, NO_KEYS).outcome, yes);
    }
}

#[test]
fn a_call_is_sent_again_while_that_can_help_and_harms_nobody() {
    let transient = || Answer::unavailable(ErrorClass::Transient, "vendor_error");
    let wrong = || Answer::unavailable(ErrorClass::RequiresRepair, "request_refused");
    let doubt = || Answer::in_doubt("timeout");
    let not_found = || Answer::in_doubt("not_found").evidence(Evidence::NotFound);
    let waits = |seconds| transient().retry_after(Some(Duration::from_secs(seconds)));
    let (free, key, never) =
        (Repeat::Freely, Repeat::UnderKey(Duration::from_secs(3_600)), Repeat::Never);
    let spent = Repeat::UnderKey(Duration::from_millis(150));
    let rows = [
        // answer, may repeat, made, milliseconds until the next send
        (transient(), free, 1, Some(100)),
        (transient(), free, 2, Some(200)),
        (transient(), free, 3, None),
        (transient(), never, 1, None),
        (transient(), key, 1, Some(100)),
        (doubt(), key, 1, Some(100)),
        (doubt(), never, 1, None),
        (doubt(), spent, 1, None),
        (not_found(), key, 1, None),
        (wrong(), free, 1, None),
        (Answer::of(Outcome::Hit), free, 1, None),
        (waits(1), free, 1, Some(1_000)),
        (waits(60), free, 1, None),
        // A wait leaves the retry as much time as it takes itself, and more.
        (waits(4), free, 1, Some(4_000)),
        (waits(5), free, 1, None),
    ];
    for (answer, repeat, made, expected) in rows {
        let backoff = Duration::from_millis(100);
        let tries =
            Tries { made, max: 3, backoff, left: Duration::from_secs(10), repeat, jitter: 0.5 };
        assert_eq!(
            again_after(&answer, &tries),
            expected.map(Duration::from_millis),
            "{answer:?} {repeat:?} {made}"
        );
    }
}

#[test]
fn an_inquiry_concludes_from_the_row_alone_only_what_nobody_can_change() {
    let by_row = |row: Option<&AttemptRow>| match inquiry(row) {
        Inquiry::Ask { vendor, .. } => format!("ask {}", vendor.unwrap_or_default()),
        Inquiry::Answer(answer) => answer.outcome.word().to_owned(),
        Inquiry::Page(answer) => format!("page, {}", answer.outcome.word()),
    };
    assert_eq!(by_row(Some(&row(Disposition::Sending))), "ask v");
    assert_eq!(by_row(Some(&row(Disposition::Planned))), "in_doubt");
    assert_eq!(by_row(Some(&row(Disposition::Abandoned))), "not_executed");
    assert_eq!(by_row(None), "page, in_doubt");
}

#[test]
fn an_answer_is_told_in_the_words_of_whoever_asked() {
    let sent = [
        (Outcome::Accepted, Outcome::Pending),
        (Outcome::Rejected, Outcome::NotExecuted),
        (Outcome::RequiresRepair, Outcome::NotExecuted),
        (Outcome::Blocked, Outcome::Blocked),
        (Outcome::InDoubt, Outcome::InDoubt),
        (Outcome::Unavailable, Outcome::Unavailable),
    ];
    for (said, told) in sent {
        assert_eq!(as_inquired(Answer::of(said)).outcome, told);
    }
    // What only payout.send can say besides is not told in the words of payout.inquire.
    let mut answer = Answer::of(Outcome::Accepted).reference(Some("t-1"));
    answer.extra.insert("rail".to_owned(), json!("ach"));
    let pending = Answer::of(Outcome::Pending).reference(Some("t-1"));
    assert_eq!(as_inquired(answer), pending);
    let inquired = [
        (Outcome::Pending, None, Outcome::Accepted),
        (Outcome::Settled, None, Outcome::Accepted),
        (Outcome::Returned, Some(ErrorClass::ComplianceHold), Outcome::Accepted),
        (Outcome::NotExecuted, Some(ErrorClass::Permanent), Outcome::Rejected),
        (Outcome::Blocked, Some(ErrorClass::ComplianceHold), Outcome::Blocked),
        (Outcome::NotExecuted, Some(ErrorClass::RequiresRepair), Outcome::RequiresRepair),
        (Outcome::InDoubt, Some(ErrorClass::InDoubt), Outcome::InDoubt),
        (Outcome::Unavailable, Some(ErrorClass::Transient), Outcome::InDoubt),
    ];
    for (said, class, told) in inquired {
        assert_eq!(as_sent(Answer { class, ..Answer::of(said) }).outcome, told);
    }
}
