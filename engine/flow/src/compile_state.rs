//! One state of the file, by its kind: which keys belong to it, what they mean, what they refer to.

use serde_json::Value;
use signalbox_schemas::{Capability, Effect, StepName, Type};
use std::collections::BTreeMap;

use crate::compiler::Compiler;
use crate::document::{ArmDoc, InterruptDoc, Ordered, StateDoc};
use crate::error::{JourneyError, mistake};
use crate::expression::Expression;
use crate::journey::{
    Action, Arm, Ask, Call, Escalate, Interrupt, Kind, Matcher, Next, Panel, Retry, State, Wait,
};

type Calls = Vec<(StepName, Call)>;

/// Keys of each kind of state; the first one names the kind.
pub(crate) const KINDS: [(&str, &[&str]); 7] = [
    (
        "call",
        &[
            "with",
            "of",
            "about",
            "within",
            "every",
            "until",
            "escalate",
            "decide",
            "on",
            "on_command",
            "later",
        ],
    ),
    ("compensate", &["with", "within", "escalate", "on", "on_command"]),
    ("all", &["within", "escalate", "on", "on_command", "later"]),
    ("choose", &[]),
    ("review", &["about", "people", "hold", "escalate_after", "on", "on_command"]),
    ("wait", &["go", "answers_of", "at_most", "then", "on_command"]),
    ("emit", &["go"]),
];

/// Decisions that a person can take on a review.
const DECISIONS: [&str; 6] =
    ["approve", "decline", "release", "uphold", "executed", "not_executed"];

/// Fields of a request that the engine fills.
const REQUEST_FILLED: [&str; 2] = ["call", "subject_attempt"];

/// Compiles one state and the calls it makes.
pub(crate) fn state(
    compiler: &Compiler<'_>,
    name: &str,
    doc: &StateDoc,
) -> Result<(State, Calls), JourneyError> {
    let place = format!("states.{name}");
    let kind = kind_of(&place, doc)?;
    let mut calls = Vec::new();
    let compiled = match kind {
        "call" | "compensate" | "all" => Kind::Ask(ask(compiler, name, doc, &mut calls)?),
        "choose" => choose(compiler, &place, doc)?,
        "review" => Kind::Review,
        "wait" => Kind::Wait(wait(compiler, &place, doc)?),
        _ => emit(compiler, &place, doc)?,
    };
    let state = State {
        kind: compiled,
        on_command: interrupts(compiler, &place, doc)?,
        escalate: escalate(compiler, &place, doc)?,
        panel: panel(compiler, &place, doc)?,
    };
    Ok((state, calls))
}

fn kind_of(place: &str, doc: &StateDoc) -> Result<&'static str, JourneyError> {
    let keys = doc.keys();
    let kinds: Vec<&(&str, &[&str])> =
        KINDS.iter().filter(|(kind, _)| keys.contains(kind)).collect();
    let [(kind, allowed)] = kinds.as_slice() else {
        return mistake(
            place,
            "a state is exactly one of call, compensate, all, choose, review, wait, emit",
        );
    };
    match keys.iter().find(|key| *key != kind && !allowed.contains(key)) {
        None => Ok(kind),
        Some(key) => mistake(
            place,
            format!("{key} does not belong to {kind}, which takes {}", allowed.join(", ")),
        ),
    }
}

fn required<'a, T>(place: &str, key: &str, value: Option<&'a T>) -> Result<&'a T, JourneyError> {
    value.map_or_else(|| mistake(place, format!("{key} is missing; add it")), Ok)
}

