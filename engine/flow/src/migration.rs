//! Moving running flows from one version of a journey to another: the plan, and the move of one flow as a pure decision.
//! Whether a plan is legal is explored (`explore_moves`); who moves how many flows, and when, is the worker's business.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use signalbox_schemas::{Effect as CallEffect, JourneyName, StepName};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::continuation;
use crate::decision::{Context, Decision, Refusal};
use crate::error::{JourneyError, did_you_mean, mistake};
use crate::flow::{Flow, Status};
use crate::journey::{Journey, Kind, State};
use crate::run::{ESCALATE, Run, UNTIL};
use crate::step::finish;
use crate::stop::Stop;
use crate::world::{Real, World};

/// Which flows are to move, and where to. States that it does not name keep their name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationPlan {
    /// The journey.
    #[schemars(with = "String")]
    pub journey: JourneyName,
    /// Version that the flows run under.
    pub from: u32,
    /// Version that they shall run under.
    pub to: u32,
    /// Where flows go that wait in a state, by the state: `old: new`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub states: BTreeMap<StepName, StepName>,
}

/// A plan with the two versions that it is about.
#[derive(Debug, Clone)]
pub struct Migration {
    pub(crate) plan: MigrationPlan,
    pub(crate) old: Arc<Journey>,
    pub(crate) new: Arc<Journey>,
}

/// Why a flow is not moved. It runs on under its version, untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmovable {
    /// It follows another journey or version.
    NotInVersion,
    /// It has ended.
    Ended,
    /// It is parked; an operator releases it first.
    Parked,
    /// It is paused; an operator resumes it first.
    Paused,
    /// The plan does not say where flows of its state go, and the new version has no state of that name.
    NoSuchState,
    /// The new version has another kind of state, or another question, under that name.
    StateChanged,
    /// It is in a compliance hold, and would leave it.
    InHold,
    /// A write may be out, and the new state does not find out whether it is.
    WriteInDoubt,
    /// The new version would forget a payment, or an answer that stops the journey, or take it for something else.
    WouldForget,
    /// Its command cannot be read as the one that the new version starts with.
    CommandUnread,
    /// The new version would do at once what must never happen.
    Unsafe,
}

/// Who wants a migration, and why.
#[derive(Debug, Clone, Copy)]
pub struct Mover<'a> {
    /// Who.
    pub actor: &'a str,
    /// Why, for the journal.
    pub reason: &'a str,
}

/// Why a move was not taken.
pub(crate) enum Stay {
    /// It stays, with what stands against it.
    Here(Unmovable, String),
    /// The new version would do something that must never happen.
    Unsafe(&'static str, String),
}

impl MigrationPlan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Where it is not readable, or leads nowhere.
    pub fn parse(yaml: &str) -> Result<Self, JourneyError> {
        let plan: Self = serde_saphyr::from_str(yaml)?;
        if plan.from == plan.to {
            let same = mistake("to", format!("flows run under version {} already", plan.from));
            return same.map_err(|error: JourneyError| error.located(yaml));
        }
        Ok(plan)
    }
}

impl Unmovable {
    /// The stable code, as stored and counted.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotInVersion => "not_in_version",
            Self::Ended => "ended",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::NoSuchState => "no_such_state",
            Self::StateChanged => "state_changed",
            Self::InHold => "in_hold",
            Self::WriteInDoubt => "write_in_doubt",
            Self::WouldForget => "would_forget",
            Self::CommandUnread => "command_unread",
            Self::Unsafe => "unsafe",
        }
    }
}

impl Migration {
    /// A plan with its versions.
    ///
    /// # Errors
    /// Where the plan names states that the versions do not have, or that flows cannot be moved from or to.
    pub fn new(
        plan: MigrationPlan,
        old: Arc<Journey>,
        new: Arc<Journey>,
    ) -> Result<Self, JourneyError> {
        for (journey, version) in [(&old, plan.from), (&new, plan.to)] {
            if *journey.name() != plan.journey || journey.version() != version {
                let (name, is) = (journey.name(), journey.version());
                return mistake("journey", format!("{name} version {is} is not what is meant"));
            }
        }
        let (before, after) = (old.starts_with(), new.starts_with());
        if !new.lifts.reach(before, after) {
            let told =
                format!("it starts with {after}, which {before} is not lifted to; add a lift");
            return mistake("to", told);
        }
        for (from, to) in &plan.states {
            let place = format!("states.{from}");
            let here = known(&old, from, &place)?;
            if !here.waits() {
                return mistake(place, format!("no flow ever waits in {from}; leave it out"));
            }
            if matches!(known(&new, to, &place)?.kind, Kind::End { .. }) {
                let told = format!(
                    "{to} is an ending; flows are ended by cancelling them, not by moving them"
                );
                return mistake(place, told);
            }
        }
        Ok(Self { plan, old, new })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &MigrationPlan {
        &self.plan
    }

    /// The version that the flows run under.
    #[must_use]
    pub fn from(&self) -> &Journey {
        &self.old
    }

    /// The version that they will run under.
    #[must_use]
    pub fn to(&self) -> &Journey {
        &self.new
    }

    /// Where flows of a state go.
    pub(crate) fn destination<'a>(&'a self, state: &'a StepName) -> &'a StepName {
        self.plan.states.get(state).unwrap_or(state)
    }

    /// Moves one flow: what it is under the new version, and what is to be done. A flow that keeps its state waits on as
    /// it did, with its timers and attempts; any other enters the new state from its beginning.
    /// Where `Effect::Abandon` is lost, it is decided again with the attempt in `Context::sending`, as any step.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn step(
        &self,
        flow: &Flow,
        by: Mover<'_>,
        ctx: Context<'_>,
    ) -> Result<Decision, (Unmovable, String)> {
        self.step_in(flow, by, ctx, &mut Real).map_err(|stay| match stay {
            Stay::Here(why, detail) => (why, detail),
            Stay::Unsafe(rule, message) => (Unmovable::Unsafe, format!("{rule}: {message}")),
        })
    }

