//! Every transition of the payout journey as a story: given what happened, when one more thing happens, then this.
//! It tests the journey and `step` together; Kafka, Postgres and vendors are not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use harness::stories::{PAYOUT, request};
use harness::{World, told};
use serde_json::{Value, json};
use signalbox_flow::{Effect, Status, end_as_published};

const CHECKED: &str = "kyc pass, originator clear, beneficiary clear";
const SENDING: &str = "kyc pass, originator clear, beneficiary clear, fraud approve";
const DOUBT: &str =
    "kyc pass, originator clear, beneficiary clear, fraud approve, permit, send in_doubt";
const SENT: &str =
    "kyc pass, originator clear, beneficiary clear, fraud approve, permit, send accepted";
const SETTLED: &str = "kyc pass, originator clear, beneficiary clear, fraud approve, permit, send accepted, inquiry settled";
const HELD: &str = "kyc pass, originator hit, beneficiary clear";

/// Given (a row's first part after the common beginning), when (its last input), then.
fn check(given: &str, rows: &[(&str, &str)]) {
    for (when, then) in rows {
        let (mut world, _) = World::begin_stranger(&PAYOUT, request());
        let mut last = Err(signalbox_flow::Refusal::Known);
        for words in given.split(", ").chain(when.split(", ")).filter(|words| !words.is_empty()) {
            last = world.say(words);
        }
        assert_eq!(told(&last), *then, "given {given:?}, when {when:?}");
    }
}

#[test]
fn a_payout_whose_identifiers_are_wrong_goes_back_to_its_caller() {
    let (_, begun) = World::begin_stranger(&PAYOUT, request());
    assert_eq!(told(&Ok(begun)), "confirm_identity: ask confirm_identity 1");

    let mut command = request();
    command["beneficiary"]["account"]["iban"] = json!("DE88370400440532013000");
    let (world, begun) = World::begin_stranger(&PAYOUT, command);
    assert_eq!(world.flow.status, Status::Ended);
    let Effect::Publish { value, .. } = &begun.effects[0] else { panic!("an event") };
    assert_eq!(value["status"], "requires_repair");
    assert_eq!(value["problems"][0]["field"], "beneficiary.account.iban");
    assert_eq!(value["next_step"], "submit_corrected_payout");
    assert!(
        !value.to_string().contains("DE88370400440532013000"),
        "the rejected value is not repeated"
    );

    let mut command = request();
    command["amount"]["minor_units"] = json!(0);
    assert_eq!(
        told(&Ok(World::begin_stranger(&PAYOUT, command).1)),
        "repair_amount: final requires_repair"
    );
}

#[test]
fn identity_has_four_endings_and_a_fifth_where_nobody_answers() {
    check(
        "",
        &[
            (
                "kyc pass",
                "screen_parties: ask screen_parties/originator 1, ask screen_parties/beneficiary 1",
            ),
            ("kyc hard_fail", "declined_identity: final declined"),
            ("kyc soft_fail", "confirm_identity"),
            ("kyc soft_fail, timer retry", "confirm_identity: ask confirm_identity 2"),
            (
                "kyc soft_fail, kyc pass",
                "screen_parties: ask screen_parties/originator 1, ask screen_parties/beneficiary 1",
            ),
            (
                "kyc soft_fail, timer retry, kyc soft_fail, timer retry, kyc soft_fail",
                "review_identity: task review_identity opened",
            ),
            ("kyc step_up", "await_customer"),
            ("kyc step_up, kyc step_up", "known"),
            ("kyc step_up, kyc unavailable", "known"),
            (
                "kyc step_up, kyc pass",
                "screen_parties: ask screen_parties/originator 1, ask screen_parties/beneficiary 1",
            ),
            ("kyc step_up, kyc hard_fail", "declined_identity: final declined"),
            ("kyc step_up, timer wait", "confirm_identity: ask confirm_identity 2"),
            (
                "kyc step_up, timer wait, kyc step_up, timer wait, kyc step_up, timer wait, kyc step_up, timer wait, kyc step_up",
                "declined_step_up: final declined",
            ),
            ("kyc unavailable", "confirm_identity"),
            ("kyc UNKNOWN", "confirm_identity"),
            ("kyc unavailable, timer retry", "confirm_identity: ask confirm_identity 2"),
            ("kyc unavailable, kyc unavailable", "known"),
            ("timer within", "confirm_identity"),
            (
                "timer within, kyc pass",
                "screen_parties: ask screen_parties/originator 1, ask screen_parties/beneficiary 1",
            ),
            ("timer within, timer retry, older kyc pass", "known"),
            ("cancel", "cancelled: final cancelled"),
            ("timer deadline", "expired: final expired"),
            ("timer retry", "known"),
            ("originator clear", "unresolvable"),
        ],
    );
    check(
        "kyc soft_fail, timer retry, kyc soft_fail, timer retry, kyc soft_fail",
        &[
            (
                "anna approve",
                "screen_parties: task review_identity closed, ask screen_parties/originator 1, ask screen_parties/beneficiary 1",
            ),
            ("anna decline", "declined_identity: task review_identity closed, final declined"),
            ("anna release", "not possible now"),
            ("timer escalate", "review_identity: task review_identity escalated"),
            ("timer escalate, timer escalate", "known"),
            ("cancel", "cancelled: task review_identity closed, final cancelled"),
        ],
    );
}

