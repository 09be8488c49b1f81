//! Whatever happens to a flow, in whatever order and however often: no illegal path, one ending, money at most once.
//! Every journey of `journeys/` is judged, by being registered in the harness.
//! The inputs are drawn from everything that can reach a lane, sensible or not; the judgement here shares no code with
//! the journey's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use harness::stories::{PAYOUT, STORIES, request};
use harness::{World, is_write};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use proptest::sample::Index;
use serde_json::Value;
use signalbox_flow::{Decision, Effect, Flow, Refusal, Status};
use signalbox_schemas::{AttemptId, Contract, StepName};
use std::collections::{BTreeMap, BTreeSet};

/// Something that reaches the flow.
#[derive(Debug, Clone)]
enum Event {
    /// An answer to any call ever made, of any of its groups.
    Answer { step: Index, group: Index, word: Index },
    /// The answer that the flow waits for, so that runs get far.
    Awaited { word: Index },
    /// A timer that is set, or none.
    Timer(Index),
    /// Somebody asks for something else, such as to cancel.
    Command(Index),
    /// Somebody decides something.
    Decision { actor: Index, decision: Index },
    /// An adapter takes the permit of a planned write.
    Permit,
    /// The flow is moved to a version that calls some states otherwise.
    Migrate,
}

const ACTORS: [&str; 3] = ["anna", "ben", "cleo"];
const DECISIONS: [&str; 6] =
    ["approve", "decline", "release", "uphold", "executed", "not_executed"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = proptest::prelude::any::<Index>;
    let event = prop_oneof![
        3 => (index(), index(), index()).prop_map(|(step, group, word)| Event::Answer { step, group, word }),
        12 => index().prop_map(|word| Event::Awaited { word }),
        3 => index().prop_map(Event::Timer),
        1 => index().prop_map(Event::Command),
        6 => (index(), index()).prop_map(|(actor, decision)| Event::Decision { actor, decision }),
        2 => Just(Event::Permit),
        1 => Just(Event::Migrate),
    ];
    proptest::collection::vec(event, 1..60)
}

/// What an onlooker knows who only sees inputs and effects.
#[derive(Default)]
struct Onlooker {
    finals: usize,
    /// Attempts of writes that may have moved money or still may.
    open: BTreeSet<AttemptId>,
    /// The write that each inquiry is about.
    subjects: BTreeMap<AttemptId, AttemptId>,
}

