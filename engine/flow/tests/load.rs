//! Mistakes that are found while a journey is read: each is refused with its line, its column and what to do.
//! What a readable journey may not do is `checker`'s.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use signalbox_flow::Journey;
use signalbox_schemas::Contract;
use std::collections::BTreeMap;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");

/// The payout journey with one thing written wrongly is refused; the message names what must be named, and points at the
/// line on which the wrong thing stands, or at what should hold what is missing.
fn refused(right: &str, wrong: &str, at: &str, names: &[&str]) {
    assert!(PAYOUT.contains(right), "the journey no longer says {right:?}; adapt the test");
    let yaml = PAYOUT.replacen(right, wrong, 1);
    let error = Journey::parse(&yaml, Contract::builtin().unwrap(), &BTreeMap::new());
    let error = error.expect_err(wrong);
    let position = error.at().unwrap_or_else(|| panic!("no place in the file: {error}"));
    let line = usize::try_from(position.line).unwrap();
    let pointed = yaml.lines().nth(line - 1).unwrap();
    let column = usize::try_from(position.column).unwrap();
    let there = pointed.get(column - 1..).unwrap_or_default();
    assert!(there.starts_with(at), "{error}\npoints at {there:?} in {pointed:?}, not at {at:?}");
    let said = error.to_string();
    assert!(said.starts_with(&format!("line {line}, column {column}: ")), "{said}");
    for name in names {
        assert!(said.contains(name), "{name:?} is not named in: {said}");
    }
}

#[test]
fn a_mistyped_key_is_refused_with_the_right_one() {
    refused("    people: 2\n", "    peple: 2\n", "peple", &["Did you mean people?"]);
    refused(
        "aggregate: payout_id",
        "agregate: payout_id",
        "agregate",
        &["Did you mean aggregate?"],
    );
    refused(
        "after: identity_retry_wait}",
        "aftr: identity_retry_wait}",
        "aftr",
        &["Did you mean after?"],
    );
}

#[test]
fn a_missing_key_is_named() {
    refused(
        "deadline: {after: 48h, go: expired, queue: stuck_payouts}",
        "deadline: {after: 48h, go: expired}",
        "",
        &["queue is missing"],
    );
    refused(
        "    go: confirm_identity\n    at_most",
        "    at_most",
        "await_customer",
        &["states.await_customer", "go is missing; add it"],
    );
}

#[test]
fn a_key_that_is_written_twice_is_refused() {
    refused(
        "      pass: screen_parties\n",
        "      pass: screen_parties\n      pass: send\n",
        "pass: send",
        &["written twice", "remove one"],
    );
}

#[test]
fn a_value_of_the_wrong_shape_is_refused() {
    refused("version: 2", "version: one", "one", &["docs/journeys.md"]);
    refused("    hold: true", "    hold: perhaps", "perhaps", &["boolean"]);
}

#[test]
fn a_state_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    refused(
        "pass: screen_parties",
        "pass: screen_partys",
        "pass",
        &["unknown target", "states.confirm_identity.on.pass", "Did you mean screen_parties?"],
    );
    refused(
        "go: expired, queue",
        "go: expird, queue",
        "go: expird",
        &["deadline.go", "Did you mean expired?"],
    );
}

#[test]
fn an_outcome_that_the_capability_does_not_have_is_refused() {
    refused(
        "      pass: screen_parties",
        "      passed: screen_parties",
        "passed",
        &["states.confirm_identity.on.passed", "outcomes are"],
    );
}

#[test]
fn a_fact_that_does_not_exist_is_refused() {
    refused(
        "!account_is_valid(command.beneficiary.account)",
        "command.beneficiary.acount == 'x'",
        "when",
        &["states.check_request.choose[0]", "acount"],
    );
    refused(
        "await_settlement.outcome == 'settled'",
        "await_settlement.outcome == 'done'",
        "when",
        &["states.after_recall.choose[0]", "done"],
    );
}

