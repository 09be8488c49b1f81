//! Every way through a journey, taken by `step` itself, so that the checker and the running flow cannot drift apart.
//! Guards whose facts are unknown and tries that may be used up are taken both ways; times are not looked at: a timer
//! that is set may fire. Flows that differ only in what nothing depends on are one (`abstraction`).

use serde_json::{Value, json};
use signalbox_schemas::{
    AggregateId, AttemptId, LaneId, Micros, RecordName, StepName, Tenant, TenantKey,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::abstraction::Abstraction;
use crate::continuation;
use crate::decision::{Context, Decision, Effect, Input, Refusal, Start};
use crate::finding::Finding;
use crate::flow::{Flow, Status};
use crate::journey::{Journey, Kind, State};
use crate::step::{begin_in, fresh, step_in};
use crate::stop::Stop;
use crate::world::World;

/// Situations looked at before the journey is called too large to prove.
const NODES_MAX: usize = 100_000;
/// Findings after which nobody reads on.
const FINDINGS_MAX: usize = 40;

/// One situation a flow can be in, and how it is reached on the shortest way.
pub(crate) struct Node {
    pub(crate) flow: Flow,
    parent: Option<usize>,
    /// The input and the states it led through.
    label: String,
}

/// An exploration under way.
pub(crate) struct Explorer<'a> {
    journey: &'a Journey,
    pub(crate) key: TenantKey,
    abstraction: Abstraction<'a>,
    pub(crate) nodes: Vec<Node>,
    known: HashMap<String, usize>,
    /// For each node, the nodes from which it is reached.
    reached_from: Vec<Vec<usize>>,
    visited: BTreeSet<StepName>,
    pub(crate) findings: Vec<Finding>,
}

/// Something that can happen to a flow.
enum Move {
    Outcome { attempt: AttemptId, capability: String, word: String, late: bool },
    Timer(String),
    Command { record: RecordName, name: String },
    Decision { decision: String, actor: String },
}

/// Answers what a step cannot know, from a script; beyond its end the answer is no, and is noted.
#[derive(Default)]
pub(crate) struct Script {
    answers: Vec<bool>,
    used: usize,
}

impl World for Script {
    fn unknown_guard(&mut self) -> bool {
        self.answer()
    }

    fn exhausted(&mut self, _used: u32, _at_most: u32) -> bool {
        self.answer()
    }
}

impl Script {
    fn answer(&mut self) -> bool {
        if self.used == self.answers.len() {
            self.answers.push(false);
        }
        let answer = self.answers.get(self.used).copied().unwrap_or(false);
        self.used += 1;
        answer
    }

    /// The next script in order: the last no becomes a yes. Nothing after all were tried.
    pub(crate) fn next(mut self) -> Option<Self> {
        while let Some(last) = self.answers.pop() {
            if !last {
                self.answers.push(true);
                return Some(Self { answers: self.answers, used: 0 });
            }
        }
        None
    }
}

/// Explores a journey completely.
pub(crate) fn explore(journey: &Journey) -> Vec<Finding> {
    let mut explorer = Explorer::new(journey, &[journey], &BTreeMap::new());
    explorer.start();
    explorer.visit_all();
    explorer.unreachable();
    explorer.dead_ends();
    explorer.findings
}

/// Explores `new` from every situation in which a flow of `old` can wait. Empty: any of them can go on as it is, as a
/// flow of `new`, and nothing that the checker refuses can come of it.
pub(crate) fn explore_from(old: &Journey, new: &Journey) -> Vec<Finding> {
    let mut before = Explorer::new(old, &[old, new], &BTreeMap::new());
    before.start();
    before.visit_all();
    if !before.findings.is_empty() {
        return before.findings;
    }
    let mut after = Explorer::new(new, &[new, old], &BTreeMap::new());
    for (index, node) in before.nodes.iter().enumerate() {
        if node.flow.status == Status::Ended {
            continue;
        }
        match continuation::obstacle(old, new, &node.flow) {
            Some(obstacle) => after.refuse(&node.flow.state, obstacle, before.path_to(index)),
            None => after.plant(&node.flow, before.path_to(index)),
        }
    }
    after.visit_all();
    after.dead_ends();
    after.findings
}

