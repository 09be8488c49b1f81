//! A flow of any journey driven in domain words: `kyc pass`, `originator hit`, `anna release`, `timer retry`, `cancel`.
//! It plays the worker as far as `step` can tell, and checks every record against the contract. It keeps no database.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod stories;

use serde_json::{Value, json};
use signalbox_flow::{
    Act, Context, Decision, Effect, Flow, Input, Journey, Migration, MigrationPlan, Mover,
    OperatorAct, Refusal, Start, Unmovable, begin, park, step,
};
use signalbox_schemas::{
    Attempt, AttemptId, Contract, LaneId, Micros, RecordName, StepName, TenantKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use stories::STORIES;

/// A command: the tests' word for it, its record and its content.
type Said = (&'static str, &'static str, fn() -> Value);

/// What the harness has to know of a journey beside its file.
pub(crate) struct Story {
    /// The file's name in `journeys/`.
    pub(crate) file: &'static str,
    yaml: &'static str,
    /// States that a next version calls otherwise, and is else the same: `old`, `new`.
    renamed: &'static [(&'static str, &'static str)],
    /// A request that everything is right with.
    pub(crate) request: fn() -> Value,
    /// Who answers, in the tests' words, and the step that asks them.
    voices: &'static [(&'static str, &'static str)],
    /// What its customers can say.
    pub(crate) commands: &'static [Said],
    /// How far a flow has come before anything may happen to it; most chance would end it early otherwise.
    pub(crate) milestones: &'static [&'static str],
    /// Holds, and where upholding them leads.
    pub(crate) holds: &'static [(&'static str, &'static str)],
    /// The write whose money the journey moves, and the states in which two people may prove it unsent.
    pub(crate) settled_by_people: Option<(&'static str, &'static [&'static str])>,
    /// Answers that prove a write unsent, by step.
    pub(crate) unsent: &'static [(&'static str, &'static [&'static str])],
    /// The bank's rule, written a second time; panics where a decision breaks it.
    pub(crate) rule: fn(&Decision),
}

impl Story {
    /// The journey, parsed once.
    pub(crate) fn journey(&self) -> &'static Arc<Journey> {
        static PARSED: [OnceLock<Arc<Journey>>; STORIES.len()] =
            [const { OnceLock::new() }; STORIES.len()];
        let place = STORIES.iter().position(|story| story.file == self.file).unwrap();
        PARSED.get(place).unwrap().get_or_init(|| Arc::new(parsed(self.yaml)))
    }

    /// The journey as its next version, with further edits; every edit must hit.
    pub(crate) fn next_version(&self, edits: &[(&str, &str)]) -> Arc<Journey> {
        let edited = edits.iter().fold(self.yaml.to_owned(), |yaml, (old, new)| {
            assert!(yaml.contains(old), "the journey no longer says {old:?}; adapt the test");
            yaml.replace(old, new)
        });
        let version = self.journey().version();
        let (this, next) =
            (format!("\nversion: {version}\n"), format!("\nversion: {}\n", version + 1));
        Arc::new(parsed(&edited.replace(&this, &next)))
    }

    /// The move to the next version in which some states have other names.
    pub(crate) fn renaming(&self) -> &'static (Migration, Arc<Journey>) {
        static MADE: [OnceLock<(Migration, Arc<Journey>)>; STORIES.len()] =
            [const { OnceLock::new() }; STORIES.len()];
        let place = STORIES.iter().position(|story| story.file == self.file).unwrap();
        MADE.get(place).unwrap().get_or_init(|| {
            let states = self.renamed.iter().map(|(old, new)| ((*old).into(), (*new).into()));
            let journey = self.journey().name().clone();
            let (old, new) = (Arc::clone(self.journey()), self.next_version(self.renamed));
            let (from, to) = (old.version(), new.version());
            let plan = MigrationPlan { journey, from, to, states: states.collect() };
            (Migration::new(plan, old, Arc::clone(&new)).unwrap(), new)
        })
    }
}

fn parsed(yaml: &str) -> Journey {
    Journey::parse(yaml, Contract::builtin().unwrap(), &BTreeMap::new()).unwrap()
}

/// One flow and the world around it.
pub(crate) struct World {
    pub(crate) story: &'static Story,
    /// The version that the flow follows.
    pub(crate) journey: Arc<Journey>,
    pub(crate) flow: Flow,
    pub(crate) now: Micros,
    /// Attempts whose permit was taken.
    pub(crate) sent: BTreeSet<AttemptId>,
    pub(crate) key: TenantKey,
    /// Capability of each step that was asked so far.
    capabilities: BTreeMap<StepName, String>,
}

