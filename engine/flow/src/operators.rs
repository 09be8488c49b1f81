//! What operators change: a flow stands still, goes on, asks again or is asked to cancel; and how a flow is parked.
//! Inputs of a flow that stands are kept by the worker, in the order that the positions here give them.
//! No act leaves a state by another way than the journey's own.

use std::collections::BTreeMap;

use signalbox_schemas::Micros;

use crate::act::{Act, OperatorAct};
use crate::clock::HURRIED;
use crate::decision::{Decision, Effect};
use crate::flow::{Flow, Mark, Standstill, Status, Vote};
use crate::people::{people_agreeing, same_person};
use crate::run::Run;
use crate::stop::{Stop, not_now};

/// Name of the journey's own command that `cancel` stands for.
const CANCEL: &str = "cancel";
/// What a lane is called where it acts by itself.
const LANE: &str = "lane";

impl Flow {
    /// Whether inputs wait instead of being applied.
    #[must_use]
    pub fn stands(&self) -> bool {
        let stands = |still: &Standstill| still.paused.is_some() || still.parked.is_some();
        self.data.standstill.as_ref().is_some_and(stands)
    }

    /// The position of one more input that waits, and the flow that has it, at the same revision.
    #[must_use]
    pub fn holding(&self) -> (i64, Self) {
        let mut next = self.clone();
        let still = next.data.standstill.get_or_insert_default();
        let position = still.next;
        still.next = position.saturating_add(1);
        (position, next)
    }

    /// The flow without the first input that waits: it was applied, or set aside.
    #[must_use]
    pub fn without_first(&self) -> Self {
        let mut next = self.clone();
        if let Some(still) = &mut next.data.standstill {
            still.first = still.next.min(still.first.saturating_add(1));
        }
        next.forget_standstill();
        next
    }

    /// How many inputs wait.
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.data.standstill.as_ref().map_or(0, |still| still.next.saturating_sub(still.first))
    }

    /// Where nothing stands and nothing waits, nothing is kept.
    fn forget_standstill(&mut self) {
        if !self.stands() && self.waiting() == 0 {
            self.data.standstill = None;
        }
    }
}

/// Parks a flow because an input, or the timer of this name, cannot be applied. Its timers wait, too.
#[must_use]
pub fn park(flow: &Flow, code: &str, timer: Option<&str>, now: Micros) -> Decision {
    let mut next = flow.clone();
    next.rev = flow.rev.saturating_add(1);
    next.data.assents.clear();
    let mark = Mark {
        since: now,
        actor: LANE.to_owned(),
        reason: code.to_owned(),
        timer: timer.map(str::to_owned),
    };
    next.data.standstill.get_or_insert_default().parked = Some(mark);
    let effects = stop_timers(&next.data.timers);
    let path = vec![next.state.clone()];
    Decision { flow: next, effects, path, actor: LANE.to_owned(), reason: code.to_owned() }
}

fn stop_timers(timers: &BTreeMap<String, Micros>) -> Vec<Effect> {
    timers.keys().map(|name| Effect::CancelTimer { name: name.clone() }).collect()
}

impl Run<'_> {
    /// An operator's act; the reason for the journal.
    pub(crate) fn operate(&mut self, act: OperatorAct<'_>) -> Result<String, Stop> {
        if act.actor.trim().is_empty() || act.reason.trim().is_empty() {
            return not_now("an act needs its actor and a reason");
        }
        self.refuse_impossible(act.act)?;
        let (wanting, needed) = self.assent(act)?;
        if wanting < needed {
            return Ok(format!("{}, {wanting} of {needed}: {}", act.act.word(), act.reason.trim()));
        }
        self.flow.data.assents.clear();
        match act.act {
            Act::Pause => self.stand(act),
            Act::Resume => self.go_on(|still| still.paused = None),
            Act::Release | Act::SetAside => self.go_on(|still| still.parked = None),
            Act::Retry => self.hurry()?,
            Act::Cancel => self.interrupt(CANCEL)?,
        }
        Ok(format!("{}: {}", act.act.word(), act.reason.trim()))
    }

    fn refuse_impossible(&self, act: Act) -> Result<(), Stop> {
        let still = self.flow.data.standstill.as_ref();
        let (paused, parked) = (
            still.and_then(|still| still.paused.as_ref()),
            still.and_then(|still| still.parked.as_ref()),
        );
        match act {
            Act::Pause if self.flow.status == Status::Ended => {
                not_now(format!("the flow has ended as {}", self.flow.state))
            }
            Act::Pause if paused.is_some() => not_now("the flow is paused already"),
            Act::Resume if paused.is_none() => not_now("the flow is not paused"),
            Act::Release | Act::SetAside if parked.is_none() => not_now("the flow is not parked"),
            Act::Release | Act::SetAside if paused.is_some() => {
                not_now("the flow is paused, too; resume it first")
            }
            Act::SetAside if parked.is_some_and(|mark| mark.timer.is_some()) => {
                not_now("a timer parked the flow; it can be released, not set aside")
            }
            Act::Retry if self.flow.stands() => {
                not_now("the flow stands; resume or release it first")
            }
            _ => Ok(()),
        }
    }

    /// Puts down who wants the act: how many do now, and how many it takes.
    fn assent(&mut self, act: OperatorAct<'_>) -> Result<(usize, usize), Stop> {
        let word = act.act.word();
        let needed = self.journey.people_for(act.act);
        let same = |vote: &Vote| vote.decision == word && same_person(&vote.actor, act.actor);
        if self.flow.data.assents.iter().any(same) {
            return not_now(format!("{} wants this already; another person must agree", act.actor));
        }
        let first = self.flow.data.assents.iter().find(|vote| vote.decision == word);
        let occasion = first.map_or(self.flow.rev, |first| first.occasion);
        self.flow.data.assents.push(Vote {
            actor: act.actor.to_owned(),
            decision: word.to_owned(),
            reason: act.reason.to_owned(),
            occasion,
        });
        let wanting = people_agreeing(&self.flow.data.assents, word);
        self.put_down(format!("operator/{word}"), occasion, (wanting, needed), act.actor);
        Ok((wanting, needed))
    }

    fn stand(&mut self, act: OperatorAct<'_>) {
        let mark = Mark {
            since: self.ctx.now,
            actor: act.actor.trim().to_owned(),
            reason: act.reason.trim().to_owned(),
            timer: None,
        };
        self.flow.data.standstill.get_or_insert_default().paused = Some(mark);
        self.effects.extend(stop_timers(&self.flow.data.timers));
    }

    /// Ends one reason to stand. Where none is left, timers run again; what is overdue fires at once.
    fn go_on(&mut self, end: impl FnOnce(&mut Standstill)) {
        end(self.flow.data.standstill.get_or_insert_default());
        if !self.flow.stands() {
            let timers = self.flow.data.timers.iter();
            let set = timers.map(|(name, due)| Effect::SetTimer { name: name.clone(), due: *due });
            self.effects.extend(set);
        }
        self.flow.forget_standstill();
    }

    /// Asks again now what would be asked again later.
    fn hurry(&mut self) -> Result<(), Stop> {
        let waits = |name: &&&str| self.flow.data.timers.contains_key(**name);
        let Some(name) = HURRIED.iter().find(waits).copied() else {
            return not_now(format!(
                "the flow does not wait to ask again; it is in {}",
                self.flow.state
            ));
        };
        self.flow.data.timers.insert(name.to_owned(), self.ctx.now);
        self.timer(name)
    }
}
