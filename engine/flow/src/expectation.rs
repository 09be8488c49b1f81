//! What a scenario expects against what was seen. It plays nothing; `play` does.

use serde_json::Value;
use signalbox_schemas::Effect as CallEffect;

use crate::decision::{Decision, Effect};
use crate::flow::{Flow, Status};
use crate::script::ExpectDoc;

/// What a flow was seen to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
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
}

/// The record of a task for people.
const REVIEW_TASK: &str = "signalbox.review.ReviewTask";

impl Seen {
    /// What a decision does. Timers are its own affair and are not told.
    pub(crate) fn of(decision: &Decision) -> Self {
        let mut seen = Self::default();
        for effect in &decision.effects {
            seen.see(effect);
        }
        seen
    }

    /// This, and then more.
    pub(crate) fn add(&mut self, more: Self) {
        self.events.extend(more.events);
        self.asked.extend(more.asked);
        self.tasks.extend(more.tasks);
        self.did.extend(more.did);
        self.refused = more.refused;
    }

    fn see(&mut self, effect: &Effect) {
        let text = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        match effect {
            Effect::Ask { step, group, capability, effect, .. } => {
                self.asked.extend([step.to_string(), capability.clone()]);
                let money = if *effect == CallEffect::Write { ", a write" } else { "" };
                self.did.push(format!("asks {step} ({capability}{money}), try {group}"));
            }
            Effect::Abandon { .. } => self.did.push("takes the planned write back".to_owned()),
            Effect::Publish { record, value, .. } if record.as_str() == REVIEW_TASK => {
                let task = format!("{} {}", text(value, "step"), text(value, "status"));
                self.did.push(format!("tells people: {task}"));
                self.tasks.push(task);
            }
            Effect::Publish { value, .. } => {
                let status = text(value, "status");
                let last = value.get("final") == Some(&Value::Bool(true));
                let reason = match text(value, "reason") {
                    reason if reason.is_empty() => reason,
                    reason => format!(", because of {reason}"),
                };
                let what = if last { "the last event" } else { "the event" };
                self.did.push(format!("publishes {what}: {status}{reason}"));
                self.events.push(status);
            }
            Effect::Assent(_) | Effect::SetTimer { .. } | Effect::CancelTimer { .. } => {}
        }
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
