//! Plays a scenario on a stage: reads what happens step by step, lets it happen, and holds what is seen against what is
//! expected. Every stage plays every scenario in this one way.

use serde_json::{Map, Value, json};
use signalbox_schemas::{Contract, Effect as CallEffect, RecordName, StepName, Type};
use std::fmt;
use std::time::Duration;

use crate::bare::Bare;
use crate::document::Ordered;
use crate::duration;
use crate::error::{JourneyError, did_you_mean, mistake};
use crate::expectation::{self, Seen};
use crate::journey::Journey;
use crate::script::{AnswerDoc, Scenario, StepDoc};
use crate::stage::{Cue, Sight, Stage};

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

/// Plays a scenario with nothing but `step`.
///
/// # Errors
/// Where the scenario cannot be played: it speaks of steps, timers, outcomes or commands that the journey does not have.
pub fn play(
    scenario: &Scenario,
    journey: &Journey,
    contract: &Contract,
) -> Result<Played, JourneyError> {
    let played = scenario.fits(journey, contract).and_then(|()| {
        let stage = Bare::begin(scenario, journey, contract);
        let mut stage = stage.or_else(|problem| mistake("command", problem))?;
        Player::new(scenario, journey, contract, &mut stage).play()
    });
    played.map_err(|error| scenario.locate(error))
}

/// Plays a scenario on a stage that has begun its flow. Names of the journey's parameters mean what `journey` says.
///
/// # Errors
/// As `play`, and where the stage cannot let something happen.
pub fn play_on(
    scenario: &Scenario,
    journey: &Journey,
    contract: &Contract,
    stage: &mut dyn Stage,
) -> Result<Played, JourneyError> {
    let played = scenario
        .fits(journey, contract)
        .and_then(|()| Player::new(scenario, journey, contract, stage).play());
    played.map_err(|error| scenario.locate(error))
}