impl World {
    /// A flow that has just begun.
    pub(crate) fn begin(story: &'static Story, command: Value) -> (Self, Decision) {
        let key = TenantKey::new(b"a secret of the tests".to_vec());
        let now = Micros(1_000_000);
        let none = BTreeSet::new();
        let command = Arc::new(command);
        let start = Start { command: &command, lane: LaneId(3) };
        let ctx = Context { now, key: &key, sending: &none };
        let decision = begin(story.journey(), start, ctx).unwrap();
        let (flow, sent, capabilities) = (decision.flow.clone(), BTreeSet::new(), BTreeMap::new());
        let journey = Arc::clone(story.journey());
        let mut world = Self { story, journey, flow, now, sent, key, capabilities };
        world.judge(&decision);
        (world, decision)
    }

    /// Applies an input as the worker does: an abandonment that is lost is stepped again with the fact.
    pub(crate) fn apply(&mut self, input: Input<'_>) -> Result<Decision, Refusal> {
        let none = BTreeSet::new();
        let first = step(
            &self.journey,
            &self.flow,
            input,
            Context { now: self.now, key: &self.key, sending: &none },
        )?;
        let lost = abandoned(&first).iter().any(|attempt| self.sent.contains(attempt));
        let decision = if lost {
            step(
                &self.journey,
                &self.flow,
                input,
                Context { now: self.now, key: &self.key, sending: &self.sent },
            )?
        } else {
            first
        };
        assert!(
            abandoned(&decision).iter().all(|attempt| !self.sent.contains(attempt)),
            "a sent write is not abandoned"
        );
        self.judge(&decision);
        assert_eq!(decision.flow.rev, self.flow.rev + 1);
        self.flow = decision.flow.clone();
        Ok(decision)
    }

    /// Moves the flow to another version as the worker does; the flow stays as it is where it is not moved.
    pub(crate) fn migrate(
        &mut self,
        migration: &Migration,
        to: &Arc<Journey>,
    ) -> Result<Decision, Unmovable> {
        let by = Mover { actor: "ann", reason: "CHG-1" };
        let none = BTreeSet::new();
        let step = |sending| {
            let ctx = Context { now: self.now, key: &self.key, sending };
            migration.step(&self.flow, by, ctx).map_err(|(why, _)| why)
        };
        let mut decision = step(&none)?;
        if abandoned(&decision).iter().any(|attempt| self.sent.contains(attempt)) {
            decision = step(&self.sent)?;
        }
        let taken_back = abandoned(&decision);
        assert!(taken_back.iter().all(|attempt| !self.sent.contains(attempt)));
        self.judge(&decision);
        assert_eq!((decision.flow.rev, decision.flow.version), (self.flow.rev + 1, to.version()));
        (self.flow, self.journey) = (decision.flow.clone(), Arc::clone(to));
        Ok(decision)
    }

    /// Begins a flow of somebody whom the house does not know, where the journey asks the house.
    pub(crate) fn begin_stranger(story: &'static Story, command: Value) -> (Self, Decision) {
        let (mut world, begun) = Self::begin(story, command);
        if world.flow.state.as_str() == "recognise_customer" {
            let known = world.say("house stranger").unwrap();
            return (world, known);
        }
        (world, begun)
    }

    /// One input in words.
    pub(crate) fn say(&mut self, words: &str) -> Result<Decision, Refusal> {
        match words.split(' ').collect::<Vec<_>>().as_slice() {
            ["timer", name] => self.timer(name),
            ["operator", actor, act] => self.operate(actor, act),
            ["permit"] => {
                let calls = self.flow.data.calls.iter();
                let writes = calls.filter(|(step, _)| is_write(self.capability(step)));
                let sent: Vec<AttemptId> = writes.map(|(_, call)| call.attempt).collect();
                self.sent.extend(sent);
                Err(Refusal::Known)
            }
            [command] => self.command(command),
            ["older", who, word] => {
                let step = self.step_of(who);
                let group = self.flow.data.calls.get(&step).unwrap().group - 1;
                self.answer(&step, group, word)
            }
            [actor @ ("anna" | "ben" | "ANNA"), decision] => self.decide(actor, decision),
            [who, word] => {
                let step = self.step_of(who);
                let group = self.flow.data.calls.get(&step).map_or(1, |call| call.group);
                self.answer(&step, group, word)
            }
            other => panic!("what does {other:?} mean?"),
        }
    }

    pub(crate) fn timer(&mut self, name: &str) -> Result<Decision, Refusal> {
        let due = self.flow.data.timers.get(name).copied().unwrap_or(self.now);
        self.now = self.now.max(due);
        self.apply(Input::Timer { name })
    }

    /// A command of the journey, by its word.
    pub(crate) fn command(&mut self, word: &str) -> Result<Decision, Refusal> {
        let found = self.story.commands.iter().find(|(known, ..)| *known == word);
        let (_, record, value) = found.unwrap_or_else(|| panic!("what does {word:?} mean?"));
        self.apply(Input::Command { record: &RecordName::from(*record), value: &value() })
    }

