//! What the compilation of a journey may look up: names, types, lengths of time, and templates against their records.
//! It knows neither kinds of states nor how a journey is put together.

use serde_json::Value;
use signalbox_schemas::{Capability, Contract, StepName, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::document::{JourneyDoc, Ordered, StateDoc};
use crate::duration;
use crate::error::{JourneyError, did_you_mean, mistake};
use crate::expression::{Expression, Scope};
use crate::journey::Event;
use crate::recognition::{self, Recognise};

/// Everything that the compilation of one state may look up.
pub(crate) struct Compiler<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) doc: &'a JourneyDoc,
    pub(crate) scope: Scope,
    pub(crate) parameters: BTreeMap<String, Duration>,
    /// Capability of each step.
    pub(crate) steps: BTreeMap<StepName, &'a Capability>,
    /// Rulings that people or inquiries may put over the outcomes of a state.
    pub(crate) rulings: BTreeMap<String, BTreeSet<String>>,
    pub(crate) event: Type,
    names: BTreeSet<String>,
}

/// Words that mean something else than a state.
const RESERVED: [&str; 5] = ["again", "remember", "refuse", "command", "remembered"];

/// Fields of an event that the engine fills.
const EVENT_FILLED: [&str; 4] = ["flow_id", "final", "occurred_at", "status"];

impl<'a> Compiler<'a> {
    /// Resolves the names of a document.
    pub(crate) fn new(
        doc: &'a JourneyDoc,
        contract: &'a Contract,
        parameters: BTreeMap<String, Duration>,
    ) -> Result<Self, JourneyError> {
        let record = |place: &str, name: &str| {
            let found = contract.type_of(name);
            found.map_or_else(
                || mistake(place, format!("there is no record {name} in the contract")),
                Ok,
            )
        };
        let command = record("starts_with", &doc.starts_with)?;
        let event = record("event", &doc.event)?;
        let steps = steps(doc, contract)?;
        let rulings = rulings(doc);
        let outcome = |(step, capability): (&StepName, &&Capability)| {
            let state = step.as_str().split('/').next().unwrap_or_default();
            let mut symbols = capability.outcomes.clone();
            symbols.extend(rulings.get(state).into_iter().flatten().cloned());
            symbols.push("late".to_owned());
            (step.clone(), Type::Enum { name: format!("outcome of {step}"), symbols })
        };
        let scope = Scope {
            command,
            steps: steps.iter().map(outcome).collect(),
            commands: doc.commands.iter().map(|(name, _)| name.to_owned()).collect(),
            problem: record("contract", "signalbox.common.Problem")?,
            parameters: parameters.clone(),
        };
        let names = names(doc)?;
        Ok(Self { contract, doc, scope, parameters, steps, rulings, event, names })
    }