fn ask(
    compiler: &Compiler<'_>,
    name: &str,
    doc: &StateDoc,
    calls: &mut Calls,
) -> Result<Ask, JourneyError> {
    let place = format!("states.{name}");
    let none = Ordered::default();
    let asked: Vec<(StepName, &Ordered<Value>)> = match &doc.all {
        Some(branches) => branches
            .iter()
            .map(|(branch, call)| (StepName::from(format!("{name}/{branch}")), &call.with))
            .collect(),
        None => vec![(StepName::from(name), doc.with.as_ref().unwrap_or(&none))],
    };
    if asked.is_empty() {
        return mistake(place, "an all has at least one branch");
    }
    let on = required(&place, "on", doc.on.as_ref())?;
    let words = words_of(compiler, name, &asked);
    let arm = |(when, arm): (&str, &ArmDoc)| {
        let at = format!("{place}.on.{when}");
        let matcher = matcher(&at, when, doc.all.is_some(), &words)?;
        let action = action(compiler, &at, arm)?;
        if matches!(action.next, Next::Join(_)) {
            return mistake(at, "only a decision joins answers; an outcome leads to a state");
        }
        Ok(Arm { when: matcher, action })
    };
    let arms: Vec<Arm> = on.iter().map(arm).collect::<Result<_, JourneyError>>()?;
    for (step, with) in &asked {
        calls.push((step.clone(), call(compiler, &place, doc, step, with, &arms)?));
    }
    let every = doc.every.iter().flatten();
    let every: Vec<_> = every
        .map(|wait| compiler.duration(&format!("{place}.every"), wait))
        .collect::<Result<_, _>>()?;
    if every.is_empty() && arms.iter().any(|arm| matches!(arm.action.next, Next::Again)) {
        return mistake(place, "`again` needs `every`, the waits between rounds");
    }
    let until = match &doc.until {
        None => None,
        Some(_) if !arms.iter().any(polls_what_is_known) => {
            return mistake(
                format!("{place}.until"),
                "no known answer asks `again` here, so there is nothing for a time to end; a timer never ends doubt: \
                 let people be called by `escalate`",
            );
        }
        Some(until) => {
            let after = compiler.duration(&format!("{place}.until.after"), &until.after)?;
            Some((after, compiler.target(&format!("{place}.until.go"), &until.go)?))
        }
    };
    let within = doc
        .within
        .as_ref()
        .map(|within| compiler.duration(&format!("{place}.within"), within))
        .transpose()?;
    Ok(Ask { steps: asked.into_iter().map(|(step, _)| step).collect(), within, arms, every, until })
}

/// Words that answers of a state can have: outcomes, rulings over them, and `late`.
fn words_of(
    compiler: &Compiler<'_>,
    name: &str,
    asked: &[(StepName, &Ordered<Value>)],
) -> Vec<String> {
    let capabilities = asked.iter().filter_map(|(step, _)| compiler.steps.get(step));
    let mut words: Vec<String> =
        capabilities.flat_map(|capability| capability.outcomes.clone()).collect();
    words.extend(compiler.rulings.get(name).into_iter().flatten().cloned());
    words.push("late".to_owned());
    words
}

fn matcher(
    place: &str,
    text: &str,
    joined: bool,
    words: &[String],
) -> Result<Matcher, JourneyError> {
    let (quantifier, rest) = match text.split_once(' ') {
        Some((quantifier @ ("every" | "any"), rest)) if joined => (quantifier, rest.trim()),
        _ if joined => {
            return mistake(
                place,
                "write `every <outcome>`, `any <outcome>` or a list of outcomes in brackets",
            );
        }
        _ => ("any", text),
    };
    let list = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
    let named: Vec<String> = list.split(',').map(|word| word.trim().to_owned()).collect();
    if let Some(unknown) = named.iter().find(|word| !words.contains(word)) {
        return mistake(
            place,
            format!("{unknown} is not an outcome; outcomes are {}", words.join(", ")),
        );
    }
    Ok(if quantifier == "every" { Matcher::Every(named) } else { Matcher::Any(named) })
}

