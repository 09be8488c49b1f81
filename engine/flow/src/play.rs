//! Plays a scenario on a journey, with nothing but `step`: no Kafka, no Postgres, no clock. It stands in for the worker
//! (a permit that was taken makes a write impossible to take back) and holds every record against the contract.

use serde_json::{Map, Value, json};
use signalbox_schemas::{
    Attempt, AttemptId, Contract, Effect as CallEffect, LaneId, Micros, RecordName, StepName,
    TenantKey, Type,
};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Context, Decision, Effect, Input, Refusal, Start};
use crate::document::Ordered;
use crate::duration;
use crate::error::{JourneyError, did_you_mean, mistake};
use crate::expectation::{self, Seen};
use crate::flow::Flow;
use crate::journey::Journey;
use crate::script::{AnswerDoc, Scenario, StepDoc};
use crate::step::{begin, step};

/// Timers that may fire while a scenario waits; more is a scenario that nobody reads.
const TIMERS_MAX: usize = 1_000;
/// The record of a person's decision.
const REVIEW_DECISION: &str = "signalbox.review.ReviewDecision";

/// What happened when a scenario was played.
#[derive(Debug)]
pub struct Played {
    /// Everything that happened, in order.
    pub moments: Vec<Moment>,
    /// What was expected and does not hold, each with its place in the scenario. Empty: the scenario holds.
    pub failures: Vec<JourneyError>,
}

/// One input and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Time since the flow began.
    pub after: Duration,
    /// What happened, such as `confirm_identity answers pass`.
    pub input: String,
    /// States that the flow passed through; the last one is where it waits.
    pub path: Vec<String>,
    /// What the flow did, in order, in words.
    pub did: Vec<String>,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = duration::told(self.after);
        write!(f, "{after:>10}  {} -> {}", self.input, self.path.join(" -> "))?;
        self.did.iter().try_for_each(|did| write!(f, "\n            {did}"))
    }
}

/// Plays a scenario.
///
/// # Errors
/// Where the scenario cannot be played: it speaks of steps, timers, outcomes or commands that the journey does not have.
pub fn play(
    scenario: &Scenario,
    journey: &Journey,
    contract: &Contract,
) -> Result<Played, JourneyError> {
    Player::new(scenario, journey, contract)
        .and_then(Player::play)
        .map_err(|error| scenario.locate(error))
}

struct Player<'a> {
    scenario: &'a Scenario,
    journey: &'a Journey,
    contract: &'a Contract,
    key: TenantKey,
    flow: Flow,
    now: Micros,
    /// Attempts whose permit was taken.
    sent: BTreeSet<AttemptId>,
    played: Played,
    /// What the step of the scenario did so far, and what all of it did.
    step: Seen,
    whole: Seen,
}

impl<'a> Player<'a> {
    fn new(
        scenario: &'a Scenario,
        journey: &'a Journey,
        contract: &'a Contract,
    ) -> Result<Self, JourneyError> {
        if scenario.journey() != journey.name().as_str() {
            return mistake(
                "journey",
                format!("it is played on {}; name that one", journey.name()),
            );
        }
        scenario.check_command(journey.starts_with(), contract)?;
        let key = TenantKey::new(b"the key of scenarios".to_vec());
        let (now, none) = (Micros(0), BTreeSet::new());
        let command = Arc::new(scenario.command.clone());
        let start = Start { command: &command, lane: LaneId(0) };
        let ctx = Context { now, key: &key, sending: &none };
        let begun = begin(journey, start, ctx).or_else(|refusal| {
            mistake("command", format!("the journey does not begin: {}", told(&refusal)))
        })?;
        let mut player = Self {
            scenario,
            journey,
            contract,
            flow: begun.flow.clone(),
            key,
            now,
            sent: BTreeSet::new(),
            played: Played { moments: Vec::new(), failures: Vec::new() },
            step: Seen::default(),
            whole: Seen::default(),
        };
        player.record("command", format!("{} comes", journey.starts_with()), Ok(begun));
        Ok(player)
    }

    fn play(mut self) -> Result<Played, JourneyError> {
        let scenario = self.scenario;
        for (index, step) in scenario.doc.steps.iter().enumerate() {
            let place = format!("steps[{index}]");
            self.step = Seen::default();
            self.take(&place, step)?;
            let refusal = self.step.refused.clone();
            if let (Some(refusal), None) = (&refusal, &step.expect.refused) {
                self.fail(&place, format!("nothing came of it: {refusal}"));
            }
            let failed = expectation::unmet(&step.expect, &self.step, &self.flow);
            for (key, problem) in failed {
                self.fail(&format!("{place}.expect.{key}"), problem);
            }
        }
        self.whole.refused.clone_from(&self.step.refused);
        for (key, problem) in expectation::unmet(&scenario.doc.expect, &self.whole, &self.flow) {
            self.fail(&format!("expect.{key}"), problem);
        }
        Ok(self.played)
    }

    fn fail(&mut self, place: &str, problem: String) {
        let error = JourneyError::Mistake { place: place.to_owned(), at: None, problem };
        self.played.failures.push(self.scenario.locate(error));
    }

