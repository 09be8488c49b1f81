//! What of a flow matters to where it can still go: two flows with the same key have the same future.
//! It keeps words as long as something can still look at them, and forgets times, counts and names.

use signalbox_schemas::{Attempt, AttemptId, Effect, FlowId, Micros, StepName, TenantKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::flow::{CallState, Flow, Status};
use crate::invariant::{Condition, Invariant, RECOGNITION};
use crate::journey::{Action, Ask, Call, Journey, Kind, Next, Panel, State, WriteStatus};
use crate::run::{ESCALATE, ROUND};

/// Attempts older than the one before the latest are like that one.
const GROUPS: u32 = 2;

/// Reduces flows of one journey.
pub(crate) struct Abstraction<'a> {
    journey: &'a Journey,
    key: TenantKey,
    /// For each step: word -> class of words that nothing tells apart once the step is over.
    classes: BTreeMap<StepName, BTreeMap<String, usize>>,
    /// For each state, the writes after which nothing that was checked before money can matter any more.
    past: BTreeMap<StepName, BTreeSet<StepName>>,
    /// Words of a step that a guard looks at.
    looked_at: BTreeMap<StepName, BTreeSet<String>>,
    /// Inquiries of which nothing tells late answers apart.
    alike: Vec<Vec<StepName>>,
    /// Whether the flow may go on under another journey, so that what this one forgets between rounds is kept.
    goes_on: bool,
}

impl<'a> Abstraction<'a> {
    /// `judged_by`: every journey that may look at what a flow has learnt; the flow's own is among them. `goes`: where in
    /// the others a flow goes on that waits in a state of its own, where that is not the state of the same name.
    pub(crate) fn new(
        journey: &'a Journey,
        judged_by: &[&Journey],
        goes: &BTreeMap<StepName, StepName>,
        key: TenantKey,
    ) -> Self {
        let looked_at = looked_at(judged_by);
        let classes =
            journey.calls.keys().map(|step| (step.clone(), classes(judged_by, step))).collect();
        let of_all = |state: &StepName| {
            let each = judged_by.iter().map(|judge| {
                let own = std::ptr::eq(*judge, journey);
                past(judge, if own { state } else { goes.get(state).unwrap_or(state) })
            });
            each.reduce(|one, other| one.intersection(&other).cloned().collect())
                .unwrap_or_default()
        };
        let past = journey.states.keys().map(|state| (state.clone(), of_all(state))).collect();
        let alike = alike(journey);
        Self { journey, key, classes, past, looked_at, alike, goes_on: judged_by.len() > 1 }
    }

    /// The attempt of a group, as `reduce` numbers groups.
    pub(crate) fn attempt(&self, flow: FlowId, step: &StepName, group: u32) -> AttemptId {
        self.key.attempt_id(&Attempt { flow, step: step.clone(), group })
    }

    /// The flow without what nothing depends on.
    pub(crate) fn reduce(&self, mut flow: Flow) -> Flow {
        flow.rev = 1;
        flow.data.rounds.clear();
        flow.data.timers.values_mut().for_each(|due| *due = Micros(0));
        for (index, vote) in flow.data.votes.iter_mut().enumerate() {
            vote.actor = format!("person {index}");
        }
        if flow.status == Status::Ended {
            flow.data.remembered.clear();
            flow.data.overdue = false;
        }
        let mut calls = std::mem::take(&mut flow.data.calls);
        let past = flow.status == Status::Ended || self.is_past(&flow.state, &calls);
        let kind = self.journey.state(&flow.state).map(|state| &state.kind);
        for (step, call) in &mut calls {
            call.reported.clear();
            // Groups are renumbered below; an inquiry is then taken as one about an older attempt, if there is one.
            call.subject = None;
            call.reason = None;
            call.problems.clear();
            let here = self
                .journey
                .calls
                .get(step)
                .is_some_and(|definition| definition.state == flow.state);
            let group = match kind {
                Some(Kind::Ask(ask)) if here => {
                    if flow.data.timers.contains_key(ROUND) && !self.goes_on {
                        between_rounds(ask, call);
                    }
                    call.group.min(GROUPS)
                }
                Some(Kind::Wait(wait)) if wait.answers_of.as_ref() == Some(step) => {
                    call.group.min(GROUPS)
                }
                _ => {
                    self.close(past, step, call);
                    1
                }
            };
            if group != call.group {
                call.group = group;
                call.attempt = self.attempt(flow.id, step, group);
            }
        }
        flow.data.calls = calls;
        if !self.goes_on {
            self.merge_inquiries(&mut flow);
        }
        flow
    }