fn call(
    compiler: &Compiler<'_>,
    place: &str,
    doc: &StateDoc,
    step: &StepName,
    with: &Ordered<Value>,
    arms: &[Arm],
) -> Result<Call, JourneyError> {
    let Some(capability) = compiler.steps.get(step) else {
        return mistake(
            place,
            "compensate names a state that `compensation` gives a capability; add it there",
        );
    };
    let request = capability.request();
    let Some(record) = compiler.contract.type_of(request.as_str()) else {
        return mistake(place, format!("there is no record {request} in the contract"));
    };
    let subject = doc.compensate.as_ref().or(doc.of.as_ref());
    let subject = subject.map(|of| write_step(compiler, &format!("{place}.of"), of)).transpose()?;
    if record.field("subject_attempt").is_some() != subject.is_some() {
        return mistake(
            place,
            format!("{} asks about another call exactly where `of` names it", capability.name),
        );
    }
    let about = match &doc.about {
        Some(about) => Some(write_step(compiler, &format!("{place}.about"), &about.step)?),
        None => subject.clone().filter(|_| capability.effect == Effect::Read),
    };
    let with_place = match step.as_str().split_once('/') {
        Some((_, branch)) => format!("{place}.all.{branch}.with"),
        None => format!("{place}.with"),
    };
    let proves = proofs(place, capability, arms, about.is_some())?;
    let mut later = BTreeMap::new();
    for (word, target) in doc.later.iter().flat_map(Ordered::iter) {
        let at = format!("{place}.later.{word}");
        if capability.effect == Effect::Write
            || !capability.outcomes.iter().any(|outcome| outcome == word)
        {
            return mistake(
                at,
                format!(
                    "{word} is not an outcome of a check; {} is a {:?}",
                    capability.name, capability.effect
                ),
            );
        }
        later.insert(word.to_owned(), compiler.target(&at, target)?);
    }
    Ok(Call {
        state: StepName::from(step.as_str().split('/').next().unwrap_or_default()),
        capability: capability.name.clone(),
        effect: capability.effect,
        with: compiler.templates(&with_place, with, &record, &REQUEST_FILLED)?,
        request,
        outcomes: capability.outcomes.clone(),
        subject,
        about,
        proves,
        later,
    })
}

fn write_step(compiler: &Compiler<'_>, place: &str, name: &str) -> Result<StepName, JourneyError> {
    let step = StepName::from(name);
    match compiler.steps.get(&step) {
        Some(capability) if capability.effect == Effect::Write => Ok(step),
        _ => mistake(place, format!("{name} is not a state that calls a write")),
    }
}

/// What each outcome of a write proves. Every outcome but doubt must prove something, and doubt nothing.
fn proofs(
    place: &str,
    capability: &Capability,
    arms: &[Arm],
    rules_elsewhere: bool,
) -> Result<BTreeMap<String, bool>, JourneyError> {
    let mut proves = BTreeMap::new();
    for arm in arms {
        for word in arm.when.words() {
            let at = format!("{place}.on.{word}");
            let unproven = matches!(word.as_str(), "in_doubt" | "unavailable" | "late");
            match arm.action.rules.as_deref() {
                Some(_) if unproven => {
                    return mistake(at, format!("{word} proves nothing; remove `as`"));
                }
                Some(proof @ ("executed" | "not_executed"))
                    if capability.effect == Effect::Write =>
                {
                    proves.insert(word.clone(), proof == "executed");
                }
                Some("executed" | "not_executed") if rules_elsewhere => {}
                Some(_) => {
                    return mistake(
                        at,
                        "`as: executed` or `as: not_executed` belongs to a write, or to an inquiry about one",
                    );
                }
                None if capability.effect == Effect::Write && !unproven => {
                    return mistake(at, "say what it proves: `as: executed` or `as: not_executed`");
                }
                None => {}
            }
        }
    }
    Ok(proves)
}

fn action(compiler: &Compiler<'_>, place: &str, doc: &ArmDoc) -> Result<Action, JourneyError> {
    let retry = match &doc.retry {
        None => None,
        Some(retry) => {
            let after = compiler.duration(&format!("{place}.retry.after"), &retry.after)?;
            Some(Retry { at_most: retry.at_most, after })
        }
    };
    let next = match (&doc.go, &doc.then, &doc.join) {
        (Some(go), None, None) if go == "again" && retry.is_none() => Next::Again,
        (Some(go), None, None) if retry.is_none() => Next::Go(compiler.target(place, go)?),
        (None, Some(then), None) if retry.is_some() => Next::Go(compiler.target(place, then)?),
        (None, None, Some(join)) => match compiler.doc.states.iter().find(|(name, _)| name == join)
        {
            Some((_, joined)) if joined.all.is_some() || joined.call.is_some() => {
                Next::Join(StepName::from(join.as_str()))
            }
            _ => {
                return mistake(
                    place,
                    format!("join goes back to the answers of a call or an all; {join} is neither"),
                );
            }
        },
        _ => {
            return mistake(
                place,
                "say where it goes: a state, or go, or retry with then, or join",
            );
        }
    };
    Ok(Action { rules: doc.rules.clone(), retry, next })
}

