//! What this vendor's recorded bodies mean, and that a write is the same bytes under the same key each time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::model::{Ask, Lost};
use crate::vendors::harness;

fn send(status: u16, fixture: &str) -> Answer {
    let reply = Exchange::answered(CREATE, status, harness::fixture(NAME, fixture));
    let Next::Done(answer) =
        harness::ready(&LISTING).next(&harness::ask("payout.send"), None, &[reply])
    else {
        panic!()
    };
    answer
}

/// The answer to an inquiry that finds this one transfer.
fn inquire(fixture: &str) -> Answer {
    let transfer: Value = serde_json::from_slice(&harness::fixture(NAME, fixture)).unwrap();
    inquire_list(
        serde_json::json!({"data": [transfer], "next_cursor": null}).to_string().into_bytes(),
    )
}

fn inquire_list(list: Vec<u8>) -> Answer {
    let list = String::from_utf8(list).unwrap().replace("attempt-71f0", harness::ATTEMPT);
    let reply = Exchange::answered(FIND, 200, list);
    let ask = harness::ask("payout.inquire");
    let Next::Done(answer) =
        harness::ready(&LISTING).next(&ask, Some(&harness::sent(&LISTING)), &[reply])
    else {
        panic!()
    };
    answer
}

#[test]
fn a_transfer_is_created_under_our_key_with_the_bytes_of_the_public_shape() {
    for (rail, path, fixture, reference) in [
        ("ach", "/ach_transfers", "ach_transfer_request.json", "individual_id"),
        (
            "rtp",
            "/real_time_payments_transfers",
            "real_time_payments_transfer_request.json",
            "unstructured_remittance_information",
        ),
    ] {
        let mut ask = harness::ask("payout.send");
        let Ask::Send(order) = &mut ask else { panic!() };
        order.rail = rail.to_owned();
        order.reference = (rail == "ach").then(|| "PAYOUT 1842".to_owned());
        let Next::Call(request) = harness::ready(&LISTING).next(&ask, None, &[]) else { panic!() };
        assert_eq!(request.path, path);
        assert!(
            request.headers.contains(&("idempotency-key".to_owned(), harness::ATTEMPT.to_owned()))
        );
        let mut expected: Value = serde_json::from_slice(&harness::fixture(NAME, fixture)).unwrap();
        expected[reference] = serde_json::json!("8d8ac610566d8ef");
        harness::same_json(&request.body, expected.to_string().as_bytes());
    }
}

#[test]
fn the_beneficiary_s_own_reference_travels_before_the_text() {
    for (rail, field) in
        [("ach", "statement_descriptor"), ("rtp", "unstructured_remittance_information")]
    {
        let mut ask = harness::ask("payout.send");
        let Ask::Send(order) = &mut ask else { panic!() };
        order.rail = rail.to_owned();
        order.structured_reference = Some("RF18539007547034".to_owned());
        order.reference = Some("Invoice 42".to_owned());
        let Next::Call(request) = harness::ready(&LISTING).next(&ask, None, &[]) else { panic!() };
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert!(body[field].as_str().unwrap().ends_with("RF18539007547034 Invoice 42"), "{body}");
    }
}

#[test]
fn a_payout_that_this_vendor_cannot_make_is_repaired_before_anything_is_sent() {
    let mut ask = harness::ask("payout.send");
    let Ask::Send(order) = &mut ask else { panic!() };
    order.account.scheme = "iban".to_owned();
    let Next::Done(answer) = harness::ready(&LISTING).next(&ask, None, &[]) else { panic!() };
    assert_eq!(answer.outcome, Outcome::RequiresRepair);
    assert_eq!(answer.extra["problems"][0]["field"], "beneficiary.account.scheme");
}

#[test]
fn a_transfer_that_exists_is_accepted_unless_it_was_rejected() {
    let (accepted, rejected) = (Outcome::Accepted, Outcome::Rejected);
    let rows = [
        ("ach_transfer_pending_submission.json", accepted, None, Evidence::None),
        ("ach_transfer_pending_approval.json", accepted, None, Evidence::None),
        ("ach_transfer_pending_reviewing.json", accepted, None, Evidence::None),
        ("ach_transfer_submitted.json", accepted, None, Evidence::None),
        (
            "ach_transfer_requires_attention.json",
            accepted,
            Some("vendor_attention"),
            Evidence::None,
        ),
        ("real_time_payments_transfer_pending_submission.json", accepted, None, Evidence::None),
        ("real_time_payments_transfer_pending_reviewing.json", accepted, None, Evidence::None),
        ("real_time_payments_transfer_submitted.json", accepted, None, Evidence::None),
        ("real_time_payments_transfer_complete.json", accepted, None, Evidence::None),
        ("ach_transfer_rejected.json", rejected, Some("vendor_rejected"), Evidence::Recorded),
        ("ach_transfer_canceled.json", rejected, Some("cancelled"), Evidence::Recorded),
        (
            "real_time_payments_transfer_rejected.json",
            rejected,
            Some("account_closed"),
            Evidence::Recorded,
        ),
        (
            "real_time_payments_transfer_rejected_bad_account.json",
            Outcome::RequiresRepair,
            Some("account_number_invalid"),
            Evidence::Recorded,
        ),
        (
            "real_time_payments_transfer_rejected_regulatory.json",
            Outcome::Blocked,
            Some("regulatory_reason"),
            Evidence::Recorded,
        ),
        (
            "ach_transfer_unknown_status.json",
            Outcome::InDoubt,
            Some("answer_unrecognised"),
            Evidence::None,
        ),
        (
            "real_time_payments_transfer_unknown_status.json",
            Outcome::InDoubt,
            Some("answer_unrecognised"),
            Evidence::None,
        ),
        ("garbage.txt", Outcome::InDoubt, Some("answer_unrecognised"), Evidence::None),
    ];
    for (fixture, outcome, reason, evidence) in rows {
        let answer = send(200, fixture);
        assert_eq!(
            (answer.outcome, answer.reason.as_deref(), answer.evidence),
            (outcome, reason, evidence),
            "{fixture}"
        );
    }
    harness::every_fixture_is_used(NAME, include_str!("tests.rs"));
}

