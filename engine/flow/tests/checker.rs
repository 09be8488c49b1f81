//! The checker: it accepts every journey of the project and refuses small, realistic mistakes, each with its path and the
//! place in the file. Mistakes that are found before, while the file is read, are planted in `load`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use signalbox_flow::{BankInvariants, Finding, Journey, JourneyError, check};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");

const BANK: &str = include_str!("../../../journeys/invariants.yaml");

fn findings(yaml: &str) -> Vec<Finding> {
    let contract = Contract::builtin().unwrap();
    check(&Journey::parse(yaml, contract, &BTreeMap::new()).unwrap(), contract)
}

#[test]
fn every_journey_of_the_project_is_safe_under_the_rules_of_the_bank() {
    let contract = Contract::builtin().unwrap();
    let bank = BankInvariants::parse(BANK, contract).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../journeys");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.ends_with("invariants.yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let journey = Journey::parse(&text, contract, &BTreeMap::new());
        let journey = journey.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = check(&journey.under(&bank), contract);
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "journeys: no journey was found");
}

/// The payout journey with a small mistake in it; every edit must hit.
fn mistaken(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(PAYOUT.to_owned(), |yaml, (right, wrong)| {
        assert!(yaml.contains(right), "the journey no longer says {right:?}; adapt the test");
        yaml.replacen(right, wrong, 1)
    })
}

/// The mistake is refused by the rule, with a place in the file; message and path together name what must be named.
fn refused(rule: &str, edits: &[(&str, &str)], names: &[&str]) {
    refused_in(&findings(&mistaken(edits)), rule, edits, names);
}

fn refused_in(found: &[Finding], rule: &str, edits: &[(&str, &str)], names: &[&str]) {
    let finding = found.iter().find(|finding| finding.rule == rule);
    let finding =
        finding.unwrap_or_else(|| panic!("no finding {rule:?} for {edits:?} in {found:#?}"));
    assert!(finding.at.is_some(), "it has no place in the file: {finding:#?}");
    assert!(!finding.path.is_empty(), "it has no path: {finding:#?}");
    let said = format!("{} | {}", finding.message, finding.path.join(" | "));
    for name in names {
        assert!(said.contains(name), "{name:?} is not named in: {said}");
    }
}

#[test]
fn a_path_around_the_sanctions_screening_is_refused_and_named() {
    refused(
        "invariant",
        &[("pass: screen_parties", "pass: score_fraud")],
        &[
            "screen_parties/originator was never asked",
            "kyc.check answers pass -> score_fraud",
            "fraud.score answers approve",
        ],
    );
}

#[test]
fn an_old_approval_does_not_outweigh_a_failed_check() {
    let rule = "invariant";
    // Who is watched is checked; a check that fails must not be passed over because the customer is recognised.
    let edits = [
        ("      recognised: screen_parties", "      recognised: confirm_identity"),
        ("      hard_fail: declined_identity", "      hard_fail: screen_parties"),
        (
            "    later: {hard_fail: declined_identity}        # also when it comes after an earlier answer\n",
            "",
        ),
    ];
    refused(rule, &edits, &["confirm_identity is hard_fail", "recognised"]);
}

#[test]
fn somebody_who_is_neither_checked_nor_recognised_is_not_paid() {
    for word in ["watched", "outdated", "stranger"] {
        let right = format!("      {word}: confirm_identity");
        let wrong = format!("      {word}: screen_parties");
        // Words that nothing tells apart are told as the first of them.
        let told = "kyc.check was never asked and recognise_customer is watched";
        let way = format!("customer.recognise answers {word} -> screen_parties");
        refused("invariant", &[(right.as_str(), wrong.as_str())], &[told, way.as_str()]);
    }
}

#[test]
fn nobody_is_recognised_who_was_not_approved() {
    let onboarding = include_str!("../../../journeys/onboarding.yaml");
    let refused = |rule: &str, right: &str, wrong: &str, names: &[&str]| {
        assert!(onboarding.contains(right), "the journey no longer says {right:?}; adapt the test");
        let found = findings(&onboarding.replacen(right, wrong, 1));
        refused_in(&found, rule, &[(right, wrong)], names);
    };
    refused(
        "invariant",
        "reason: identity_not_verified, recognise: nobody",
        "reason: identity_not_verified, recognise: command.customer",
        &["the customer becomes known, but", "declined_identity"],
    );
    refused(
        "recognition left open",
        "reason: customer_withdrew, recognise: nobody",
        "reason: customer_withdrew",
        &["withdrawn", "recognise: nobody"],
    );
}

#[test]
fn a_review_that_skips_the_sanctions_screening_is_refused() {
    refused(
        "invariant",
        &[(
            "approve: {as: approved, go: screen_parties}",
            "approve: {as: approved, go: score_fraud}",
        )],
        &["screen_parties/beneficiary was never asked", "people decide approve -> score_fraud"],
    );
}