#[test]
fn both_parties_are_screened_and_the_answers_are_joined() {
    check(
        "kyc pass",
        &[
            ("originator clear", "screen_parties"),
            ("originator clear, originator clear", "known"),
            ("originator clear, beneficiary clear", "score_fraud: ask score_fraud 1"),
            ("beneficiary clear, originator clear", "score_fraud: ask score_fraud 1"),
            ("originator hit", "screen_parties"),
            (
                "originator hit, beneficiary clear",
                "compliance_hold: on_hold, task compliance_hold opened",
            ),
            (
                "originator unavailable, beneficiary hit",
                "compliance_hold: on_hold, task compliance_hold opened",
            ),
            (
                "originator ambiguous, beneficiary clear",
                "review_screening: task review_screening opened",
            ),
            ("originator unavailable, beneficiary clear", "screen_parties"),
            ("originator clear, beneficiary unavailable, originator ambiguous", "known"),
            (
                "originator unavailable, beneficiary clear, timer retry",
                "screen_parties: ask screen_parties/originator 2",
            ),
            (
                "originator unavailable, beneficiary clear, timer retry, originator clear",
                "score_fraud: ask score_fraud 1",
            ),
            ("beneficiary clear, timer within", "screen_parties"),
            (
                "beneficiary clear, timer within, timer retry",
                "screen_parties: ask screen_parties/originator 2",
            ),
            (
                "beneficiary clear, timer within, timer retry, older originator hit",
                "compliance_hold: on_hold, task compliance_hold opened",
            ),
            ("cancel", "cancelled: final cancelled"),
            ("timer deadline", "expired: final expired"),
        ],
    );
    check(
        "kyc pass, originator ambiguous, beneficiary clear",
        &[
            ("anna release", "score_fraud: task review_screening closed, ask score_fraud 1"),
            (
                "anna uphold",
                "compliance_hold: task review_screening closed, on_hold, task compliance_hold opened",
            ),
            (
                "anna uphold, anna release, ben release",
                "score_fraud: task compliance_hold closed, ask score_fraud 1",
            ),
            ("cancel", "review_screening"),
            ("cancel, anna release", "cancelled: task review_screening closed, final cancelled"),
        ],
    );
}

#[test]
fn a_hold_is_left_by_two_people_or_not_at_all() {
    check(
        HELD,
        &[
            ("anna release", "compliance_hold: task compliance_hold confirmed"),
            ("anna release, anna release", "not possible now"),
            ("anna release, ANNA release", "not possible now"),
            (
                "anna release, ben release",
                "score_fraud: task compliance_hold closed, ask score_fraud 1",
            ),
            ("anna uphold", "blocked: task compliance_hold closed, final blocked"),
            ("anna release, anna uphold", "blocked: task compliance_hold closed, final blocked"),
            ("anna approve", "not possible now"),
            ("originator clear", "known"),
            ("beneficiary hit", "compliance_hold: discrepancy"),
            (
                "anna release, beneficiary hit, ben release",
                "compliance_hold: task compliance_hold confirmed",
            ),
            ("cancel", "compliance_hold"),
            ("cancel, cancel", "known"),
            (
                "cancel, anna release, ben release",
                "cancelled: task compliance_hold closed, final cancelled",
            ),
            ("timer deadline", "compliance_hold: task compliance_hold escalated"),
            (
                "timer deadline, anna release, ben release",
                "expired: task compliance_hold closed, final expired",
            ),
            ("timer escalate", "compliance_hold: task compliance_hold escalated"),
        ],
    );
}