    /// Inquiries that are over and earlier rounds of the one at hand become one: all that a late answer of theirs can
    /// still do is contradict what is known about the payment, and any of them can do that.
    fn merge_inquiries(&self, flow: &mut Flow) {
        for steps in &self.alike {
            let (here, over): (Vec<_>, Vec<_>) = steps.iter().partition(|step| {
                self.journey.calls.get(*step).is_some_and(|call| call.state == flow.state)
            });
            let Some(first) = over.first() else { continue };
            let mut merged = false;
            for step in here {
                if let Some(call) = flow.data.calls.get_mut(step).filter(|call| call.group > 1) {
                    call.group = 1;
                    call.attempt = self.attempt(flow.id, step, 1);
                    merged = true;
                }
            }
            for step in &over {
                if flow.data.calls.get(*step).is_some_and(|call| call.word().is_none()) {
                    flow.data.calls.remove(*step);
                    merged = true;
                }
            }
            if merged && !over.iter().any(|step| flow.data.calls.contains_key(*step)) {
                let attempt = self.attempt(flow.id, first, 1);
                flow.data.calls.insert((*first).clone(), unanswered(attempt));
            }
        }
    }

    fn is_looked_at(&self, step: &StepName, word: &str) -> bool {
        self.looked_at.get(step).is_some_and(|words| words.contains(word))
    }

    fn is_past(&self, state: &StepName, calls: &BTreeMap<StepName, CallState>) -> bool {
        let executed = |write: &StepName| {
            calls
                .get(write)
                .is_some_and(|call| self.journey.write_status(write, call) == WriteStatus::Executed)
        };
        self.past.get(state).is_some_and(|writes| writes.iter().any(executed))
    }

    /// A call whose state was left: its word matters only by the class it belongs to. An older attempt of it is like
    /// the latest: both come too late.
    fn close(&self, past: bool, step: &StepName, call: &mut CallState) {
        let Some(definition) = self.journey.calls.get(step) else { return };
        match definition.effect {
            Effect::Read if past && definition.about.is_none() => {
                call.outcome = None;
                call.ruling = None;
            }
            Effect::Read if definition.about.is_some() => {
                if !call.word().is_some_and(|word| self.is_looked_at(step, word)) {
                    call.outcome = None;
                    call.ruling = None;
                }
            }
            Effect::Read => self.stand_in(step, definition, call, |_| true),
            Effect::Write => match self.journey.write_status(step, call) {
                WriteStatus::Planned => {}
                WriteStatus::Sending | WriteStatus::InDoubt => {
                    call.outcome = Some("in_doubt".to_owned());
                    call.sending = false;
                }
                WriteStatus::Executed => {
                    self.stand_in(step, definition, call, |word| {
                        definition.proves.get(word) == Some(&true)
                    });
                }
                WriteStatus::NotExecuted => {
                    self.stand_in(step, definition, call, |word| {
                        definition.proves.get(word) == Some(&false)
                    });
                }
            },
        }
    }

    /// Puts the first outcome of the same class in the place of the word.
    fn stand_in(
        &self,
        step: &StepName,
        definition: &Call,
        call: &mut CallState,
        fits: impl Fn(&str) -> bool,
    ) {
        let class = |word: Option<&str>| self.classes.get(step)?.get(word?).copied();
        let own = class(call.word());
        if call.word().is_none() && !call.abandoned {
            return;
        }
        let alike = |other: &&String| {
            let looked_at = |word: &str| self.is_looked_at(step, word);
            fits(other)
                && (call.word().is_none() || class(Some(other)) == own)
                && !(looked_at(other) || call.word().is_some_and(looked_at))
        };
        if let Some(word) = definition.outcomes.iter().find(alike) {
            call.outcome = Some(word.clone());
            call.ruling = None;
            call.abandoned = false;
            call.sending = false;
        }
    }