impl<'a> Explorer<'a> {
    /// `judged_by`: the journeys that may look at what a flow has learnt; `goes`: where in the others a flow goes on that
    /// waits in a state of this one, where that is not the state of the same name.
    pub(crate) fn new(
        journey: &'a Journey,
        judged_by: &[&Journey],
        goes: &BTreeMap<StepName, StepName>,
    ) -> Self {
        let key = TenantKey::new(b"the checker's own key".to_vec());
        Explorer {
            journey,
            abstraction: Abstraction::new(journey, judged_by, goes, key.clone()),
            key,
            nodes: Vec::new(),
            known: HashMap::new(),
            reached_from: Vec::new(),
            visited: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn visit_all(&mut self) {
        let mut next = 0;
        while next < self.nodes.len() && self.findings.len() < FINDINGS_MAX {
            if self.nodes.len() > NODES_MAX {
                let message = format!("the journey has more than {NODES_MAX} situations; split it");
                let state = self.journey.first.clone();
                self.findings.push(Finding::new("too large", message, state, Vec::new()));
                break;
            }
            self.visit(next);
            next += 1;
        }
    }

    /// A flow of another version, as it is, as a flow of this one.
    fn plant(&mut self, flow: &Flow, path: Vec<String>) {
        let mut flow = flow.clone();
        flow.journey = self.journey.name().clone();
        flow.version = self.journey.version();
        let path = path.join(" | ");
        self.keep(None, flow, || format!("{path} | goes on as version {}", self.journey.version()));
    }

    fn refuse(&mut self, state: &StepName, message: String, path: Vec<String>) {
        if !self.findings.iter().any(|found| found.message == message) {
            self.findings.push(Finding::new("cannot go on", message, state.clone(), path));
        }
    }
}

impl Explorer<'_> {
    pub(crate) fn start(&mut self) {
        let none = BTreeSet::new();
        let command = Arc::new(Value::Null);
        let start = Start { command: &command, lane: LaneId(0) };
        let mut script = Some(Script::default());
        while let Some(mut world) = script {
            let ctx = Context { now: Micros(0), key: &self.key, sending: &none };
            let flow = fresh(
                self.journey,
                AggregateId::from("checked"),
                Tenant::from("checker"),
                &start,
                ctx,
            );
            match begin_in(self.journey, flow, ctx, &mut world) {
                Ok(decision) => self.arrive(None, "start", true, decision),
                Err(stop) => self.stopped(None, "start", stop),
            }
            script = world.next();
        }
    }

    fn visit(&mut self, from: usize) {
        let Some(node) = self.nodes.get(from) else { return };
        let flow = node.flow.clone();
        for each in self.moves(&flow) {
            let none = BTreeSet::new();
            let abandoned = self.take(from, &flow, &each, &none);
            if !abandoned.is_empty() {
                // The same input, where the permit was taken a moment before.
                self.take(from, &flow, &each, &abandoned);
            }
        }
    }

    /// Takes a move in every way; gives the writes that it wanted to abandon.
    fn take(
        &mut self,
        from: usize,
        flow: &Flow,
        each: &Move,
        sending: &BTreeSet<AttemptId>,
    ) -> BTreeSet<AttemptId> {
        let mut abandoned = BTreeSet::new();
        let mut script = Some(Script::default());
        let label = each.label(!sending.is_empty());
        while let Some(mut world) = script {
            let key = self.key.clone();
            let ctx = Context { now: Micros(0), key: &key, sending };
            match each.step(self.journey, flow, ctx, &mut world) {
                Ok(decision) => {
                    abandoned.extend(decision.effects.iter().filter_map(|effect| match effect {
                        Effect::Abandon { attempt } => Some(*attempt),
                        Effect::Ask { .. }
                        | Effect::Close { .. }
                        | Effect::Publish { .. }
                        | Effect::Assent(_)
                        | Effect::Recognise(_)
                        | Effect::SetTimer { .. }
                        | Effect::CancelTimer { .. } => None,
                    }));
                    self.judge(from, flow, each, &label, &decision);
                    self.arrive(Some(from), &label, !each.is_late(), decision);
                }
                Err(stop) => self.stopped(Some(from), &label, stop),
            }
            script = world.next();
        }
        abandoned
    }

    fn arrive(&mut self, from: Option<usize>, label: &str, counts: bool, decision: Decision) {
        self.visited.extend(decision.path.iter().cloned());
        let way: Vec<&str> = decision.path.iter().map(StepName::as_str).collect();
        let to = self.keep(from, decision.flow, || format!("{label} -> {}", way.join(" -> ")));
        // Nobody can count on an answer that comes too late to lead a flow to its end.
        if let (Some(from), Some(reached_from)) =
            (from.filter(|_| counts), self.reached_from.get_mut(to))
            && reached_from.last() != Some(&from)
        {
            reached_from.push(from);
        }
    }

    /// The node of a flow, which is a new one where no other has the same future.
    pub(crate) fn keep(
        &mut self,
        from: Option<usize>,
        flow: Flow,
        label: impl FnOnce() -> String,
    ) -> usize {
        let flow = self.abstraction.reduce(flow);
        let key = Abstraction::key(&flow);
        if let Some(to) = self.known.get(&key) {
            return *to;
        }
        let (to, label) = (self.nodes.len(), label());
        self.known.insert(key, to);
        self.nodes.push(Node { flow, parent: from, label });
        self.reached_from.push(Vec::new());
        to
    }

    fn stopped(&mut self, from: Option<usize>, label: &str, stop: Stop) {
        match stop {
            Stop::Refused(Refusal::Known | Refusal::NotPossibleNow { .. }) => {}
            Stop::Refused(Refusal::Unresolvable { detail }) => {
                self.find("broken", detail, from, label)
            }
            Stop::Unsafe { rule, message } => self.find(rule, message, from, label),
        }
    }

    /// What must hold of a step whatever the journey says.
    fn judge(&mut self, from: usize, before: &Flow, each: &Move, label: &str, decision: &Decision) {
        let after = &decision.flow;
        if self.is_hold(&before.state)
            && before.status == Status::Running
            && after.state != before.state
            && !each.leaves_hold(before)
        {
            let message = format!(
                "{}: the hold is left without a release by two people; let {} be remembered instead",
                before.state,
                each.label(false)
            );
            self.find("hold left without release", message, Some(from), label);
        }
        let lasts = decision.effects.iter().filter(|effect| is_final(effect)).count();
        let expected =
            usize::from(before.status == Status::Running && after.status == Status::Ended);
        if lasts != expected {
            let message = format!("{}: {lasts} final events instead of {expected}", after.state);
            self.find("one ending", message, Some(from), label);
        }
    }

    fn is_hold(&self, state: &StepName) -> bool {
        self.journey.state(state).is_some_and(State::is_hold)
    }

    /// Everything that can happen to a flow, however late.
    fn moves(&self, flow: &Flow) -> Vec<Move> {
        let mut moves: Vec<Move> =
            flow.data.timers.keys().map(|name| Move::Timer(name.clone())).collect();
        let listened = match self.journey.state(&flow.state).map(|state| &state.kind) {
            Some(Kind::Wait(wait)) => wait.answers_of.as_ref(),
            _ => None,
        };
        for (step, call) in &flow.data.calls {
            let Some(definition) = self.journey.calls.get(step) else { continue };
            for group in (1..=call.group).rev() {
                let attempt = self.abstraction.attempt(flow.id, step, group);
                let late =
                    group < call.group || definition.state != flow.state && listened != Some(step);
                moves.extend(definition.outcomes.iter().map(|word| Move::Outcome {
                    attempt,
                    capability: definition.capability.clone(),
                    word: word.clone(),
                    late,
                }));
            }
        }
        if flow.status == Status::Ended {
            return moves;
        }
        moves.extend(
            self.journey
                .commands
                .iter()
                .map(|(name, record)| Move::Command { record: record.clone(), name: name.clone() }),
        );
        let panel = self.journey.state(&flow.state).and_then(|state| state.panel.as_ref());
        for decision in panel.iter().flat_map(|panel| panel.arms.keys()) {
            let first = flow.data.votes.first().map(|vote| vote.actor.clone());
            for actor in first.into_iter().chain(["somebody else".to_owned()]) {
                moves.push(Move::Decision { decision: decision.clone(), actor });
            }
        }
        moves
    }

    fn find(&mut self, rule: &'static str, message: String, from: Option<usize>, label: &str) {
        let same = |found: &Finding| found.rule == rule && found.message == message;
        if self.findings.iter().any(same) {
            return;
        }
        let mut path = from.map(|from| self.path_to(from)).unwrap_or_default();
        path.push(label.to_owned());
        let state = from.and_then(|from| self.nodes.get(from)).map(|node| node.flow.state.clone());
        let state = state.unwrap_or_else(|| self.journey.first.clone());
        self.findings.push(Finding::new(rule, message, state, path));
    }

    pub(crate) fn path_to(&self, node: usize) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at.and_then(|at| self.nodes.get(at)) {
            path.push(node.label.clone());
            at = node.parent;
        }
        path.reverse();
        path
    }