    fn take(&mut self, place: &str, doc: &StepDoc) -> Result<(), JourneyError> {
        let StepDoc { answers, command, decide, by, timer, wait, sent, expect: _ } = doc;
        let by = by.as_deref();
        match (answers, command, decide, timer, wait, sent) {
            (Some(answers), None, None, None, None, None) => self.answers(place, answers),
            (None, Some(name), None, None, None, None) => self.command(place, name, by),
            (None, None, Some(decision), None, None, None) => self.decide(place, decision, by),
            (None, None, None, Some(name), None, None) => self.timer(place, name),
            (None, None, None, None, Some(time), None) => self.wait(place, time),
            (None, None, None, None, None, Some(step)) => self.take_permit(place, step),
            _ => mistake(
                place,
                "a step is exactly one of answers, command, decide, timer, wait, sent",
            ),
        }
    }

    fn answers(&mut self, place: &str, answers: &Ordered<AnswerDoc>) -> Result<(), JourneyError> {
        for (name, answer) in answers.iter() {
            let place = format!("{place}.answers.{name}");
            let step = StepName::from(name);
            let Some(call) = self.journey.calls.get(&step) else {
                let known = self.journey.calls.keys().map(StepName::as_str);
                let hint = did_you_mean(name, known);
                return mistake(place, format!("the journey asks nothing by that name.{hint}"));
            };
            let word = answer.outcome.as_str();
            if word != "UNKNOWN" && !call.outcomes.iter().any(|outcome| outcome == word) {
                let problem = format!(
                    "{} never answers {word}; it answers {}",
                    call.capability,
                    call.outcomes.join(", ")
                );
                return mistake(place, problem);
            }
            let Some(asked) = self.flow.data.calls.get(&step) else {
                return mistake(
                    place,
                    format!("{step} was not asked; the flow is in {}", self.flow.state),
                );
            };
            let retry_after = answer.retry_after.as_deref().map(|time| self.time(&place, time));
            let retry_after_ms = retry_after.transpose()?.map(|wait| wait.as_millis());
            let group = answer.attempt.unwrap_or(asked.group);
            let attempt = self.key.attempt_id(&Attempt { flow: self.flow.id, step, group });
            let value =
                json!({"outcome": word, "reason": answer.reason, "retry_after_ms": retry_after_ms});
            let said = match answer.attempt {
                Some(attempt) => format!("{name} answers {word} to try {attempt}"),
                None => format!("{name} answers {word}"),
            };
            self.apply(
                &place,
                said,
                Input::Outcome { attempt, capability: &call.capability, value: &value },
            );
        }
        Ok(())
    }

    fn command(&mut self, place: &str, name: &str, by: Option<&str>) -> Result<(), JourneyError> {
        let place = format!("{place}.command");
        let known = || self.journey.commands.iter().map(|(name, _)| name.as_str());
        let Some((_, record)) = self.journey.commands.iter().find(|(known, _)| known == name)
        else {
            let names: Vec<&str> = known().collect();
            let problem = format!("the journey takes {}, not {name}", names.join(", "));
            return mistake(place, problem);
        };
        let by = by.unwrap_or("service");
        let value = self.filled(record, &json!({"actor": by}));
        self.apply(&place, format!("command {name}"), Input::Command { record, value: &value });
        Ok(())
    }

    fn decide(
        &mut self,
        place: &str,
        decision: &str,
        by: Option<&str>,
    ) -> Result<(), JourneyError> {
        let Some(by) = by else {
            return mistake(place, "say who decides, as `by: anna`");
        };
        let record = RecordName::from(REVIEW_DECISION);
        let given = json!({
            "aggregate_id": self.flow.aggregate, "journey": self.journey.name(),
            "step": self.flow.state, "decision": decision, "actor": by,
        });
        let value = self.filled(&record, &given);
        let said = format!("{by} decides {decision}");
        self.apply(place, said, Input::Command { record: &record, value: &value });
        Ok(())
    }

    /// A record with what is given; of the rest, what the starting command says, or something plain of the right type.
    fn filled(&self, record: &RecordName, given: &Value) -> Value {
        let Some(Type::Record { fields, .. }) = self.contract.type_of(record.as_str()) else {
            return given.clone();
        };
        let value = |name: &str, kind: &Type| {
            let known = given.get(name).or_else(|| self.flow.command.get(name));
            known.cloned().unwrap_or_else(|| self.plain(kind))
        };
        let filled =
            fields.iter().map(|field| (field.name.clone(), value(&field.name, &field.kind)));
        Value::Object(filled.collect::<Map<_, _>>())
    }

    fn plain(&self, kind: &Type) -> Value {
        match kind {
            Type::Null | Type::Optional(_) => Value::Null,
            Type::Bool => Value::from(false),
            Type::Int | Type::Float | Type::Instant | Type::Date => Value::from(self.now.0),
            Type::Text => Value::from("scenario"),
            Type::Uuid => json!(self.flow.id),
            Type::Enum { symbols, .. } => symbols.first().cloned().map_or(Value::Null, Value::from),
            Type::List(_) => Value::from(Vec::<Value>::new()),
            Type::Record { fields, .. } => Value::Object(
                fields.iter().map(|field| (field.name.clone(), self.plain(&field.kind))).collect(),
            ),
        }
    }