#[test]
fn fraud_is_approved_reviewed_or_declined() {
    check(
        CHECKED,
        &[
            ("fraud approve", "send: ask send 1"),
            ("fraud decline", "declined_fraud: final declined"),
            ("fraud review", "review_fraud: task review_fraud opened"),
            ("fraud review, anna approve", "send: task review_fraud closed, ask send 1"),
            (
                "fraud review, anna decline",
                "declined_fraud: task review_fraud closed, final declined",
            ),
            ("fraud unavailable, timer retry", "score_fraud: ask score_fraud 2"),
            ("cancel", "cancelled: final cancelled"),
            (
                "originator hit",
                "compliance_hold: discrepancy, on_hold, task compliance_hold opened",
            ),
            (
                "originator hit, anna release, ben release",
                "score_fraud: task compliance_hold closed, ask score_fraud 2",
            ),
            ("originator hit, fraud approve", "compliance_hold"),
            ("originator ambiguous", "known"),
            ("kyc hard_fail", "declined_identity: discrepancy, final declined"),
        ],
    );
}

#[test]
fn a_payment_is_given_up_only_where_it_is_proven_unsent() {
    check(
        SENDING,
        &[
            ("send accepted", "await_settlement: submitted, ask await_settlement 1"),
            ("send rejected", "declined_bank: final declined"),
            ("send requires_repair", "repair_payment: final requires_repair"),
            ("send blocked", "bank_hold: on_hold, task bank_hold opened"),
            ("send in_doubt", "settle_doubt: ask settle_doubt 1"),
            ("send UNKNOWN", "settle_doubt: ask settle_doubt 1"),
            ("send unavailable", "send"),
            ("send unavailable, timer retry", "send: ask send 1"),
            (
                "send unavailable, send accepted",
                "await_settlement: submitted, ask await_settlement 1",
            ),
            ("cancel", "cancelled: abandon, final cancelled"),
            ("cancel, send accepted", "cancelled: discrepancy"),
            ("cancel, send accepted, send accepted", "known"),
            ("permit, cancel", "send"),
            ("permit, cancel, cancel", "known"),
            ("permit, cancel, send accepted", "recall_payment: submitted, ask recall_payment 1"),
            ("permit, cancel, send rejected", "declined_bank: final declined"),
            ("permit, cancel, send unavailable", "settle_doubt: ask settle_doubt 1"),
            ("timer within", "review_sending: abandon, task review_sending opened"),
            ("timer within, anna approve", "send: task review_sending closed, ask send 2"),
            (
                "timer within, anna decline",
                "declined_unavailable: task review_sending closed, final declined",
            ),
            (
                "timer within, anna approve, older send accepted",
                "review_sending: discrepancy, abandon, task review_sending opened",
            ),
            ("timer within, anna approve, older send rejected", "known"),
            ("permit, timer within", "settle_doubt: ask settle_doubt 1"),
            ("timer deadline", "expired: abandon, final expired"),
            ("permit, timer deadline", "send: task send escalated"),
            (
                "permit, timer deadline, send accepted",
                "await_settlement: task send closed, submitted, ask await_settlement 1",
            ),
            (
                "originator hit",
                "compliance_hold: discrepancy, abandon, on_hold, task compliance_hold opened",
            ),
            ("originator hit, anna release, ben release, fraud approve", "send: ask send 2"),
            ("permit, originator hit", "send: discrepancy"),
            ("permit, originator hit, originator hit", "known"),
            (
                "permit, originator hit, send accepted",
                "await_settlement: submitted, ask await_settlement 1",
            ),
            ("permit, send unavailable, cancel, timer retry", "settle_doubt: ask settle_doubt 1"),
        ],
    );
    let asked_often = format!("{SENDING}{}", ", send unavailable, timer retry".repeat(20));
    check(
        &asked_often,
        &[
            ("send unavailable", "review_sending: abandon, task review_sending opened"),
            ("permit, send unavailable", "settle_doubt: ask settle_doubt 1"),
            ("permit, send in_doubt", "settle_doubt: ask settle_doubt 1"),
        ],
    );
    check(
        "kyc pass, originator clear, beneficiary clear, fraud approve, send blocked",
        &[
            ("anna release, ben release", "send: task bank_hold closed, ask send 2"),
            ("anna uphold", "blocked: task bank_hold closed, final blocked"),
            (
                "originator hit, anna release, ben release",
                "compliance_hold: task bank_hold closed, on_hold, task compliance_hold opened",
            ),
        ],
    );
}