    fn unreachable(&mut self) {
        for name in self.journey.states.keys().filter(|name| !self.visited.contains(*name)) {
            let message = format!("{name}: no way leads to it; lead one there or remove it");
            let path = vec![name.to_string()];
            self.findings.push(Finding::new("unreachable", message, name.clone(), path));
        }
    }

    /// Situations from which no ending can be reached.
    pub(crate) fn dead_ends(&mut self) {
        let ended =
            |(index, node): (usize, &Node)| (node.flow.status == Status::Ended).then_some(index);
        let mut open: Vec<usize> = self.nodes.iter().enumerate().filter_map(ended).collect();
        let mut finds_end: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(node) = open.pop() {
            for from in self.reached_from.get(node).into_iter().flatten() {
                if finds_end.insert(*from) {
                    open.push(*from);
                }
            }
        }
        let mut dead: BTreeMap<StepName, usize> = BTreeMap::new();
        for (index, node) in
            self.nodes.iter().enumerate().filter(|(index, _)| !finds_end.contains(index))
        {
            dead.entry(node.flow.state.clone()).or_insert(index);
        }
        // Where exploration stopped at another finding, the way to the end may only be unseen.
        if self.findings.iter().any(|found| found.rule != "unreachable") {
            return;
        }
        for (state, index) in dead {
            let message =
                format!("{state}: no ending can be reached from it any more; add a way out");
            let path = self.path_to(index);
            self.findings.push(Finding::new("dead end", message, state, path));
        }
    }
}

