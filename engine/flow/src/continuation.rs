//! Whether a flow of one version of a journey fits another at all: the same place to wait in, and no payment forgotten.
//! What comes of it afterwards is explored; nothing is moved here.

use signalbox_schemas::{Effect, StepName};

use crate::flow::{Flow, FlowData};
use crate::journey::{Journey, Kind, State};

/// What stands against a flow of `old` going on in the same state of `new`.
pub(crate) fn obstacle(old: &Journey, new: &Journey, flow: &Flow) -> Option<String> {
    gone(old, new, &flow.state)
        .or_else(|| changed(old, new, &flow.state))
        .or_else(|| forgotten(old, new, &flow.data))
}

/// Why there is no such place any more.
pub(crate) fn gone(old: &Journey, new: &Journey, name: &StepName) -> Option<String> {
    if new.state(name).is_some() {
        return None;
    }
    Some(format!(
        "{name}: version {} has no such state; keep it, or let these flows end under version {}",
        new.version(),
        old.version()
    ))
}

/// Why flows that wait in a state would wait for the wrong thing in the state of the same name.
pub(crate) fn changed(old: &Journey, new: &Journey, name: &StepName) -> Option<String> {
    let (here, there) = (old.state(name)?, new.state(name)?);
    if kind(here) != kind(there) {
        let (one, other) = (kind(here), kind(there));
        return Some(format!(
            "{name}: it is {one} and becomes {other}; flows that wait there would wait for the wrong thing. Give the \
             new state another name"
        ));
    }
    if here.is_hold() && !there.is_hold() {
        return Some(format!(
            "{name}: it is a compliance hold and would be none any more; a hold is left by a release of two people only"
        ));
    }
    if let (Kind::Ask(asked), Kind::Ask(asks)) = (&here.kind, &there.kind) {
        if let Some(step) = asks.steps.iter().find(|step| !asked.steps.contains(step)) {
            return Some(format!(
                "{name}: flows that wait there never asked {step}; give the new question a state of its own"
            ));
        }
        if asked.every.is_empty() != asks.every.is_empty() {
            return Some(format!(
                "{name}: it polls in one version only; give the new state another name"
            ));
        }
    }
    None
}

/// Why something that a flow knows would be lost or mean something else.
pub(crate) fn forgotten(old: &Journey, new: &Journey, data: &FlowData) -> Option<String> {
    data.calls.keys().find_map(|step| call(old, new, step))
}

/// What stands against what the flow remembers of a call. A check that is not made any more may be forgotten, unless an
/// answer to it could still stop the journey.
fn call(old: &Journey, new: &Journey, step: &StepName) -> Option<String> {
    let before = old.calls.get(step)?;
    let Some(after) = new.calls.get(step) else {
        let (why, version) = match before.effect {
            Effect::Write => ("money may have moved by it", new.version()),
            Effect::Read if !before.later.is_empty() => {
                ("a late answer to it stops the journey", new.version())
            }
            Effect::Read => return None,
        };
        return Some(format!(
            "{step}: {why}, and version {version} knows nothing of it; keep the state"
        ));
    };
    if before.capability != after.capability {
        let (one, other) = (&before.capability, &after.capability);
        return Some(format!(
            "{step}: it called {one} and now calls {other}; give the new call another name"
        ));
    }
    if before.proves != after.proves || before.about != after.about {
        return Some(format!(
            "{step}: its outcomes prove something else now, so that what is known of a payment would change"
        ));
    }
    None
}

/// A kind of state in words.
fn kind(state: &State) -> &'static str {
    match &state.kind {
        Kind::Ask(_) => "a question to capabilities",
        Kind::Choose { .. } => "a choice",
        Kind::Review => "a review by people",
        Kind::Wait(_) => "a wait",
        Kind::Emit { .. } => "an event",
        Kind::End { .. } => "an ending",
    }
}
