//! The checker: it accepts the payout journey and refuses small, realistic mistakes, each with its path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use signalbox_flow::{Finding, Journey, check};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");

fn findings(yaml: &str) -> Vec<Finding> {
    let contract = Contract::builtin().unwrap();
    match Journey::parse(yaml, contract, &BTreeMap::new()) {
        Ok(journey) => check(&journey, contract),
        Err(error) => {
            vec![Finding { rule: "refused at load", message: error.to_string(), path: Vec::new() }]
        }
    }
}

#[test]
fn the_payout_journey_is_safe() {
    let found = findings(PAYOUT);
    assert!(found.is_empty(), "{found:#?}");
}

/// The payout journey with a small mistake in it; every edit must hit.
fn mistaken(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(PAYOUT.to_owned(), |yaml, (right, wrong)| {
        assert!(yaml.contains(right), "the journey no longer says {right:?}; adapt the test");
        yaml.replacen(right, wrong, 1)
    })
}

/// The mistake is refused by the rule; message and path together name what must be named.
fn refused(rule: &str, edits: &[(&str, &str)], names: &[&str]) {
    let found = findings(&mistaken(edits));
    let finding = found.iter().find(|finding| finding.rule == rule);
    let finding =
        finding.unwrap_or_else(|| panic!("no finding {rule:?} for {edits:?} in {found:#?}"));
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
    // Only the way through a review skips it.
    refused(
        "invariant",
        &[(
            "approve: {as: approved, go: screen_parties}",
            "approve: {as: approved, go: score_fraud}",
        )],
        &["screen_parties/beneficiary was never asked", "people decide approve -> score_fraud"],
    );
    refused(
        "invariant",
        &[
            ("any hit: announce_hold", "any hit: score_fraud"),
            ("    later: {hit: announce_hold}\n", ""),
        ],
        &["is hit", "score_fraud"],
    );
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
    refused(
        rule,
        &[(
            "      release: {as: released, join: screen_parties}\n      uphold: blocked",
            "      approve: {as: released, join: screen_parties}\n      uphold: blocked",
        )],
        &["compliance_hold"],
    );
    refused(
        "hold without two people",
        &[("    hold: true\n    people: 2", "    hold: true\n    people: 1")],
        &["compliance_hold"],
    );
}

#[test]
fn doubt_that_a_timer_a_deadline_or_a_command_turns_into_an_ending_is_refused() {
    let rule = "end in doubt";
    let doubt = "    escalate: {after: doubt_escalation, queue: stuck_payouts}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}";
    let until = "    until: {after: 4h, go: declined_bank}\n    decide:\n      people: 2\n      executed: {as: executed, go: announce_submitted}";
    let escalated =
        format!("    escalate: {{after: doubt_escalation, queue: stuck_payouts}}\n{until}");
    refused("refused at load", &[(doubt, &escalated)], &["settle_doubt.until", "never ends doubt"]);
    refused(
        rule,
        &[
            (doubt, &escalated),
            (
                "      pending: {as: executed, go: announce_submitted}\n      settled: {as: executed, go: announce_submitted}",
                "      pending: again\n      settled: {as: executed, go: announce_submitted}",
            ),
        ],
        &["send", "-> settle_doubt", "timer until", "payout.inquire answers pending"],
    );
    refused(
        rule,
        &[(
            "      not_executed: {as: not_executed, go: send}\n    on_command: {cancel: remember}",
            "      not_executed: {as: not_executed, go: send}\n    on_command: {cancel: cancelled}",
        )],
        &["command cancel", "settle_doubt"],
    );
    refused(
        rule,
        &[(
            "      in_doubt: again\n      unavailable: again\n    escalate: {after: doubt_escalation",
            "      in_doubt: declined_bank\n      unavailable: again\n    escalate: {after: doubt_escalation",
        )],
        &["send"],
    );
    refused(
        "no in_doubt path",
        &[("      in_doubt: settle_doubt", "      in_doubt: review_sending")],
        &["send"],
    );
    refused(
        "no in_doubt path",
        &[("      in_doubt: settle_doubt", "      in_doubt: declined_bank")],
        &["send"],
    );
    refused(
        "doubt settled by one person",
        &[("    decide:\n      people: 2", "    decide:\n      people: 1")],
        &["settle_doubt"],
    );
}

