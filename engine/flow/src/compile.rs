//! From the file to the journey: every name resolved, every type checked against the contract, once, at load.
//! It does not judge whether the journey is safe; `check` does.

use serde_json::Value;
use signalbox_schemas::{
    Capability, Contract, JourneyName, RecordName, RecordSchema, StepName, TopicName, Type,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::compile_state;
use crate::document::{JourneyDoc, Ordered, StateDoc};
use crate::duration;
use crate::error::{JourneyError, did_you_mean, mistake};
use crate::expression::{Expression, Scope};
use crate::invariant::Invariant;
use crate::journey::{Deadline, Journey, Kind, State, replace_on_line};
use crate::operators::Act;

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

/// Reads, resolves and types a journey.
pub(crate) fn journey(
    yaml: &str,
    contract: &Contract,
    overrides: &BTreeMap<String, String>,
) -> Result<Journey, JourneyError> {
    let doc: JourneyDoc = serde_saphyr::from_str(yaml)?;
    let compile = || {
        let (parameters, source) = parameters(&doc, yaml, overrides)?;
        let compiler = Compiler::new(&doc, contract, parameters)?;
        compiler.journey(source)
    };
    compile().map_err(|error: JourneyError| error.located(yaml))
}

/// Parameters with overrides, and the text with the overrides written in.
fn parameters(
    doc: &JourneyDoc,
    yaml: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<(BTreeMap<String, Duration>, String), JourneyError> {
    let known: Vec<&str> = doc.parameters.iter().map(|(name, _)| name).collect();
    if let Some(unknown) = overrides.keys().find(|name| !known.contains(&name.as_str())) {
        return mistake(
            "parameters",
            format!("there is no parameter {unknown} to override; there are {}", known.join(", ")),
        );
    }
    let mut values = BTreeMap::new();
    let mut source = yaml.to_owned();
    for (name, given) in doc.parameters.iter() {
        let text = overrides.get(name).unwrap_or(&given.value);
        let Some(value) = duration::parse(text) else {
            return mistake(
                format!("parameters.{name}"),
                format!("{text:?} is not a length of time; write 200ms, 10s, 15m, 48h or 5d"),
            );
        };
        if text != &given.value {
            source = replace_on_line(&source, given.referenced.line(), &given.value, text);
        }
        values.insert(name.to_owned(), value);
    }
    Ok((values, source))
}

impl<'a> Compiler<'a> {
    fn new(
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
        };
        let names = names(doc)?;
        Ok(Self { contract, doc, scope, parameters, steps, rulings, event, names })
    }

    fn journey(&self, source: String) -> Result<Journey, JourneyError> {
        let doc = self.doc;
        if self.scope.command.field(&doc.aggregate).is_none() {
            return mistake(
                "aggregate",
                format!("{} has no field {}", doc.starts_with, doc.aggregate),
            );
        }
        if !self.contract.topics().topics.contains_key(&doc.events) {
            return mistake("events", format!("there is no topic {} in topics.yaml", doc.events));
        }
        let marked = self.contract.record(&doc.starts_with).and_then(RecordSchema::subject_field);
        let Some(subject) = marked else {
            return mistake(
                "starts_with",
                format!(
                    "{} marks no field as data_subject: whose data it holds must be known",
                    doc.starts_with
                ),
            );
        };
        let commands = self.commands()?;
        let Some((first, _)) = doc.states.0.first() else {
            return mistake("states", "a journey has at least one state");
        };
        let mut states = BTreeMap::new();
        let mut calls = BTreeMap::new();
        for (name, state) in doc.states.iter() {
            let (state, own) = compile_state::state(self, name, state)?;
            states.insert(StepName::from(name), state);
            calls.extend(own);
        }
        for (name, fields) in doc.endings.iter() {
            let kind = Kind::End { fields: self.event_fields(&format!("endings.{name}"), fields)? };
            let state = State { kind, on_command: BTreeMap::new(), escalate: None, panel: None };
            states.insert(StepName::from(name), state);
        }
        let discrepancy = Ordered(vec![("status".to_owned(), Value::from("discrepancy"))]);
        self.event_fields(
            "event (a contradiction is published as status discrepancy)",
            &discrepancy,
        )?;
        Ok(Journey {
            name: JourneyName::from(doc.journey.as_str()),
            version: doc.version,
            starts_with: RecordName::from(doc.starts_with.as_str()),
            aggregate: doc.aggregate.clone(),
            subject: subject.to_owned(),
            reacts_to: commands.iter().map(|(_, record)| record.clone()).collect(),
            commands,
            events: TopicName::from(doc.events.as_str()),
            event: RecordName::from(doc.event.as_str()),
            every_event: self.templates("every_event", &doc.every_event, &self.event, &[])?,
            deadline: Deadline {
                after: self.duration("deadline.after", &doc.deadline.after)?,
                go: self.target("deadline.go", &doc.deadline.go)?,
                queue: doc.deadline.queue.clone(),
            },
            first: StepName::from(first.as_str()),
            states,
            calls,
            compensation: self.compensation()?,
            parameters: self.parameters.clone(),
            invariants: self.invariants()?,
            bank: Vec::new(),
            operators: self.operators()?,
            lifts: self.contract.lifts().clone(),
            source,
        })
    }

    fn commands(&self) -> Result<Vec<(String, RecordName)>, JourneyError> {
        let command = |(name, record): (&str, &String)| {
            let place = format!("commands.{name}");
            let Some(kind) = self.contract.type_of(record) else {
                return mistake(place, format!("there is no record {record} in the contract"));
            };
            if kind.field(&self.doc.aggregate).is_none() {
                return mistake(
                    place,
                    format!("{record} has no field {} to find its flow by", self.doc.aggregate),
                );
            }
            Ok((name.to_owned(), RecordName::from(record.as_str())))
        };
        self.doc.commands.iter().map(command).collect()
    }

    fn operators(&self) -> Result<BTreeMap<Act, u32>, JourneyError> {
        let entry = |(word, people): (&str, &u32)| {
            let place = format!("operators.{word}");
            let Some(act) = Act::parse(word) else {
                return mistake(place, format!("operators cannot {word}; see docs/operations.md"));
            };
            if !(1..=9).contains(people) {
                return mistake(place, "an act takes 1 to 9 people");
            }
            Ok((act, *people))
        };
        self.doc.operators.iter().map(entry).collect()
    }

    fn compensation(&self) -> Result<BTreeMap<StepName, String>, JourneyError> {
        let entry = |(step, capability): (&str, &String)| {
            let place = format!("compensation.{step}");
            let step = StepName::from(step);
            if !self.steps.contains_key(&step) {
                return mistake(place, format!("{step} is not a state that calls a capability"));
            }
            if self.contract.capability(capability).is_none() {
                return mistake(
                    place,
                    format!("there is no capability {capability} in the contract"),
                );
            }
            Ok((step, capability.clone()))
        };
        self.doc.compensation.iter().map(entry).collect()
    }

    fn invariants(&self) -> Result<Vec<Invariant>, JourneyError> {
        let mut all = Vec::new();
        for (index, text) in self.doc.invariants.iter().enumerate() {
            let place = format!("invariants[{index}]");
            let parsed = Invariant::parse(text).or_else(|problem| mistake(&place, problem))?;
            self.check_invariant(&place, &parsed)?;
            all.push(parsed);
        }
        Ok(all)
    }

    /// A sentence about a capability or a word that the journey does not have would hold for nothing.
    fn check_invariant(&self, place: &str, invariant: &Invariant) -> Result<(), JourneyError> {
        let used = |capability: &str| {
            let found = self.steps.values().any(|step| step.name == capability);
            if found {
                Ok(())
            } else {
                mistake(place, format!("no state of the journey calls {capability}"))
            }
        };
        match invariant {
            Invariant::NeverTwo { capability } | Invariant::NoEndInDoubt { capability } => {
                used(capability)
            }
            Invariant::OnlyAfter { capability, conditions, .. } => {
                used(capability)?;
                for condition in conditions {
                    used(&condition.capability)?;
                    let words = self.words_of_capability(&condition.capability);
                    if let Some(word) = condition.words.iter().find(|word| !words.contains(*word)) {
                        let list: Vec<String> = words.into_iter().collect();
                        let problem = format!(
                            "{} never is {word}; it is {}",
                            condition.capability,
                            list.join(", ")
                        );
                        return mistake(place, problem);
                    }
                }
                Ok(())
            }
        }
    }

    fn words_of_capability(&self, capability: &str) -> BTreeSet<String> {
        let of_step = |(step, found): (&StepName, &&Capability)| {
            let state = step.as_str().split('/').next().unwrap_or_default().to_owned();
            let rulings = self.rulings.get(&state).cloned().unwrap_or_default();
            found.outcomes.iter().cloned().chain(rulings).collect::<Vec<_>>()
        };
        self.steps.iter().filter(|(_, found)| found.name == capability).flat_map(of_step).collect()
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

    /// Fields of one event, checked together with the fields common to every event.
    pub(crate) fn event_fields(
        &self,
        place: &str,
        fields: &Ordered<Value>,
    ) -> Result<Vec<(String, Expression)>, JourneyError> {
        if !fields.iter().any(|(name, _)| name == "status") {
            return mistake(place, "an event needs a status; add status: <word>");
        }
        let common: Vec<&str> = self.doc.every_event.iter().map(|(name, _)| name).collect();
        let given: Vec<&str> = EVENT_FILLED.into_iter().chain(common).collect();
        let filled = self.templates(place, fields, &self.event, &given)?;
        Ok(filled)
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