fn choose(compiler: &Compiler<'_>, place: &str, doc: &StateDoc) -> Result<Kind, JourneyError> {
    let place = format!("{place}.choose");
    let mut branches = Vec::new();
    let mut otherwise = None;
    for (index, choice) in doc.choose.iter().flatten().enumerate() {
        let place = format!("{place}[{index}]");
        match (&choice.when, &choice.go, &choice.otherwise) {
            (Some(when), Some(go), None) if otherwise.is_none() => {
                let (guard, kind) = Expression::parse(when, &compiler.scope)
                    .or_else(|problem| mistake(&place, problem))?;
                if kind != Type::Bool {
                    return mistake(place, format!("`{when}` must be true or false, not {kind}"));
                }
                branches.push((guard, compiler.target(&place, go)?));
            }
            (None, None, Some(target)) if otherwise.is_none() => {
                otherwise = Some(compiler.target(&place, target)?)
            }
            _ => {
                return mistake(
                    place,
                    "write lines of `when` and `go`, and one `otherwise` as the last",
                );
            }
        }
    }
    match otherwise {
        Some(otherwise) => Ok(Kind::Choose { branches, otherwise }),
        None => mistake(place, "the last line must be `otherwise`: no case may be left open"),
    }
}

fn wait(compiler: &Compiler<'_>, place: &str, doc: &StateDoc) -> Result<Wait, JourneyError> {
    let after = required(place, "wait", doc.wait.as_ref())?;
    let at_most = match (doc.at_most, &doc.then) {
        (None, None) => None,
        (Some(times), Some(then)) => {
            Some((times, compiler.target(&format!("{place}.then"), then)?))
        }
        _ => {
            return mistake(
                place,
                "at_most and then come together: how many visits, and where the next one leads",
            );
        }
    };
    let answers_of = match &doc.answers_of {
        None => None,
        Some(step) if compiler.steps.contains_key(&StepName::from(step.as_str())) => {
            Some(StepName::from(step.as_str()))
        }
        Some(step) => {
            return mistake(
                format!("{place}.answers_of"),
                format!("{step} is not a state that calls a capability"),
            );
        }
    };
    Ok(Wait {
        after: compiler.duration(&format!("{place}.wait"), after)?,
        go: compiler.target(&format!("{place}.go"), required(place, "go", doc.go.as_ref())?)?,
        answers_of,
        at_most,
    })
}

fn emit(compiler: &Compiler<'_>, place: &str, doc: &StateDoc) -> Result<Kind, JourneyError> {
    let fields = required(place, "emit", doc.emit.as_ref())?;
    let go = required(place, "go", doc.go.as_ref())?;
    Ok(Kind::Emit {
        event: compiler.event(&format!("{place}.emit"), fields)?,
        go: compiler.target(&format!("{place}.go"), go)?,
    })
}

fn interrupts(
    compiler: &Compiler<'_>,
    place: &str,
    doc: &StateDoc,
) -> Result<BTreeMap<String, Interrupt>, JourneyError> {
    let one = |(name, interrupt): (&str, &InterruptDoc)| {
        let at = format!("{place}.on_command.{name}");
        if !compiler.scope.commands.iter().any(|command| command == name) {
            return mistake(at, format!("no command is called {name}; add it under commands"));
        }
        let too_late_remember = match interrupt.too_late.as_deref() {
            None | Some("refuse") => false,
            Some("remember") => true,
            Some(other) => {
                return mistake(at, format!("too_late is remember or refuse, not {other}"));
            }
        };
        let interrupt = match interrupt.go.as_str() {
            "remember" => Interrupt::Remember,
            target => Interrupt::Go { target: compiler.target(&at, target)?, too_late_remember },
        };
        Ok((name.to_owned(), interrupt))
    };
    let listed = doc
        .on_command
        .iter()
        .flat_map(Ordered::iter)
        .filter(|(_, interrupt)| interrupt.go != "refuse");
    listed.map(one).collect()
}