#[test]
fn doubt_is_settled_by_inquiry_or_by_two_people_and_never_by_a_timer() {
    check(
        DOUBT,
        &[
            ("inquiry pending", "await_settlement: submitted, ask await_settlement 1"),
            ("inquiry settled", "await_settlement: submitted, ask await_settlement 1"),
            ("inquiry returned", "returned: final returned"),
            ("inquiry not_executed", "send: ask send 2"),
            ("inquiry blocked", "bank_hold: on_hold, task bank_hold opened"),
            ("inquiry blocked, anna uphold", "blocked: task bank_hold closed, final blocked"),
            ("inquiry in_doubt", "settle_doubt"),
            ("inquiry in_doubt, timer round", "settle_doubt: ask settle_doubt 2"),
            (
                "inquiry unavailable, timer round, inquiry pending",
                "await_settlement: submitted, ask await_settlement 1",
            ),
            ("timer within, timer round", "settle_doubt: ask settle_doubt 2"),
            ("timer escalate", "settle_doubt: task settle_doubt escalated"),
            ("timer deadline", "settle_doubt: task settle_doubt escalated"),
            (
                "timer deadline, inquiry not_executed",
                "expired: task settle_doubt closed, final expired",
            ),
            ("anna executed", "settle_doubt: task settle_doubt confirmed"),
            ("anna executed, anna executed", "not possible now"),
            ("anna executed, ben not_executed", "settle_doubt: task settle_doubt confirmed"),
            (
                "anna executed, ben executed",
                "await_settlement: close accepted, task settle_doubt closed, submitted, ask await_settlement 1",
            ),
            (
                "anna not_executed, ben not_executed",
                "send: close rejected, task settle_doubt closed, ask send 2",
            ),
            (
                "anna not_executed, ben not_executed, older send accepted",
                "review_sending: discrepancy, abandon, task review_sending opened",
            ),
            (
                "anna not_executed, ben not_executed, settle_doubt settled",
                "review_sending: discrepancy, abandon, task review_sending opened",
            ),
            (
                "anna not_executed, ben not_executed, permit, settle_doubt settled",
                "send: discrepancy",
            ),
            ("anna not_executed, ben not_executed, settle_doubt not_executed", "known"),
            ("inquiry pending, settle_doubt settled", "known"),
            ("inquiry in_doubt, timer round, inquiry pending, older settle_doubt settled", "known"),
            (
                "inquiry not_executed, permit, send in_doubt, inquiry pending, settle_doubt settled",
                "known",
            ),
            ("send accepted", "await_settlement: submitted, ask await_settlement 1"),
            ("send rejected", "declined_bank: final declined"),
            ("send in_doubt", "known"),
            ("cancel", "settle_doubt"),
            ("cancel, inquiry pending", "recall_payment: submitted, ask recall_payment 1"),
            ("cancel, inquiry not_executed", "cancelled: final cancelled"),
            ("originator hit", "settle_doubt: discrepancy"),
            (
                "originator hit, inquiry not_executed",
                "compliance_hold: on_hold, task compliance_hold opened",
            ),
        ],
    );
}

/// A database that was restored knows a payout that ended as one that is being sent: the bank's answer comes again.
#[test]
fn what_ended_as_was_told_before_is_led_on_by_no_answer() {
    for (given, answer) in [
        (format!("{SENDING}, permit"), "send accepted"),
        (format!("{SENDING}, permit"), "send rejected"),
        (SENDING.to_owned(), "send accepted"),
        (DOUBT.to_owned(), "send accepted"),
    ] {
        let (mut world, _) = World::begin_stranger(&PAYOUT, request());
        for words in given.split(", ") {
            drop(world.say(words));
        }
        world.flow = end_as_published(&world.journey, &world.flow, "completed", None).unwrap().flow;
        let (state, rev) = (world.flow.state.clone(), world.flow.rev);
        assert_eq!(told(&world.say(answer)), state.as_str(), "given {given:?}, when {answer:?}");
        assert_eq!((world.flow.status, world.flow.rev), (Status::Ended, rev + 1));
        assert!(world.flow.data.timers.is_empty(), "{:?}", world.flow.data.timers);
        assert_eq!(told(&world.say(answer)), "known", "given {given:?}, when {answer:?} twice");
    }
}

