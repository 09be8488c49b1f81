//! What goes into a step and what comes out of it. Effects are one closed enum: what is not in it, no journey can do.

use serde_json::Value;
use signalbox_schemas::{
    AttemptId, Effect as CallEffect, LaneId, Micros, RecordName, StepName, TenantKey, TopicName,
};
use std::collections::BTreeSet;

use crate::act::OperatorAct;
use crate::flow::Flow;
use crate::recognition::Recognition;

/// Something that happened to a flow. It has passed the contract: values fit their records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// A command that addresses a running flow: cancel, a review decision.
    Command {
        /// The command's record.
        record: &'a RecordName,
        /// The command.
        value: &'a Value,
    },
    /// A capability answered.
    Outcome {
        /// The attempt that is answered.
        attempt: AttemptId,
        /// The capability's name.
        capability: &'a str,
        /// The whole `<capability>.Outcome` record.
        value: &'a Value,
    },
    /// An operator wants something done.
    Act(OperatorAct<'a>),
    /// A timer is due.
    Timer {
        /// Name of the timer, as in the flow's data.
        name: &'a str,
    },
}

/// What a step may know besides flow and input.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Database time; the only clock there is.
    pub now: Micros,
    /// Secret from which attempt ids are derived.
    pub key: &'a TenantKey,
    /// Attempts of which it is proven that they may already be sent: they cannot be abandoned any more.
    pub sending: &'a BTreeSet<AttemptId>,
}

/// What a step decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The flow as it is from now on; `rev` is raised where anything changed.
    pub flow: Flow,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// States passed through, first to last, for the journal: at least the one it is in.
    pub path: Vec<StepName>,
    /// Who caused it: `timer`, `adapter`, or the actor of a command.
    pub actor: String,
    /// Why, in the words of the input: an outcome, a decision with its reason, a timer's name.
    pub reason: String,
}

/// One thing to do. Executed in one match in the worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Plan an attempt and publish its request.
    Ask {
        /// Step and branch that ask.
        step: StepName,
        /// Raised each time the step is entered again.
        group: u32,
        /// The attempt's id, derived from flow, step and group.
        attempt: AttemptId,
        /// The capability's name.
        capability: String,
        /// Whether it moves money.
        effect: CallEffect,
        /// The request's record.
        record: RecordName,
        /// The request.
        value: Value,
    },
    /// The step wants to leave a planned write: won only if its permit was not taken.
    /// Where it is lost, the same input is stepped again with the attempt in `Context::sending`.
    Abandon {
        /// The attempt.
        attempt: AttemptId,
    },
    /// People have ruled on a write: nobody sends it any more, whoever is at it.
    Close {
        /// The attempt.
        attempt: AttemptId,
        /// What they take to be true, as an outcome of the capability that was asked.
        outcome: String,
    },
    /// Put down that a person agrees to something that takes several people.
    Assent(Assent),
    /// Put down whether later flows recognise the customer of this one.
    Recognise(Recognition),
    /// Publish a record, keyed by the flow's business id.
    Publish {
        /// Where to.
        topic: TopicName,
        /// Its record.
        record: RecordName,
        /// The value.
        value: Value,
    },
    /// Wake the flow at a time. Replaces a timer of the same name.
    SetTimer {
        /// Name, unique in the flow.
        name: String,
        /// Not before this instant.
        due: Micros,
    },
    /// Forget a timer.
    CancelTimer {
        /// Name.
        name: String,
    },
}

/// One person's agreement to a matter of several people. The store refuses a second one by the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assent {
    /// What is agreed to: a state and a decision, or an operator's act.
    pub matter: String,
    /// The flow's revision at the first vote.
    pub occasion: i64,
    /// Which of the people it is, from 1.
    pub seat: u32,
    /// How many it takes.
    pub people: u32,
    /// Who, in lower case and without spaces around.
    pub actor: String,
}

/// Why a decodable input was not applied. Not an error of the flow: the caller is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing new: the input repeats what is known, or concerns a call that is closed without contradiction.
    Known,
    /// The command cannot be carried out in the flow's state.
    NotPossibleNow {
        /// What is wrong and what to do.
        detail: String,
    },
    /// The input does not fit the journey (an outcome for a call that it never made): a dead letter.
    Unresolvable {
        /// What is wrong.
        detail: String,
    },
}

/// Everything needed to begin a flow.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The command; it starts the journey.
    pub command: &'a std::sync::Arc<Value>,
    /// The flow's lane.
    pub lane: LaneId,
}
