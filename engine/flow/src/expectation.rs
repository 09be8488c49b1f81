//! What a scenario expects against what was seen. It plays nothing; `play` does.

use serde_json::Value;
use signalbox_schemas::{Effect as CallEffect, RecordName};

use crate::decision::{Decision, Effect};
use crate::flow::{Flow, Status};
use crate::recognition::Recognition;
use crate::script::ExpectDoc;

/// What a flow was seen to do.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Statuses of events, in order.
    events: Vec<String>,
    /// Steps and capabilities that were asked.
    asked: Vec<String>,
    /// Review tasks, as `<state> <status>`.
    tasks: Vec<String>,
    /// Everything in words.
    pub(crate) did: Vec<String>,
    /// Why the last input changed nothing.
    pub(crate) refused: Option<String>,
    /// Whom later flows recognise.
    recognised: Option<&'static str>,
}

/// The record of a task for people.
const REVIEW_TASK: &str = "signalbox.review.ReviewTask";
/// The record that answers a command which changes nothing.
const REJECTED: &str = "signalbox.RequestRejected";
/// What names of requests end with.
const REQUEST: &str = ".Request";

impl Seen {
    /// A record that was published: a request, an event, a task, a rejection. Other records tell nothing of a flow.
    pub fn record(&mut self, record: &RecordName, value: &Value) {
        let text =
            |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(capability) = record.as_str().strip_suffix(REQUEST) {
            let call = value.get("call").cloned().unwrap_or_default();
            let step = call.get("step").and_then(Value::as_str).unwrap_or_default();
            let group = call.get("group").and_then(Value::as_u64).unwrap_or_default();
            self.asks(step, capability, "", group);
        } else if record.as_str() == REVIEW_TASK {
            let task = format!("{} {}", text("step"), text("status"));
            self.did.push(format!("tells people: {task}"));
            self.tasks.push(task);
        } else if record.as_str() == REJECTED {
            self.refused = Some(text("detail"));
        } else if let Some(last) = value.get("final").and_then(Value::as_bool) {
            let status = text("status");
            let reason = match text("reason") {
                reason if reason.is_empty() => reason,
                reason => format!(", because of {reason}"),
            };
            let what = if last { "the last event" } else { "the event" };
            self.did.push(format!("publishes {what}: {status}{reason}"));
            self.events.push(status);
        }
    }

    /// Whom later flows recognise from now on.
    pub fn recognition(&mut self, recognition: Recognition) {
        self.recognised = Some(match recognition {
            Recognition::Known { watched: false, .. } => "customer",
            Recognition::Known { watched: true, .. } => "watched",
            Recognition::Nobody => "nobody",
        });
    }

    /// An input that changed nothing, because of this.
    pub fn refused(why: impl Into<String>) -> Self {
        let why = why.into();
        let did = vec![format!("refused: {why}")];
        Self { refused: Some(why), did, ..Self::default() }
    }

    /// Whether an input was answered by a rejection.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// What a decision does. Timers are its own affair and are not told.
    pub(crate) fn of(decision: &Decision) -> Self {
        let mut seen = Self::default();
        for effect in &decision.effects {
            match effect {
                Effect::Ask { step, group, capability, effect, .. } => {
                    let money = if *effect == CallEffect::Write { ", a write" } else { "" };
                    seen.asks(step.as_str(), capability, money, u64::from(*group));
                }
                Effect::Abandon { .. } => seen.did.push("takes the planned write back".to_owned()),
                Effect::Recognise(recognition) => {
                    seen.recognition(*recognition);
                    let whom = seen.recognised.unwrap_or_default();
                    seen.did.push(format!("lets later flows recognise: {whom}"));
                }
                Effect::Publish { record, value, .. } => seen.record(record, value),
                // A ruling is told by where it leads.
                Effect::Close { .. } => {}
                Effect::Assent(_) | Effect::SetTimer { .. } | Effect::CancelTimer { .. } => {}
            }
        }
        seen
    }

    fn asks(&mut self, step: &str, capability: &str, money: &str, group: u64) {
        self.asked.extend([step.to_owned(), capability.to_owned()]);
        self.did.push(format!("asks {step} ({capability}{money}), try {group}"));
    }

    /// This, and then more.
    pub(crate) fn add(&mut self, more: Self) {
        self.events.extend(more.events);
        self.asked.extend(more.asked);
        self.tasks.extend(more.tasks);
        self.did.extend(more.did);
        self.refused = more.refused;
        self.recognised = more.recognised.or(self.recognised);
    }
}

/// What is expected and does not hold: the key of the expectation, and what is so instead.
pub(crate) fn unmet(expect: &ExpectDoc, seen: &Seen, flow: &Flow) -> Vec<(&'static str, String)> {
    let mut unmet = Vec::new();
    let (over, is) = match flow.status {
        Status::Running => (false, format!("the flow waits in {}", flow.state)),
        Status::Ended => (true, format!("the flow has ended as {}", flow.state)),
    };
    let list = |words: &[String]| {
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    };
    if let Some(state) = expect.state.as_ref().filter(|state| over || flow.state.as_str() != *state)
    {
        unmet.push(("state", format!("{state} is expected, but {is}")));
    }
    if let Some(ending) = expect.ending.as_ref().filter(|end| !over || flow.state.as_str() != *end)
    {
        unmet.push(("ending", format!("{ending} is expected, but {is}")));
    }
    if let Some(events) = expect.events.as_ref().filter(|events| **events != seen.events) {
        let problem =
            format!("{} is expected, but published was {}", list(events), list(&seen.events));
        unmet.push(("events", problem));
    }
    for asked in expect.asks.iter().filter(|asked| !seen.asked.contains(asked)) {
        unmet.push(("asks", format!("{asked} is not asked; asked was {}", list(&seen.asked))));
    }
    for asked in expect.never_asks.iter().filter(|asked| seen.asked.contains(asked)) {
        unmet.push(("never_asks", format!("{asked} is asked")));
    }
    for task in expect.tasks.iter().filter(|task| !seen.tasks.contains(task)) {
        unmet.push(("tasks", format!("no task `{task}`; told was {}", list(&seen.tasks))));
    }
    if let Some(whom) =
        expect.recognised.as_ref().filter(|whom| seen.recognised != Some(whom.as_str()))
    {
        let is = seen.recognised.unwrap_or("what they recognised before");
        unmet.push(("recognised", format!("{whom} is expected, but later flows recognise {is}")));
    }
    if let Some(part) = &expect.refused {
        match &seen.refused {
            Some(refused) if refused.contains(part.as_str()) => {}
            Some(refused) => {
                unmet.push((
                    "refused",
                    format!("refused because of {part} is expected, but: {refused}"),
                ));
            }
            None => unmet.push(("refused", format!("it is not refused: {is}"))),
        }
    }
    unmet
}