#[test]
fn only_listed_refusals_say_that_nothing_was_executed() {
    let (repair, in_doubt, unavailable) =
        (Outcome::RequiresRepair, Outcome::InDoubt, Outcome::Unavailable);
    let rows = [
        (400, "error_400.json", repair, ErrorClass::RequiresRepair, Evidence::Refused),
        (
            400,
            "error_400_routing_number.json",
            repair,
            ErrorClass::RequiresRepair,
            Evidence::Refused,
        ),
        (
            400,
            "error_400_malformed.json",
            unavailable,
            ErrorClass::Misconfigured,
            Evidence::Refused,
        ),
        (401, "error_401.json", unavailable, ErrorClass::Misconfigured, Evidence::Refused),
        (403, "error_403.json", unavailable, ErrorClass::Misconfigured, Evidence::Refused),
        (429, "error_429.json", unavailable, ErrorClass::Transient, Evidence::Refused),
        (404, "error_404.json", in_doubt, ErrorClass::InDoubt, Evidence::None),
        (409, "error_409_idempotency.json", in_doubt, ErrorClass::InDoubt, Evidence::None),
        (409, "error_409_invalid_operation.json", in_doubt, ErrorClass::InDoubt, Evidence::None),
        (500, "error_500.json", in_doubt, ErrorClass::InDoubt, Evidence::None),
        (503, "error_503.json", in_doubt, ErrorClass::InDoubt, Evidence::None),
    ];
    for (status, fixture, outcome, class, evidence) in rows {
        let answer = send(status, fixture);
        assert_eq!(
            (answer.outcome, answer.class, answer.evidence),
            (outcome, Some(class), evidence),
            "{fixture}"
        );
    }
    assert_eq!(send(429, "error_429.json").retry_after_ms, Some(1_000));
    let problems = &send(400, "error_400_routing_number.json").extra["problems"];
    assert_eq!(problems[0]["field"], "beneficiary.account.routing_number");
}

#[test]
fn an_inquiry_tells_what_became_of_the_transfer() {
    let rows = [
        ("ach_transfer_pending_submission.json", Outcome::Pending, None),
        ("ach_transfer_requires_attention.json", Outcome::Pending, None),
        ("ach_transfer_submitted.json", Outcome::Pending, None),
        ("ach_transfer_settled.json", Outcome::Settled, None),
        ("real_time_payments_transfer_complete.json", Outcome::Settled, None),
        ("real_time_payments_transfer_requires_attention.json", Outcome::Pending, None),
        ("ach_transfer_returned.json", Outcome::Returned, Some(ErrorClass::RequiresRepair)),
        ("ach_transfer_returned_closed.json", Outcome::Returned, Some(ErrorClass::Permanent)),
        (
            "ach_transfer_returned_sanctions.json",
            Outcome::Returned,
            Some(ErrorClass::ComplianceHold),
        ),
        ("ach_transfer_rejected.json", Outcome::NotExecuted, Some(ErrorClass::Permanent)),
        (
            "real_time_payments_transfer_canceled.json",
            Outcome::NotExecuted,
            Some(ErrorClass::Permanent),
        ),
        (
            "real_time_payments_transfer_rejected_regulatory.json",
            Outcome::Blocked,
            Some(ErrorClass::ComplianceHold),
        ),
        ("ach_transfer_unknown_status.json", Outcome::InDoubt, Some(ErrorClass::InDoubt)),
    ];
    for (fixture, outcome, class) in rows {
        let answer = inquire(fixture);
        assert_eq!((answer.outcome, answer.class), (outcome, class), "{fixture}");
    }
}

#[test]
fn not_found_is_no_proof_and_another_s_transfer_is_not_ours() {
    for empty in ["ach_transfer_list_empty.json", "real_time_payments_transfer_list_empty.json"] {
        let answer = inquire_list(harness::fixture(NAME, empty));
        assert_eq!((answer.outcome, answer.evidence), (Outcome::InDoubt, Evidence::NotFound));
    }
    for list in ["ach_transfer_list_one.json", "real_time_payments_transfer_list_one.json"] {
        let foreign = String::from_utf8(harness::fixture(NAME, list))
            .unwrap()
            .replace("attempt-71f0", "another");
        assert_eq!(inquire_list(foreign.into_bytes()).outcome, Outcome::Unavailable);
    }
}