    fn timer(&mut self, place: &str, name: &str) -> Result<(), JourneyError> {
        let Some(due) = self.flow.data.timers.get(name).copied() else {
            let set: Vec<&str> = self.flow.data.timers.keys().map(String::as_str).collect();
            let problem = format!(
                "no timer {name} is set in {}; set are {}",
                self.flow.state,
                set.join(", ")
            );
            return mistake(format!("{place}.timer"), problem);
        };
        self.now = Micros(self.now.0.max(due.0));
        self.fire(place, name);
        Ok(())
    }

    fn wait(&mut self, place: &str, time: &str) -> Result<(), JourneyError> {
        let until = self.now.after(self.time(&format!("{place}.wait"), time)?);
        for _ in 0..TIMERS_MAX {
            let timers = self.flow.data.timers.iter();
            let next = timers.filter(|(_, due)| due.0 <= until.0).min_by_key(|(_, due)| due.0);
            let Some((name, due)) = next.map(|(name, due)| (name.clone(), *due)) else {
                self.now = until;
                return Ok(());
            };
            self.now = Micros(self.now.0.max(due.0));
            self.fire(place, &name);
        }
        mistake(
            format!("{place}.wait"),
            format!("more than {TIMERS_MAX} timers fire meanwhile; wait shorter"),
        )
    }

    /// A timer that changes nothing is gone all the same, as in the store.
    fn fire(&mut self, place: &str, name: &str) {
        self.apply(place, format!("timer {name} fires"), Input::Timer { name });
        if self.flow.data.timers.get(name).is_some_and(|due| due.0 <= self.now.0) {
            self.flow.data.timers.remove(name);
        }
    }

    fn take_permit(&mut self, place: &str, name: &str) -> Result<(), JourneyError> {
        let place = format!("{place}.sent");
        let step = StepName::from(name);
        let asked = self.flow.data.calls.get(&step);
        let write =
            self.journey.calls.get(&step).is_some_and(|call| call.effect == CallEffect::Write);
        let Some(asked) = asked.filter(|_| write) else {
            return mistake(place, format!("{name} is not a write that was asked for"));
        };
        self.sent.insert(asked.attempt);
        let state = self.flow.state.to_string();
        self.played.moments.push(Moment {
            after: self.now.since(Micros(0)),
            input: format!("the permit of {name} is taken"),
            path: vec![state],
            did: Vec::new(),
        });
        Ok(())
    }

    fn time(&self, place: &str, text: &str) -> Result<Duration, JourneyError> {
        let found = self.journey.parameters.get(text).copied().or_else(|| duration::parse(text));
        let problem =
            || format!("{text:?} is neither a length of time nor a parameter of the journey");
        found.map_or_else(|| mistake(place, problem()), Ok)
    }

    /// Applies an input as the worker does: an abandonment that is lost is stepped again with the fact.
    fn apply(&mut self, place: &str, said: String, input: Input<'_>) {
        let attempt = |sending: &BTreeSet<AttemptId>| {
            step(
                self.journey,
                &self.flow,
                input,
                Context { now: self.now, key: &self.key, sending },
            )
        };
        let first = attempt(&BTreeSet::new());
        let lost = first.as_ref().is_ok_and(|decision| {
            decision.effects.iter().any(|effect| match effect {
                Effect::Abandon { attempt } => self.sent.contains(attempt),
                Effect::Ask { .. }
                | Effect::Publish { .. }
                | Effect::Assent(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer { .. } => false,
            })
        });
        let result = if lost { attempt(&self.sent) } else { first };
        self.record(place, said, result);
    }

    fn record(&mut self, place: &str, input: String, result: Result<Decision, Refusal>) {
        let (path, did) = match result {
            Ok(decision) => {
                let seen = Seen::of(&decision);
                self.check_records(place, &decision.effects);
                self.flow = decision.flow;
                let did = seen.did.clone();
                self.whole.add(seen.clone());
                self.step.add(seen);
                (decision.path.iter().map(StepName::to_string).collect(), did)
            }
            Err(refusal) => {
                let told = told(&refusal);
                self.step.refused = Some(told.clone());
                (vec![self.flow.state.to_string()], vec![format!("refused: {told}")])
            }
        };
        let after = self.now.since(Micros(0));
        self.played.moments.push(Moment { after, input, path, did });
    }

    /// Every record that is published fits the contract.
    fn check_records(&mut self, place: &str, effects: &[Effect]) {
        for effect in effects {
            let (Effect::Ask { record, value, .. } | Effect::Publish { record, value, .. }) =
                effect
            else {
                continue;
            };
            let schema = self.contract.record(record.as_str());
            if let Some(Err(error)) = schema.map(|schema| schema.encode(value)) {
                self.fail(place, format!("{record} does not fit the contract: {error}"));
            }
        }
    }
}

fn told(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Known => "known".to_owned(),
        Refusal::NotPossibleNow { detail } | Refusal::Unresolvable { detail } => detail.clone(),
    }
}
