//! Commands that start flows: new ones, repeats, and those that contradict an earlier one. It knows no running flow.

use serde_json::json;
use signalbox_flow::{Flow, Start, Status};
use signalbox_schemas::{Contract, Micros};
use signalbox_store::CommandRow;
use signalbox_vault::Place;

use super::rejecting::{refusal_text, rejection};
use super::{Deciding, Note, Transition};
use crate::intake::{StartWork, Work, WorkInput};

impl<'d> Deciding<'_, 'd> {
    pub(super) fn start(&mut self, work: &'d Work, start: &'d StartWork) {
        let now = self.tick.now;
        let reject = |reason, detail| {
            rejection(&start.aggregate, &start.tenant, &start.record, reason, detail, now)
        };
        let events = start.journey.events_topic();
        if let Some(found) = self.flow(start.flow) {
            if self.is_same(start, &found) {
                return self.repeated(work, start, &found);
            }
            return self.conflicting(work, start);
        }
        if let Some(holder) = self
            .losers
            .commands
            .iter()
            .find(|held| held.tenant == start.tenant && held.key == start.key)
        {
            self.decided.notes.push(Note::Conflict);
            let told = reject(
                "idempotency_conflict",
                "the idempotency key belongs to another request; use a new key",
            );
            return self.reject(work, Some(holder.flow), &start.aggregate, events, told);
        }
        if self.too_old(work) {
            let told = reject(
                "too_old",
                "the command is older than keys are remembered; send it again as a new request",
            );
            return self.reject(work, None, &start.aggregate, events, told);
        }
        let begun = signalbox_flow::begin(
            &start.journey,
            Start { command: &start.value, lane: work.lane },
            self.context(),
        );
        match begun {
            Ok(begun) => {
                let decision = self.published_end_of(work, &begun.flow).unwrap_or(begun);
                let applied = self.transition(work, None, decision);
                if applied {
                    let content = start.sent.to_string();
                    let place = Place::Command(start.flow);
                    let content = self.seal(start.subject, place, content.as_bytes());
                    self.decided.contest.commands.push(CommandRow {
                        tenant: start.tenant.clone(),
                        key: start.key.clone(),
                        hash: start.hash,
                        flow: start.flow,
                        record: start.record.clone(),
                        content,
                        accepted_at: now,
                    });
                }
            }
            Err(refusal) => {
                let detail = refusal_text(&refusal);
                self.reject(work, None, &start.aggregate, events, reject("invalid", &detail));
            }
        }
    }

    /// Whether a flow was started by the same content, whichever major that came by and its version reads.
    fn is_same(&self, start: &StartWork, found: &Flow) -> bool {
        let version = self.tick.library.version(&found.journey, found.version);
        let before = version.map_or(start.journey.starts_with(), |version| version.starts_with());
        let read = start.journey.starting_command(before, &found.command);
        let wanted = start.journey.starts_with();
        read.is_some_and(|read| Contract::content_hash(wanted, &read) == start.hash)
    }

    fn too_old(&self, work: &Work) -> bool {
        let WorkInput::Record(record) = &work.input else { return false };
        let made = Micros(record.timestamp_ms.saturating_mul(1_000));
        record.timestamp_ms > 0 && self.tick.now.since(made) > self.tick.dedupe_horizon
    }

    /// The same id with another content.
    pub(super) fn conflicting(&mut self, work: &'d Work, start: &StartWork) {
        self.decided.notes.push(Note::Conflict);
        let told = rejection(
            &start.aggregate,
            &start.tenant,
            &start.record,
            "idempotency_conflict",
            "the same id was used with another content; use a new id",
            self.tick.now,
        );
        let events = start.journey.events_topic();
        self.reject(work, Some(start.flow), &start.aggregate, events, told);
    }

    pub(super) fn repeated(&mut self, work: &'d Work, start: &StartWork, found: &Flow) {
        self.decided.notes.push(Note::Repeat("command"));
        let told = json!({
            "aggregate_id": start.aggregate, "tenant": start.tenant, "command": start.record, "flow_id": found.id,
            "state": found.state, "ended": found.status == Status::Ended, "occurred_at": self.tick.now});
        let transition = Transition {
            kind: "repeat",
            flow: None,
            before: None,
            actor: "command".to_owned(),
            reason: "request_repeated".to_owned(),
        };
        self.tell(
            work,
            transition,
            start.journey.events_topic(),
            (&start.aggregate, Some(start.flow)),
            ("signalbox.RequestRepeated", told),
        );
    }
}
