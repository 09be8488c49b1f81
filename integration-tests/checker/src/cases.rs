//! Commands, journeys and their endings: each record that asks for something is answered by one row of the journal, each
//! business id is one flow, each flow ends once, and no row leads where its journey does not. From the audit export and
//! the topics; what is paid is judged elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::evidence::{Evidence, Record, Row};
use crate::graph::Graph;
use crate::report::{Counted, Findings, Promise};
use crate::sequence::{Applied, sequence};

/// What a dead-letter topic is called after its source.
const DLQ: &str = ".dlq";
/// Events that may follow an ending: something that is known later.
const AFTERWARDS: &str = "discrepancy";

/// Rows by the place of their input, those left out that only let it wait.
type Inputs<'e> = HashMap<(&'e str, i32, i64), Vec<&'e Row>>;

/// Judges; endings by status.
pub(crate) fn judge(
    evidence: &Evidence,
    applied: &Applied<'_>,
    counted: &mut Counted,
    found: &mut Findings,
) -> BTreeMap<String, u64> {
    let inputs = inputs(evidence);
    counted.rows = number(evidence.rows().count());
    counted.parked = number(evidence.rows().filter(|row| row.kind == "park").count());
    once(&inputs, found);
    let begun = commands(evidence, &inputs, counted, found);
    dead_letters(evidence, applied, counted, found);
    counted.flows = number(begun.len());
    transitions(evidence, found);
    inquiries(evidence, &inputs, counted);
    endings(applied, &begun, found)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn inputs(evidence: &Evidence) -> Inputs<'_> {
    let mut inputs = Inputs::new();
    for row in evidence.rows().filter(|row| !matches!(row.kind.as_str(), "hold" | "park")) {
        if let Some(input) = row.input() {
            inputs.entry(input).or_default().push(row);
        }
    }
    inputs
}

/// No record is applied twice.
fn once(inputs: &Inputs<'_>, found: &mut Findings) {
    for ((topic, partition, offset), rows) in inputs {
        if rows.len() > 1 {
            let told: Vec<String> = rows
                .iter()
                .map(|row| format!("{} {} of lane {}", row.kind, row.seq, row.lane))
                .collect();
            let told = told.join(", ");
            found.add(
                Promise::Commands,
                format!("{topic}-{partition}@{offset} was applied {} times: {told}", rows.len()),
            );
        }
    }
}

/// Every command that begins a journey has its row, and what nobody can read is a dead letter. The flow that each
/// business id began, by flow.
fn commands<'e>(
    evidence: &'e Evidence,
    inputs: &Inputs<'e>,
    counted: &mut Counted,
    found: &mut Findings,
) -> BTreeMap<&'e str, &'e str> {
    let begins = |record: &Record| {
        let short = |graph: &Graph| graph.starts_with.rsplit('.').next().map(str::to_owned);
        evidence.journeys.iter().any(|graph| short(graph).as_deref() == Some(record.short_name()))
    };
    let read: BTreeSet<&str> = inputs.keys().map(|(topic, _, _)| *topic).collect();
    let mut flows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in evidence.records.iter().filter(|record| sequence(record).is_none()) {
        let is_unreadable = record.name.is_none() && read.contains(record.topic.as_str());
        if !is_unreadable && !begins(record) {
            continue;
        }
        let place = (record.topic.as_str(), record.partition, record.offset);
        let row = inputs.get(&place).and_then(|rows| rows.first());
        counted.commands += u64::from(!is_unreadable);
        match row {
            None => found.add(
                Promise::Commands,
                format!(
                    "{} of {} was never answered: no row of the journal is about it",
                    record.place(),
                    record.key
                ),
            ),
            Some(row) if is_unreadable && row.kind != "dead_letter" => found.add(
                Promise::Commands,
                format!("{} cannot be read, and its row is a {}", record.place(), row.kind),
            ),
            Some(row) if row.kind == "start" => {
                flows.entry(&record.key).or_default().extend(row.flow.as_deref());
            }
            Some(_) => {}
        }
    }
    for (key, flows) in flows.iter().filter(|(_, flows)| flows.len() > 1) {
        found.add(Promise::Commands, format!("{key} began {} journeys: {flows:?}", flows.len()));
    }
    flows
        .into_iter()
        .flat_map(|(key, flows)| flows.into_iter().map(move |flow| (flow, key)))
        .collect()
}

/// What the journal says is dead lies on its dead-letter topic, as it was.
fn dead_letters(
    evidence: &Evidence,
    applied: &Applied<'_>,
    counted: &mut Counted,
    found: &mut Findings,
) {
    let letters: BTreeSet<(&str, &str)> = applied
        .records
        .iter()
        .filter_map(|record| Some((record.topic.strip_suffix(DLQ)?, record.digest.as_str())))
        .collect();
    counted.dead_letters =
        number(evidence.records.iter().filter(|record| record.topic.ends_with(DLQ)).count());
    let digests: HashMap<(&str, i32, i64), &str> = evidence
        .records
        .iter()
        .map(|record| {
            ((record.topic.as_str(), record.partition, record.offset), record.digest.as_str())
        })
        .collect();
    for row in evidence.rows().filter(|row| row.kind == "dead_letter") {
        let Some(input) = row.input() else { continue };
        let is_there =
            digests.get(&input).is_some_and(|digest| letters.contains(&(input.0, *digest)));
        if !is_there {
            let (topic, partition, offset) = input;
            found.add(
                Promise::Commands,
                format!("{topic}-{partition}@{offset} is dead by the journal and on no dead-letter topic"),
            );
        }
    }
}

