//! A step under way: moving between states, asking, publishing, keeping timers.
//! It does not judge inputs; `answers`, `people` and `clock` do, and call it.

use serde_json::{Map, Value, json};
use signalbox_schemas::{
    Attempt, AttemptId, Effect as CallEffect, RecordName, StepName, TopicName,
};
use std::time::Duration;

use crate::decision::{Context, Effect};
use crate::expression::{Expression, Facts};
use crate::flow::{CallState, Flow, Status};
use crate::invariant::{Invariant, RECOGNITION};
use crate::journey::{Ask, Call, Event, Interrupt, Journey, Kind, State, Wait, WriteStatus, fill};
use crate::judgement::{end_in_doubt, second_write};
use crate::recognition::{Recognise, Recognition};
use crate::stop::{Stop, not_safe, unresolvable};
use crate::world::World;

/// Timer of the whole journey; the only one that outlives a state.
pub(crate) const DEADLINE: &str = "deadline";
/// Timer of an answer that is waited for.
pub(crate) const WITHIN: &str = "within";
/// Timer until the same question is asked again.
pub(crate) const RETRY: &str = "retry";
/// Timer until the next round of polling.
pub(crate) const ROUND: &str = "round";
/// Timer until polling ends.
pub(crate) const UNTIL: &str = "until";
/// Timer until people are called.
pub(crate) const ESCALATE: &str = "escalate";
/// Timer of a state that waits for a time.
pub(crate) const WAIT: &str = "wait";

/// States passed through in one step without waiting; more is a circle.
const HOPS_MAX: usize = 64;