    /// Resolves a state's or ending's name.
    pub(crate) fn target(&self, place: &str, name: &str) -> Result<StepName, JourneyError> {
        if self.names.contains(name) {
            return Ok(StepName::from(name));
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        mistake(
            place,
            format!(
                "unknown target: there is no state or ending {name}.{} There are {}",
                did_you_mean(name, names.iter().copied()),
                names.join(", ")
            ),
        )
    }

    /// A length of time: a literal or a parameter's name.
    pub(crate) fn duration(&self, place: &str, text: &str) -> Result<Duration, JourneyError> {
        let found = self.parameters.get(text).copied().or_else(|| duration::parse(text));
        let problem = || {
            format!(
                "{text:?} is neither a length of time (200ms, 10s, 15m, 48h, 5d) nor a parameter"
            )
        };
        found.map_or_else(|| mistake(place, problem()), Ok)
    }

    /// One event: its fields, checked together with the fields common to every event, and what it makes of the customer.
    pub(crate) fn event(&self, place: &str, said: &Ordered<Value>) -> Result<Event, JourneyError> {
        let (recognise, fields): (Vec<_>, Vec<_>) =
            said.0.iter().cloned().partition(|(name, _)| name == recognition::KEY);
        let at = format!("{place}.{}", recognition::KEY);
        let recognise =
            recognise.first().map(|(_, value)| Recognise::parse(&at, value, &self.scope));
        let fields = Ordered(fields);
        if !fields.iter().any(|(name, _)| name == "status") {
            return mistake(place, "an event needs a status; add status: <word>");
        }
        let common: Vec<&str> = self.doc.every_event.iter().map(|(name, _)| name).collect();
        let given: Vec<&str> = EVENT_FILLED.into_iter().chain(common).collect();
        let fields = self.templates(place, &fields, &self.event, &given)?;
        Ok(Event { fields, recognise: recognise.transpose()? })
    }

    /// Templates of a record's fields. With `given` not empty, what is neither there nor given nor optional is an error.
    pub(crate) fn templates(
        &self,
        place: &str,
        fields: &Ordered<Value>,
        record: &Type,
        given: &[&str],
    ) -> Result<Vec<(String, Expression)>, JourneyError> {
        let mut filled = Vec::new();
        for (name, value) in fields.iter() {
            let at = format!("{place}.{name}");
            let Some(field) = record.field(name) else {
                return mistake(
                    at,
                    format!("{record} has no field {name}; it has {}", record.field_names()),
                );
            };
            filled.push((name.to_owned(), self.template(&at, value, &field.kind)?));
        }
        if let (Type::Record { fields: wanted, .. }, false) = (record, given.is_empty()) {
            let is_missing =
                |name: &str| !given.contains(&name) && !filled.iter().any(|(have, _)| have == name);
            if let Some(missing) =
                wanted.iter().find(|field| !field.has_default && is_missing(&field.name))
            {
                return mistake(
                    place,
                    format!("{record} needs the field {}; add it", missing.name),
                );
            }
        }
        Ok(filled)
    }

    fn template(
        &self,
        place: &str,
        value: &Value,
        wanted: &Type,
    ) -> Result<Expression, JourneyError> {
        // A word with a dot or a bracket is an expression, so that a mistyped fact is not sent as text.
        if let Some(text) = value.as_str().filter(|text| text.contains(['.', '(', '='])) {
            let (expression, found) =
                Expression::parse(text, &self.scope).or_else(|problem| mistake(place, problem))?;
            if wanted.accepts(&found) {
                return Ok(expression);
            }
            return mistake(place, format!("{text} is {found}, but {wanted} is needed here"));
        }
        match wanted.refuses_literal(value) {
            None => Ok(Expression::Literal(value.clone())),
            Some(problem) => mistake(place, problem),
        }
    }
}

/// Every state and ending, each once and none with a reserved word.
fn names(doc: &JourneyDoc) -> Result<BTreeSet<String>, JourneyError> {
    let mut names = BTreeSet::new();
    let states = doc.states.iter().map(|(name, _)| name);
    for name in states.chain(doc.endings.iter().map(|(name, _)| name)) {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if name.is_empty() || !plain || RESERVED.contains(&name) {
            return mistake(
                format!("states.{name}"),
                "a name is made of a-z, 0-9 and _, and is not a word of the language",
            );
        }
        if !names.insert(name.to_owned()) {
            return mistake(format!("states.{name}"), "the name is used twice; rename one");
        }
    }
    Ok(names)
}

/// Every step with its capability: `state`, or `state/branch`.
fn steps<'a>(
    doc: &JourneyDoc,
    contract: &'a Contract,
) -> Result<BTreeMap<StepName, &'a Capability>, JourneyError> {
    let mut steps = BTreeMap::new();
    let mut add =
        |place: String, step: String, capability: &str| match contract.capability(capability) {
            Some(found) => {
                steps.insert(StepName::from(step), found);
                Ok(())
            }
            None => mistake(place, format!("there is no capability {capability} in the contract")),
        };
    for (name, state) in doc.states.iter() {
        let place = format!("states.{name}");
        if let Some(capability) = called(doc, state) {
            add(place.clone(), name.to_owned(), capability)?;
        }
        for (branch, call) in state.all.iter().flat_map(Ordered::iter) {
            add(format!("{place}.all.{branch}"), format!("{name}/{branch}"), &call.call)?;
        }
    }
    Ok(steps)
}

/// The capability of a `call`, or of the compensation of the state named by `compensate`.
fn called<'a>(doc: &'a JourneyDoc, state: &'a StateDoc) -> Option<&'a str> {
    let undone = state.compensate.as_ref();
    let compensation = undone
        .and_then(|undone| doc.compensation.iter().find(|(step, _)| *step == undone.as_str()));
    state.call.as_deref().or(compensation.map(|(_, capability)| capability.as_str()))
}

/// What people and inquiries may rule, by the state that is ruled on.
fn rulings(doc: &JourneyDoc) -> BTreeMap<String, BTreeSet<String>> {
    let mut rulings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, state) in doc.states.iter() {
        let about = state.about.as_ref().map(|about| about.step.as_str()).or(state.of.as_deref());
        let Some(about) = about else { continue };
        let arms = state.on.iter().flat_map(Ordered::iter).map(|(_, arm)| arm);
        let decided =
            state.decide.iter().flat_map(|decide| [&decide.executed, &decide.not_executed]);
        let words = arms.chain(decided).filter_map(|arm| arm.rules.clone());
        rulings.entry(about.to_owned()).or_default().extend(words);
    }
    rulings
}
