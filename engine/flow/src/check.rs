//! Proves a journey safe before it runs: rules that can be read off the file, and a complete exploration (`explore`).
//! It judges the journey, not the contract, and it does not read guards: what a guard says is tried both ways.

use signalbox_schemas::{Contract, Effect, StepName};

use crate::explore::{explore, explore_from};
use crate::explore_moves::{PlanFindings, explore_migration};
use crate::finding::Finding;
use crate::journey::{Ask, Interrupt, Journey, Kind, Next, Panel, State};
use crate::migration::Migration;

/// Whether flows of `old`, wherever they wait, can go on as they are as flows of `new`. Empty: they can, and nothing
/// comes of it that the check of `new` would refuse. Otherwise each finding tells the situation that stands against it.
pub fn check_continuation(old: &Journey, new: &Journey) -> Vec<Finding> {
    explore_from(old, new).into_iter().map(|finding| finding.located(new)).collect()
}

/// Whether a plan is legal: every situation in which a flow of the old version can wait is moved, and everything that
/// can come of it is explored. Each finding stands in the new version.
pub fn check_migration(migration: &Migration) -> PlanFindings {
    let PlanFindings { findings, stays } = explore_migration(migration);
    let located = findings.into_iter().map(|finding| finding.located(&migration.new));
    PlanFindings { findings: located.collect(), stays }
}

/// Checks a journey completely. Empty: no order of answers, timers, commands and decisions can break a rule.
pub fn check(journey: &Journey, contract: &Contract) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, state) in &journey.states {
        read_off_state(journey, name, state, &mut findings);
    }
    recognition_left_open(journey, &mut findings);
    for (step, call) in &journey.calls {
        if call.effect == Effect::Write && call.subject.is_none() {
            compensation(journey, step, &mut findings);
        }
        if call.effect == Effect::Write && !leads_out_of_doubt(journey, step) {
            let problem = format!(
                "{step}: in_doubt must lead to an inquiry about {step} or to two people who settle it"
            );
            findings.push(finding("no in_doubt path", problem, step));
        }
        for word in contract
            .capability(&call.capability)
            .map(|capability| &capability.outcomes)
            .into_iter()
            .flatten()
        {
            if !is_named(journey, &call.state, word) {
                let problem = format!(
                    "{step}: outcome {word} of {} is not handled; add it under `on`",
                    call.capability
                );
                findings.push(finding("outcome not handled", problem, step));
            }
        }
    }
    findings.extend(explore(journey));
    findings.dedup_by(|one, other| one.rule == other.rule && one.message == other.message);
    findings.into_iter().map(|finding| finding.located(journey)).collect()
}

fn finding(rule: &'static str, message: String, state: &StepName) -> Finding {
    // Steps of an `all` are `state/branch`; the file is read by states.
    let state = StepName::from(state.as_str().split('/').next().unwrap_or_default());
    Finding::new(rule, message, state.clone(), vec![state.to_string()])
}

fn read_off_state(journey: &Journey, name: &StepName, state: &State, findings: &mut Vec<Finding>) {
    if let Kind::Ask(ask) = &state.kind {
        if ask.within.is_none() {
            let problem = format!("{name}: the call has no deadline; add `within`");
            findings.push(finding("call without deadline", problem, name));
        }
        if writes(journey, ask) {
            for (command, interrupt) in &state.on_command {
                if matches!(
                    interrupt,
                    Interrupt::Go { too_late_remember: false, .. } | Interrupt::Remember
                ) {
                    let problem = format!(
                        "{name}: {command} may come when the money is on its way; write \
                         {command}: {{go: <state>, too_late: remember}} and let a later state recall it"
                    );
                    findings.push(finding("no way back", problem, name));
                }
            }
        }
    }
    if let Some(panel) = &state.panel {
        read_off_panel(name, panel, findings);
    }
}

fn read_off_panel(name: &StepName, panel: &Panel, findings: &mut Vec<Finding>) {
    let decides = |decision: &str| panel.arms.contains_key(decision);
    if panel.hold && panel.people != 2 {
        let problem = format!("{name}: a hold is released by two people; write people: 2");
        findings.push(finding("hold without two people", problem, name));
    }
    if panel.hold && panel.arms.keys().any(|decision| decision != "release" && decision != "uphold")
    {
        let problem =
            format!("{name}: a hold is left by release or uphold only; remove the other decisions");
        findings.push(finding("hold left without release", problem, name));
    }
    if (decides("executed") || decides("not_executed")) && panel.people != 2 {
        let problem =
            format!("{name}: whether money moved is settled by two people; write people: 2");
        findings.push(finding("doubt settled by one person", problem, name));
    }
}

/// Where a journey makes customers known, an ending that says nothing would keep what an earlier flow found out.
fn recognition_left_open(journey: &Journey, findings: &mut Vec<Finding>) {
    if !journey.makes_customers_known() {
        return;
    }
    for (name, state) in &journey.states {
        if let Kind::End { event } = &state.kind
            && event.recognise.is_none()
        {
            let problem = format!(
                "{name}: say whether the customer is still recognised: recognise: nobody, or recognise: as_before"
            );
            findings.push(finding("recognition left open", problem, name));
        }
    }
}

fn writes(journey: &Journey, ask: &Ask) -> bool {
    let is_write =
        |step: &StepName| journey.calls.get(step).is_some_and(|call| call.effect == Effect::Write);
    ask.steps.iter().any(is_write)
}

fn compensation(journey: &Journey, step: &StepName, findings: &mut Vec<Finding>) {
    let undone = journey
        .calls
        .values()
        .any(|call| call.effect == Effect::Write && call.subject.as_ref() == Some(step));
    if !journey.compensation.contains_key(step) || !undone {
        let problem = format!(
            "{step}: a write needs a compensation; name its capability under `compensation` and add a state \
             `compensate: {step}`"
        );
        findings.push(finding("write without compensation", problem, step));
    }
}

/// Whether `in_doubt` of a write leads to a state that can find out.
fn leads_out_of_doubt(journey: &Journey, step: &StepName) -> bool {
    let Some(call) = journey.calls.get(step) else { return false };
    let Some(Kind::Ask(ask)) = journey.state(&call.state).map(|state| &state.kind) else {
        return false;
    };
    let Some(Next::Go(target)) = ask.arm(&["in_doubt"]).map(|arm| &arm.action.next) else {
        return false;
    };
    let Some(state) = journey.state(target) else { return false };
    let inquires = match &state.kind {
        Kind::Ask(ask) => ask.steps.iter().any(|asked| {
            journey.calls.get(asked).is_some_and(|call| {
                call.effect == Effect::Read && call.about.as_ref() == Some(step)
            })
        }),
        Kind::Choose { .. }
        | Kind::Review
        | Kind::Wait(_)
        | Kind::Emit { .. }
        | Kind::End { .. } => false,
    };
    let decided = state.panel.as_ref().is_some_and(|panel| {
        panel.about.contains(step)
            && panel.arms.contains_key("executed")
            && panel.arms.contains_key("not_executed")
    });
    inquires || decided
}

fn is_named(journey: &Journey, state: &StepName, word: &str) -> bool {
    let Some(Kind::Ask(ask)) = journey.state(state).map(|state| &state.kind) else { return false };
    ask.arms.iter().any(|arm| arm.when.words().iter().any(|each| each == word))
}