struct Player<'a> {
    scenario: &'a Scenario,
    journey: &'a Journey,
    contract: &'a Contract,
    stage: &'a mut dyn Stage,
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
        stage: &'a mut dyn Stage,
    ) -> Self {
        let played = Played { moments: Vec::new(), failures: Vec::new() };
        let (step, whole) = (Seen::default(), Seen::default());
        Self { scenario, journey, contract, stage, played, step, whole }
    }

    fn play(mut self) -> Result<Played, JourneyError> {
        let scenario = self.scenario;
        self.look("command")?;
        for (index, step) in scenario.doc.steps.iter().enumerate() {
            let place = format!("steps[{index}]");
            self.step = Seen::default();
            self.take(&place, step)?;
            let unmet = expectation::unmet(&step.expect, &self.step, self.stage.flow());
            if let (Some(refusal), None) = (&self.step.refused, &step.expect.refused) {
                let problem = format!("nothing came of it: {refusal}");
                self.fail(&place, problem);
            }
            for (key, problem) in unmet {
                self.fail(&format!("{place}.expect.{key}"), problem);
            }
        }
        let whole = &scenario.doc.expect;
        for (key, problem) in expectation::unmet(whole, &self.whole, self.stage.flow()) {
            self.fail(&format!("expect.{key}"), problem);
        }
        Ok(self.played)
    }

    fn fail(&mut self, place: &str, problem: String) {
        let error = JourneyError::Mistake { place: place.to_owned(), at: None, problem };
        self.played.failures.push(self.scenario.locate(error));
    }

    fn look(&mut self, place: &str) -> Result<(), JourneyError> {
        let sights = self.stage.look().or_else(|problem| mistake(place, problem))?;
        for Sight { after, input, path, seen } in sights {
            let did = seen.did.clone();
            self.whole.add(seen.clone());
            self.step.add(seen);
            self.played.moments.push(Moment { after, input, path, did });
        }
        Ok(())
    }

    fn happen(&mut self, place: &str, said: &str, cue: &Cue<'_>) -> Result<(), JourneyError> {
        self.stage.happen(said, cue).or_else(|problem| mistake(place, problem))?;
        self.look(place)
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
            let flow = self.stage.flow();
            let Some(asked) = flow.data.calls.get(&step) else {
                return mistake(
                    place,
                    format!("{step} was not asked; the flow is in {}", flow.state),
                );
            };
            let group = answer.attempt.unwrap_or(asked.group);
            let Some(attempt) = self.stage.attempt(&step, group) else {
                return mistake(place, format!("{step} was not asked {group} times"));
            };
            let retry_after = answer.retry_after.as_deref().map(|time| self.time(&place, time));
            let retry_after_ms = retry_after.transpose()?.map(|wait| wait.as_millis());
            let value = json!({
                "ref": {"attempt_id": attempt, "flow_id": flow.id, "aggregate_id": flow.aggregate,
                        "tenant": flow.tenant, "lane": flow.lane, "answered_at": flow.started_at},
                "outcome": word, "reason": answer.reason, "retry_after_ms": retry_after_ms,
            });
            let said = match answer.attempt {
                Some(attempt) => format!("{name} answers {word} to try {attempt}"),
                None => format!("{name} answers {word}"),
            };
            let cue = Cue::Answer { attempt, capability: &call.capability, value: &value };
            self.happen(&place, &said, &cue)?;
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
        self.happen(&place, &format!("command {name}"), &Cue::Command { record, value: &value })
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
        let flow = self.stage.flow();
        let given = json!({
            "aggregate_id": flow.aggregate, "journey": self.journey.name(),
            "step": flow.state, "decision": decision, "actor": by,
        });
        let value = self.filled(&record, &given);
        let said = format!("{by} decides {decision}");
        self.happen(place, &said, &Cue::Command { record: &record, value: &value })
    }

    /// A record with what is given; of the rest, what the starting command says, or something plain of the right type.
    fn filled(&self, record: &RecordName, given: &Value) -> Value {
        let Some(Type::Record { fields, .. }) = self.contract.type_of(record.as_str()) else {
            return given.clone();
        };
        let value = |name: &str, kind: &Type| {
            let known = given.get(name).or_else(|| self.stage.flow().command.get(name));
            known.filter(|known| !known.is_null()).cloned().unwrap_or_else(|| self.plain(kind))
        };
        let filled =
            fields.iter().map(|field| (field.name.clone(), value(&field.name, &field.kind)));
        Value::Object(filled.collect::<Map<_, _>>())
    }

    fn plain(&self, kind: &Type) -> Value {
        let flow = self.stage.flow();
        match kind {
            Type::Null | Type::Optional(_) => Value::Null,
            Type::Bool => Value::from(false),
            Type::Int | Type::Float | Type::Instant => Value::from(flow.started_at.0),
            Type::Date => Value::from(0),
            Type::Text => Value::from("scenario"),
            Type::Uuid => json!(flow.id),
            Type::Enum { symbols, .. } => symbols.first().cloned().map_or(Value::Null, Value::from),
            Type::List(_) => Value::from(Vec::<Value>::new()),
            Type::Record { fields, .. } => Value::Object(
                fields.iter().map(|field| (field.name.clone(), self.plain(&field.kind))).collect(),
            ),
        }
    }

    fn timer(&mut self, place: &str, name: &str) -> Result<(), JourneyError> {
        let flow = self.stage.flow();
        let Some(until) = flow.data.timers.get(name).copied() else {
            let set: Vec<&str> = flow.data.timers.keys().map(String::as_str).collect();
            let problem =
                format!("no timer {name} is set in {}; set are {}", flow.state, set.join(", "));
            return mistake(format!("{place}.timer"), problem);
        };
        self.happen(place, &format!("timer {name} fires"), &Cue::Pass { until })
    }

    fn wait(&mut self, place: &str, text: &str) -> Result<(), JourneyError> {
        let place = format!("{place}.wait");
        let until = self.stage.now().after(self.time(&place, text)?);
        self.happen(&place, &format!("{text} passes"), &Cue::Pass { until })
    }

    fn take_permit(&mut self, place: &str, name: &str) -> Result<(), JourneyError> {
        let place = format!("{place}.sent");
        let step = StepName::from(name);
        let asked = self.stage.flow().data.calls.get(&step);
        let write =
            self.journey.calls.get(&step).is_some_and(|call| call.effect == CallEffect::Write);
        let Some(attempt) = asked.filter(|_| write).map(|asked| asked.attempt) else {
            return mistake(place, format!("{name} is not a write that was asked for"));
        };
        let said = format!("the permit of {name} is taken");
        self.happen(&place, &said, &Cue::Permit { attempt })
    }

    fn time(&self, place: &str, text: &str) -> Result<Duration, JourneyError> {
        let found = self.journey.parameters.get(text).copied().or_else(|| duration::parse(text));
        let problem =
            || format!("{text:?} is neither a length of time nor a parameter of the journey");
        found.map_or_else(|| mistake(place, problem()), Ok)
    }
}
