//! What an answer changes: in the state that waits for it, in a wait that listens, and when it comes too late.
//! It does not ask; `run` does.

use serde_json::Value;
use signalbox_schemas::{Attempt, AttemptId, Effect as CallEffect, StepName};
use std::time::Duration;

use crate::decision::Effect;
use crate::expression::Expression;
use crate::flow::Status;
use crate::journey::{Action, Arm, Ask, Call, Kind, Next, WriteStatus};
use crate::recognition::Recognition;
use crate::run::{RETRY, ROUND, Run, UNTIL, WITHIN};
use crate::stop::{Stop, known, not_safe, unresolvable};

impl Run<'_> {
    /// A capability answered.
    pub(crate) fn outcome(
        &mut self,
        attempt: AttemptId,
        capability: &str,
        value: &Value,
    ) -> Result<(), Stop> {
        let asked = self.flow.data.calls.iter().find(|(_, call)| call.attempt == attempt);
        let Some((step, group)) = asked.map(|(step, call)| (step.clone(), call.group)) else {
            return self.older_outcome(attempt, capability, value);
        };
        // A check that an earlier version made and this one does not: the flow was moved, its answer decides nothing.
        let Some(call) = self.journey.calls.get(&step) else { return known() };
        if call.capability != capability {
            return unresolvable(format!(
                "attempt {attempt} asked {}, not {capability}",
                call.capability
            ));
        }
        let word = canonical(call, value);
        self.hint = value.get("retry_after_ms").and_then(Value::as_u64).map(Duration::from_millis);
        if self.flow.status == Status::Running {
            match &self.here()?.kind {
                Kind::Ask(ask) if ask.steps.contains(&step) => {
                    if let Some(word) = self.awaited(ask, &step, word) {
                        self.record(&step, word, value);
                        self.settle();
                        return self.judge(ask);
                    }
                }
                Kind::Wait(wait)
                    if wait.answers_of.as_ref() == Some(&step) && word != "unavailable" =>
                {
                    if self.word(&step) == Some(word) {
                        return known();
                    }
                    self.record(&step, word, value);
                    return self.join(&call.state.clone());
                }
                Kind::Ask(_)
                | Kind::Choose { .. }
                | Kind::Review
                | Kind::Wait(_)
                | Kind::Emit { .. }
                | Kind::End { .. } => {}
            }
        }
        self.late_outcome(&step, group, word, value)
    }

    /// The word that an answer counts as, where the state still waits for it or may still be told better.
    fn awaited<'w>(&self, ask: &Ask, step: &StepName, word: &'w str) -> Option<&'w str> {
        let call = self.flow.data.calls.get(step)?;
        // A request in flight twice: the older answer says that nothing was sent, the younger one was.
        let word = if call.sending && word == "unavailable" { "in_doubt" } else { word };
        let before = match call.outcome.as_deref() {
            None => return Some(word),
            Some(before) => before,
        };
        if before == word || call.abandoned {
            return None;
        }
        let words: Vec<&str> = ask.steps.iter().filter_map(|step| self.word(step)).collect();
        let arm = ask.arm(&words).filter(|_| words.len() == ask.steps.len());
        let asks_again =
            |arm: &Arm| arm.action.retry.is_some() || matches!(arm.action.next, Next::Again);
        let repeated = arm.is_some_and(|arm| {
            asks_again(arm) && arm.when.words().iter().any(|each| each == before)
        });
        (matches!(before, "unavailable" | "late") || repeated).then_some(word)
    }

    /// The word that counts for a step.
    pub(crate) fn word(&self, step: &StepName) -> Option<&str> {
        self.flow.data.calls.get(step)?.word()
    }

    fn record(&mut self, step: &StepName, word: &str, value: &Value) {
        let Some(call) = self.flow.data.calls.get_mut(step) else { return };
        call.outcome = Some(word.to_owned());
        call.ruling = None;
        call.reason = value.get("reason").and_then(Value::as_str).map(str::to_owned);
        call.problems =
            value.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
    }

    /// Takes the first arm that fits the answers, once every answer is in.
    pub(crate) fn judge(&mut self, ask: &Ask) -> Result<(), Stop> {
        let words: Vec<&str> = ask.steps.iter().filter_map(|step| self.word(step)).collect();
        if words.len() < ask.steps.len() {
            return Ok(());
        }
        let Some(arm) = ask.arm(&words) else {
            let words = words.join(" and ");
            return not_safe(
                "outcome not handled",
                format!("{} has no arm for {words}; add it under `on`", self.flow.state),
            );
        };
        let rules = arm.action.rules.clone();
        let about = ask.steps.iter().find_map(|step| self.journey.calls.get(step)?.about.as_ref());
        if let (Some(ruling), Some(about)) = (rules, about) {
            self.rule(std::slice::from_ref(about), &[], &ruling);
        }
        self.settle();
        self.act(ask, &arm.action)
    }

    fn act(&mut self, ask: &Ask, action: &Action) -> Result<(), Stop> {
        let used = self.flow.data.rounds.get(&self.flow.state).copied().unwrap_or(0);
        if let Some(retry) = &action.retry
            && !self.world.exhausted(used, retry.at_most)
        {
            let wait = self.hint.map_or(retry.after, |hint| hint.max(retry.after));
            self.pause(RETRY, used, wait);
            return Ok(());
        }
        match &action.next {
            Next::Again => {
                if let Some(target) = self.polled_out(ask) {
                    return self.go(target);
                }
                let round = usize::try_from(used).unwrap_or(usize::MAX);
                let wait = ask.every.get(round).or(ask.every.last()).copied().unwrap_or_default();
                self.pause(ROUND, used, wait);
                Ok(())
            }
            Next::Join(target) => self.join(target),
            Next::Go(target) => {
                // Giving up is a way out like any other: an answer that nothing was sent may be older than the permit.
                let doubt = ask.steps.iter().any(|step| self.word(step) == Some("in_doubt"));
                if doubt || self.way_out()? { self.go(target) } else { self.go_in_doubt(ask) }
            }
        }
    }

    /// Where polling ends, if its time is over and the last round was answered with something that is known.
    fn polled_out<'b>(&self, ask: &'b Ask) -> Option<&'b StepName> {
        let (_, target) = ask.until.as_ref()?;
        let unknown =
            |step: &StepName| matches!(self.word(step), None | Some("in_doubt" | "unavailable"));
        let over = !self.flow.data.timers.contains_key(UNTIL);
        (over && !ask.steps.iter().any(unknown)).then_some(target)
    }

    fn pause(&mut self, timer: &str, used: u32, wait: Duration) {
        self.flow.data.rounds.insert(self.flow.state.clone(), used.saturating_add(1));
        self.flow.data.timers.remove(WITHIN);
        self.set_timer(timer, wait);
    }

    /// A planned write turned out to be beyond abandoning: whether it happened is found out before anything else.
    pub(crate) fn go_in_doubt(&mut self, ask: &Ask) -> Result<(), Stop> {
        match ask.arm(&["in_doubt"]).map(|arm| &arm.action.next) {
            Some(Next::Go(target)) => self.go(target),
            Some(Next::Again | Next::Join(_)) | None => not_safe(
                "no in_doubt path",
                format!("{}: in_doubt leads nowhere; add an arm that inquires", self.flow.state),
            ),
        }
    }

    /// Puts a ruling over the outcomes of steps.
    pub(crate) fn rule(&mut self, steps: &[StepName], outcomes: &[String], ruling: &str) {
        for step in steps {
            let Some(call) = self.flow.data.calls.get_mut(step) else { continue };
            let concerned = outcomes.is_empty()
                || call.word().is_some_and(|word| outcomes.iter().any(|each| each == word));
            if concerned {
                call.ruling = Some(ruling.to_owned());
            }
        }
    }

    /// An answer to a question that the flow no longer waits on.
    fn late_outcome(
        &mut self,
        step: &StepName,
        group: u32,
        word: &str,
        value: &Value,
    ) -> Result<(), Stop> {
        let call = self.definition(step)?;
        match (call.effect, &call.about) {
            (CallEffect::Write, _) => self.late_write(step, call, group, word, value),
            (CallEffect::Read, Some(about)) => self.late_inquiry(step, about, group, word),
            (CallEffect::Read, None) => self.late_check(step, call, group, word, value),
        }
    }

    fn late_write(
        &mut self,
        step: &StepName,
        call: &Call,
        group: u32,
        word: &str,
        value: &Value,
    ) -> Result<(), Stop> {
        let Some(state) = self.flow.data.calls.get(step) else { return known() };
        match (self.journey.write_status(step, state), call.proves.get(word)) {
            (WriteStatus::Executed, Some(false)) | (WriteStatus::NotExecuted, Some(true)) => {
                self.contradiction(step, group, word)
            }
            (WriteStatus::Planned | WriteStatus::Sending | WriteStatus::InDoubt, Some(_)) => {
                self.record(step, word, value);
                self.settle();
                // One that ended as was told before may have been sending still, as far as the database knew.
                if self.flow.status == Status::Ended { Ok(()) } else { self.resume(call, word) }
            }
            (WriteStatus::Executed, Some(true) | None)
            | (WriteStatus::NotExecuted, Some(false) | None)
            | (WriteStatus::Planned | WriteStatus::Sending | WriteStatus::InDoubt, None) => known(),
        }
    }

    /// What was in doubt is answered by the call itself: it goes on as if the answer had come in time.
    fn resume(&mut self, call: &Call, word: &str) -> Result<(), Stop> {
        let asked = self.journey.state(&call.state).map(|state| &state.kind);
        let Some(Kind::Ask(ask)) = asked else {
            return unresolvable(format!("{} does not ask", call.state));
        };
        match ask.arm(&[word]).map(|arm| &arm.action.next) {
            Some(Next::Go(target)) => self.go(target),
            Some(Next::Again | Next::Join(_)) | None => not_safe(
                "outcome not handled",
                format!("{} has no arm for {word}; add it under `on`", call.state),
            ),
        }
    }

    fn late_inquiry(
        &mut self,
        step: &StepName,
        about: &StepName,
        group: u32,
        word: &str,
    ) -> Result<(), Stop> {
        let state = self.journey.calls.get(step).and_then(|call| self.journey.state(&call.state));
        let Some(Kind::Ask(ask)) = state.map(|state| &state.kind) else { return known() };
        let says_executed =
            ask.arm(&[word]).is_some_and(|arm| arm.action.rules.as_deref() == Some("executed"));
        let status =
            self.flow.data.calls.get(about).map(|write| self.journey.write_status(about, write));
        if says_executed
            && (status == Some(WriteStatus::NotExecuted) || !self.asked_about_latest(step, group))
        {
            return self.contradiction(step, group, word);
        }
        known()
    }

    /// Whether an inquiry was about the latest attempt of its subject; an older attempt was taken as not executed.
    fn asked_about_latest(&self, step: &StepName, group: u32) -> bool {
        let of = self.journey.calls.get(step).and_then(|call| call.subject.as_ref());
        let Some(subject) = of.and_then(|of| self.flow.data.calls.get(of)) else { return true };
        let asked = self.flow.data.calls.get(step).filter(|asked| asked.group == group);
        subject.group == 1 || asked.is_some_and(|asked| asked.subject == Some(subject.attempt))
    }

    fn late_check(
        &mut self,
        step: &StepName,
        call: &Call,
        group: u32,
        word: &str,
        value: &Value,
    ) -> Result<(), Stop> {
        let Some(state) = self.flow.data.calls.get(step) else { return known() };
        let current = state.group == group;
        if current && state.outcome.as_deref() == Some(word) {
            return known();
        }
        let Some(target) = call.later.get(word) else {
            if current && state.outcome.is_none() && self.flow.status == Status::Running {
                self.record(step, word, value);
                return Ok(());
            }
            return known();
        };
        let contradicts = state
            .outcome
            .as_deref()
            .is_some_and(|before| !matches!(before, "unavailable" | "late"));
        self.report(step, group, word)?;
        // Whoever was recognised meanwhile was recognised without this.
        self.effects.push(Effect::Recognise(Recognition::Nobody));
        if contradicts {
            self.publish_discrepancy();
        }
        if self.flow.status == Status::Ended {
            return Ok(());
        }
        let was_in_hold = self.in_hold()?;
        self.record(step, word, value);
        if was_in_hold {
            // What people agreed to so far was agreed without this.
            self.flow.data.votes.clear();
            return Ok(());
        }
        if self.is_before_money_elsewhere() && self.way_out()? && self.is_before_money() {
            return self.go(target);
        }
        Ok(())
    }

    /// An answer to an attempt that the flow has replaced by a newer one.
    fn older_outcome(
        &mut self,
        attempt: AttemptId,
        capability: &str,
        value: &Value,
    ) -> Result<(), Stop> {
        let same = |step: &&StepName| {
            self.journey.calls.get(*step).is_none_or(|call| call.capability == capability)
        };
        let is_it = |step: &StepName, group: u32| {
            let named = Attempt { flow: self.flow.id, step: step.clone(), group };
            self.ctx.key.attempt_id(&named) == attempt
        };
        let found =
            self.flow.data.calls.iter().filter(|(step, _)| same(step)).find_map(|(step, call)| {
                (1..call.group)
                    .rev()
                    .find(|group| is_it(step, *group))
                    .map(|group| (step.clone(), group))
            });
        let Some((step, group)) = found else {
            return unresolvable(format!("the flow never made the call {attempt} to {capability}"));
        };
        let Some(call) = self.journey.calls.get(&step) else { return known() };
        let word = canonical(call, value);
        match (call.effect, &call.about) {
            // A write is called again only after the older attempt was proven not to have happened.
            (CallEffect::Write, _) if call.proves.get(word) == Some(&true) => {
                self.contradiction(&step, group, word)
            }
            (CallEffect::Write, _) => known(),
            (CallEffect::Read, Some(about)) => self.late_inquiry(&step, about, group, word),
            (CallEffect::Read, None) => self.late_check(&step, call, group, word, value),
        }
    }

    /// A late answer about money that cannot be true together with what is known: published once, and people look.
    /// Where a new try is planned meanwhile, it is stopped if it still can be: it might pay twice.
    fn contradiction(&mut self, step: &StepName, group: u32, word: &str) -> Result<(), Stop> {
        self.report(step, group, word)?;
        self.publish_discrepancy();
        if self.flow.status == Status::Ended {
            return Ok(());
        }
        let Kind::Ask(ask) = &self.here()?.kind else { return Ok(()) };
        let planned = |step: &StepName| {
            let asked = self.flow.data.calls.get(step).zip(self.journey.calls.get(step));
            asked.is_some_and(|(state, call)| {
                call.effect == CallEffect::Write
                    && self.journey.write_status(step, state) == WriteStatus::Planned
            })
        };
        let unsent = ask.arm(&["late"]).map(|arm| &arm.action.next);
        match unsent {
            Some(Next::Go(target)) if ask.steps.iter().any(planned) => {
                if self.way_out()? {
                    self.go(target)
                } else {
                    Ok(())
                }
            }
            Some(Next::Go(_) | Next::Again | Next::Join(_)) | None => Ok(()),
        }
    }

    fn report(&mut self, step: &StepName, group: u32, word: &str) -> Result<(), Stop> {
        let Some(call) = self.flow.data.calls.get_mut(step) else { return known() };
        let entry = format!("{group}:{word}");
        if call.reported.contains(&entry) {
            return known();
        }
        call.reported.push(entry);
        Ok(())
    }

    fn publish_discrepancy(&mut self) {
        let status = ("status".to_owned(), Expression::Literal(Value::from("discrepancy")));
        self.publish_event(&[status], false);
    }
}

/// The outcome's word; one that this version does not know is doubt for a write and no answer for a check.
fn canonical<'v>(call: &Call, value: &'v Value) -> &'v str {
    let word = value.get("outcome").and_then(Value::as_str).unwrap_or_default();
    match call.effect {
        _ if call.outcomes.iter().any(|outcome| outcome == word) => word,
        CallEffect::Write => "in_doubt",
        CallEffect::Read => "unavailable",
    }
}
