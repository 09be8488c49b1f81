//! Moving flows of one version of a payout to the next: what a move is in each situation, and which plans are refused
//! before any flow is touched. That a legal plan harms no flow whatever happens next is among the properties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use harness::stories::{PAYOUT, STORIES, request};
use harness::{World, told};
use signalbox_flow::{Journey, Migration, MigrationPlan, PlanFindings, Unmovable, check_migration};
use std::sync::Arc;

const SENDING: &str = "kyc pass, originator clear, beneficiary clear, fraud approve";

fn world(given: &str) -> World {
    let (mut world, _) = World::begin_stranger(&PAYOUT, request());
    for words in given.split(", ").filter(|words| !words.is_empty()) {
        let _ = world.say(words);
    }
    world
}

/// A plan from today's version to one that differs by edits.
fn plan(states: &str, edits: &[(&str, &str)]) -> (Migration, Arc<Journey>) {
    let plan =
        MigrationPlan::parse(&format!("journey: payout\nfrom: 2\nto: 3\nstates: {{{states}}}\n"));
    let new = PAYOUT.next_version(edits);
    let made = Migration::new(plan.unwrap(), Arc::clone(PAYOUT.journey()), Arc::clone(&new));
    (made.unwrap(), new)
}

/// What becomes of a flow that is moved: told as a step is, or the code of what stands against it.
fn moved(given: &str, states: &str, edits: &[(&str, &str)]) -> String {
    let (migration, new) = plan(states, edits);
    let mut world = world(given);
    let before = world.flow.clone();
    match world.migrate(&migration, &new) {
        Ok(decision) => told(&Ok(decision)),
        Err(why) => {
            assert_eq!(world.flow, before);
            why.code().to_owned()
        }
    }
}

#[test]
fn a_flow_that_keeps_its_state_waits_on_as_it_did() {
    for given in
        ["", "kyc pass", SENDING, "kyc step_up", "kyc pass, originator hit, beneficiary clear"]
    {
        let (migration, new) = plan("", &[]);
        let mut world = world(given);
        let before = world.flow.clone();
        let decision = world.migrate(&migration, &new).unwrap();
        assert_eq!((&decision.flow.state, &decision.flow.data), (&before.state, &before.data));
        assert_eq!((decision.flow.version, decision.effects.len()), (3, 0), "{given}");
        assert_eq!(decision.actor, "ann");
        assert_eq!(decision.reason, "version 2 -> 3: CHG-1");
        assert_eq!(world.migrate(&migration, &new), Err(Unmovable::NotInVersion));
    }
}

#[test]
fn an_answer_under_way_during_the_move_counts_afterwards() {
    let (migration, new) = plan("", &[]);
    let mut world = world(SENDING);
    world.say("permit").unwrap_err();
    world.migrate(&migration, &new).unwrap();
    assert_eq!(
        told(&world.say("send accepted")),
        "await_settlement: submitted, ask await_settlement 1"
    );
}

#[test]
fn a_flow_goes_where_the_plan_says() {
    let rename = |old, new| [(old, new)];
    for (given, states, edits, becomes) in [
        // A review of another name is opened anew; whoever agreed before is asked again.
        (
            "kyc pass, originator clear, beneficiary clear, fraud review",
            "review_fraud: judge_fraud",
            rename("review_fraud", "judge_fraud"),
            "judge_fraud: task review_fraud closed, task judge_fraud opened",
        ),
        (
            "kyc pass, originator hit, beneficiary clear, anna release",
            "compliance_hold: second_hold",
            rename("compliance_hold", "second_hold"),
            "second_hold: task compliance_hold closed, task second_hold opened",
        ),
        // A wait goes on under its new name.
        (
            "kyc step_up",
            "await_customer: await_proof",
            rename("await_customer", "await_proof"),
            "await_proof",
        ),
        // A question of another name is asked.
        (
            "",
            "confirm_identity: confirm_identity",
            rename("deadline: {after: 48h", "deadline: {after: 24h"),
            "confirm_identity",
        ),
        (
            "kyc pass",
            "screen_parties: confirm_identity",
            rename("after: 48h", "after: 24h"),
            "confirm_identity: ask confirm_identity 2",
        ),
        // A planned write is taken back; one that is out stops the move, unless the new state asks about it.
        (
            SENDING,
            "send: review_sending",
            rename("after: 48h", "after: 24h"),
            "review_sending: abandon, task review_sending opened",
        ),
        (
            "SENDING, permit",
            "send: review_sending",
            rename("after: 48h", "after: 24h"),
            "write_in_doubt",
        ),
        (
            "SENDING, permit",
            "send: settle_doubt",
            rename("after: 48h", "after: 24h"),
            "settle_doubt: ask settle_doubt 1",
        ),
        (
            "SENDING, permit, send in_doubt",
            "settle_doubt: review_sending",
            rename("after: 48h", "after: 24h"),
            "write_in_doubt",
        ),
        ("SENDING, permit, send in_doubt", "", rename("after: 48h", "after: 24h"), "settle_doubt"),
        // What cannot be: it stays, untouched.
        ("kyc step_up", "", rename("await_customer", "await_proof"), "no_such_state"),
        ("kyc hard_fail", "", rename("after: 48h", "after: 24h"), "ended"),
        ("operator ann pause", "", rename("after: 48h", "after: 24h"), "paused"),
        (
            "kyc pass, originator hit, beneficiary clear",
            "compliance_hold: review_fraud",
            rename("after: 48h", "after: 24h"),
            "in_hold",
        ),
    ] {
        let given = given.replace("SENDING", SENDING);
        assert_eq!(moved(&given, states, &edits), becomes, "{given} by {{{states}}}");
    }
}