impl Move {
    fn step(
        &self,
        journey: &Journey,
        flow: &Flow,
        ctx: Context<'_>,
        world: &mut dyn World,
    ) -> Result<Decision, Stop> {
        match self {
            Self::Timer(name) => step_in(journey, flow, Input::Timer { name }, ctx, world),
            Self::Outcome { attempt, capability, word, .. } => {
                let value = json!({ "outcome": word });
                let input = Input::Outcome { attempt: *attempt, capability, value: &value };
                step_in(journey, flow, input, ctx, world)
            }
            Self::Command { record, .. } => {
                let value = json!({ "actor": "caller" });
                step_in(journey, flow, Input::Command { record, value: &value }, ctx, world)
            }
            Self::Decision { decision, actor } => {
                let record = RecordName::from("signalbox.review.ReviewDecision");
                let value = json!({ "journey": journey.name(), "step": flow.state, "decision": decision, "actor": actor });
                step_in(
                    journey,
                    flow,
                    Input::Command { record: &record, value: &value },
                    ctx,
                    world,
                )
            }
        }
    }

    fn is_late(&self) -> bool {
        matches!(self, Self::Outcome { late: true, .. })
    }

    fn label(&self, too_late: bool) -> String {
        let late = if too_late { ", and the write may already be sent" } else { "" };
        match self {
            Self::Timer(name) => format!("timer {name}{late}"),
            Self::Outcome { capability, word, late: true, .. } => {
                format!("{capability} answers {word}, late{late}")
            }
            Self::Outcome { capability, word, .. } => format!("{capability} answers {word}{late}"),
            Self::Command { name, .. } => format!("command {name}{late}"),
            Self::Decision { decision, .. } => format!("people decide {decision}"),
        }
    }

    /// Whether this is a release by a second person, or an uphold.
    fn leaves_hold(&self, before: &Flow) -> bool {
        match self {
            Self::Decision { decision, actor } if decision == "release" => {
                let mut people: BTreeSet<&str> =
                    before.data.votes.iter().map(|vote| vote.actor.as_str()).collect();
                people.insert(actor);
                people.len() >= 2
            }
            Self::Decision { decision, .. } => decision == "uphold",
            Self::Outcome { .. } | Self::Timer(_) | Self::Command { .. } => false,
        }
    }
}

fn is_final(effect: &Effect) -> bool {
    match effect {
        Effect::Publish { value, .. } => value.get("final") == Some(&Value::Bool(true)),
        Effect::Ask { .. }
        | Effect::Abandon { .. }
        | Effect::Close { .. }
        | Effect::Assent(_)
        | Effect::Recognise(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer { .. } => false,
    }
}
