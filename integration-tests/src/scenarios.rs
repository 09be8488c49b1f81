//! The scenarios of `journeys/scenarios` for stages that run the product: every file, each with ids of its own, and how a
//! flow is seen from its row and its records. It plays nothing; `signalbox_flow::play_on` does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use signalbox_flow::{
    Flow, FlowData, Journey, Recognition, Scenario, Seen, Sight, Status, play_on,
};
use signalbox_schemas::{Contract, FlowId, Micros, RecordName, TenantKey};
use signalbox_store::{FlowRow, RecognitionRow};

use crate::failure::Failure;

/// One file.
#[derive(Debug)]
pub struct Script {
    /// Journey and rule, as `payout/money-arrives`.
    pub name: String,
    /// What it says.
    pub scenario: Scenario,
}

/// Every scenario of every journey, by name.
///
/// # Errors
/// `System` where a file cannot be read, `Broken` where it is no scenario.
pub fn scripts() -> Result<Vec<Script>, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journeys/scenarios");
    let mut scripts = Vec::new();
    for journey in entries(&folder)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&journey)? {
            let told = file.display().to_string();
            let text = fs::read_to_string(&file).map_err(Failure::while_doing(told.clone()))?;
            let read = |like: &str| {
                fs::read_to_string(journey.join(like)).map_err(|error| error.to_string())
            };
            let scenario = Scenario::parse(&text, read)
                .map_err(|error| Failure::Broken(format!("{told}: {error}")))?;
            let rule = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            scripts.push(Script { name: format!("{}/{rule}", scenario.journey()), scenario });
        }
    }
    if scripts.is_empty() {
        return Err(Failure::Broken(format!("{}: no scenario was found", folder.display())));
    }
    Ok(scripts)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let reading = || Failure::while_doing(format!("reading {}", folder.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(reading())? {
        entries.push(entry.map_err(reading())?.path());
    }
    entries.sort();
    Ok(entries)
}

/// The journeys of the project, with times that a run can wait for where there are some.
///
/// # Errors
/// `System` where a file cannot be read, `Broken` where it is no journey.
pub fn journeys(contract: &Contract) -> Result<Vec<Journey>, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journeys");
    let mut journeys = Vec::new();
    for file in entries(&folder)?.into_iter().filter(|path| path.is_file()) {
        if file.ends_with("invariants.yaml") {
            continue;
        }
        let told = file.display().to_string();
        let text = fs::read_to_string(&file).map_err(Failure::while_doing(told.clone()))?;
        let journey = Journey::parse(&text, contract, &BTreeMap::new());
        journeys.push(journey.map_err(|error| Failure::Broken(format!("{told}: {error}")))?);
    }
    Ok(journeys)
}

/// The flow of a script, known before it begins.
#[derive(Debug, Clone)]
pub struct Part {
    /// Business id.
    pub aggregate: String,
    /// Its flow.
    pub id: FlowId,
    /// The command that starts it.
    pub command: Arc<Value>,
}

impl Script {
    /// The script's flow, with a business id and a customer that no other script has.
    #[must_use]
    pub fn part(&self, journey: &Journey, key: &TenantKey) -> Part {
        let aggregate = self.name.replace('/', "-");
        let mut command = self.scenario.command().clone();
        if let Some(fields) = command.as_object_mut() {
            fields.insert(journey.aggregate_field().to_owned(), Value::from(aggregate.clone()));
            let customer = Value::from(format!("c-{aggregate}"));
            fields.insert(journey.subject_field().to_owned(), customer);
        }
        let tenant = command.get("tenant").and_then(Value::as_str).unwrap_or_default();
        let id = key.flow_id(&tenant.into(), journey.name(), &aggregate.as_str().into());
        Part { aggregate, id, command: Arc::new(command) }
    }

    /// Plays it; what does not hold, in words.
    pub fn play(
        &self,
        journey: &Journey,
        contract: &Contract,
        stage: &mut dyn signalbox_flow::Stage,
    ) -> Option<String> {
        let played = match play_on(&self.scenario, journey, contract, stage) {
            Ok(played) if played.failures.is_empty() => return None,
            Ok(played) => played,
            Err(error) => return Some(format!("{}: {error}", self.name)),
        };
        let failures: Vec<String> = played.failures.iter().map(ToString::to_string).collect();
        let told: Vec<String> = played.moments.iter().map(ToString::to_string).collect();
        Some(format!("{}: {}\n{}", self.name, failures.join("\n"), told.join("\n")))
    }
}

/// A flow as stored, with the command that its stage knows.
#[must_use]
pub fn flow_of(row: FlowRow, command: &Arc<Value>) -> Option<Flow> {
    let data: FlowData = row.data.read().ok()?;
    Some(Flow {
        id: row.id,
        tenant: row.tenant,
        aggregate: row.aggregate,
        subject: row.subject,
        journey: row.journey,
        version: row.version,
        lane: row.lane,
        state: row.state,
        status: if row.ended { Status::Ended } else { Status::Running },
        rev: row.rev,
        started_at: row.started_at,
        command: Arc::clone(command),
        data,
    })
}

/// What is seen of one flow from outside: its row, the records published about it, whom others recognise by it.
#[derive(Debug)]
pub struct Onlooker {
    /// The flow as it was at the last look.
    pub flow: Flow,
    /// Records taken in so far.
    taken: usize,
    /// What has just happened, and whether it was a record that the flow may have refused.
    said: Option<(String, bool)>,
}

impl Onlooker {
    /// Looks at a flow that has just begun.
    #[must_use]
    pub fn new(flow: Flow) -> Self {
        Self { flow, taken: 0, said: None }
    }

    /// Something has happened to the flow; a record may come to nothing.
    pub fn told(&mut self, said: &str, is_record: bool) {
        self.said = Some((said.to_owned(), is_record));
    }

    /// What is new. `records` are all that were published about the flow, in order.
    pub fn look(
        &mut self,
        flow: Flow,
        records: &[(RecordName, Value)],
        recognition: Option<RecognitionRow>,
        now: Micros,
    ) -> Vec<Sight> {
        let new = records.get(self.taken..).unwrap_or_default();
        let changed = flow.rev != self.flow.rev;
        if new.is_empty() && self.said.is_none() && !changed {
            return Vec::new();
        }
        let mut seen = Seen::default();
        for (record, value) in new {
            seen.record(record, value);
        }
        if let Some(row) = recognition.filter(|row| row.flow == flow.id) {
            let known = |known: signalbox_store::Known| Recognition::Known {
                likeness: known.likeness,
                watched: known.watched,
            };
            seen.recognition(row.known.map_or(Recognition::Nobody, known));
        }
        let (said, is_record) = self.said.take().unwrap_or_default();
        if is_record && !changed && !seen.is_refused() {
            seen = Seen::refused("known");
        }
        self.taken = records.len();
        self.flow = flow;
        let after: Duration = now.since(self.flow.started_at);
        vec![Sight { after, input: said, path: vec![self.flow.state.to_string()], seen }]
    }
}