fn escalate(
    compiler: &Compiler<'_>,
    place: &str,
    doc: &StateDoc,
) -> Result<Option<Escalate>, JourneyError> {
    let (after, queue) = match (&doc.escalate, &doc.escalate_after, &doc.review) {
        (Some(escalate), _, _) => (&escalate.after, &escalate.queue),
        (None, Some(after), Some(queue)) => (after, queue),
        _ => return Ok(None),
    };
    let after = compiler.duration(&format!("{place}.escalate"), after)?;
    Ok(Some(Escalate { after, queue: queue.clone() }))
}

fn panel(
    compiler: &Compiler<'_>,
    place: &str,
    doc: &StateDoc,
) -> Result<Option<Panel>, JourneyError> {
    let decisions: Vec<(&str, &ArmDoc)> = match (&doc.review, &doc.decide) {
        (Some(_), _) => required(place, "on", doc.on.as_ref())?.iter().collect(),
        (None, Some(decide)) => {
            vec![("executed", &decide.executed), ("not_executed", &decide.not_executed)]
        }
        (None, None) => return Ok(None),
    };
    let mut arms = BTreeMap::new();
    for (decision, arm) in decisions {
        let on = if doc.review.is_some() { "on" } else { "decide" };
        let at = format!("{place}.{on}.{decision}");
        if !DECISIONS.contains(&decision) {
            return mistake(
                at,
                format!("{decision} is not a decision; decisions are {}", DECISIONS.join(", ")),
            );
        }
        let action = action(compiler, &at, arm)?;
        if action.retry.is_some() || matches!(action.next, Next::Again) {
            return mistake(at, "a decision leads to a state or joins answers; it cannot retry");
        }
        arms.insert(decision.to_owned(), action);
    }
    let queue = match (&doc.review, &doc.escalate) {
        (Some(queue), _) => queue.clone(),
        (None, Some(escalate)) => escalate.queue.clone(),
        (None, None) => {
            return mistake(place, "decide needs escalate, which names the people's queue");
        }
    };
    let people = doc.decide.as_ref().map(|decide| decide.people).or(doc.people).unwrap_or(1);
    if !(1..=2).contains(&people) {
        return mistake(place, format!("people is 1 or 2, not {people}"));
    }
    let (about, outcomes) = about(compiler, place, doc)?;
    if about.is_empty() && arms.values().any(|action| action.rules.is_some()) {
        return mistake(place, "`as` rules over a step's outcome; say which step with `about`");
    }
    Ok(Some(Panel { queue, people, hold: doc.hold.unwrap_or(false), about, outcomes, arms }))
}

/// The steps that are ruled on, and which of their outcomes.
fn about(
    compiler: &Compiler<'_>,
    place: &str,
    doc: &StateDoc,
) -> Result<(Vec<StepName>, Vec<String>), JourneyError> {
    let (name, outcomes) = match (&doc.about, &doc.of) {
        (Some(about), _) => (about.step.as_str(), about.outcomes.clone()),
        (None, Some(of)) => (of.as_str(), Vec::new()),
        (None, None) => return Ok((Vec::new(), Vec::new())),
    };
    let of_state = |step: &&StepName| step.as_str().split('/').next() == Some(name);
    let steps: Vec<StepName> = compiler.steps.keys().filter(of_state).cloned().collect();
    if steps.is_empty() {
        return mistake(
            format!("{place}.about"),
            "name one state that calls a capability, and its outcomes in a list",
        );
    }
    let known = |word: &String| {
        let outcome = steps
            .iter()
            .filter_map(|step| compiler.steps.get(step))
            .any(|found| found.outcomes.contains(word));
        outcome
            || word == "late"
            || compiler.rulings.get(name).is_some_and(|rulings| rulings.contains(word))
    };
    match outcomes.iter().find(|word| !known(word)) {
        Some(word) => {
            mistake(format!("{place}.about"), format!("{word} is not an outcome of {name}"))
        }
        None => Ok((steps, outcomes)),
    }
}

/// An arm that asks again although the answer is known.
fn polls_what_is_known(arm: &Arm) -> bool {
    let unknown = |word: &String| matches!(word.as_str(), "in_doubt" | "unavailable");
    matches!(arm.action.next, Next::Again) && !arm.when.words().iter().all(unknown)
}