    /// A move in a given world.
    pub(crate) fn step_in(
        &self,
        flow: &Flow,
        by: Mover<'_>,
        ctx: Context<'_>,
        world: &mut dyn World,
    ) -> Result<Decision, Stay> {
        let there = self.place(flow)?;
        let target = self.destination(&flow.state);
        let mut next = flow.clone();
        next.rev = flow.rev.saturating_add(1);
        next.command = self.command(flow)?;
        let waits_on = self.waits_on(&flow.state, there);
        let (next, effects) =
            if waits_on { (next, Vec::new()) } else { self.leave(next, ctx, world)? };
        if let Some(write) = self.unawaited(&next, target) {
            let told = format!("{write} may be out, and {target} does not find out whether it is");
            return Err(Stay::Here(Unmovable::WriteInDoubt, told));
        }
        let mut run = Run::new(&self.new, next, ctx, world);
        run.effects = effects;
        run.flow.version = self.new.version();
        if waits_on {
            self.wait_on(&mut run, &flow.state, there);
        } else {
            run.enter(target.clone())?;
        }
        let in_hold = |journey: &Journey, name| journey.state(name).is_some_and(State::is_hold);
        if in_hold(&self.old, &flow.state) && !in_hold(&self.new, &run.flow.state) {
            let told =
                format!("{}: the hold would be left without a release by two people", flow.state);
            return Err(Stay::Here(Unmovable::InHold, told));
        }
        let (old, new) = (self.old.version(), self.new.version());
        let reason = format!("version {old} -> {new}: {}", by.reason.trim());
        Ok(finish(run, &flow.data.timers, by.actor.trim().to_owned(), reason))
    }

    /// The command that started a flow as the new version reads it. The checker moves flows without one.
    fn command(&self, flow: &Flow) -> Result<Arc<Value>, Stay> {
        let (before, after) = (self.old.starts_with(), self.new.starts_with());
        if before == after || flow.command.is_null() {
            return Ok(Arc::clone(&flow.command));
        }
        let lifted = self.new.starting_command(before, &flow.command).map(Arc::new);
        let told = || format!("its {before} cannot be read as {after}");
        lifted.ok_or_else(|| Stay::Here(Unmovable::CommandUnread, told()))
    }

    /// The state that a flow is to wait in, where nothing can be said against it without trying.
    fn place(&self, flow: &Flow) -> Result<&State, Stay> {
        let (old, new) = (&self.old, &self.new);
        let here = |why, told: String| Err(Stay::Here(why, told));
        if flow.journey != *old.name() || flow.version != old.version() {
            let told = format!("it follows {} version {}", flow.journey, flow.version);
            return here(Unmovable::NotInVersion, told);
        }
        if flow.status == Status::Ended {
            return here(Unmovable::Ended, format!("it has ended as {}", flow.state));
        }
        let still = flow.data.standstill.as_ref();
        if still.is_some_and(|still| still.parked.is_some()) {
            return here(Unmovable::Parked, "it is parked; release it first".to_owned());
        }
        if still.is_some_and(|still| still.paused.is_some()) {
            return here(Unmovable::Paused, "it is paused; resume it first".to_owned());
        }
        let target = self.destination(&flow.state);
        if let Some(told) = continuation::gone(old, new, target) {
            return here(Unmovable::NoSuchState, told);
        }
        let in_hold = |journey: &Journey, name| journey.state(name).is_some_and(State::is_hold);
        if target != &flow.state && in_hold(old, &flow.state) && !in_hold(new, target) {
            let told = "a hold is left by a release of two people only; move it to a hold";
            return here(Unmovable::InHold, told.to_owned());
        }
        if target == &flow.state
            && let Some(told) = continuation::changed(old, new, target)
        {
            return here(Unmovable::StateChanged, told);
        }
        if let Some(told) = continuation::forgotten(old, new, &flow.data) {
            return here(Unmovable::WouldForget, told);
        }
        let there = new.state(target);
        there.ok_or_else(|| Stay::Here(Unmovable::NoSuchState, target.to_string()))
    }

