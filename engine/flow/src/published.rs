//! An ending that was told before: a flow whose final event is out ends as that event says, however it came to be decided
//! again. Nothing is published and nothing is asked by it.

use serde_json::Value;
use signalbox_schemas::StepName;

use crate::decision::{Decision, Effect};
use crate::expression::Expression;
use crate::flow::{Flow, Status};
use crate::journey::{Journey, Kind};

/// Ends a flow as its final event said. None where the journey has no ending with that status.
pub fn end_as_published(
    journey: &Journey,
    flow: &Flow,
    status: &str,
    reason: Option<&str>,
) -> Option<Decision> {
    let state = ending(journey, status, reason)?;
    let mut next = flow.clone();
    (next.state, next.status) = (state.clone(), Status::Ended);
    next.rev = flow.rev.saturating_add(1);
    next.data.votes.clear();
    next.data.task_open = false;
    let timers = std::mem::take(&mut next.data.timers);
    Some(Decision {
        flow: next,
        effects: timers.into_keys().map(|name| Effect::CancelTimer { name }).collect(),
        path: vec![state],
        actor: "lane".to_owned(),
        reason: format!("ended {status} before: its final event was published and forgotten"),
    })
}

/// The ending that tells this; where several have the status, the one that has the reason, too.
fn ending(journey: &Journey, status: &str, reason: Option<&str>) -> Option<StepName> {
    let says = |fields: &[(String, Expression)], name: &str, word: Option<&str>| {
        match fields.iter().find(|(field, _)| field == name).map(|(_, told)| told) {
            Some(Expression::Literal(Value::String(told))) => Some(told.as_str()) == word,
            // Computed: it may be anything.
            Some(_) => word.is_some(),
            None => word.is_none(),
        }
    };
    let endings = || {
        journey.states.iter().filter_map(|(name, state)| match &state.kind {
            Kind::End { event } if says(&event.fields, "status", Some(status)) => {
                Some((name, &event.fields))
            }
            _ => None,
        })
    };
    let exact = endings().find(|(_, fields)| {
        fields.iter().any(|(field, told)| {
            field == "reason"
                && matches!(told, Expression::Literal(told) if told.as_str() == reason)
        })
    });
    let fitting = || endings().find(|(_, fields)| says(fields, "reason", reason));
    exact.or_else(fitting).or_else(|| endings().next()).map(|(name, _)| name.clone())
}
