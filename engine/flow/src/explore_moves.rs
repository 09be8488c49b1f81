//! Whether a migration is legal: every situation in which a flow of the old version can wait is moved, by the very move
//! that runs, and what can come of it is explored. Nothing is said here about the flows that there really are.

use signalbox_schemas::{AttemptId, Micros, StepName};
use std::collections::{BTreeMap, BTreeSet};

use crate::decision::{Context, Effect};
use crate::explore::{Explorer, Script};
use crate::finding::Finding;
use crate::flow::{Flow, Status};
use crate::migration::{Migration, Mover, Stay, Unmovable};

/// What a plan comes to, before any flow is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFindings {
    /// What makes the plan illegal. Empty: nothing that the checker refuses can come of it.
    pub findings: Vec<Finding>,
    /// Situations whose flows stay under their version: state, why, and one sentence about it.
    pub stays: BTreeMap<(StepName, Unmovable), String>,
}

/// Explores a migration.
pub(crate) fn explore_migration(migration: &Migration) -> PlanFindings {
    let (old, new) = (&*migration.old, &*migration.new);
    let mut before = Explorer::new(old, &[old, new], &migration.plan.states);
    before.start();
    before.visit_all();
    let mut moving = Moving {
        migration,
        after: Explorer::new(new, &[new], &BTreeMap::new()),
        moved: BTreeSet::new(),
        stays: BTreeMap::new(),
    };
    if !before.findings.is_empty() {
        return PlanFindings { findings: before.findings, stays: BTreeMap::new() };
    }
    for (index, node) in before.nodes.iter().enumerate() {
        if node.flow.status == Status::Running {
            let path = before.path_to(index);
            let abandoned = moving.take(&node.flow, &path, &BTreeSet::new());
            if !abandoned.is_empty() {
                // The same move, where the permit was taken a moment before.
                moving.take(&node.flow, &path, &abandoned);
            }
        }
    }
    moving.finish()
}

struct Moving<'a> {
    migration: &'a Migration,
    after: Explorer<'a>,
    /// States out of which a flow was moved.
    moved: BTreeSet<StepName>,
    stays: BTreeMap<(StepName, Unmovable), (String, Vec<String>)>,
}

impl Moving<'_> {
    /// Moves a flow in every way; gives the writes that it wanted to abandon.
    fn take(
        &mut self,
        flow: &Flow,
        path: &[String],
        sending: &BTreeSet<AttemptId>,
    ) -> BTreeSet<AttemptId> {
        let mut abandoned = BTreeSet::new();
        let mut script = Some(Script::default());
        let key = self.after.key.clone();
        let by = Mover { actor: "", reason: "" };
        while let Some(mut world) = script {
            let ctx = Context { now: Micros(0), key: &key, sending };
            match self.migration.step_in(flow, by, ctx, &mut world) {
                Ok(decision) => {
                    abandoned.extend(decision.effects.iter().filter_map(|effect| match effect {
                        Effect::Abandon { attempt } => Some(*attempt),
                        _ => None,
                    }));
                    self.moved.insert(flow.state.clone());
                    let way: Vec<&str> = decision.path.iter().map(StepName::as_str).collect();
                    let to = format!("version {} -> {}", self.migration.plan.to, way.join(" -> "));
                    let label = format!("{} | {to}", path.join(" | "));
                    self.after.keep(None, decision.flow, || label);
                }
                Err(Stay::Here(why, told)) => {
                    let place = (flow.state.clone(), why);
                    self.stays.entry(place).or_insert_with(|| (told, path.to_vec()));
                }
                Err(Stay::Unsafe(rule, message)) => {
                    let state = self.migration.destination(&flow.state).clone();
                    self.refuse(rule, message, state, path.to_vec());
                }
            }
            script = world.next();
        }
        abandoned
    }

    fn refuse(&mut self, rule: &'static str, message: String, state: StepName, path: Vec<String>) {
        let same = |found: &Finding| found.rule == rule && found.message == message;
        if !self.after.findings.iter().any(same) {
            self.after.findings.push(Finding::new(rule, message, state, path));
        }
    }

    /// What the plan names has to come to something: a hold that would be left and a state that no flow could leave are
    /// mistakes of the plan. What it does not name may stay.
    fn finish(mut self) -> PlanFindings {
        for ((state, why), (told, path)) in self.stays.clone() {
            let named = self.migration.plan.states.contains_key(&state);
            if named && (why == Unmovable::InHold || !self.moved.contains(&state)) {
                let rule = if why == Unmovable::InHold {
                    "hold left without release"
                } else {
                    "cannot move"
                };
                self.refuse(rule, format!("{state}: {told}"), state, path);
            }
        }
        let unused = self.unused();
        for state in unused {
            let told = format!("{state}: no flow ever waits there; leave it out of the plan");
            self.refuse("cannot move", told, state, Vec::new());
        }
        if self.after.findings.is_empty() {
            self.after.visit_all();
            self.after.dead_ends();
        }
        let stays = self.stays.into_iter().map(|(place, (told, _))| (place, told)).collect();
        PlanFindings { findings: self.after.findings, stays }
    }

    /// States that the plan names and in which the exploration found no flow.
    fn unused(&self) -> Vec<StepName> {
        let seen = |state: &StepName| {
            self.moved.contains(state) || self.stays.keys().any(|(stays, _)| stays == state)
        };
        self.migration.plan.states.keys().filter(|state| !seen(state)).cloned().collect()
    }
}