/// Each flow goes on from where it was, and only where its journey leads.
fn transitions(evidence: &Evidence, found: &mut Findings) {
    let graphs: HashMap<(&str, u32), &Graph> =
        evidence.journeys.iter().map(|g| ((g.journey.as_str(), g.version), g)).collect();
    // State, revision, and whether it had ended.
    let mut now: HashMap<&str, (&str, i64)> = HashMap::new();
    for row in evidence.rows() {
        let (Some(flow), Some(after)) = (row.flow.as_deref(), row.after.as_deref()) else {
            continue;
        };
        let place = format!("flow {flow}, lane {} row {}", row.lane, row.seq);
        let known = now.insert(flow, (after, row.flow_rev));
        if known.map(|(state, _)| state) != row.before.as_deref() {
            let known = known.map_or("nowhere", |(state, _)| state);
            let before = row.before.as_deref().unwrap_or("nowhere");
            found.add(
                Promise::Transitions,
                format!("{place}: goes on from {before}, it was in {known}"),
            );
        }
        if known.is_some_and(|(_, revision)| row.flow_rev <= revision) {
            found.add(Promise::Transitions, format!("{place}: its revision does not rise"));
        }
        let journey = row.journey.as_deref().unwrap_or_default();
        let version = row.version.unwrap_or_default();
        match graphs.get(&(journey, version)) {
            None => found.add(
                Promise::Transitions,
                format!("{place}: journey {journey} version {version} is not known"),
            ),
            Some(graph) if !graph.allows(row.before.as_deref(), after) => {
                let before = row.before.as_deref().unwrap_or("the beginning");
                found.add(
                    Promise::Transitions,
                    format!("{place}: {journey} does not lead from {before} to {after}"),
                );
            }
            Some(_) => {}
        }
    }
    for (flow, (state, _)) in now {
        let ends = evidence.journeys.iter().any(|graph| graph.ends(state));
        if !ends {
            found.add(Promise::Endings, format!("flow {flow} stands in {state}: it has not ended"));
        }
    }
}

/// Payments in doubt that were settled by asking.
fn inquiries(evidence: &Evidence, inputs: &Inputs<'_>, counted: &mut Counted) {
    let settles = |row: &&Row| {
        row.before != row.after
            && row.before.as_deref().is_some_and(|state| {
                evidence.journeys.iter().any(|graph| graph.settles_doubt(state))
            })
    };
    for record in
        evidence.records.iter().filter(|r| r.name.as_deref() == Some("payout.inquire.Outcome"))
    {
        let place = (record.topic.as_str(), record.partition, record.offset);
        if inputs.get(&place).and_then(|rows| rows.first()).is_none_or(|row| !settles(row)) {
            continue;
        }
        match record.text("/outcome") {
            Some("pending" | "settled" | "returned") => counted.found_executed += 1,
            Some("not_executed" | "blocked") => counted.found_not_executed += 1,
            _ => {}
        }
    }
}

/// Exactly one event of each flow is final, nothing but a discrepancy comes after it, and all of them are about the
/// business id that began the flow.
fn endings(
    applied: &Applied<'_>,
    begun: &BTreeMap<&str, &str>,
    found: &mut Findings,
) -> BTreeMap<String, u64> {
    let mut ended: HashMap<&str, u64> = HashMap::new();
    let mut statuses = BTreeMap::new();
    for record in &applied.records {
        let Some(is_final) = record.value.get("final").and_then(Value::as_bool) else { continue };
        let flow = record.header("ce_correlationid").unwrap_or_default();
        let status = record.text("/status").unwrap_or_default();
        match begun.get(flow) {
            Some(key) if *key == record.key => {}
            Some(key) => found.add(
                Promise::Commands,
                format!("{}: flow {flow} of {key} speaks for {}", record.place(), record.key),
            ),
            None => found.add(
                Promise::Commands,
                format!("{}: flow {flow} of {} began with no command", record.place(), record.key),
            ),
        }
        let finals = ended.entry(flow).or_default();
        if *finals > 0 && status != AFTERWARDS {
            found.add(
                Promise::Endings,
                format!("{}: {} is told {status} after it had ended", record.place(), record.key),
            );
        }
        if is_final {
            *finals += 1;
            *statuses.entry(status.to_owned()).or_default() += 1;
        }
    }
    for (flow, key) in begun {
        let finals = ended.get(flow).copied().unwrap_or_default();
        if finals != 1 {
            found.add(Promise::Endings, format!("{key}, flow {flow}, has {finals} endings"));
        }
    }
    statuses
}