#[test]
fn two_payments_are_refused() {
    let rule = "two in flight";
    refused(
        rule,
        &[(
            "      in_doubt: again\n      unavailable: again\n    escalate: {after: doubt_escalation",
            "      in_doubt: send\n      unavailable: again\n    escalate: {after: doubt_escalation",
        )],
        &["send", "settle_doubt"],
    );
    refused(
        rule,
        &[(
            "accepted: {as: executed, go: announce_submitted}",
            "accepted: {as: executed, go: score_fraud}",
        )],
        &["two would be paid twice", "payout.send answers accepted"],
    );
}

#[test]
fn what_is_missing_or_leads_nowhere_is_refused() {
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
    refused(
        "unreachable",
        &[(
            "      decline: after_recall\n",
            "      decline: after_recall\n\n  forgotten:\n    wait: 1h\n    go: expired\n",
        )],
        &["forgotten"],
    );
    refused("call without deadline", &[("    within: send_time\n", "")], &["send"]);
    let undone = "    compensate: send\n";
    refused(
        "write without compensation",
        &[
            (undone, "    call: payout.recall\n    of: send\n"),
            ("compensation:\n  send: payout.recall\n", ""),
        ],
        &["send"],
    );
    refused(
        "no way back",
        &[("cancel: {go: cancelled, too_late: remember}", "cancel: cancelled")],
        &["send", "cancel"],
    );
    refused(
        "circle",
        &[(
            "    emit: {status: settled}\n    go: await_return",
            "    emit: {status: settled}\n    go: announce_settled",
        )],
        &["announce_settled"],
    );
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
fn what_does_not_fit_the_contract_is_refused_at_load_with_its_place() {
    let load = "refused at load";
    refused(
        load,
        &[("!account_is_valid(command.beneficiary.account)", "command.beneficiary.acount == 'x'")],
        &["states.check_request.choose", "acount", "account"],
    );
    refused(
        load,
        &[("await_settlement.outcome == 'settled'", "await_settlement.outcome == 'done'")],
        &["states.after_recall.choose", "done"],
    );
    refused(
        load,
        &[("!money_is_valid(command.amount)", "command.amount.minor_units > 'many'")],
        &["cannot be compared"],
    );
    refused(load, &[("!money_is_valid(command.amount)", "command.amount")], &["true or false"]);
    refused(
        load,
        &[("pass: screen_parties", "pass: screen_partys")],
        &["unknown target", "states.confirm_identity.on.pass", "screen_partys"],
    );
    refused(
        load,
        &[("      pass: screen_parties", "      passed: screen_parties")],
        &["states.confirm_identity.on.passed"],
    );
    refused(
        load,
        &[(
            "      amount: command.amount\n      originator: command.originator\n      beneficiary: command.beneficiary.party\n      account: command.beneficiary.account\n      rail",
            "      originator: command.originator\n      beneficiary: command.beneficiary.party\n      account: command.beneficiary.account\n      rail",
        )],
        &["states.send.with", "amount"],
    );
    refused(
        load,
        &[(
            "customer_id: command.customer_id, subject: command.originator",
            "customer_id: command.originator, subject: command.originator",
        )],
        &["states.confirm_identity.with.customer_id"],
    );
    refused(load, &[("role: originator", "role: payer")], &["payer"]);
    refused(
        load,
        &[("emit: {status: submitted}", "emit: {status: sent}")],
        &["states.announce_submitted.emit.status", "sent"],
    );
    refused(
        load,
        &[("    within: check_time\n", "    within: check_tme\n")],
        &["states.confirm_identity.within", "check_tme"],
    );
    refused(load, &[("    people: 2\n", "    peple: 2\n")], &["peple", "line"]);
    refused(
        load,
        &[("    people: 2\n", "    every: [10s]\n")],
        &["states.compliance_hold", "every does not belong to review"],
    );
    refused(load, &[("in [pass, approved]", "in [passed]")], &["invariants[0]", "passed"]);
    refused(
        load,
        &[("never two payout.send in flight", "never two payout.sent in flight")],
        &["invariants[1]", "payout.sent"],
    );
    refused(
        load,
        &[("rejected: {as: not_executed, go: declined_bank}", "rejected: declined_bank")],
        &["states.send.on.rejected", "what it proves"],
    );
    refused(
        load,
        &[(
            "      in_doubt: settle_doubt",
            "      in_doubt: {as: not_executed, go: declined_bank}",
        )],
        &["in_doubt proves nothing"],
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
