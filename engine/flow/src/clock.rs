//! What timers change. They retry, poll, escalate and give up waiting; none of them settles what is in doubt.
//! It reads no clock: the worker says that a timer is due, and what time it is.

use signalbox_schemas::StepName;

use crate::flow::Status;
use crate::journey::{Ask, Kind};
use crate::run::{DEADLINE, ESCALATE, RETRY, ROUND, Run, UNTIL, WAIT, WITHIN};
use crate::stop::{Stop, known};

/// Timers that only wait to ask again: an operator may have them fire early. No other timer may.
pub(crate) const HURRIED: [&str; 2] = [RETRY, ROUND];

impl Run<'_> {
    /// A timer is due. One that was cancelled or moved since is nothing new.
    pub(crate) fn timer(&mut self, name: &str) -> Result<(), Stop> {
        let due = self.flow.data.timers.get(name).is_some_and(|due| *due <= self.ctx.now);
        if !due || self.flow.status == Status::Ended {
            return known();
        }
        self.flow.data.timers.remove(name);
        match (name, &self.here()?.kind) {
            (DEADLINE, _) => self.deadline(),
            (ESCALATE, _) => self.escalate(),
            (WITHIN, Kind::Ask(ask)) => self.waited_enough(ask),
            (RETRY, Kind::Ask(ask)) => self.retry(ask),
            (ROUND, Kind::Ask(ask)) => self.ask_again(ask, &ask.steps),
            (UNTIL, Kind::Ask(ask)) => self.ask_a_last_time(ask),
            (WAIT, Kind::Wait(wait)) => self.go(&wait.go),
            (
                _,
                Kind::Ask(_)
                | Kind::Choose { .. }
                | Kind::Review
                | Kind::Wait(_)
                | Kind::Emit { .. }
                | Kind::End { .. },
            ) => known(),
        }
    }

    /// The journey took too long. In a hold, and where money may be out, that is noted and people are told.
    fn deadline(&mut self) -> Result<(), Stop> {
        if !self.in_hold()?
            && self.is_before_money_elsewhere()
            && self.way_out()?
            && self.is_before_money()
        {
            return self.go(&self.journey.deadline.go);
        }
        self.flow.data.overdue = true;
        self.escalate()
    }

    fn escalate(&mut self) -> Result<(), Stop> {
        self.publish_task("escalated")?;
        self.flow.data.task_open = true;
        Ok(())
    }

    fn waited_enough(&mut self, ask: &Ask) -> Result<(), Stop> {
        if !self.way_out()? {
            return self.go_in_doubt(ask);
        }
        let late = ask.late_word();
        for step in &ask.steps {
            if let Some(call) =
                self.flow.data.calls.get_mut(step).filter(|call| call.outcome.is_none())
            {
                call.outcome = Some(late.to_owned());
            }
        }
        self.judge(ask)
    }

    fn retry(&mut self, ask: &Ask) -> Result<(), Stop> {
        let sending =
            |step: &StepName| self.flow.data.calls.get(step).is_some_and(|call| call.sending);
        if ask.steps.iter().any(sending) {
            // It was found to be on its way while this timer ran: it is asked about, never sent again blindly.
            return self.go_in_doubt(ask);
        }
        let words: Vec<&str> = ask.steps.iter().filter_map(|step| self.word(step)).collect();
        let Some(arm) = ask.arm(&words) else { return known() };
        let concerned = |step: &&StepName| {
            self.word(step).is_some_and(|word| arm.when.words().iter().any(|each| each == word))
        };
        let steps: Vec<StepName> = ask.steps.iter().filter(concerned).cloned().collect();
        self.ask_again(ask, &steps)
    }

    /// Polling is over, but for what happened since the last round (after an outage that may be long ago): one more is
    /// asked, and its answer ends the polling. `Run::act` knows by the timer that is gone.
    fn ask_a_last_time(&mut self, ask: &Ask) -> Result<(), Stop> {
        self.flow.data.timers.remove(ROUND);
        self.ask_again(ask, &ask.steps)
    }

    fn ask_again(&mut self, ask: &Ask, steps: &[StepName]) -> Result<(), Stop> {
        for step in steps {
            self.ask(step, ask.within)?;
        }
        self.start_waiting(ask);
        Ok(())
    }
}