#[test]
fn a_hit_that_leads_on_to_paying_is_refused() {
    refused(
        "invariant",
        &[
            ("any hit: announce_hold", "any hit: score_fraud"),
            ("    later: {hit: announce_hold}\n", ""),
        ],
        &["is hit", "score_fraud"],
    );
}

#[test]
fn one_clear_party_does_not_stand_for_the_other() {
    refused(
        "invariant",
        &[
            ("every [clear, released]: score_fraud", "any [clear, released]: score_fraud"),
            ("      any hit: announce_hold\n", ""),
            ("    later: {hit: announce_hold}\n", ""),
        ],
        &["is hit"],
    );
}

#[test]
fn a_hold_that_can_be_left_without_a_release_is_refused() {
    let rule = "hold left without release";
    let hold =
        "    on_command: {cancel: remember}               # a hold is not left by cancelling";
    refused(
        rule,
        &[(hold, "    on_command: {cancel: cancelled}")],
        &["compliance_hold", "command cancel", "aml.screen answers hit"],
    );
}

#[test]
fn a_hold_that_an_ordinary_approval_lifts_is_refused() {
    let rule = "hold left without release";
    refused(
        rule,
        &[(
            "      release: {as: released, join: screen_parties}\n      uphold: blocked",
            "      approve: {as: released, join: screen_parties}\n      uphold: blocked",
        )],
        &["compliance_hold"],
    );
}

#[test]
fn a_hold_that_one_person_lifts_is_refused() {
    refused(
        "hold without two people",
        &[("    hold: true\n    people: 2", "    hold: true\n    people: 1")],
        &["compliance_hold"],
    );
}

#[test]
fn doubt_that_a_timer_turns_into_an_ending_is_refused() {
    let doubt = "    escalate: {after: doubt_escalation, queue: stuck_payouts}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}";
    let until = "    until: {after: 4h, go: declined_bank}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}";
    let escalated =
        format!("    escalate: {{after: doubt_escalation, queue: stuck_payouts}}\n{until}");
    refused(
        "end in doubt",
        &[
            (doubt, &escalated),
            (
                "      pending: {as: executed, go: announce_submitted}\n      settled: {as: executed, go: announce_submitted}",
                "      pending: again\n      settled: {as: executed, go: announce_submitted}",
            ),
        ],
        &["send", "-> settle_doubt", "timer until", "payout.inquire answers pending"],
    );
}

#[test]
fn doubt_that_a_command_turns_into_an_ending_is_refused() {
    refused(
        "end in doubt",
        &[(
            "      not_executed: {as: not_executed, go: send}\n    on_command: {cancel: remember}",
            "      not_executed: {as: not_executed, go: send}\n    on_command: {cancel: cancelled}",
        )],
        &["command cancel", "settle_doubt"],
    );
}

#[test]
fn doubt_that_an_inquiry_calls_a_failure_is_refused() {
    refused(
        "end in doubt",
        &[(
            "      in_doubt: again\n      unavailable: again\n    escalate: {after: doubt_escalation",
            "      in_doubt: declined_bank\n      unavailable: again\n    escalate: {after: doubt_escalation",
        )],
        &["send", "payout.inquire answers in_doubt"],
    );
}

#[test]
fn a_payment_without_a_way_out_of_doubt_is_refused() {
    for elsewhere in ["review_sending", "declined_bank"] {
        let wrong = format!("      in_doubt: {elsewhere}");
        refused("no in_doubt path", &[("      in_doubt: settle_doubt", &wrong)], &["send"]);
    }
}

#[test]
fn doubt_that_one_person_settles_is_refused() {
    refused(
        "doubt settled by one person",
        &[("    decide:\n      people: 2", "    decide:\n      people: 1")],
        &["settle_doubt"],
    );
}

#[test]
fn a_second_payment_while_the_first_is_in_doubt_is_refused() {
    refused(
        "two in flight",
        &[(
            "      in_doubt: again\n      unavailable: again\n    escalate: {after: doubt_escalation",
            "      in_doubt: send\n      unavailable: again\n    escalate: {after: doubt_escalation",
        )],
        &["send", "settle_doubt"],
    );
}

#[test]
fn a_second_payment_after_the_first_is_refused() {
    refused(
        "two in flight",
        &[(
            "accepted: {as: executed, go: announce_submitted}",
            "accepted: {as: executed, go: score_fraud}",
        )],
        &["two would be paid twice", "payout.send answers accepted"],
    );
}

#[test]
fn a_way_that_only_a_reason_opens_is_looked_at() {
    refused(
        "two in flight",
        &[(
            "      - when: await_settlement.outcome == 'settled'\n        go: await_return\n",
            "      - when: recall_payment.reason == 'account_closed'\n        go: send\n",
        )],
        &["two would be paid twice", "payout.recall answers refused"],
    );
}