impl Onlooker {
    fn watch(
        &mut self,
        world: &World,
        decision: &Decision,
        before: &Flow,
        proven_unsent: Option<AttemptId>,
    ) {
        if let Some(attempt) = proven_unsent {
            self.open.remove(&attempt);
        }
        for effect in &decision.effects {
            match effect {
                Effect::Abandon { attempt } => {
                    assert!(!world.sent.contains(attempt));
                    self.open.remove(attempt);
                }
                Effect::Ask { attempt, capability, value, .. }
                    if is_write(capability) && value.get("subject_attempt").is_none() =>
                {
                    self.open.insert(*attempt);
                    assert_eq!(self.open.len(), 1, "two payments under way: {value}");
                }
                Effect::Ask { attempt, value, .. } => {
                    if let Some(subject) = value.get("subject_attempt") {
                        self.subjects
                            .insert(*attempt, serde_json::from_value(subject.clone()).unwrap());
                    }
                }
                Effect::Publish { value, .. } => {
                    self.finals += usize::from(value.get("final") == Some(&Value::Bool(true)))
                }
                Effect::Close { .. }
                | Effect::Recognise(_)
                | Effect::Assent(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer { .. } => {}
            }
        }
        let ended = decision.flow.status == Status::Ended;
        assert_eq!(self.finals, usize::from(ended), "one final event, with the ending");
        if before.status == Status::Ended {
            assert_eq!(before.state, decision.flow.state, "an ended flow stays where it is");
        }
    }
}

/// Applies an event; gives the decision and, where it proves that a payment was not sent, which.
fn apply(
    world: &mut World,
    onlooker: &Onlooker,
    event: &Event,
) -> (Result<Decision, Refusal>, Option<AttemptId>) {
    let before = world.flow.clone();
    let attempt_of =
        |step: &str| before.data.calls.get(&StepName::from(step)).map(|call| call.attempt);
    match event {
        Event::Timer(which) => {
            let names: Vec<String> =
                before.data.timers.keys().cloned().chain(["retry".to_owned()]).collect();
            (world.timer(&names[which.index(names.len())]), None)
        }
        Event::Command(which) => {
            let commands = world.story.commands;
            (world.command(commands[which.index(commands.len())].0), None)
        }
        Event::Migrate => {
            let (migration, to) = world.story.renaming();
            let moved = world.migrate(migration, to);
            if before.version == world.story.journey().version() && before.status == Status::Running
            {
                let moved =
                    moved.unwrap_or_else(|why| panic!("{} in {}", why.code(), before.state));
                assert_eq!(moved.path.as_slice(), std::slice::from_ref(&moved.flow.state));
                return (Ok(moved), None);
            }
            assert!(moved.is_err() && world.flow == before);
            (Err(Refusal::Known), None)
        }
        Event::Permit => {
            let _ = world.say("permit");
            (Err(Refusal::Known), None)
        }
        Event::Decision { actor, decision } => {
            let decision = *decision.get(&DECISIONS);
            let result = world.decide(ACTORS[actor.index(ACTORS.len())], decision);
            let settled = result.as_ref().is_ok_and(|decided| decided.flow.state != before.state);
            let write = world.story.settled_by_people;
            let write = write.filter(|(_, states)| states.contains(&before.state.as_str()));
            let proven = write.filter(|_| settled && decision == "not_executed");
            (result, proven.map(|(step, _)| attempt_of(step).unwrap()))
        }
        Event::Answer { step, group, word } => {
            let steps: Vec<&StepName> = before.data.calls.keys().collect();
            let step = (*step.get(&steps)).clone();
            let groups = before.data.calls[&step].group;
            let group = u32::try_from(group.index(usize::try_from(groups).unwrap())).unwrap() + 1;
            answer(world, onlooker, &step, group, word)
        }
        Event::Awaited { word } => {
            let here =
                |step: &&StepName| step.as_str().split('/').next() == Some(before.state.as_str());
            let mut steps: Vec<&StepName> = before.data.calls.keys().filter(here).collect();
            steps.sort_by_key(|step| before.data.calls[*step].outcome.is_some());
            let Some(step) = steps.first() else { return (Err(Refusal::Known), None) };
            answer(world, onlooker, step, before.data.calls[*step].group, word)
        }
    }
}

fn answer(
    world: &mut World,
    onlooker: &Onlooker,
    step: &StepName,
    group: u32,
    word: &Index,
) -> (Result<Decision, Refusal>, Option<AttemptId>) {
    let words = &Contract::builtin().unwrap().capability(world.capability(step)).unwrap().outcomes;
    let word = word.get(words).as_str();
    let attempt = world.key.attempt_id(&signalbox_schemas::Attempt {
        flow: world.flow.id,
        step: step.clone(),
        group,
    });
    let result = world.answer(step, group, word);
    // A repeat of an answer changes nothing, wherever the flow has gone.
    if result.is_ok() {
        assert_eq!(
            world.answer(step, group, word),
            Err(Refusal::Known),
            "{step} {word} again in {}",
            world.flow.state
        );
    }
    let unsent = world.story.unsent.iter().find(|(proving, _)| *proving == step.as_str());
    let proven = unsent.is_some_and(|(_, words)| words.contains(&word));
    // An inquiry proves it of the write that it asks about.
    let proven = proven.then(|| onlooker.subjects.get(&attempt).copied().unwrap_or(attempt));
    (result, proven)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_duplication_of_inputs_keeps_every_promise(story in 0..STORIES.len(), milestone in proptest::prelude::any::<Index>(), events in events()) {
        let story = STORIES[story];
        let (mut world, begun) = World::begin(story, (story.request)());
        let mut onlooker = Onlooker::default();
        onlooker.watch(&world, &begun, &world.flow.clone(), None);
        for words in milestone.get(story.milestones).split(", ").filter(|words| !words.is_empty()) {
            let before = world.flow.clone();
            if let Ok(decision) = world.say(words) {
                onlooker.watch(&world, &decision, &before, None);
            }
        }
        for event in &events {
            let before = world.flow.clone();
            let (result, proven_unsent) = apply(&mut world, &onlooker, event);
            match result {
                Ok(decision) => {
                    onlooker.watch(&world, &decision, &before, proven_unsent);
                    let hold = story.holds.iter().find(|(hold, _)| *hold == before.state.as_str());
                    let left = before.status == Status::Running && decision.flow.state != before.state;
                    if let Some((_, upheld)) = hold.filter(|_| left && !matches!(event, Event::Migrate)) {
                        let people: BTreeSet<&String> = before.data.votes.iter().map(|vote| &vote.actor).collect();
                        let decided = matches!(event, Event::Decision { .. });
                        assert!(decided && (people.len() == 1 || decision.flow.state.as_str() == *upheld), "{event:?}");
                    }
                }
                Err(Refusal::Unresolvable { detail }) => panic!("{event:?} in {}: {detail}", before.state),
                Err(Refusal::Known | Refusal::NotPossibleNow { .. }) => {}
            }
        }
    }

    #[test]
    fn answers_that_do_not_depend_on_each_other_lead_to_one_state_in_any_order(
        order in Just(vec!["originator clear", "beneficiary clear", "beneficiary clear", "kyc pass", "originator clear"]).prop_shuffle()
    ) {
        let run = |order: &[&str]| {
            let (mut world, _) = World::begin_stranger(&PAYOUT, request());
            world.say("kyc pass").unwrap();
            for words in order {
                let _ = world.say(words);
            }
            (world.flow.state.clone(), world.flow.data.clone())
        };
        assert_eq!(run(&order), run(&["originator clear", "beneficiary clear"]));
    }
}

#[test]
fn every_journey_is_judged_and_found_safe() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../journeys");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let registered = STORIES.iter().any(|story| story.file == file);
        // The rules of the bank are no journey.
        let journey = file.ends_with(".yaml") && file != "invariants.yaml";
        assert!(registered || !journey, "register journeys/{file} in the harness");
    }
    for story in STORIES {
        let found = signalbox_flow::check(story.journey(), Contract::builtin().unwrap());
        assert_eq!(found, [], "{}", story.file);
    }
}

#[test]
fn what_is_kept_of_a_flow_can_be_read_again() {
    let (mut world, _) = World::begin_stranger(&PAYOUT, request());
    for words in ["kyc pass", "originator hit", "beneficiary clear", "cancel", "anna release"] {
        world.say(words).unwrap();
    }
    let kept = serde_json::to_string(&world.flow.data).unwrap();
    assert_eq!(serde_json::from_str::<signalbox_flow::FlowData>(&kept).unwrap(), world.flow.data);
    assert!(kept.len() < 2_000, "{} bytes", kept.len());
    assert_eq!(PAYOUT.journey().starts_with().as_str(), "payments.payout.v2.RequestPayout");
}
