//! Whose data a decision writes, sealed under their key; and inputs of flows whose subject was erased. Keys were loaded
//! before: nothing here waits for any.

use signalbox_bus::Death;
use signalbox_schemas::SubjectId;
use signalbox_vault::Place;

use super::{Deciding, Transition};
use crate::intake::{Body, Work};

impl<'d> Deciding<'_, 'd> {
    /// An input of a flow whose subject was erased. The flow has ended, or it would not be; what it was about is gone, so
    /// nothing is decided: a repeated command is recognised by its hash, anything else is looked at by people.
    pub(super) fn of_erased(&mut self, work: &'d Work, hash: &[u8; 32]) {
        match (&work.body, work.flow().and_then(|id| self.flow(id))) {
            (Body::Start(start), Some(found)) if start.has_hash(hash) => {
                self.repeated(work, start, &found);
            }
            (Body::Start(start), _) => self.conflicting(work, start),
            _ => {
                let told =
                    "the flow's subject was erased: what it was about cannot be read any more";
                self.die(work, None, Death::unprocessable("subject_erased", told.to_owned()));
            }
        }
    }

    /// Whose personal data an input and what follows from it may hold. Where nothing says whose, it is sealed under a
    /// key of the day, so that it can be erased all the same.
    pub(super) fn subject(&self, work: &Work, transition: &Transition<'_>) -> SubjectId {
        if let Some(flow) = transition.flow.or(transition.before) {
            return flow.subject;
        }
        match (&work.body, work.flow().and_then(|id| self.flow(id))) {
            (Body::Start(start), _) => start.subject,
            (_, Some(flow)) => flow.subject,
            (_, None) => self.tick.key.unattributed(self.tick.now.day()),
        }
    }

    /// Seals bytes under their subject's key. That the key is there was seen to before the tick was decided.
    pub(super) fn seal(&mut self, subject: SubjectId, place: Place, plain: &[u8]) -> Vec<u8> {
        match self.tick.ring.seal(subject, place, plain) {
            Some((key, sealed)) => {
                self.decided.write.keys_used.insert(key);
                sealed
            }
            None => {
                self.decided.fault = Some(format!("the key of subject {subject} is not at hand"));
                Vec::new()
            }
        }
    }
}