    /// Whether a flow waits for the same thing as before: in the state of the same name, or in another wait for a time.
    fn waits_on(&self, from: &StepName, there: &State) -> bool {
        let waits = |state: &State| matches!(state.kind, Kind::Wait(_));
        self.destination(from) == from || waits(there) && self.old.state(from).is_some_and(waits)
    }

    /// Leaves a state of the old version: what it planned and did not send is taken back, its task is closed.
    fn leave(
        &self,
        flow: Flow,
        ctx: Context<'_>,
        world: &mut dyn World,
    ) -> Result<(Flow, Vec<crate::decision::Effect>), Stay> {
        let mut run = Run::new(&self.old, flow, ctx, world);
        // Where that is lost, the write is open still, and the new state has to await it.
        run.way_out()?;
        run.leave()?;
        Ok((run.flow, run.effects))
    }

    /// A write that may be out and of which the new state would not learn.
    fn unawaited(&self, flow: &Flow, target: &StepName) -> Option<StepName> {
        let open = self.old.writes(&flow.data).filter(|(_, status)| status.is_open());
        let stays = *target == flow.state;
        let mut unawaited = open.filter(|(write, _)| !awaits(&self.new, target, write, stays));
        unawaited.next().map(|(write, _)| write.clone())
    }

    /// The same wait under the new version. Timers that run keep their time; one that only the new state has begins now,
    /// one that it does not have ends.
    fn wait_on(&self, run: &mut Run<'_>, from: &StepName, there: &State) {
        let target = self.destination(from).clone();
        let here = self.old.state(from);
        if target != *from
            && let Some(visits) = run.flow.data.rounds.remove(from)
        {
            run.flow.data.rounds.insert(target.clone(), visits);
        }
        let escalates = |state: &State| state.escalate.as_ref().map(|escalate| escalate.after);
        let ends = |state: &State| match &state.kind {
            Kind::Ask(ask) => ask.until.as_ref().map(|(after, _)| *after),
            Kind::Choose { .. }
            | Kind::Review
            | Kind::Wait(_)
            | Kind::Emit { .. }
            | Kind::End { .. } => None,
        };
        for (name, before, after) in [
            (ESCALATE, here.and_then(escalates), escalates(there)),
            (UNTIL, here.and_then(ends), ends(there)),
        ] {
            match (before, after) {
                (None, Some(after)) => run.set_timer(name, after),
                (_, None) => drop(run.flow.data.timers.remove(name)),
                (Some(_), Some(_)) => {}
            }
        }
        run.flow.state = target.clone();
        run.path.push(target);
    }
}

/// Whether a state finds out what became of a write: it is where the write is awaited, it asks about it, or people settle
/// it there.
fn awaits(journey: &Journey, name: &StepName, write: &StepName, stays: bool) -> bool {
    let Some(state) = journey.state(name) else { return false };
    let inquires = |step: &StepName| {
        journey.calls.get(step).is_some_and(|call| {
            call.effect == CallEffect::Read && call.about.as_ref() == Some(write)
        })
    };
    let asked = match &state.kind {
        Kind::Ask(ask) => stays && ask.steps.contains(write) || ask.steps.iter().any(inquires),
        Kind::Choose { .. }
        | Kind::Review
        | Kind::Wait(_)
        | Kind::Emit { .. }
        | Kind::End { .. } => false,
    };
    let decided = state.panel.as_ref().is_some_and(|panel| {
        panel.about.contains(write)
            && ["executed", "not_executed"].iter().all(|word| panel.arms.contains_key(*word))
    });
    asked || decided
}

/// A state that a plan names.
fn known<'a>(
    journey: &'a Journey,
    name: &StepName,
    place: &str,
) -> Result<&'a State, JourneyError> {
    let found = journey.state(name);
    found.map_or_else(
        || {
            let hint = did_you_mean(name.as_str(), journey.states.keys().map(StepName::as_str));
            let version = journey.version();
            mistake(place, format!("version {version} has no state {name}.{hint}"))
        },
        Ok,
    )
}

impl From<Stop> for Stay {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Unsafe { rule, message } => Self::Unsafe(rule, message),
            Stop::Refused(Refusal::Known) => {
                Self::Unsafe("broken", "nothing came of it".to_owned())
            }
            Stop::Refused(
                Refusal::NotPossibleNow { detail } | Refusal::Unresolvable { detail },
            ) => Self::Unsafe("broken", detail),
        }
    }
}