/// A step under way. `flow` is the flow as it will be.
pub(crate) struct Run<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) ctx: Context<'a>,
    pub(crate) world: &'a mut dyn World,
    pub(crate) flow: Flow,
    pub(crate) effects: Vec<Effect>,
    pub(crate) path: Vec<StepName>,
    /// How long the answer at hand asks to wait before a retry.
    pub(crate) hint: Option<Duration>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        journey: &'a Journey,
        flow: Flow,
        ctx: Context<'a>,
        world: &'a mut dyn World,
    ) -> Self {
        Self { journey, ctx, world, flow, effects: Vec::new(), path: Vec::new(), hint: None }
    }

    /// The first states of a flow.
    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        self.set_timer(DEADLINE, self.journey.deadline.after);
        self.enter(self.journey.first.clone())
    }

    /// The state the flow is in.
    pub(crate) fn here(&self) -> Result<&'a State, Stop> {
        self.at(&self.flow.state)
    }

    fn at(&self, name: &StepName) -> Result<&'a State, Stop> {
        let found = self.journey.state(name);
        found.map_or_else(
            || unresolvable(format!("journey {} has no state {name}", self.journey.name())),
            Ok,
        )
    }

    /// A step's definition.
    pub(crate) fn definition(&self, step: &StepName) -> Result<&'a Call, Stop> {
        let found = self.journey.calls.get(step);
        found.map_or_else(
            || unresolvable(format!("journey {} has no step {step}", self.journey.name())),
            Ok,
        )
    }

    /// Whether the state is a compliance hold.
    pub(crate) fn in_hold(&self) -> Result<bool, Stop> {
        Ok(self.here()?.is_hold())
    }

    /// Leaves the state and enters another from its beginning.
    pub(crate) fn go(&mut self, target: &StepName) -> Result<(), Stop> {
        self.leave()?;
        self.enter(target.clone())
    }

    /// Leaves the state for one whose answers are there already, and judges them again.
    pub(crate) fn join(&mut self, target: &StepName) -> Result<(), Stop> {
        self.leave()?;
        if let Some(other) = self.diversion(target)? {
            return self.enter(other);
        }
        self.flow.state = target.clone();
        self.path.push(target.clone());
        let state = self.here()?;
        self.watch(state);
        match &state.kind {
            Kind::Ask(ask) => {
                self.start_waiting(ask);
                self.judge(ask)
            }
            Kind::Choose { .. }
            | Kind::Review
            | Kind::Wait(_)
            | Kind::Emit { .. }
            | Kind::End { .. } => unresolvable(format!("{target} has no answers to join")),
        }
    }

    /// Closes what belongs to the state: its timers, votes and task.
    pub(crate) fn leave(&mut self) -> Result<(), Stop> {
        self.flow.data.timers.retain(|name, _| name == DEADLINE);
        self.flow.data.votes.clear();
        if self.flow.data.task_open {
            self.publish_task("closed")?;
            self.flow.data.task_open = false;
        }
        Ok(())
    }

    /// Enters a state from its beginning, and goes on as far as nothing waits.
    pub(crate) fn enter(&mut self, target: StepName) -> Result<(), Stop> {
        let mut next = Some(target);
        for _ in 0..HOPS_MAX {
            let Some(mut target) = next.take() else { return Ok(()) };
            if let Some(other) = self.diversion(&target)? {
                target = other;
            }
            let state = self.at(&target)?;
            self.path.push(target.clone());
            self.flow.state = target;
            next = match &state.kind {
                Kind::Ask(ask) => self.open(ask)?,
                Kind::Choose { branches, otherwise } => Some(self.choose(branches, otherwise)),
                Kind::Review => self.open_review()?,
                Kind::Wait(wait) => self.start_wait(wait),
                Kind::Emit { event, go } => self.emit(event, go)?,
                Kind::End { event } => self.end(event)?,
            };
            if next.is_none() && self.flow.status == Status::Running {
                self.watch(state);
            }
        }
        not_safe(
            "circle",
            format!("{} goes round without ever waiting; let a state of it wait", self.flow.state),
        )
    }

    /// Where a flow goes instead of a state: what was remembered while it could not be obeyed is obeyed now.
    fn diversion(&mut self, target: &StepName) -> Result<Option<StepName>, Stop> {
        let state = self.at(target)?;
        if matches!(state.kind, Kind::Choose { .. } | Kind::Emit { .. } | Kind::End { .. })
            || state.is_hold()
        {
            return Ok(None);
        }
        let remembered = state.on_command.iter().find_map(|(name, interrupt)| match interrupt {
            Interrupt::Go { target, .. } if self.flow.data.remembered.contains_key(name) => {
                Some((name, target))
            }
            Interrupt::Go { .. } | Interrupt::Remember => None,
        });
        if let Some((name, other)) = remembered {
            self.flow.data.remembered.remove(name);
            return Ok(Some(other.clone()));
        }
        if !self.is_before_money() {
            return Ok(None);
        }
        let stopped = self.flow.data.calls.iter().find_map(|(step, call)| {
            self.journey.calls.get(step).and_then(|definition| definition.later.get(call.word()?))
        });
        if let Some(other) = stopped.filter(|other| *other != target) {
            return Ok(Some(other.clone()));
        }
        let overdue = self.flow.data.overdue && self.journey.deadline.go != *target;
        Ok(overdue.then(|| self.journey.deadline.go.clone()))
    }

    /// Whether no write has happened or may happen.
    pub(crate) fn is_before_money(&self) -> bool {
        self.journey.writes(&self.flow.data).all(|(_, status)| status == WriteStatus::NotExecuted)
    }

    /// The same for writes of other states than the present one.
    pub(crate) fn is_before_money_elsewhere(&self) -> bool {
        let here =
            |step: &StepName| step.as_str().split('/').next() == Some(self.flow.state.as_str());
        let mut elsewhere = self.journey.writes(&self.flow.data).filter(|(step, _)| !here(step));
        elsewhere.all(|(_, status)| status == WriteStatus::NotExecuted)
    }

    fn choose(&mut self, branches: &[(Expression, StepName)], otherwise: &StepName) -> StepName {
        for (guard, target) in branches {
            let holds = guard.holds(self.facts());
            if holds.unwrap_or_else(|| self.world.unknown_guard()) {
                return target.clone();
            }
        }
        otherwise.clone()
    }

    fn open(&mut self, ask: &Ask) -> Result<Option<StepName>, Stop> {
        self.flow.data.rounds.remove(&self.flow.state);
        if let Some((after, _)) = &ask.until {
            self.set_timer(UNTIL, *after);
        }
        self.start_waiting(ask);
        for step in &ask.steps {
            self.ask(step, ask.within)?;
        }
        Ok(None)
    }

    fn open_review(&mut self) -> Result<Option<StepName>, Stop> {
        self.publish_task("opened")?;
        self.flow.data.task_open = true;
        Ok(None)
    }

    fn start_wait(&mut self, wait: &Wait) -> Option<StepName> {
        let visits = self.flow.data.rounds.get(&self.flow.state).copied().unwrap_or(0);
        if let Some((_, then)) =
            wait.at_most.as_ref().filter(|(times, _)| self.world.exhausted(visits, *times))
        {
            return Some(then.clone());
        }
        self.flow.data.rounds.insert(self.flow.state.clone(), visits.saturating_add(1));
        self.set_timer(WAIT, wait.after);
        None
    }

    fn emit(&mut self, event: &Event, go: &StepName) -> Result<Option<StepName>, Stop> {
        self.recognise(event.recognise.as_ref())?;
        self.publish_event(&event.fields, false);
        Ok(Some(go.clone()))
    }

    fn end(&mut self, event: &Event) -> Result<Option<StepName>, Stop> {
        if let Some(problem) = end_in_doubt(self.journey, &self.flow.data) {
            return not_safe("end in doubt", format!("{}: {problem}", self.flow.state));
        }
        self.recognise(event.recognise.as_ref())?;
        self.publish_event(&event.fields, true);
        self.flow.data.timers.clear();
        self.flow.status = Status::Ended;
        Ok(None)
    }

    /// What becomes of the customer by an event. The checker proves that nobody becomes known against the invariants; a
    /// running flow asks again all the same.
    fn recognise(&mut self, recognise: Option<&Recognise>) -> Result<(), Stop> {
        let recognition = match recognise {
            None | Some(Recognise::AsBefore) => return Ok(()),
            Some(Recognise::Nobody) => Recognition::Nobody,
            Some(Recognise::Known { likeness, watched }) => {
                self.refuse_forbidden(self.flow.state.as_str(), RECOGNITION)?;
                let found = likeness.value(self.facts());
                match found.and_then(|found| found.as_str()?.parse().ok()) {
                    Some(likeness) => Recognition::Known { likeness, watched: *watched },
                    // In the checker it is not known, and nothing depends on it.
                    None => Recognition::Nobody,
                }
            }
        };
        self.effects.push(Effect::Recognise(recognition));
        Ok(())
    }

    /// Sets the timer after which people are called.
    fn watch(&mut self, state: &State) {
        if let Some(escalate) = &state.escalate {
            self.set_timer(ESCALATE, escalate.after);
        }
    }

    /// Sets the timer of the answers.
    pub(crate) fn start_waiting(&mut self, ask: &Ask) {
        if let Some(within) = ask.within {
            self.set_timer(WITHIN, within);
        }
    }

    /// Asks a step. A write that was planned and neither sent nor abandoned is sent again as the same attempt.
    pub(crate) fn ask(&mut self, step: &StepName, within: Option<Duration>) -> Result<(), Stop> {
        let call = self.definition(step)?;
        let previous = self.flow.data.calls.get(step);
        let resend = call.effect == CallEffect::Write
            && previous.is_some_and(|previous| {
                self.journey.write_status(step, previous) == WriteStatus::Planned
            });
        let group =
            previous.map_or(0, |previous| previous.group).saturating_add(u32::from(!resend));
        let reported = previous.map(|previous| previous.reported.clone()).unwrap_or_default();
        self.refuse_unsafe_call(step, call, resend)?;
        let named = Attempt { flow: self.flow.id, step: step.clone(), group };
        let attempt = self.ctx.key.attempt_id(&named);
        let subject = self.subject(step, call)?;
        let value = self.request(call, &named, attempt, subject, within);
        let state = CallState {
            group,
            attempt,
            outcome: None,
            ruling: None,
            reason: None,
            problems: Vec::new(),
            abandoned: false,
            sending: false,
            subject,
            reported,
        };
        self.flow.data.calls.insert(step.clone(), state);
        self.effects.push(Effect::Ask {
            step: step.clone(),
            group,
            attempt,
            capability: call.capability.clone(),
            effect: call.effect,
            record: call.request.clone(),
            value,
        });
        Ok(())
    }

    /// The checker proves that this never happens; a running flow asks again before each call all the same.
    fn refuse_unsafe_call(&self, step: &StepName, call: &Call, resend: bool) -> Result<(), Stop> {
        self.refuse_forbidden(step.as_str(), &call.capability)?;
        let data = &self.flow.data;
        if call.effect == CallEffect::Write
            && !resend
            && let Some(problem) = second_write(self.journey, data, &call.capability)
        {
            return not_safe("two in flight", format!("{step}: {problem}"));
        }
        Ok(())
    }

    fn refuse_forbidden(&self, place: &str, what: &str) -> Result<(), Stop> {
        let rules =
            [("invariant", &self.journey.invariants), ("bank invariant", &self.journey.bank)];
        for (rule, sentences) in rules {
            let forbids = |each: &Invariant| each.forbids(self.journey, &self.flow.data, what);
            if let Some(problem) = sentences.iter().find_map(forbids) {
                return not_safe(rule, format!("{place}: {problem}"));
            }
        }
        Ok(())
    }

    fn subject(&self, step: &StepName, call: &Call) -> Result<Option<AttemptId>, Stop> {
        match &call.subject {
            None => Ok(None),
            Some(subject) => match self.flow.data.calls.get(subject) {
                Some(asked) => Ok(Some(asked.attempt)),
                None => not_safe(
                    "no subject",
                    format!("{step} asks about {subject}, which was never called"),
                ),
            },
        }
    }

    fn request(
        &self,
        call: &Call,
        named: &Attempt,
        attempt: AttemptId,
        subject: Option<AttemptId>,
        within: Option<Duration>,
    ) -> Value {
        if self.is_checked() {
            return Value::Null;
        }
        let flow = &self.flow;
        let mut fields = Map::new();
        let reply_by = self.ctx.now.after(within.unwrap_or_default());
        fields.insert(
            "call".to_owned(),
            json!({
                "attempt_id": attempt,
                "flow_id": flow.id,
                "aggregate_id": flow.aggregate,
                "tenant": flow.tenant,
                "lane": flow.lane,
                "step": named.step,
                "group": named.group,
                "reply_by": reply_by,
                "excluded": [],
            }),
        );
        if let Some(subject) = subject {
            fields.insert("subject_attempt".to_owned(), json!(subject));
        }
        fill(&call.with, self.facts(), &mut fields);
        Value::Object(fields)
    }

    /// Gives up the writes that the state has planned. False where one may already be sent: then there is no way out.
    pub(crate) fn way_out(&mut self) -> Result<bool, Stop> {
        let Kind::Ask(ask) = &self.here()?.kind else { return Ok(true) };
        let mut free = true;
        for step in &ask.steps {
            let Some(call) = self.flow.data.calls.get_mut(step) else { continue };
            if self
                .journey
                .calls
                .get(step)
                .is_none_or(|definition| definition.effect == CallEffect::Read)
            {
                continue;
            }
            match self.journey.write_status(step, call) {
                WriteStatus::Planned if self.ctx.sending.contains(&call.attempt) => {
                    call.sending = true;
                    free = false;
                }
                WriteStatus::Planned => {
                    call.abandoned = true;
                    self.effects.push(Effect::Abandon { attempt: call.attempt });
                }
                WriteStatus::Sending | WriteStatus::InDoubt => free = false,
                WriteStatus::Executed | WriteStatus::NotExecuted => {}
            }
        }
        Ok(free)
    }

    /// Where money is known to be gone, the deadline of the journey has done its work.
    pub(crate) fn settle(&mut self) {
        let executed =
            self.journey.writes(&self.flow.data).any(|(_, status)| status == WriteStatus::Executed);
        if executed {
            self.flow.data.timers.remove(DEADLINE);
        }
    }

    pub(crate) fn set_timer(&mut self, name: &str, after: Duration) {
        self.flow.data.timers.insert(name.to_owned(), self.ctx.now.after(after));
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            command: (!self.is_checked()).then_some(&*self.flow.command),
            data: &self.flow.data,
            key: self.ctx.key,
            subject: self.flow.subject,
        }
    }

    /// A flow without a command exists only in the checker: there every fact of the command is unknown, and the
    /// values of requests and tasks decide nothing.
    fn is_checked(&self) -> bool {
        self.flow.command.is_null()
    }

    /// Publishes an event of the journey.
    pub(crate) fn publish_event(&mut self, fields: &[(String, Expression)], last: bool) {
        let mut value = Map::new();
        fill(&self.journey.every_event, self.facts(), &mut value);
        fill(fields, self.facts(), &mut value);
        value.insert("flow_id".to_owned(), json!(self.flow.id));
        value.insert("final".to_owned(), json!(last));
        value.insert("occurred_at".to_owned(), json!(self.ctx.now));
        self.publish(self.journey.events.clone(), self.journey.event.clone(), Value::Object(value));
    }

    /// Publishes what happened to the review task of the state.
    pub(crate) fn publish_task(&mut self, status: &str) -> Result<(), Stop> {
        if self.is_checked() {
            return Ok(());
        }
        let state = self.here()?;
        let escalate = state.escalate.as_ref().map(|escalate| escalate.queue.as_str());
        let queue = state.panel.as_ref().map(|panel| panel.queue.as_str()).or(escalate);
        let flow = &self.flow;
        let value = json!({
            "task_id": format!("{}/{}", flow.id, flow.state),
            "flow_id": flow.id,
            "aggregate_id": flow.aggregate,
            "tenant": flow.tenant,
            "journey": flow.journey,
            "step": flow.state,
            "queue": queue.unwrap_or(&self.journey.deadline.queue),
            "people": state.panel.as_ref().map_or(1, |panel| panel.people),
            "status": status,
            "hold": state.is_hold(),
            "occurred_at": self.ctx.now,
        });
        let topic = TopicName::from("signalbox.review.tasks.v1");
        self.publish(topic, RecordName::from("signalbox.review.ReviewTask"), value);
        Ok(())
    }

    fn publish(&mut self, topic: TopicName, record: RecordName, value: Value) {
        self.effects.push(Effect::Publish { topic, record, value });
    }
}
