//! What a flow is between two steps: plain data that the store keeps as it is.
//! It does nothing by itself; `step` decides, the worker does.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use signalbox_schemas::{
    AggregateId, AttemptId, FlowId, JourneyName, LaneId, Micros, StepName, SubjectId, Tenant,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One journey under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Derived from tenant, journey and business id.
    pub id: FlowId,
    /// Tenant on whose behalf it runs.
    pub tenant: Tenant,
    /// Business id, the key of its records.
    pub aggregate: AggregateId,
    /// Whose personal data it holds, by the field that its journey's command marks.
    pub subject: SubjectId,
    /// Journey that it follows.
    pub journey: JourneyName,
    /// Version of the journey with which it started and which it keeps.
    pub version: u32,
    /// Lane where it lives.
    pub lane: LaneId,
    /// State it is in.
    pub state: StepName,
    /// Whether it goes on.
    pub status: Status,
    /// Raised by one with every step that changed something; 1 after the start.
    pub rev: i64,
    /// When it started.
    pub started_at: Micros,
    /// The command that started it. Kept once, never written again.
    pub command: Arc<Value>,
    /// What it has learnt on its way.
    pub data: FlowData,
}

/// Whether a flow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for an answer, a person, a command or a time.
    Running,
    /// It reached an ending. Only late answers can still concern it.
    Ended,
}

/// What a flow has learnt: small, rewritten with every step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowData {
    /// Calls by step (`state` or `state/branch`), the latest group of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<StepName, CallState>,
    /// Decisions of people on the review that is open now, actor by actor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// Facts that interrupts asked to remember, such as `cancel`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remembered: BTreeMap<String, bool>,
    /// The deadline of the journey has passed while it could not be obeyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// Retries used in the current stay, by step; also the position in an inquiry's schedule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rounds: BTreeMap<StepName, u32>,
    /// A review task for the present state was published and is not closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub task_open: bool,
    /// Why an input of this flow could not be processed and was dead-lettered; for people to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<String>,
    /// Why it takes no inputs for now, and how many wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standstill: Option<Standstill>,
    /// Operators who want an act that takes several of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assents: Vec<Vote>,
    /// Timers that are set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timers: BTreeMap<String, Micros>,
}

/// The latest call of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallState {
    /// Group of the attempt; +1 each time the step is entered again.
    pub group: u32,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its outcome, once known: canonical word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// A person's ruling over the outcome, such as `released` or `approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<String>,
    /// Canonical reason that came with the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Problems that came with the outcome, to be shown to the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Value>,
    /// True where the flow stopped waiting because the write was proven unsent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
    /// True where an attempt to abandon it found that it may already be sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sending: bool,
    /// For an inquiry or a recall: the attempt it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<AttemptId>,
    /// Late answers that were reported as a contradiction, as `<group>:<outcome>`, so that each is reported once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reported: Vec<String>,
}

/// One person's decision on the open review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub actor: String,
    /// What, as in `signalbox.review.ReviewDecision`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// The flow's revision at the first vote on this matter: two votes with the same belong to one occasion.
    #[serde(default)]
    pub occasion: i64,
}

/// A flow that takes no inputs: they wait in order, and its timers do not fire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    /// An operator paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Mark>,
    /// An input could not be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Mark>,
    /// Position of the first input that waits.
    #[serde(default)]
    pub first: i64,
    /// Position that the next one gets; equal to `first` where none waits.
    #[serde(default)]
    pub next: i64,
}

/// Since when and why a flow stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Since when.
    pub since: Micros,
    /// Who paused it; `lane` for a parked one.
    pub actor: String,
    /// Why: a person's words, or the code of what went wrong.
    pub reason: String,
    /// The timer that could not be carried out, where it was no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
}
