//! A journey as a picture: a Mermaid state diagram, in the order of the file, for reviews and documents.
//! It draws what the file says; whether that is safe is the checker's work.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::document::{ArmDoc, JourneyDoc, Ordered, StateDoc};
use crate::error::JourneyError;
use crate::journey::Journey;
use signalbox_schemas::{Effect, StepName};

/// Ways on from one state: where to, and why, in the file's order.
type Ways = Vec<(String, String)>;

/// Draws a journey as a Mermaid `stateDiagram-v2`.
///
/// # Errors
/// None for a journey that was parsed: its source is read again, and was readable.
pub fn graph(journey: &Journey) -> Result<String, JourneyError> {
    let doc: JourneyDoc = serde_saphyr::from_str(journey.source())?;
    let mut lines = vec!["stateDiagram-v2".to_owned()];
    if let Some((first, _)) = doc.states.0.first() {
        lines.push(format!("    [*] --> {first}"));
    }
    for (name, state) in doc.states.iter() {
        lines.push(format!("    state \"{}\" as {name}", escaped(&title(&doc, name, state))));
        for (target, why) in joined(ways(state)) {
            let why = if why.is_empty() { why } else { format!(" : {}", escaped(&why)) };
            lines.push(format!("    {name} --> {target}{why}"));
        }
    }
    lines.extend(doc.endings.iter().map(|(name, _)| format!("    {name} --> [*]")));
    let deadline = &doc.deadline;
    let note = format!("from anywhere after {}, while no money may be out", deadline.after);
    lines.push(format!("    note right of {} : {}", deadline.go, escaped(&note)));
    for (class, style, members) in classes(journey, &doc) {
        if !members.is_empty() {
            lines.push(format!("    classDef {class} {style}"));
            lines.push(format!("    class {} {class}", members.join(",")));
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn title(doc: &JourneyDoc, name: &str, state: &StateDoc) -> String {
    let mut title = name.to_owned();
    let mut add = |what: &str| {
        // Writing to a string cannot fail.
        let _ = write!(title, "<br/>{what}");
    };
    if let Some(capability) = &state.call {
        add(capability);
    }
    if let Some(undone) = &state.compensate {
        let found = doc.compensation.iter().find(|(step, _)| step == undone);
        add(found.map_or(undone.as_str(), |(_, capability)| capability));
    }
    for (branch, call) in state.all.iter().flat_map(Ordered::iter) {
        add(&format!("{} of {branch}", call.call));
    }
    if let Some(queue) = &state.review {
        let hold = if state.hold == Some(true) { "held by " } else { "" };
        add(&match state.people {
            Some(people) if people > 1 => format!("{hold}{people} people of {queue}"),
            _ => format!("{hold}{queue}"),
        });
    }
    if let Some(fields) = &state.emit {
        let status = fields.iter().find(|(field, _)| *field == "status");
        add(&format!("says {}", status.map_or("it", |(_, value)| value.as_str().unwrap_or("it"))));
    }
    if let Some(every) = &state.every {
        add(&format!("asks again after {}", every.join(", ")));
    }
    title
}

fn ways(state: &StateDoc) -> Ways {
    let mut ways = Ways::new();
    let people = |decision: &str, people: u32| match (people, decision) {
        (0 | 1, _) | (_, "decline" | "uphold") => decision.to_owned(),
        (people, _) => format!("{decision} by {people}"),
    };
    for choice in state.choose.iter().flatten() {
        let target = choice.go.as_ref().or(choice.otherwise.as_ref());
        let why = choice.when.clone().unwrap_or_else(|| "otherwise".to_owned());
        ways.extend(target.map(|target| (target.clone(), why)));
    }
    for (word, arm) in state.on.iter().flat_map(Ordered::iter) {
        let word = match state.review {
            Some(_) => people(word, state.people.unwrap_or(1)),
            None => word.to_owned(),
        };
        ways.extend(way(&word, arm));
    }
    if let Some(decide) = &state.decide {
        ways.extend(way(&people("executed", decide.people), &decide.executed));
        ways.extend(way(&people("not_executed", decide.people), &decide.not_executed));
    }
    if let Some(until) = &state.until {
        ways.push((until.go.clone(), format!("known, and {} are over", until.after)));
    }
    if let (Some(wait), Some(go)) = (&state.wait, &state.go) {
        ways.push((go.clone(), format!("after {wait}")));
    } else if let Some(go) = &state.go {
        ways.push((go.clone(), String::new()));
    }
    if let (Some(then), Some(times)) = (&state.then, state.at_most) {
        ways.push((then.clone(), format!("after {times} times")));
    }
    for (command, interrupt) in state.on_command.iter().flat_map(Ordered::iter) {
        if !matches!(interrupt.go.as_str(), "remember" | "refuse") {
            ways.push((interrupt.go.clone(), format!("command {command}")));
        }
    }
    for (word, target) in state.later.iter().flat_map(Ordered::iter) {
        ways.push((target.clone(), format!("{word}, later")));
    }
    ways
}

/// Where an arm leads; nothing where it stays, as by `again`.
fn way(word: &str, arm: &ArmDoc) -> Option<(String, String)> {
    let target = arm.go.as_ref().or(arm.then.as_ref()).or(arm.join.as_ref())?;
    let why = match &arm.retry {
        Some(retry) => format!("{word}, {} retries", retry.at_most),
        None => word.to_owned(),
    };
    (target != "again").then(|| (target.clone(), why))
}

/// One way for each target, with every reason for it.
fn joined(ways: Ways) -> Ways {
    let mut joined: Ways = Vec::new();
    for (target, why) in ways {
        match joined.iter_mut().find(|(known, _)| *known == target) {
            Some((_, whys)) if !why.is_empty() => {
                let _ = write!(whys, " / {why}");
            }
            Some(_) => {}
            None => joined.push((target, why)),
        }
    }
    joined
}

type Class<'a> = (&'static str, &'static str, Vec<&'a str>);

/// States that move money, states that wait for people, and endings stand out.
fn classes<'a>(journey: &Journey, doc: &'a JourneyDoc) -> [Class<'a>; 3] {
    let effects: BTreeMap<&StepName, Effect> =
        journey.calls.values().map(|call| (&call.state, call.effect)).collect();
    let of = |wanted: &dyn Fn(&str, &StateDoc) -> bool| {
        doc.states
            .iter()
            .filter(|(name, state)| wanted(name, state))
            .map(|(name, _)| name)
            .collect()
    };
    let money = of(&|name, _| {
        effects.get(&StepName::from(name)).is_some_and(|effect| *effect == Effect::Write)
    });
    let people = of(&|_, state| state.review.is_some());
    [
        ("money", "stroke-width:3px", money),
        ("people", "stroke-dasharray:4", people),
        ("ending", "font-style:italic", doc.endings.iter().map(|(name, _)| name).collect()),
    ]
}

/// Signs that mean something to Mermaid, as its entities.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split("<br/>").enumerate() {
        if index > 0 {
            out.push_str("<br/>");
        }
        for sign in part.chars() {
            match sign {
                '"' => out.push_str("#quot;"),
                '<' => out.push_str("#lt;"),
                '>' => out.push_str("#gt;"),
                ':' => out.push_str("#58;"),
                ';' => out.push_str("#59;"),
                '#' => out.push_str("#35;"),
                plain => out.push(plain),
            }
        }
    }
    out
}
