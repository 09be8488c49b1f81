//! From the file to the journey: every name resolved, every type checked against the contract, once, at load.
//! It does not judge whether the journey is safe; `check` does.

use serde_json::Value;
use signalbox_schemas::{
    Capability, Contract, JourneyName, RecordName, RecordSchema, StepName, TopicName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::act::Act;
use crate::compile_state;
use crate::compiler::Compiler;
use crate::document::{JourneyDoc, Ordered};
use crate::duration;
use crate::error::{JourneyError, mistake};
use crate::invariant::{Condition, Invariant, RECOGNITION};
use crate::journey::{Deadline, Journey, Kind, State};

impl Journey {
    /// Reads a journey: resolves and types it. `overrides` replace values of `parameters`.
    ///
    /// # Errors
    /// What is wrong, where it is written, and what to do.
    pub fn parse(
        yaml: &str,
        contract: &Contract,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, JourneyError> {
        let doc: JourneyDoc = serde_saphyr::from_str(yaml)?;
        let compile = || {
            let (parameters, source) = parameters(&doc, yaml, overrides)?;
            let compiler = Compiler::new(&doc, contract, parameters)?;
            compiler.journey(source)
        };
        compile().map_err(|error: JourneyError| error.located(yaml))
    }
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

/// Writes overrides into the text, so that what is pinned says what runs.
fn replace_on_line(text: &str, line: u64, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len() + new.len());
    for (number, each) in (1_u64..).zip(text.split_inclusive('\n')) {
        match each.split_once(':') {
            Some((key, rest)) if number == line => {
                out.push_str(key);
                out.push(':');
                out.push_str(&rest.replacen(old, new, 1));
            }
            _ => out.push_str(each),
        }
    }
    out
}

impl Compiler<'_> {
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
            let kind = Kind::End { event: self.event(&format!("endings.{name}"), fields)? };
            let state = State { kind, on_command: BTreeMap::new(), escalate: None, panel: None };
            states.insert(StepName::from(name), state);
        }
        let discrepancy = Ordered(vec![("status".to_owned(), Value::from("discrepancy"))]);
        self.event("event (a contradiction is published as status discrepancy)", &discrepancy)?;
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
            if found || capability == RECOGNITION {
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
                for condition in conditions.iter().flat_map(Condition::alternatives) {
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
}