#[test]
fn a_condition_that_is_none_is_refused() {
    refused(
        "!money_is_valid(command.amount)",
        "command.amount.minor_units > 'many'",
        "when",
        &["cannot be compared"],
    );
    refused("!money_is_valid(command.amount)", "command.amount", "when", &["true or false"]);
}

#[test]
fn a_request_that_lacks_a_field_is_refused() {
    refused(
        "      amount: command.amount\n      originator: command.originator\n      beneficiary: command.beneficiary.party\n      account: command.beneficiary.account\n      rail",
        "      originator: command.originator\n      beneficiary: command.beneficiary.party\n      account: command.beneficiary.account\n      rail",
        "with",
        &["states.send.with", "amount"],
    );
}

#[test]
fn a_field_of_another_type_is_refused() {
    refused(
        "customer_id: command.customer_id, subject: command.originator",
        "customer_id: command.originator, subject: command.originator",
        "customer_id",
        &["states.confirm_identity.with.customer_id"],
    );
    refused("role: originator", "role: payer", "role", &["payer"]);
    refused(
        "emit: {status: submitted}",
        "emit: {status: sent}",
        "status",
        &["states.announce_submitted.emit.status", "sent"],
    );
}

#[test]
fn a_length_of_time_that_is_none_is_refused() {
    refused(
        "purpose: payout}\n    within: check_time\n",
        "purpose: payout}\n    within: check_tme\n",
        "within",
        &["states.confirm_identity.within", "check_tme"],
    );
    refused(
        "return_window: 5d",
        "return_window: 5 weeks",
        "return_window",
        &["5 weeks", "48h or 5d"],
    );
}

#[test]
fn a_key_of_another_kind_of_state_is_refused() {
    refused(
        "    people: 2\n",
        "    every: [10s]\n",
        "compliance_hold",
        &["every does not belong to review", "which takes"],
    );
}

#[test]
fn an_invariant_about_nothing_is_refused() {
    refused("in [pass, approved]", "in [passed]", "payout.send only", &["invariants[0]", "passed"]);
    refused(
        "never two payout.send in flight",
        "never two payout.sent in flight",
        "never two",
        &["invariants[1]", "payout.sent"],
    );
}

#[test]
fn a_payment_whose_answers_prove_nothing_is_refused() {
    refused(
        "rejected: {as: not_executed, go: declined_bank}",
        "rejected: declined_bank",
        "rejected",
        &["states.send.on.rejected", "what it proves"],
    );
}

#[test]
fn doubt_that_is_taken_as_proof_is_refused() {
    refused(
        "      in_doubt: settle_doubt",
        "      in_doubt: {as: not_executed, go: declined_bank}",
        "in_doubt",
        &["in_doubt proves nothing"],
    );
}

#[test]
fn a_timer_that_would_end_doubt_is_refused() {
    refused(
        "    escalate: {after: doubt_escalation, queue: stuck_payouts}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}",
        "    escalate: {after: doubt_escalation, queue: stuck_payouts}\n    until: {after: 4h, go: declined_bank}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}",
        "until",
        &["settle_doubt.until", "never ends doubt"],
    );
}

#[test]
fn parameters_are_replaced_in_what_is_pinned() {
    let contract = Contract::builtin().unwrap();
    let shorter = BTreeMap::from([("return_window".to_owned(), "200ms".to_owned())]);
    let journey = Journey::parse(PAYOUT, contract, &shorter).unwrap();
    assert!(journey.source().contains("return_window: 200ms "), "{}", journey.source());
    assert_eq!(journey.source().replace("return_window: 200ms", "return_window: 5d"), PAYOUT);
    let unknown = BTreeMap::from([("patience".to_owned(), "1h".to_owned())]);
    assert!(
        Journey::parse(PAYOUT, contract, &unknown)
            .unwrap_err()
            .to_string()
            .contains("no parameter patience")
    );
    let no_time = BTreeMap::from([("return_window".to_owned(), "soon".to_owned())]);
    assert!(
        Journey::parse(PAYOUT, contract, &no_time)
            .unwrap_err()
            .to_string()
            .contains("parameters.return_window")
    );
}