    /// A text that is equal for flows with the same future.
    pub(crate) fn key(flow: &Flow) -> String {
        let data = &flow.data;
        // Whether people were called already changes what they are told, not where the flow can go.
        let mut key = format!("{} {:?} {}", flow.state, flow.status, data.overdue);
        for (step, call) in &data.calls {
            let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
            let (outcome, ruling) = (word(&call.outcome), word(&call.ruling));
            // Writing to a string cannot fail.
            let _ = write!(
                key,
                "|{step} {} {outcome} {ruling} {} {}",
                call.group, call.abandoned, call.sending
            );
        }
        let names = |names: Vec<&String>| {
            names.into_iter().fold(String::new(), |all, name| all + " " + name)
        };
        let remembered = names(data.remembered.keys().collect());
        let timers = names(data.timers.keys().filter(|name| *name != ESCALATE).collect());
        let votes: BTreeSet<&String> = data.votes.iter().map(|vote| &vote.decision).collect();
        let votes = names(votes.into_iter().collect());
        let _ = write!(key, "|{remembered}|{timers}|{votes}");
        key
    }
}

/// Words that guards look at, by step.
fn looked_at(judged_by: &[&Journey]) -> BTreeMap<StepName, BTreeSet<String>> {
    let mut looked_at: BTreeMap<StepName, BTreeSet<String>> = BTreeMap::new();
    for journey in judged_by {
        let guards = journey.states.values().flat_map(|state| match &state.kind {
            Kind::Choose { branches, .. } => branches.as_slice(),
            Kind::Ask(_) | Kind::Review | Kind::Wait(_) | Kind::Emit { .. } | Kind::End { .. } => {
                &[]
            }
        });
        for (guard, _) in guards {
            let steps = guard.steps();
            for step in &steps {
                let words = looked_at.entry((*step).clone()).or_default();
                words.extend(guard.words().into_iter().map(str::to_owned));
                // Steps may be compared with each other.
                if let Some(call) = journey.calls.get(*step).filter(|_| steps.len() > 1) {
                    words.extend(call.outcomes.iter().cloned());
                }
            }
        }
    }
    looked_at
}

/// Inquiries about the same write by the same capability that can, or cannot, tell that it happened.
fn alike(journey: &Journey) -> Vec<Vec<StepName>> {
    let mut groups: BTreeMap<_, Vec<StepName>> = BTreeMap::new();
    for (step, call) in &journey.calls {
        let Some(about) = call.about.as_ref().filter(|_| call.effect == Effect::Read) else {
            continue;
        };
        let says_executed = journey.state(&call.state).is_some_and(|state| match &state.kind {
            Kind::Ask(ask) => {
                ask.arms.iter().any(|arm| arm.action.rules.as_deref() == Some("executed"))
            }
            Kind::Choose { .. }
            | Kind::Review
            | Kind::Wait(_)
            | Kind::Emit { .. }
            | Kind::End { .. } => false,
        });
        let same = (about, &call.subject, &call.capability, says_executed);
        groups.entry(same).or_default().push(step.clone());
    }
    groups.into_values().collect()
}

/// A call that was made, of which nothing is known.
fn unanswered(attempt: AttemptId) -> CallState {
    CallState {
        group: 1,
        attempt,
        outcome: None,
        ruling: None,
        reason: None,
        problems: Vec::new(),
        abandoned: false,
        sending: false,
        subject: None,
        reported: Vec::new(),
    }
}

/// An inquiry that waits for its next round has learnt nothing, whatever the word was.
fn between_rounds(ask: &Ask, call: &mut CallState) {
    if ask.arm(&["unavailable"]).is_some_and(|arm| matches!(arm.action.next, Next::Again)) {
        call.outcome = Some("unavailable".to_owned());
    }
}

/// Whether answers of a state are judged again after it was left.
fn is_joined(journey: &Journey, state: &StepName) -> bool {
    let joins = |action: &Action| matches!(&action.next, Next::Join(target) if target == state);
    journey
        .states
        .values()
        .flat_map(|each| each.panel.iter())
        .flat_map(|panel| panel.arms.values())
        .any(joins)
}

