//! Flows that are decided again because the database forgot how they went: what was told stands, a write that may have been
//! sent is not left behind, and an answer that comes before its question is asked for once more.

use signalbox_bus::Death;
use signalbox_flow::{Flow, Status, end_as_published};
use signalbox_schemas::Micros;
use signalbox_store::TimerRow;
use std::sync::Arc;
use std::time::Duration;

use super::rejecting::rejection;
use super::{Deciding, Note};
use crate::intake::{Body, Work, WorkInput};

/// When a timer fires again that would have ended a flow too early.
const PUT_OFF: Duration = Duration::from_secs(5);

impl<'d> Deciding<'_, 'd> {
    /// A flow whose final event is out ends so with the first input that concerns it. One that stands still goes on first,
    /// by an operator, as it did before.
    pub(super) fn ends_as_published(&mut self, work: &'d Work) -> bool {
        let flow = work.flow().and_then(|id| self.flow(id));
        let open = |flow: &Arc<Flow>| flow.status == Status::Running && !flow.stands();
        let Some(flow) = flow.filter(open) else { return false };
        let past = self.tick.lanes.get(&work.lane).map(|lane| &lane.past);
        if !past.is_some_and(|past| past.endings.contains_key(&flow.id)) {
            return false;
        }
        match self.published_end_of(work, &flow) {
            Some(decision) => {
                self.transition(work, Some(&flow), decision);
            }
            None => {
                let told = "the ending that was published for the flow is none of its journey's";
                self.cannot(work, &flow, Death::unprocessable("no_journey", told.to_owned()));
            }
        }
        true
    }

    /// How a flow that runs ended before, if it did and its journey has that ending.
    pub(super) fn published_end_of(
        &self,
        work: &Work,
        flow: &Flow,
    ) -> Option<signalbox_flow::Decision> {
        let (status, reason) = self.tick.lanes.get(&work.lane)?.past.endings.get(&flow.id)?;
        let journey = self.tick.library.version(&flow.journey, flow.version)?;
        end_as_published(journey, flow, status, reason.as_deref())
    }

    /// Whether an answer was read before the database forgot it: its question is asked again, and answered again.
    pub(super) fn comes_again(&self, work: &Work) -> bool {
        let (Body::Outcome { .. }, WorkInput::Record(record)) = (&work.body, &work.input) else {
            return false;
        };
        let past = self.tick.lanes.get(&work.lane).map(|lane| &lane.past.read_before);
        let until = past.and_then(|read| read.get(&record.topic));
        until.is_some_and(|until| record.offset < *until)
    }

    /// Whether a flow would end without a write that may have been sent for it and that it has not come to yet.
    pub(super) fn overlooks_a_write(&self, before: &Flow, after: &Flow) -> bool {
        if before.status == Status::Ended || after.status == Status::Running {
            return false;
        }
        let past = self.tick.lanes.get(&after.lane).map(|lane| &lane.past);
        let told = past.is_some_and(|past| past.endings.contains_key(&after.id));
        let writes = past.and_then(|past| past.writes.get(&after.id)).into_iter().flatten();
        let come_to = |(step, group): &(_, u32)| {
            after.data.calls.get(step).is_some_and(|call| call.group >= *group)
        };
        !told && writes.into_iter().any(|write| !come_to(write))
    }

    /// An input that would end a flow too early: people are told so, a timer fires again, and where an answer says that it
    /// must end, people look.
    pub(super) fn put_off(&mut self, work: &'d Work, flow: &Arc<Flow>) {
        let told = "a payment of it may have been sent before the database was restored; that is found out first";
        match (&work.body, &work.input) {
            (Body::Command { journey, record, .. } | Body::Act { journey, record, .. }, _) => {
                let (topic, now) = (journey.events_topic(), self.tick.now);
                let value =
                    rejection(&flow.aggregate, &flow.tenant, record, "not_possible_now", told, now);
                self.reject(work, Some(flow.id), &flow.aggregate, topic, value);
            }
            (_, WorkInput::Timer(timer)) => {
                self.rows.set_timer(TimerRow { due_at: self.again_at(), ..timer.clone() });
                self.decided.notes.push(Note::Repeat("put_off"));
            }
            (_, WorkInput::Record(_) | WorkInput::Errand(_)) => {
                self.cannot(work, flow, Death::unprocessable("forgotten_write", told.to_owned()));
            }
        }
    }

    fn again_at(&self) -> Micros {
        self.tick.now.after(PUT_OFF)
    }
}
