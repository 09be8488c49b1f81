//! What operators can do to a payout: it stands still and goes on, asks again, is cancelled as its journey allows; and
//! what takes two people takes two different ones. How inputs wait is the worker's part and not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use harness::stories::{PAYOUT, request};
use harness::{World, told};
use signalbox_flow::{Act, Decision, Effect, Journey, OperatorAct, Refusal};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;

const SENDING: &str = "kyc pass, originator clear, beneficiary clear, fraud approve";

fn world(given: &str) -> World {
    let (mut world, _) = World::begin_stranger(&PAYOUT, request());
    for words in given.split(", ").filter(|words| !words.is_empty()) {
        let _ = world.say(words);
    }
    world
}

fn why(result: &Result<Decision, Refusal>) -> &str {
    match result {
        Err(Refusal::NotPossibleNow { detail }) => detail,
        other => panic!("refused it should have been: {other:?}"),
    }
}

/// Timers that a decision sets and forgets.
fn timers(decision: &Decision) -> (Vec<&str>, Vec<&str>) {
    let (mut set, mut forgotten) = (Vec::new(), Vec::new());
    for effect in &decision.effects {
        match effect {
            Effect::SetTimer { name, .. } => set.push(name.as_str()),
            Effect::CancelTimer { name } => forgotten.push(name.as_str()),
            Effect::Ask { .. }
            | Effect::Abandon { .. }
            | Effect::Close { .. }
            | Effect::Publish { .. }
            | Effect::Recognise(_)
            | Effect::Assent(_) => {}
        }
    }
    (set, forgotten)
}

#[test]
fn a_pause_stops_the_timers_and_a_resume_sets_them_again_as_they_were() {
    let mut world = world("kyc pass");
    let before = world.flow.data.timers.clone();
    let paused = world.operate("ann", "pause").unwrap();
    assert!(world.flow.stands());
    assert_eq!(paused.reason, "pause: INC-7");
    assert_eq!(paused.actor, "ann");
    let (set, forgotten) = timers(&paused);
    assert_eq!((set.len(), forgotten.len()), (0, before.len()));
    assert_eq!(why(&world.operate("bob", "pause")), "the flow is paused already");

    let resumed = world.operate("bob", "resume").unwrap();
    assert!(!world.flow.stands());
    assert_eq!(world.flow.data.standstill, None);
    assert_eq!(world.flow.data.timers, before);
    assert_eq!(timers(&resumed).0.len(), before.len());
    assert_eq!(why(&world.operate("bob", "resume")), "the flow is not paused");
}

#[test]
fn what_has_ended_cannot_be_paused() {
    let mut world = world("kyc hard_fail");
    assert_eq!(why(&world.operate("ann", "pause")), "the flow has ended as declined_identity");
}

#[test]
fn a_parked_flow_is_released_by_one_and_its_input_set_aside_by_two() {
    let mut world = world("kyc pass");
    world.park("unresolvable", None);
    assert!(world.flow.stands());
    assert_eq!(world.flow.waiting(), 1);
    assert_eq!(why(&world.operate("ann", "resume")), "the flow is not paused");
    assert!(why(&world.operate("ann", "retry")).starts_with("the flow stands"));

    let first = world.operate("Ann", "set_aside").unwrap();
    assert_eq!(first.reason, "set_aside, 1 of 2: INC-7");
    assert!(world.flow.stands(), "one person is not two");
    assert!(why(&world.operate(" ann ", "set_aside")).contains("another person"));
    assert!(world.flow.stands(), "neither is one who signs twice");
    let second = world.operate("bob", "set_aside").unwrap();
    assert_eq!(second.reason, "set_aside: INC-7");
    assert!(!world.flow.stands());

    let seats: Vec<(u32, u32, &str)> = [&first, &second]
        .iter()
        .flat_map(|decision| &decision.effects)
        .filter_map(|effect| match effect {
            Effect::Assent(assent) => Some((assent.seat, assent.people, assent.actor.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(seats, [(1, 2, "ann"), (2, 2, "bob")]);
}

#[test]
fn agreement_to_set_one_input_aside_is_none_to_set_aside_the_next() {
    let mut world = world("kyc pass");
    world.park("unresolvable", None);
    world.operate("ann", "set_aside").unwrap();
    world.operate("cid", "release").unwrap();
    world.park("unresolvable", None);
    let next = world.operate("bob", "set_aside").unwrap();
    assert_eq!(next.reason, "set_aside, 1 of 2: INC-7");
    assert!(world.flow.stands());
}

#[test]
fn a_flow_that_is_parked_and_paused_goes_on_when_both_are_over() {
    let mut world = world("kyc pass");
    world.operate("ann", "pause").unwrap();
    world.park("too_large", None);
    assert!(why(&world.operate("ann", "release")).contains("resume it first"));
    world.operate("ann", "resume").unwrap();
    assert!(world.flow.stands(), "it is parked still");
    world.operate("ann", "release").unwrap();
    assert!(!world.flow.stands());
}

#[test]
fn a_timer_that_parked_its_flow_can_be_released_and_not_be_set_aside() {
    let mut world = world("kyc pass");
    world.park("no_journey", Some("within"));
    assert_eq!(world.flow.waiting(), 0, "it waits in the flow itself");
    assert!(why(&world.operate("ann", "set_aside")).contains("released, not set aside"));
    let released = world.operate("ann", "release").unwrap();
    assert!(timers(&released).0.contains(&"within"));
    assert_eq!(world.flow.data.standstill, None);
}

#[test]
fn a_retry_asks_again_at_once_and_nothing_else() {
    let mut world = world("kyc unavailable");
    assert_eq!(told(&world.operate("ann", "retry")), "confirm_identity: ask confirm_identity 2");
    assert!(why(&world.operate("ann", "retry")).contains("does not wait to ask again"));
}

#[test]
fn an_operator_cancels_as_the_journey_allows_and_no_further() {
    assert_eq!(told(&world("").operate("ann", "cancel")), "cancelled: final cancelled");
    let mut on_its_way = world(SENDING);
    let _ = on_its_way.say("permit");
    let cancelled = told(&on_its_way.operate("ann", "cancel"));
    assert_eq!(
        cancelled,
        told(&{
            let mut customer = world(SENDING);
            let _ = customer.say("permit");
            customer.say("cancel")
        })
    );
    assert!(!on_its_way.flow.data.remembered.is_empty() || cancelled == "not possible now");
}

#[test]
fn an_act_without_a_name_or_a_reason_is_none() {
    let mut world = world("");
    let nameless = OperatorAct { act: Act::Pause, actor: " ", reason: "INC-7" };
    assert!(why(&world.apply(signalbox_flow::Input::Act(nameless))).contains("needs its actor"));
    let silent = OperatorAct { act: Act::Pause, actor: "ann", reason: "" };
    assert!(why(&world.apply(signalbox_flow::Input::Act(silent))).contains("a reason"));
}

#[test]
fn a_journey_may_ask_for_more_people_and_never_for_fewer_than_usual() {
    let parse = |operators: &str| {
        let yaml =
            format!("{}\noperators: {operators}\n", include_str!("../../../journeys/payout.yaml"));
        Journey::parse(&yaml, Contract::builtin().unwrap(), &BTreeMap::new())
    };
    assert!(parse("{cancel: 2, set_aside: 1}").is_ok());
    let unknown = parse("{explode: 2}").unwrap_err().to_string();
    assert!(unknown.contains("operators.explode"), "{unknown}");
    let nobody = parse("{cancel: 0}").unwrap_err().to_string();
    assert!(nobody.contains("1 to 9 people"), "{nobody}");
}