/// Writes that, once they happened, stay so wherever a flow goes from `state`, with no guarded call on the way: then
/// what was checked before them decides nothing any more.
fn past(journey: &Journey, state: &StepName) -> BTreeSet<StepName> {
    if journey.state(state).is_none() {
        return BTreeSet::new();
    }
    let ways = journey.reachable(state);
    let guarded = |capability: &str| {
        let guards = |rule: &Invariant| matches!(rule, Invariant::OnlyAfter { capability: guarded, .. } if guarded == capability);
        journey.invariants.iter().chain(&journey.bank).any(guards)
    };
    let recognises = |name: &StepName| {
        journey.state(name).is_some_and(State::makes_customers_known) && guarded(RECOGNITION)
    };
    if journey.calls.values().any(|call| ways.contains(&call.state) && guarded(&call.capability))
        || ways.iter().any(recognises)
    {
        return BTreeSet::new();
    }
    let writes =
        journey.calls.iter().filter(|(_, call)| call.effect == Effect::Write).map(|(step, _)| step);
    writes
        .filter(|write| !ways.iter().any(|state| may_undo(journey, state, write)))
        .cloned()
        .collect()
}

/// Whether a state may rule that a write did not happen, and go on.
fn may_undo(journey: &Journey, name: &StepName, write: &StepName) -> bool {
    let Some(state) = journey.state(name) else { return false };
    let goes_on = |action: &Action| match &action.next {
        Next::Go(target) => {
            !matches!(journey.state(target).map(|state| &state.kind), Some(Kind::End { .. }))
        }
        Next::Again | Next::Join(_) => true,
    };
    let undoes =
        |action: &Action| action.rules.as_deref() == Some("not_executed") && goes_on(action);
    let asked = match &state.kind {
        Kind::Ask(ask) => {
            let about = |step: &StepName| {
                journey.calls.get(step).is_some_and(|call| call.about.as_ref() == Some(write))
            };
            ask.steps.iter().any(about) && ask.arms.iter().any(|arm| undoes(&arm.action))
        }
        Kind::Choose { .. }
        | Kind::Review
        | Kind::Wait(_)
        | Kind::Emit { .. }
        | Kind::End { .. } => false,
    };
    let decided = |panel: &Panel| panel.about.contains(write) && panel.arms.values().any(undoes);
    asked || state.panel.as_ref().is_some_and(decided)
}

/// Words of a step by what can tell them apart after the step is over: invariants, reviews, arms judged again, `later`.
fn classes(judged_by: &[&Journey], step: &StepName) -> BTreeMap<String, usize> {
    let stops: Vec<Vec<String>> = judged_by
        .iter()
        .filter_map(|journey| Some(journey.calls.get(step)?.later.keys().cloned().collect()))
        .collect();
    let mut lists: Vec<&[String]> = stops.iter().map(Vec::as_slice).collect();
    lists.extend(judged_by.iter().flat_map(|journey| telling_apart(journey, step)));
    let rulings =
        judged_by.iter().flat_map(|journey| journey.states.values()).flat_map(State::rulings);
    let outcomes = judged_by
        .iter()
        .filter_map(|journey| journey.calls.get(step))
        .flat_map(|call| &call.outcomes);
    let always = ["late".to_owned(), "executed".to_owned(), "not_executed".to_owned()];
    let words: BTreeSet<&String> =
        lists.iter().copied().flatten().chain(outcomes).chain(&always).chain(rulings).collect();
    let mut signatures: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
    let mut classes = BTreeMap::new();
    for word in words {
        let signature = lists.iter().map(|list| list.contains(word)).collect();
        let next = signatures.len();
        classes.insert(word.clone(), *signatures.entry(signature).or_insert(next));
    }
    classes
}

/// Lists of words by which a journey tells outcomes of a step apart after the step is over.
fn telling_apart<'a>(journey: &'a Journey, step: &StepName) -> Vec<&'a [String]> {
    let Some(call) = journey.calls.get(step) else { return Vec::new() };
    let mut lists: Vec<&[String]> = Vec::new();
    for invariant in journey.invariants.iter().chain(&journey.bank) {
        if let Invariant::OnlyAfter { conditions, .. } = invariant {
            let all = conditions.iter().flat_map(Condition::alternatives);
            let own = all.filter(|condition| condition.capability == call.capability);
            lists.extend(own.map(|condition| condition.words.as_slice()));
        }
    }
    for state in journey.states.values() {
        let panel = state.panel.as_ref().filter(|panel| panel.about.contains(step));
        lists.extend(panel.map(|panel| panel.outcomes.as_slice()));
        if let Kind::Ask(ask) = &state.kind
            && ask.steps.contains(step)
            && is_joined(journey, &call.state)
        {
            lists.extend(ask.arms.iter().map(|arm| arm.when.words()));
        }
    }
    lists
}
