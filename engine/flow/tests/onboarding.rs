//! Every transition of the onboarding journey as a story: given what happened, when one more thing happens, then this.
//! It tests the journey and `step` together; Kafka, Postgres and vendors are not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use harness::stories::{ONBOARDING, application};
use harness::{World, told};
use serde_json::{Value, json};
use signalbox_flow::{Effect, Status};

const IDENTIFIED: &str = "identity pass";
const DOCUMENTED: &str = "identity pass, document pass";
const HELD: &str = "identity pass, document pass, screening hit";
const MATCHED: &str = "identity pass, document pass, screening ambiguous";
const WATCHED: &str = "identity pass, document pass, screening ambiguous, anna release";

/// Given (the common beginning), when (a row's first part, of which the last input counts), then.
fn check(given: &str, rows: &[(&str, &str)]) {
    check_of(&application(), given, rows);
}

fn check_of(command: &Value, given: &str, rows: &[(&str, &str)]) {
    for (when, then) in rows {
        let (mut world, _) = World::begin(&ONBOARDING, command.clone());
        let mut last = Err(signalbox_flow::Refusal::Known);
        for words in given.split(", ").chain(when.split(", ")).filter(|words| !words.is_empty()) {
            last = world.say(words);
        }
        assert_eq!(told(&last), *then, "given {given:?}, when {when:?}");
    }
}

/// The last event of a flow that is led there.
fn last_event(command: Value, way: &str) -> Value {
    let (mut world, begun) = World::begin(&ONBOARDING, command);
    let mut effects = begun.effects;
    for words in way.split(", ") {
        effects = world.say(words).unwrap().effects;
    }
    assert_eq!(world.flow.status, Status::Ended, "after {way}");
    let event = |effect: Effect| match effect {
        Effect::Publish { value, .. } if value["final"] == true => Some(value),
        _ => None,
    };
    effects.into_iter().find_map(event).unwrap()
}

#[test]
fn nothing_is_asked_about_a_customer_before_they_consent() {
    let (_, begun) = World::begin(&ONBOARDING, application());
    assert_eq!(told(&Ok(begun)), "verify_identity: consent_recorded, ask verify_identity 1");

    let mut silent = application();
    silent["consent"] = Value::Null;
    let (_, begun) = World::begin(&ONBOARDING, silent.clone());
    assert_eq!(told(&Ok(begun)), "await_consent: consent_required");
    check_of(
        &silent,
        "",
        &[
            ("consent", "verify_identity: consent_recorded, ask verify_identity 1"),
            ("consent, consent", "not possible now"),
            ("continue", "not possible now"),
            ("timer wait", "abandoned_consent: final abandoned"),
            ("timer wait, consent", "not possible now"),
            ("withdraw", "withdrawn: final abandoned"),
            ("timer deadline", "expired: final expired"),
        ],
    );
}

#[test]
fn a_flow_is_begun_by_whoever_its_command_names() {
    let mut asked = application();
    assert_eq!(World::begin(&ONBOARDING, asked.clone()).1.actor, "service");
    asked["actor"] = json!("branch-7");
    assert_eq!(World::begin(&ONBOARDING, asked).1.actor, "branch-7");
}

#[test]
fn identity_has_four_endings_and_a_fifth_where_nobody_answers() {
    check(
        "",
        &[
            ("identity pass", "check_document: ask check_document 1"),
            ("identity hard_fail", "declined_identity: final declined"),
            ("identity soft_fail", "verify_identity"),
            ("identity soft_fail, timer retry", "verify_identity: ask verify_identity 2"),
            ("identity soft_fail, identity pass", "check_document: ask check_document 1"),
            (
                "identity soft_fail, timer retry, identity soft_fail, timer retry, identity soft_fail",
                "review_identity: task review_identity opened",
            ),
            ("identity step_up", "await_identity: action_required"),
            ("identity step_up, continue", "verify_identity: ask verify_identity 2"),
            ("identity step_up, timer wait", "verify_identity: ask verify_identity 2"),
            ("identity step_up, identity pass", "check_document: ask check_document 1"),
            ("identity step_up, identity hard_fail", "declined_identity: final declined"),
            ("identity step_up, withdraw", "withdrawn: final abandoned"),
            (
                "identity step_up, continue, identity step_up, continue, identity step_up, continue, identity step_up, continue, identity step_up",
                "abandoned_step_up: action_required, final abandoned",
            ),
            ("identity unavailable", "verify_identity"),
            ("identity unavailable, timer retry", "verify_identity: ask verify_identity 2"),
            ("timer within, identity pass", "check_document: ask check_document 1"),
            ("withdraw", "withdrawn: final abandoned"),
            ("timer deadline", "expired: final expired"),
        ],
    );
    check(
        "identity soft_fail, timer retry, identity soft_fail, timer retry, identity soft_fail",
        &[
            ("anna approve", "check_document: task review_identity closed, ask check_document 1"),
            ("anna decline", "declined_identity: task review_identity closed, final declined"),
            ("timer escalate", "review_identity: task review_identity escalated"),
        ],
    );
}

