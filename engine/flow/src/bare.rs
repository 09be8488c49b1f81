//! The stage with nothing but `step`: no Kafka, no Postgres, no clock. It stands in for the worker (a permit that was taken
//! makes a write impossible to take back) and holds every record against the contract.

use signalbox_schemas::{
    Attempt, AttemptId, Contract, LaneId, Micros, RecordName, StepName, TenantKey,
};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::decision::{Context, Decision, Effect, Input, Refusal, Start};
use crate::expectation::Seen;
use crate::flow::Flow;
use crate::journey::Journey;
use crate::script::Scenario;
use crate::stage::{Cue, Sight, Stage};
use crate::step::{begin, step};

/// Timers that may fire while a scenario waits; more is a scenario that nobody reads.
const TIMERS_MAX: usize = 1_000;

pub(crate) struct Bare<'a> {
    journey: &'a Journey,
    contract: &'a Contract,
    key: TenantKey,
    flow: Flow,
    now: Micros,
    /// Attempts whose permit was taken.
    sent: BTreeSet<AttemptId>,
    sights: Vec<Sight>,
}

impl<'a> Bare<'a> {
    /// Begins the flow of a scenario.
    pub(crate) fn begin(
        scenario: &Scenario,
        journey: &'a Journey,
        contract: &'a Contract,
    ) -> Result<Self, String> {
        let key = TenantKey::new(b"the key of scenarios".to_vec());
        let (now, none) = (Micros(0), BTreeSet::new());
        let command = Arc::new(scenario.command.clone());
        let start = Start { command: &command, lane: LaneId(0) };
        let ctx = Context { now, key: &key, sending: &none };
        let begun = begin(journey, start, ctx)
            .map_err(|refusal| format!("the journey does not begin: {}", told(&refusal)))?;
        let flow = begun.flow.clone();
        let (sent, sights) = (BTreeSet::new(), Vec::new());
        let mut stage = Self { journey, contract, key, flow, now, sent, sights };
        stage.record(format!("{} comes", journey.starts_with()), Ok(begun))?;
        Ok(stage)
    }

    fn pass(&mut self, until: Micros) -> Result<(), String> {
        for _ in 0..TIMERS_MAX {
            let timers = self.flow.data.timers.iter();
            let next = timers.filter(|(_, due)| due.0 <= until.0).min_by_key(|(_, due)| due.0);
            let Some(name) = next.map(|(name, _)| name.clone()) else {
                self.now = Micros(self.now.0.max(until.0));
                return Ok(());
            };
            self.fire(&name)?;
        }
        Err(format!("more than {TIMERS_MAX} timers fire meanwhile; wait shorter"))
    }

    /// A timer that changes nothing is gone all the same, as in the store.
    fn fire(&mut self, name: &str) -> Result<(), String> {
        let due = self.flow.data.timers.get(name).copied().unwrap_or(self.now);
        self.now = Micros(self.now.0.max(due.0));
        self.apply(format!("timer {name} fires"), Input::Timer { name })?;
        if self.flow.data.timers.get(name).is_some_and(|due| due.0 <= self.now.0) {
            self.flow.data.timers.remove(name);
        }
        Ok(())
    }

    /// Applies an input as the worker does: an abandonment that is lost is stepped again with the fact.
    fn apply(&mut self, said: String, input: Input<'_>) -> Result<(), String> {
        let attempt = |sending: &BTreeSet<AttemptId>| {
            let ctx = Context { now: self.now, key: &self.key, sending };
            step(self.journey, &self.flow, input, ctx)
        };
        let first = attempt(&BTreeSet::new());
        let lost = first.as_ref().is_ok_and(|decision| {
            decision.effects.iter().any(|effect| match effect {
                Effect::Abandon { attempt } => self.sent.contains(attempt),
                Effect::Ask { .. }
                | Effect::Close { .. }
                | Effect::Publish { .. }
                | Effect::Recognise(_)
                | Effect::Assent(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer { .. } => false,
            })
        });
        let result = if lost { attempt(&self.sent) } else { first };
        self.record(said, result)
    }

    fn record(&mut self, input: String, result: Result<Decision, Refusal>) -> Result<(), String> {
        let (path, seen) = match result {
            Ok(decision) => {
                let seen = Seen::of(&decision);
                self.check_records(&decision.effects)?;
                self.flow = decision.flow;
                (decision.path.iter().map(StepName::to_string).collect(), seen)
            }
            Err(refusal) => (vec![self.flow.state.to_string()], Seen::refused(told(&refusal))),
        };
        let after = self.now.since(Micros(0));
        self.sights.push(Sight { after, input, path, seen });
        Ok(())
    }

    /// Every record that is published fits the contract.
    fn check_records(&self, effects: &[Effect]) -> Result<(), String> {
        for effect in effects {
            let (Effect::Ask { record, value, .. } | Effect::Publish { record, value, .. }) =
                effect
            else {
                continue;
            };
            let schema = self.contract.record(RecordName::as_str(record));
            if let Some(Err(error)) = schema.map(|schema| schema.encode(value)) {
                return Err(format!("{record} does not fit the contract: {error}"));
            }
        }
        Ok(())
    }
}

impl Stage for Bare<'_> {
    fn flow(&self) -> &Flow {
        &self.flow
    }

    fn now(&self) -> Micros {
        self.now
    }

    fn attempt(&self, step: &StepName, group: u32) -> Option<AttemptId> {
        let named = Attempt { flow: self.flow.id, step: step.clone(), group };
        Some(self.key.attempt_id(&named))
    }

    fn happen(&mut self, said: &str, cue: &Cue<'_>) -> Result<(), String> {
        let said = said.to_owned();
        match *cue {
            Cue::Answer { attempt, capability, value } => {
                self.apply(said, Input::Outcome { attempt, capability, value })
            }
            Cue::Command { record, value } => self.apply(said, Input::Command { record, value }),
            Cue::Pass { until } => self.pass(until),
            Cue::Permit { attempt } => {
                self.sent.insert(attempt);
                let (after, path) = (self.now.since(Micros(0)), vec![self.flow.state.to_string()]);
                self.sights.push(Sight { after, input: said, path, seen: Seen::default() });
                Ok(())
            }
        }
    }

    fn look(&mut self) -> Result<Vec<Sight>, String> {
        Ok(std::mem::take(&mut self.sights))
    }
}

fn told(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Known => "known".to_owned(),
        Refusal::NotPossibleNow { detail } | Refusal::Unresolvable { detail } => detail.clone(),
    }
}
