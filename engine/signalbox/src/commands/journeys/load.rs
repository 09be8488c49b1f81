//! Journeys from files, with the configuration's parameters and under the bank's own rules; and their pinning for
//! engines: no journey runs that the checker does not pass. What is wrong is told as `file:line:column`.

use signalbox_flow::{BankInvariants, Finding, Journey, JourneyError, Position};
use signalbox_store::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{pinned, proof};
use crate::commands::wiring;
use crate::config::JourneysConfig;
use crate::error::CliError;

/// The bank's own rules, beside the journeys. It need not be there.
const INVARIANTS: &str = "invariants.yaml";

/// Every version of every journey that a flow may follow. The files' versions are pinned first; one that the checker
/// does not pass stops the start, because a flow could begin to follow it. Versions that are pinned already run on under
/// the rules of their time.
pub(crate) async fn deploy(
    config: &JourneysConfig,
    reader: &Reader,
) -> Result<Vec<Journey>, CliError> {
    for file in files_of(&config.path)? {
        let journey = load(&file, config, &[])?;
        proof::prove(&file, &journey, reader).await?;
        reader.deploy_journey(journey.name().as_str(), journey.version(), journey.source()).await?;
        tracing::info!(journey = %journey.name(), version = journey.version(), "a journey is pinned");
    }
    pinned::journeys(reader).await
}

/// The files' journeys, all of them, or why one of them must not run.
pub(crate) fn safe(config: &JourneysConfig) -> Result<Vec<Journey>, CliError> {
    let contract = wiring::contract()?;
    let mut journeys = Vec::new();
    for file in files_of(&config.path)? {
        let journey = load(&file, config, &[])?;
        refuse_unsafe(&file, &signalbox_flow::check(&journey, contract))?;
        journeys.push(journey);
    }
    Ok(journeys)
}

/// What must not run is told with its path, and nothing was done.
pub(super) fn refuse_unsafe(file: &Path, findings: &[Finding]) -> Result<(), CliError> {
    if findings.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = findings.iter().map(|finding| told(file, finding)).collect();
    Err(CliError::Refused(format!("it is unsafe and must not run:\n{}", told.join("\n"))))
}

/// Every journey of a directory.
pub(super) fn files_of(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut files = yaml_files(directory)?;
    files.retain(|file| !file.ends_with(INVARIANTS));
    if files.is_empty() {
        return Err(CliError::Input(format!(
            "{} holds no *.yaml; set journeys.path",
            directory.display()
        )));
    }
    Ok(files)
}

/// Every `*.yaml` of a directory, by name.
pub(super) fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |source| CliError::File { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Which parameters apply is known only once the journey has said its name, so it is read twice.
pub(super) fn load(
    file: &Path,
    config: &JourneysConfig,
    over: &[(String, String)],
) -> Result<Journey, CliError> {
    let text = wiring::read(file)?;
    let contract = wiring::contract()?;
    let parse = |values: &BTreeMap<String, String>| {
        Journey::parse(&text, contract, values).map_err(|error| mistaken(file, &error))
    };
    let plain = parse(&BTreeMap::new())?;
    let mut values = config.parameters.get(plain.name().as_str()).cloned().unwrap_or_default();
    values.extend(over.iter().cloned());
    let journey = if values.is_empty() { plain } else { parse(&values)? };
    Ok(journey.under(&bank(file)?))
}

/// The rules beside a journey's file.
pub(super) fn bank(file: &Path) -> Result<BankInvariants, CliError> {
    let path = file.with_file_name(INVARIANTS);
    if !path.is_file() {
        return Ok(BankInvariants::default());
    }
    let text = wiring::read(&path)?;
    BankInvariants::parse(&text, wiring::contract()?).map_err(|error| mistaken(&path, &error))
}

/// A mistake in a file of ours.
pub(super) fn mistaken(file: &Path, error: &JourneyError) -> CliError {
    CliError::Input(format!("{}: {}", place(file, error.at()), error.problem()))
}

/// A finding with its path.
pub(super) fn told(file: &Path, finding: &Finding) -> String {
    let mut text = format!("{}: {}: {}", place(file, finding.at), finding.rule, finding.message);
    if !finding.path.is_empty() {
        text.push_str("\n    path: ");
        text.push_str(&finding.path.join(" -> "));
    }
    text
}

/// A place as compilers write it, so that editors and terminals can jump there.
pub(super) fn place(file: &Path, at: Option<Position>) -> String {
    match at {
        Some(at) => format!("{}:{}:{}", file.display(), at.line, at.column),
        None => file.display().to_string(),
    }
}