/// Plays a recall against these replies and tells its answer and what was sent.
fn recall(replies: &[(&str, u16, &str)]) -> (Answer, Vec<String>) {
    let vendor = harness::ready(&LISTING);
    let (ask, sent) = (harness::ask("payout.recall"), harness::sent(&LISTING));
    let mut so_far = Vec::new();
    let mut calls = Vec::new();
    let mut replies = replies.iter();
    loop {
        match vendor.next(&ask, Some(&sent), &so_far) {
            Next::Done(answer) => return (answer, calls),
            Next::Call(request) | Next::Poll(_, request) => {
                let (operation, status, fixture) = replies.next().unwrap();
                assert_eq!(request.operation, *operation);
                calls.push(request.path);
                let body = String::from_utf8(harness::fixture(NAME, fixture)).unwrap();
                so_far.push(Exchange::answered(
                    operation,
                    *status,
                    body.replace("attempt-71f0", harness::ATTEMPT),
                ));
            }
        }
    }
}

#[test]
fn a_recall_cancels_what_is_pending_and_is_too_late_for_the_rest() {
    let (answer, calls) = recall(&[(FIND, 200, "ach_transfer_list_one.json")]);
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Refused, Some("too_late")));
    assert_eq!(calls, [format!("/ach_transfers?idempotency_key={}", harness::ATTEMPT)]);
    let (answer, _) = recall(&[(FIND, 200, "ach_transfer_list_empty.json")]);
    assert_eq!((answer.outcome, answer.evidence), (Outcome::InDoubt, Evidence::NotFound));
    let (answer, _) = recall(&[(FIND, 503, "error_503.json")]);
    assert_eq!(answer.outcome, Outcome::Unavailable);
}

#[test]
fn a_cancellation_that_was_lost_is_looked_up() {
    let vendor = harness::ready(&LISTING);
    let (ask, sent) = (harness::ask("payout.recall"), harness::sent(&LISTING));
    let conflict =
        Exchange::answered(CANCEL, 409, harness::fixture(NAME, "error_409_invalid_operation.json"));
    let Next::Call(look) = vendor.next(&ask, Some(&sent), std::slice::from_ref(&conflict)) else {
        panic!()
    };
    assert_eq!(look.operation, FIND);
    let canceled: Value =
        serde_json::from_slice(&harness::fixture(NAME, "ach_transfer_canceled.json")).unwrap();
    let list = serde_json::json!({"data": [canceled]})
        .to_string()
        .replace("attempt-71f0", harness::ATTEMPT);
    let Next::Done(answer) =
        vendor.next(&ask, Some(&sent), &[conflict, Exchange::answered(FIND, 200, list)])
    else {
        panic!()
    };
    assert_eq!(answer.outcome, Outcome::Recalled);
    let lost = Exchange { operation: CANCEL.to_owned(), reply: Reply::Lost(Lost::TimedOut) };
    let Next::Done(answer) = vendor.next(&ask, Some(&sent), &[lost]) else { panic!() };
    assert_eq!(answer.outcome, Outcome::InDoubt);
}

#[test]
fn a_transfer_whose_request_is_forgotten_is_looked_for_wherever_it_may_be() {
    let vendor = harness::ready(&LISTING);
    let sent = Sent { request: None, ..harness::sent(&LISTING) };
    let reply = |fixture| {
        let body = String::from_utf8(harness::fixture(NAME, fixture)).unwrap();
        Exchange::answered(FIND, 200, body.replace("attempt-71f0", harness::ATTEMPT))
    };
    let (empty, one) = (reply("ach_transfer_list_empty.json"), reply("ach_transfer_list_one.json"));
    let ask = harness::ask("payout.inquire");
    let mut looked = Vec::new();
    let mut so_far = Vec::new();
    let answer = loop {
        match vendor.next(&ask, Some(&sent), &so_far) {
            Next::Done(answer) => break answer,
            Next::Call(look) | Next::Poll(_, look) => {
                looked.push(look.path);
                so_far.push(empty.clone());
            }
        }
    };
    let at = |place: &str| format!("{place}?idempotency_key={}", harness::ATTEMPT);
    assert_eq!(looked, [at("/ach_transfers"), at("/real_time_payments_transfers")]);
    assert_eq!((answer.outcome, answer.evidence), (Outcome::InDoubt, Evidence::NotFound));
    let Next::Done(answer) = vendor.next(&ask, Some(&sent), &[empty, one.clone()]) else {
        panic!()
    };
    assert!(matches!(answer.outcome, Outcome::Pending | Outcome::Settled), "{answer:?}");
    let recall = vendor.next(&harness::ask("payout.recall"), Some(&sent), &[one]);
    assert!(matches!(recall, Next::Done(_)), "a transfer that was found is looked for again");
}