#[test]
fn a_parked_flow_stays_until_it_is_released() {
    let (migration, new) = plan("", &[]);
    let mut world = world("kyc pass");
    world.park("unresolvable", None);
    assert_eq!(world.migrate(&migration, &new), Err(Unmovable::Parked));
}

#[test]
fn timers_keep_their_time_and_those_that_only_the_new_state_has_begin_now() {
    let (migration, new) = plan(
        "await_customer: await_proof",
        &[("await_customer", "await_proof"), ("step_up_wait: 1h", "step_up_wait: 9h")],
    );
    let mut wait = world("kyc step_up");
    let before = wait.flow.data.timers.clone();
    wait.migrate(&migration, &new).unwrap();
    assert_eq!(wait.flow.data.timers, before, "the customer waits no longer than was promised");

    let (migration, new) = plan(
        "",
        &[(
            "    later: {decline: declined_fraud}\n",
            "    later: {decline: declined_fraud}\n    escalate: {after: 2h, queue: stuck_payouts}\n",
        )],
    );
    let mut wait = world("kyc pass, originator clear, beneficiary clear");
    wait.migrate(&migration, &new).unwrap();
    assert!(wait.flow.data.timers.contains_key("escalate"));
}

/// What the exploration says of a plan, as one text.
fn findings(states: &str, edits: &[(&str, &str)]) -> (String, PlanFindings) {
    let found = check_migration(&plan(states, edits).0);
    let said = found.findings.iter().map(|finding| {
        format!("{}: {} | {}", finding.rule, finding.message, finding.path.join(" | "))
    });
    (said.collect::<Vec<_>>().join("\n"), found)
}

#[test]
fn the_next_version_with_other_names_is_a_legal_plan_for_every_journey() {
    for story in STORIES {
        let found = check_migration(&story.renaming().0);
        assert_eq!(found.findings, [], "{}", story.file);
        assert!(found.stays.is_empty(), "{:?}", found.stays);
    }
}

#[test]
fn a_plan_past_the_sanctions_screening_is_refused_with_its_path() {
    let (said, _) = findings("screen_parties: score_fraud", &[]);
    assert!(said.contains("invariant: send: payout.send is called, but screen_parties/"), "{said}");
    assert!(said.contains("customer.recognise answers recognised -> screen_parties"), "{said}");
    assert!(said.contains("version 3 -> score_fraud"), "{said}");
}

#[test]
fn a_plan_out_of_a_hold_is_refused_with_its_path() {
    let (said, _) = findings("compliance_hold: review_fraud", &[]);
    assert!(said.contains("hold left without release: compliance_hold"), "{said}");
    assert!(said.contains("aml.screen answers hit -> announce_hold -> compliance_hold"), "{said}");
}

#[test]
fn a_hold_that_would_be_none_any_more_is_left_alone() {
    let hold = "    hold: true\n    people: 2\n    about: {screen_parties: [hit]}";
    let edits = [(hold, "    about: {screen_parties: [hit]}")];
    assert_eq!(moved("kyc pass, originator hit, beneficiary clear", "", &edits), "state_changed");
}

#[test]
fn a_plan_that_would_forget_doubt_or_pay_twice_is_refused_with_its_path() {
    let (said, _) = findings("settle_doubt: review_sending", &[]);
    assert!(said.contains("cannot move: settle_doubt: send may be out"), "{said}");
    assert!(said.contains("fraud.score answers approve -> send | "), "{said}");
    let (said, _) = findings("await_settlement: review_sending", &[]);
    assert!(said.contains("two in flight") || said.contains("no ending can be reached"), "{said}");
}

#[test]
fn states_that_a_plan_forgets_are_told_and_their_flows_stay() {
    let (said, found) = findings("", &[("await_customer", "await_proof")]);
    assert_eq!(said, "");
    let stays: Vec<_> =
        found.stays.keys().map(|(state, why)| (state.as_str(), why.code())).collect();
    assert_eq!(stays, [("await_customer", "no_such_state")]);
}

#[test]
fn a_plan_that_means_nothing_is_told_what_to_do() {
    let wrong = |yaml: &str| {
        MigrationPlan::parse(yaml)
            .and_then(|plan| {
                Migration::new(plan, Arc::clone(PAYOUT.journey()), PAYOUT.next_version(&[]))
            })
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    for (states, said) in [
        (
            "{review_fruad: send}",
            "states.review_fruad: version 2 has no state review_fruad. Did you mean review_fraud?",
        ),
        ("{review_fraud: sned}", "version 3 has no state sned. Did you mean send?"),
        ("{announce_hold: send}", "no flow ever waits in announce_hold"),
        ("{review_fraud: cancelled}", "cancelled is an ending"),
    ] {
        let told = wrong(&format!("journey: payout\nfrom: 2\nto: 3\nstates: {states}\n"));
        assert!(told.contains(said), "{told}");
    }
    assert!(wrong("journey: payout\nfrom: 2\nto: 2\n").contains("version 2 already"));
    assert!(
        wrong("journey: payout\nfrom: 2\nto: 4\n")
            .contains("payout version 3 is not what is meant")
    );
    assert!(wrong("journey: payout\nfrom: 2\nto: 3\nstats: {}\n").contains("Did you mean states?"));
}
