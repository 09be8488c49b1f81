//! Whether a flow of one version of a journey fits another at all: the same place to wait in, and no payment forgotten.
//! What comes of it afterwards is explored; nothing is moved here.

use signalbox_schemas::{Effect, StepName};

use crate::flow::Flow;
use crate::journey::{Journey, Kind, State};

/// What stands against a flow of `old` going on in the same state of `new`.
pub(crate) fn obstacle(old: &Journey, new: &Journey, flow: &Flow) -> Option<String> {
    let (name, version) = (&flow.state, new.version());
    let (Some(here), Some(there)) = (old.state(name), new.state(name)) else {
        return Some(format!(
            "{name}: version {version} has no such state; keep it, or let these flows end under version {}",
            old.version()
        ));
    };
    if kind(here) != kind(there) {
        let (one, other) = (kind(here), kind(there));
        return Some(format!(
            "{name}: it is {one} and becomes {other}; flows that wait there would wait for the wrong thing. Give the \
             new state another name"
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
    flow.data.calls.keys().find_map(|step| call(old, new, step))
}

/// What stands against what the flow remembers of a call. A check that is not made any more may be forgotten.
fn call(old: &Journey, new: &Journey, step: &StepName) -> Option<String> {
    let before = old.calls.get(step)?;
    let Some(after) = new.calls.get(step) else {
        return (before.effect == Effect::Write).then(|| {
            format!("{step}: money may have moved by it, and version {} knows nothing of it; keep the state", new.version())
        });
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