#[test]
fn a_sent_payment_is_followed_until_it_can_no_longer_come_back() {
    check(
        SENT,
        &[
            ("inquiry pending", "await_settlement"),
            ("inquiry pending, timer round", "await_settlement: ask await_settlement 2"),
            ("inquiry pending, inquiry settled", "await_return: settled, ask await_return 1"),
            ("inquiry settled", "await_return: settled, ask await_return 1"),
            ("inquiry returned", "returned: final returned"),
            ("inquiry not_executed", "declined_bank: final declined"),
            ("inquiry blocked", "bank_hold: on_hold, task bank_hold opened"),
            ("timer deadline", "known"),
            ("send accepted", "known"),
            ("send rejected", "await_settlement: discrepancy"),
            ("timer escalate", "await_settlement: task await_settlement escalated"),
            ("cancel", "recall_payment: ask recall_payment 1"),
        ],
    );
    check(
        SETTLED,
        &[
            ("inquiry settled, timer round", "await_return: ask await_return 2"),
            ("inquiry settled, timer round, inquiry returned", "returned: final returned"),
            ("timer until", "await_return: ask await_return 2"),
            ("timer until, inquiry settled", "completed: final completed"),
            ("timer until, inquiry returned", "returned: final returned"),
            ("timer until, inquiry unavailable, timer round", "await_return: ask await_return 3"),
            ("timer until, inquiry settled, send accepted", "known"),
            ("timer until, inquiry settled, originator hit", "completed: discrepancy"),
            ("timer until, inquiry settled, cancel", "not possible now"),
            ("inquiry not_executed", "review_settlement: task review_settlement opened"),
            ("inquiry blocked", "review_settlement: task review_settlement opened"),
            (
                "inquiry not_executed, anna executed, ben executed",
                "await_return: close accepted, task review_settlement closed, ask await_return 2",
            ),
            ("cancel", "recall_payment: ask recall_payment 1"),
        ],
    );
}

#[test]
fn a_recall_is_a_write_of_its_own() {
    let recalling = format!("{SENT}, cancel");
    check(
        &recalling,
        &[
            ("recall recalled", "recalled: final recalled"),
            ("recall refused", "await_settlement: ask await_settlement 2"),
            ("recall in_doubt", "settle_recall: ask settle_recall 1"),
            ("recall in_doubt, inquiry returned", "recalled: final recalled"),
            ("recall in_doubt, inquiry settled", "settle_recall"),
            (
                "recall in_doubt, anna not_executed, ben not_executed",
                "await_settlement: close refused, task settle_recall closed, ask await_settlement 2",
            ),
            ("recall unavailable, timer retry", "recall_payment: ask recall_payment 1"),
            ("timer within", "review_recall: abandon, task review_recall opened"),
            ("permit, timer within", "settle_recall: ask settle_recall 1"),
            (
                "timer within, anna decline",
                "await_settlement: task review_recall closed, ask await_settlement 2",
            ),
            ("cancel", "not possible now"),
        ],
    );
    check(&format!("{SETTLED}, cancel"), &[("recall refused", "await_return: ask await_return 2")]);
}

#[test]
fn requests_name_their_call_and_answers_may_ask_for_patience() {
    let (mut world, begun) = World::begin_stranger(&PAYOUT, request());
    let Effect::Ask { value, attempt, .. } = &begun.effects[0] else { panic!("a request") };
    assert_eq!(value["call"]["attempt_id"], json!(attempt));
    assert_eq!(value["call"]["lane"], 3);
    assert_eq!(value["call"]["reply_by"], json!(world.now.0 + 15 * 60 * 1_000_000));
    assert_eq!(value["purpose"], "payout");

    let attempt = *attempt;
    let outcome: Value = json!({"outcome": "unavailable", "retry_after_ms": 120_000});
    let input =
        signalbox_flow::Input::Outcome { attempt, capability: "kyc.check", value: &outcome };
    let decision = world.apply(input).unwrap();
    let due = decision.flow.data.timers["retry"];
    assert_eq!(due.0, world.now.0 + 120 * 1_000_000, "longer than the journey's own minute");
    assert_eq!(
        (decision.actor.as_str(), decision.reason.as_str()),
        ("adapter", "kyc.check unavailable")
    );
}

#[test]
fn nobody_is_tipped_off() {
    for given in [HELD, "kyc pass, originator hit, beneficiary clear, anna uphold"] {
        let (mut world, _) = World::begin_stranger(&PAYOUT, request());
        let mut last = None;
        for words in given.split(", ") {
            last = world.say(words).ok();
        }
        let events = last.unwrap().effects;
        let reason = |effect: &Effect| match effect {
            Effect::Publish { value, .. } => value.get("reason").cloned(),
            _ => None,
        };
        assert!(events.iter().all(|effect| reason(effect).is_none()), "{events:?}");
    }
}
