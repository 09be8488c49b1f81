//! Flows that stand still: inputs wait in order, a flow is parked by what it cannot process, operators let it go on.
//! What an act means, and whether it is possible, `signalbox_flow` decides.

use serde_json::Value;
use signalbox_bus::Death;
use signalbox_flow::{Act, Decision, Flow, Input, OperatorAct, Status, park};
use signalbox_schemas::FlowId;
use signalbox_store::ParkedRow;
use signalbox_vault::Place;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Dead, Deciding, Note, Transition};
use crate::intake::{Body, Work, WorkInput};
use crate::outbox::encode_kept;

/// Inputs that wait for one flow at most; what comes after them is a dead letter, and a replay has it wait again.
const WAITING_MAX: i64 = 500;

impl<'d> Deciding<'_, 'd> {
    /// An operator's act. Where the flow goes on by it, what waited is applied at once, in order.
    pub(super) fn operate(
        &mut self,
        work: &'d Work,
        flow: &Arc<Flow>,
        (act, value): (Act, &'d Value),
    ) {
        if act.waits() && flow.stands() {
            return self.hold(work, flow);
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let input = OperatorAct { act, actor: text("actor"), reason: text("reason") };
        self.decided.notes.push(Note::Act(act.word()));
        self.step_now(work, flow, Input::Act(input));
        let goes_on = self.flow(flow.id).is_some_and(|now| !now.stands());
        if goes_on && flow.stands() {
            if act == Act::SetAside {
                self.set_aside(flow);
            }
            self.replay(flow.id);
        }
    }

    /// An input of a flow that stands still waits for it, behind those that wait already.
    pub(super) fn hold(&mut self, work: &'d Work, flow: &Arc<Flow>) {
        if flow.waiting() >= WAITING_MAX {
            let full = format!("{WAITING_MAX} inputs wait for the flow already");
            return self.die(work, None, Death::unprocessable("parked_full", full));
        }
        let Some((seq, mut next)) = self.keep(work, flow) else { return };
        next.rev += 1;
        self.decided.notes.push(Note::Held);
        let transition = Transition {
            kind: "hold",
            flow: Some(&next),
            before: Some(flow),
            actor: work.operator().unwrap_or("lane").to_owned(),
            reason: format!("waits as number {seq}"),
        };
        self.journal(work, transition, Vec::new());
        self.decided.flows.insert(next.id, Arc::new(next));
    }

    /// The flow cannot process its input: it is parked with the input as the first that waits. What is over, and what
    /// only an operator wanted, has nothing to wait for.
    pub(super) fn cannot(&mut self, work: &'d Work, flow: &Arc<Flow>, death: Death) {
        if matches!(work.body, Body::Migrate) {
            // A flow that cannot be moved stays as it is.
            return;
        }
        if flow.status == Status::Ended || matches!(work.body, Body::Act { .. }) {
            return self.die(work, Some(flow), death);
        }
        let timer = match &work.input {
            WorkInput::Timer(timer) => Some(timer.name.as_str()),
            WorkInput::Record(_) | WorkInput::Errand(_) => None,
        };
        let decision = park(flow, death.code, timer, self.tick.now);
        let Decision { flow: mut parked, effects, actor, reason, .. } = decision;
        if timer.is_none() && !self.replaying {
            let Some((_, with_input)) = self.keep(work, &parked) else { return };
            parked = with_input;
        }
        let (now, contest) = (self.tick.now, &mut self.decided.contest);
        self.rows.effects(Some(flow), &parked, effects, now, contest);
        self.decided.notes.push(Note::Parked(Dead::of(work, &death)));
        let transition = Transition {
            kind: "park",
            flow: Some(&parked),
            before: Some(flow),
            actor,
            reason: format!("{reason}: {}", death.message),
        };
        self.journal(work, transition, Vec::new());
        self.decided.flows.insert(parked.id, Arc::new(parked));
    }

    /// Gives a record the flow's next position; the position and the flow that has it.
    fn keep(&mut self, work: &'d Work, flow: &Flow) -> Option<(i64, Flow)> {
        let WorkInput::Record(record) = &work.input else { return None };
        let (seq, next) = flow.holding();
        let encoded = match encode_kept(record) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.die(work, None, Death::unprocessable("unencodable", error.to_string()));
                return None;
            }
        };
        let sealed = self.seal(flow.subject, Place::Parked { flow: flow.id, seq }, &encoded);
        self.rows.keep(ParkedRow { flow: flow.id, seq, lane: flow.lane, record: sealed });
        self.queue(flow.id).push_back((seq, work));
        Some((seq, next))
    }

    /// What waits for a flow at this point of the tick, first to last: what is stored, unless it was taken since, and what was
    /// kept since.
    fn queue(&mut self, id: FlowId) -> &mut VecDeque<(i64, &'d Work)> {
        let stored = self.tick.waiting.get(&id).into_iter().flatten();
        let stored = stored.map(|(seq, work)| (*seq, work));
        self.queues.entry(id).or_insert_with(|| stored.collect())
    }

    /// The input that parked the flow becomes a dead letter.
    fn set_aside(&mut self, before: &Flow) {
        let Some((_, work)) = self.queue(before.id).front().copied() else { return };
        let mark = before.data.standstill.as_ref().and_then(|still| still.parked.as_ref());
        let cause = mark.map(|mark| mark.reason.as_str()).unwrap_or_default();
        let told = format!("set aside by operators; it had parked its flow: {cause}");
        self.die(work, None, Death::unprocessable("set_aside", told));
        self.take_first(before.id);
    }

    /// Applies what waited, until nothing waits or the flow stands still again.
    fn replay(&mut self, id: FlowId) {
        while let Some((_, work)) = self.queue(id).front().copied() {
            let Some(flow) = self.flow(id).filter(|flow| !flow.stands()) else { return };
            self.replaying = true;
            match &work.body {
                // Classified anew it may turn out otherwise than when it was kept; it stays the flow's all the same.
                Body::Dead(death) => self.cannot(work, &flow, death.clone()),
                _ => self.carry_out(work),
            }
            self.replaying = false;
            if self.flow(id).is_some_and(|flow| flow.stands()) {
                return;
            }
            self.take_first(id);
        }
    }

    fn take_first(&mut self, id: FlowId) {
        let Some((seq, _)) = self.queue(id).pop_front() else { return };
        self.rows.take(id, seq);
        if let Some(flow) = self.flow(id) {
            self.decided.flows.insert(id, Arc::new(flow.without_first()));
        }
    }
}
