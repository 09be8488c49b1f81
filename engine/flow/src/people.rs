//! What commands and people change: interrupts such as cancel, and decisions on reviews.
//! It does not know who may decide what; the console and the topic's rights do.

use serde_json::Value;
use signalbox_schemas::RecordName;
use std::collections::BTreeSet;

use crate::flow::{Status, Vote};
use crate::journey::{Interrupt, Next};
use crate::run::Run;
use crate::step::{Stop, known, not_now, unresolvable};

/// The record of a person's decision.
const REVIEW_DECISION: &str = "signalbox.review.ReviewDecision";

impl Run<'_> {
    /// A command that addresses the flow.
    pub(crate) fn command(&mut self, record: &RecordName, value: &Value) -> Result<(), Stop> {
        if record.as_str() == REVIEW_DECISION {
            return self.decide(value);
        }
        let named = self.journey.commands.iter().find(|(_, known)| known == record);
        let Some((name, _)) = named else {
            return unresolvable(format!("journey {} does not take {record}", self.journey.name()));
        };
        if self.flow.status == Status::Ended {
            return not_now(format!(
                "the flow has ended as {}; nothing can be changed any more",
                self.flow.state
            ));
        }
        match self.here()?.on_command.get(name) {
            None => not_now(format!(
                "{name} is not possible in {}; wait for the next event",
                self.flow.state
            )),
            Some(Interrupt::Remember) => self.remember(name),
            Some(Interrupt::Go { target, too_late_remember }) => {
                if self.way_out()? {
                    return self.go(target);
                }
                if *too_late_remember {
                    return self.remember(name);
                }
                not_now(format!("{name} comes too late: the money may already be on its way"))
            }
        }
    }

    fn remember(&mut self, name: &str) -> Result<(), Stop> {
        match self.flow.data.remembered.insert(name.to_owned(), true) {
            Some(true) => known(),
            Some(false) | None => Ok(()),
        }
    }

    fn decide(&mut self, value: &Value) -> Result<(), Stop> {
        let text =
            |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let (decision, actor) = (text("decision"), text("actor"));
        let state = self.flow.state.clone();
        if self.flow.status == Status::Ended || text("step") != state.as_str() {
            return not_now(format!(
                "{} is not waiting for a decision; the flow is in {state}",
                text("step")
            ));
        }
        if text("journey") != self.journey.name().as_str() {
            return not_now(format!("the flow runs the journey {}", self.journey.name()));
        }
        let Some(panel) = &self.here()?.panel else {
            return not_now(format!("{state} takes no decisions"));
        };
        let Some(action) = panel.arms.get(decision) else {
            let possible: Vec<&str> = panel.arms.keys().map(String::as_str).collect();
            return not_now(format!("{state} takes {}, not {decision}", possible.join(", ")));
        };
        if actor.is_empty() {
            return not_now("a decision needs its actor");
        }
        let needed = panel.needed(decision);
        let voted = self.flow.data.votes.iter().any(|vote| same_person(&vote.actor, actor));
        if voted && needed > 1 {
            return not_now(format!("{actor} has decided already; another person must agree"));
        }
        let vote = Vote {
            actor: actor.to_owned(),
            decision: decision.to_owned(),
            reason: text("reason").to_owned(),
        };
        self.flow.data.votes.push(vote);
        let agreeing = self.flow.data.votes.iter().filter(|vote| vote.decision == decision);
        let people: BTreeSet<String> =
            agreeing.map(|vote| vote.actor.trim().to_lowercase()).collect();
        if people.len() < needed {
            self.flow.data.task_open = true;
            return self.publish_task("confirmed");
        }
        if let Some(ruling) = &action.rules {
            self.rule(&panel.about, &panel.outcomes, ruling);
            self.settle();
        }
        match &action.next {
            Next::Go(target) => self.go(target),
            Next::Join(target) => self.join(target),
            Next::Again => unresolvable("a decision cannot ask again"),
        }
    }
}

/// Whether two actors are one person, however the name was typed.
fn same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}
