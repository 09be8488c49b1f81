//! What commands and people change: interrupts such as cancel, and decisions on reviews.
//! It does not know who may decide what; the console and the topic's rights do.

use serde_json::Value;
use signalbox_schemas::{RecordName, StepName};
use std::collections::BTreeSet;

use crate::decision::{Assent, Effect};
use crate::flow::{Status, Vote};
use crate::journey::{Interrupt, Next};
use crate::run::Run;
use crate::stop::{Stop, known, not_now, unresolvable};

/// The record of a person's decision.
const REVIEW_DECISION: &str = "signalbox.review.ReviewDecision";

impl Run<'_> {
    /// A command that addresses the flow.
    pub(crate) fn command(&mut self, record: &RecordName, value: &Value) -> Result<(), Stop> {
        if record.as_str() == REVIEW_DECISION {
            return self.decide(value);
        }
        let Some(name) = self.journey.command_named(record) else {
            let lifts = &self.journey.lifts;
            let older = self.journey.commands.iter().find(|(_, known)| lifts.reach(known, record));
            let (journey, version) = (self.journey.name(), self.journey.version());
            return match older {
                Some((_, older)) => not_now(format!(
                    "the flow follows version {version}, which takes {older} and no newer one; send that"
                )),
                None => unresolvable(format!("journey {journey} does not take {record}")),
            };
        };
        self.interrupt(name)
    }

    /// What the state at hand does where this command comes, whoever gives it.
    pub(crate) fn interrupt(&mut self, name: &str) -> Result<(), Stop> {
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

    /// Where something takes several people, each is put down for the store to judge again.
    pub(crate) fn put_down(
        &mut self,
        matter: String,
        occasion: i64,
        (seat, people): (usize, usize),
        actor: &str,
    ) {
        if people > 1 {
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            self.effects.push(Effect::Assent(Assent {
                matter,
                occasion,
                seat: count(seat),
                people: count(people),
                actor: person(actor),
            }));
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
            occasion: self.flow.data.votes.first().map_or(self.flow.rev, |first| first.occasion),
        };
        self.flow.data.votes.push(vote);
        let people = people_agreeing(&self.flow.data.votes, decision);
        let occasion = self.flow.data.votes.first().map_or(self.flow.rev, |first| first.occasion);
        self.put_down(format!("{state}/{decision}"), occasion, (people, needed), actor);
        if people < needed {
            self.flow.data.task_open = true;
            return self.publish_task("confirmed");
        }
        if let Some(ruling) = &action.rules {
            self.rule(&panel.about, &panel.outcomes, ruling);
            self.close(&panel.about, ruling);
            self.settle();
        }
        match &action.next {
            Next::Go(target) => self.go(target),
            Next::Join(target) => self.join(target),
            Next::Again => unresolvable("a decision cannot ask again"),
        }
    }

    /// Closes writes on which people have ruled. An inquiry under way may not know the ruling, and would send again what
    /// its vendor does not know.
    fn close(&mut self, steps: &[StepName], ruling: &str) {
        for step in steps {
            let asked = self.flow.data.calls.get(step).zip(self.journey.calls.get(step));
            let ruled = asked.filter(|(state, _)| state.ruling.as_deref() == Some(ruling));
            let Some((state, call)) = ruled else { continue };
            let proof = ruling == "executed";
            let says = |word: &&String| call.proves.get(*word) == Some(&proof);
            if let Some(outcome) = call.outcomes.iter().find(says) {
                let (attempt, outcome) = (state.attempt, outcome.clone());
                self.effects.push(Effect::Close { attempt, outcome });
            }
        }
    }
}

/// How many different people want this.
pub(crate) fn people_agreeing(votes: &[Vote], decision: &str) -> usize {
    let agreeing = votes.iter().filter(|vote| vote.decision == decision);
    agreeing.map(|vote| person(&vote.actor)).collect::<BTreeSet<_>>().len()
}

/// A person's name, however it was typed.
pub(crate) fn person(actor: &str) -> String {
    actor.trim().to_lowercase()
}

/// Whether two actors are one person.
pub(crate) fn same_person(one: &str, other: &str) -> bool {
    person(one) == person(other)
}