#[test]
fn an_outcome_that_is_not_handled_is_refused() {
    refused(
        "outcome not handled",
        &[("      hard_fail: declined_identity\n", "")],
        &["hard_fail", "confirm_identity"],
    );
    refused(
        "outcome not handled",
        &[("      any ambiguous: review_screening\n", "")],
        &["ambiguous", "screen_parties"],
    );
}

#[test]
fn a_state_that_no_way_leads_to_is_refused() {
    refused(
        "unreachable",
        &[(
            "      decline: after_recall\n",
            "      decline: after_recall\n\n  forgotten:\n    wait: 1h\n    go: expired\n",
        )],
        &["forgotten"],
    );
}

#[test]
fn a_call_that_may_wait_for_ever_is_refused() {
    refused("call without deadline", &[("    within: send_time\n", "")], &["send"]);
}

#[test]
fn a_payment_that_cannot_be_undone_is_refused() {
    let undone = "    compensate: send\n";
    refused(
        "write without compensation",
        &[
            (undone, "    call: payout.recall\n    of: send\n"),
            ("compensation:\n  send: payout.recall\n", ""),
        ],
        &["send"],
    );
}

#[test]
fn a_command_that_may_come_when_money_is_out_is_refused_without_a_way_back() {
    refused(
        "no way back",
        &[("cancel: {go: cancelled, too_late: remember}", "cancel: cancelled")],
        &["send", "cancel"],
    );
}

#[test]
fn a_circle_that_never_waits_is_refused() {
    refused(
        "circle",
        &[(
            "    emit: {status: settled}\n    go: await_return",
            "    emit: {status: settled}\n    go: announce_settled",
        )],
        &["announce_settled"],
    );
}

#[test]
fn a_situation_without_an_ending_is_refused() {
    let dead_end = "    wait: step_up_wait                           # the customer proves more to the identity service";
    let looping = "    go: confirm_identity\n    at_most: 4\n    then: declined_step_up\n    on_command: {cancel: cancelled}";
    assert!(PAYOUT.contains(dead_end));
    refused(
        "dead end",
        &[
            (
                looping,
                "    go: round\n    on_command: {cancel: remember}\n\n  round:\n    wait: 1h\n    go: round",
            ),
            ("deadline: {after: 48h, go: expired", "deadline: {after: 48h, go: round"),
        ],
        &["round"],
    );
}

#[test]
fn a_journey_that_breaks_a_rule_of_the_bank_is_refused_with_its_path() {
    let contract = Contract::builtin().unwrap();
    let bank = BankInvariants::parse(BANK, contract).unwrap();
    // The journey forgets to say it itself, and then to do it.
    let edits = [
        (
            "  - >-\n    payout.send only after kyc.check in [pass, approved] else customer.recognise = recognised\n    and every aml.screen in [clear, released] and fraud.score in [approve, approved]\n",
            "",
        ),
        ("pass: screen_parties", "pass: score_fraud"),
    ];
    let journey = Journey::parse(&mistaken(&edits), contract, &BTreeMap::new()).unwrap();
    assert!(check(&journey, contract).iter().all(|finding| finding.rule != "invariant"));
    refused_in(
        &check(&journey.under(&bank), contract),
        "bank invariant",
        &edits,
        &["screen_parties/originator was never asked", "kyc.check answers pass -> score_fraud"],
    );
}

/// One rule of the bank.
fn rule(text: &str) -> Result<BankInvariants, JourneyError> {
    let contract = Contract::builtin().unwrap();
    BankInvariants::parse(&format!("invariants:\n  - {text}\n"), contract)
}

#[test]
fn a_check_that_no_state_makes_is_not_taken_for_made() {
    let contract = Contract::builtin().unwrap();
    let bank = rule("recognition only after every fraud.score in [approve]").unwrap();
    let onboarding = include_str!("../../../journeys/onboarding.yaml");
    let journey = Journey::parse(onboarding, contract, &BTreeMap::new()).unwrap();
    let found = check(&journey.under(&bank), contract);
    refused_in(&found, "bank invariant", &[], &["no state of the journey calls fraud.score"]);
}

#[test]
fn a_rule_of_the_bank_says_nothing_about_journeys_that_do_not_call_its_capability() {
    let contract = Contract::builtin().unwrap();
    let journey = || Journey::parse(PAYOUT, contract, &BTreeMap::new()).unwrap();
    let holds = rule("payout.recall only after payout.send in [accepted]").unwrap();
    let found = check(&journey().under(&holds), contract);
    refused_in(&found, "bank invariant", &[], &["recall_payment", "payout.recall is called"]);
    let unknown = rule("payout.sent only after kyc.check in [pass]").unwrap_err().to_string();
    assert_eq!(
        unknown,
        "line 2, column 5: invariants[0]: there is no capability payout.sent in the contract. Did you mean payout.send?"
    );
    let vague = rule("be careful").unwrap_err().to_string();
    assert!(
        vague.starts_with("line 2, column 5: invariants[0]: `be careful` is not an invariant"),
        "{vague}"
    );
}