    pub(crate) fn decide(&mut self, actor: &str, decision: &str) -> Result<Decision, Refusal> {
        let value = json!({"aggregate_id": "p-1", "tenant": "default", "journey": self.story.journey().name(), "step": self.flow.state,
            "decision": decision, "actor": actor, "reason": "looked at it", "decided_at": 1});
        self.apply(Input::Command {
            record: &RecordName::from("signalbox.review.ReviewDecision"),
            value: &value,
        })
    }

    /// An operator's act, one of the record's words.
    pub(crate) fn operate(&mut self, actor: &str, act: &str) -> Result<Decision, Refusal> {
        let act = Act::parse(act).unwrap();
        self.apply(Input::Act(OperatorAct { act, actor, reason: "INC-7" }))
    }

    /// What the worker does with an input that cannot be applied.
    pub(crate) fn park(&mut self, code: &str, timer: Option<&str>) {
        self.flow = park(&self.flow, code, timer, self.now).flow;
        if timer.is_none() {
            self.flow = self.flow.holding().1;
        }
    }

    pub(crate) fn answer(
        &mut self,
        step: &StepName,
        group: u32,
        word: &str,
    ) -> Result<Decision, Refusal> {
        let attempt =
            self.key.attempt_id(&Attempt { flow: self.flow.id, step: step.clone(), group });
        let value = json!({"outcome": word, "reason": null, "retry_after_ms": null});
        let capability = self.capability(step).to_owned();
        self.apply(Input::Outcome { attempt, capability: &capability, value: &value })
    }

    /// The capability that a step has asked; any other answers nothing.
    pub(crate) fn capability(&self, step: &StepName) -> &str {
        self.capabilities.get(step).map_or("kyc.check", String::as_str)
    }

    fn step_of(&self, who: &str) -> StepName {
        let voice = self.story.voices.iter().find(|(voice, _)| *voice == who);
        match voice {
            Some((_, step)) => (*step).into(),
            None if who == "inquiry" => self.flow.state.clone(),
            None => who.into(),
        }
    }

    /// Every record that a decision publishes fits the contract, and the bank's rule holds.
    fn judge(&mut self, decision: &Decision) {
        for effect in &decision.effects {
            let (Effect::Ask { record, value, .. } | Effect::Publish { record, value, .. }) =
                effect
            else {
                continue;
            };
            let schema = Contract::builtin().unwrap().record(record.as_str()).unwrap();
            schema.encode(value).unwrap_or_else(|error| panic!("{record}: {error} in {value}"));
            if let Effect::Ask { step, capability, .. } = effect {
                self.capabilities.insert(step.clone(), capability.clone());
            }
        }
        (self.story.rule)(decision);
    }
}

pub(crate) fn is_write(capability: &str) -> bool {
    let found = Contract::builtin().unwrap().capability(capability).unwrap();
    found.effect == signalbox_schemas::Effect::Write
}

fn abandoned(decision: &Decision) -> Vec<AttemptId> {
    let attempt = |effect: &Effect| match effect {
        Effect::Abandon { attempt } => Some(*attempt),
        _ => None,
    };
    decision.effects.iter().filter_map(attempt).collect()
}

/// A decision in words: where the flow is, and what is to be done; timers apart.
pub(crate) fn told(result: &Result<Decision, Refusal>) -> String {
    let decision = match result {
        Ok(decision) => decision,
        Err(Refusal::Known) => return "known".to_owned(),
        Err(Refusal::NotPossibleNow { .. }) => return "not possible now".to_owned(),
        Err(Refusal::Unresolvable { .. }) => return "unresolvable".to_owned(),
    };
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let effect = |effect: &Effect| match effect {
        Effect::Ask { step, group, .. } => Some(format!("ask {step} {group}")),
        Effect::Abandon { .. } => Some("abandon".to_owned()),
        Effect::Close { outcome, .. } => Some(format!("close {outcome}")),
        Effect::Publish { record, value, .. }
            if record.as_str() == "signalbox.review.ReviewTask" =>
        {
            Some(format!("task {} {}", text(value, "step"), text(value, "status")))
        }
        Effect::Publish { value, .. } => {
            let last = if value.get("final") == Some(&Value::Bool(true)) { "final " } else { "" };
            Some(format!("{last}{}", text(value, "status")))
        }
        Effect::Recognise(_)
        | Effect::Assent(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer { .. } => None,
    };
    let effects: Vec<String> = decision.effects.iter().filter_map(effect).collect();
    format!("{}: {}", decision.flow.state, effects.join(", "))
        .trim_end_matches([':', ' '])
        .to_owned()
}