#[test]
fn a_document_is_checked_after_the_identity_and_has_the_same_endings() {
    check(
        IDENTIFIED,
        &[
            ("document pass", "screen_customer: ask screen_customer 1"),
            ("document hard_fail", "declined_document: final declined"),
            ("document soft_fail, timer retry", "check_document: ask check_document 2"),
            (
                "document soft_fail, timer retry, document soft_fail, timer retry, document soft_fail",
                "review_document: task review_document opened",
            ),
            ("document step_up", "await_document: action_required"),
            ("document step_up, continue", "check_document: ask check_document 2"),
            ("document step_up, document pass", "screen_customer: ask screen_customer 1"),
            ("document step_up, identity soft_fail", "known"),
            (
                "document step_up, continue, document step_up, continue, document step_up, continue, document step_up, timer wait, document step_up",
                "abandoned_document: action_required, final abandoned",
            ),
            ("identity hard_fail", "declined_identity: discrepancy, final declined"),
            ("withdraw", "withdrawn: final abandoned"),
        ],
    );
    check(
        "identity soft_fail, timer retry, identity pass",
        &[("older identity hard_fail", "declined_identity: discrepancy, final declined")],
    );
}

#[test]
fn a_hit_is_a_hold_and_an_ambiguous_hit_a_question_of_its_own() {
    check(
        DOCUMENTED,
        &[
            ("screening clear", "approved_low: final approved"),
            ("screening hit", "compliance_hold: on_hold, task compliance_hold opened"),
            ("screening ambiguous", "review_match: task review_match opened"),
            ("screening unavailable, timer retry", "screen_customer: ask screen_customer 2"),
            ("screening clear, screening clear", "known"),
        ],
    );
    check(
        HELD,
        &[
            ("anna release", "compliance_hold: task compliance_hold confirmed"),
            ("anna release, ANNA release", "not possible now"),
            (
                "anna release, ben release",
                "review_risk: task compliance_hold closed, risk_assessed, task review_risk opened",
            ),
            ("anna uphold", "declined_compliance: task compliance_hold closed, final declined"),
            ("anna approve", "not possible now"),
            ("withdraw", "compliance_hold"),
            (
                "withdraw, anna release, ben release",
                "withdrawn: task compliance_hold closed, final abandoned",
            ),
        ],
    );
    check(
        MATCHED,
        &[
            (
                "anna release",
                "review_risk: task review_match closed, risk_assessed, task review_risk opened",
            ),
            (
                "anna uphold",
                "compliance_hold: task review_match closed, on_hold, task compliance_hold opened",
            ),
        ],
    );
}

#[test]
fn a_hold_outlives_the_deadline_of_the_application() {
    let (mut world, _) = World::begin(&ONBOARDING, application());
    for words in HELD.split(", ") {
        world.say(words).unwrap();
    }
    let overdue = world.say("timer deadline");
    assert!(told(&overdue).starts_with("compliance_hold"), "{}", told(&overdue));
    world.say("anna release").unwrap();
    let freed = world.say("ben release");
    assert!(told(&freed).ends_with("final expired"), "{}", told(&freed));
}

#[test]
fn how_closely_a_customer_is_watched_follows_from_what_is_known() {
    let mut exposed = application();
    exposed["politically_exposed"] = json!(true);
    let mut company = application();
    company["segment"] = json!("business");
    let mut foreign = application();
    foreign["document"]["country"] = json!("FR");
    let clear = "identity pass, document pass, screening clear";
    let rows = [
        (application(), clear.to_owned(), "low"),
        (company, clear.to_owned(), "standard"),
        (foreign, clear.to_owned(), "standard"),
        (exposed, format!("{clear}, anna approve, ben approve"), "high"),
        (application(), format!("{WATCHED}, anna approve, ben approve"), "high"),
    ];
    for (command, way, tier) in rows {
        let event = last_event(command, &way);
        assert_eq!((&event["status"], &event["risk_tier"]), (&json!("approved"), &json!(tier)));
        assert_eq!(event["customer_id"], "c-1");
    }
    check(
        WATCHED,
        &[
            ("anna approve", "review_risk: task review_risk confirmed"),
            ("anna decline", "declined_risk: task review_risk closed, final declined"),
            (
                "screening hit",
                "compliance_hold: discrepancy, task review_risk closed, on_hold, task compliance_hold opened",
            ),
            ("withdraw", "withdrawn: task review_risk closed, final abandoned"),
        ],
    );
}

#[test]
fn a_hit_that_comes_after_the_approval_is_told_as_a_contradiction() {
    check(
        "identity pass, document pass, screening unavailable, timer retry, screening clear",
        &[("older screening hit", "approved_low: discrepancy")],
    );
}

#[test]
fn a_refusal_that_would_tip_off_the_customer_names_no_reason() {
    let rows = [
        (format!("{HELD}, anna uphold"), Value::Null),
        ("identity hard_fail".to_owned(), json!("identity_not_verified")),
        (format!("{IDENTIFIED}, document hard_fail"), json!("document_not_accepted")),
    ];
    for (way, reason) in rows {
        let event = last_event(application(), &way);
        assert_eq!((&event["status"], &event["reason"]), (&json!("declined"), &reason), "{way}");
    }
}
