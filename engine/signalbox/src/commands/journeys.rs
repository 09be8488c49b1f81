//! `signalbox journeys`, and the loading of journeys for engines: no journey runs that the checker does not pass.

use clap::{Args, Subcommand};
use signalbox_flow::{Finding, Journey};
use signalbox_store::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::wiring;
use crate::config::{Config, JourneysConfig};
use crate::error::CliError;
use crate::output;

/// What to do with journeys.
#[derive(Debug, Subcommand)]
pub(crate) enum JourneysCommand {
    /// Explore every journey completely and print what makes it unsafe, with the path that leads there
    #[command(
        after_help = "Needs no server. Exit status 1 where a journey is unsafe.\n\nExamples:\n  signalbox journeys check\n  signalbox journeys check journeys/payout.yaml --set review_sla=4h"
    )]
    Check(CheckArgs),
}

/// Which journeys.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Journey files; without any, every *.yaml of journeys.path
    files: Vec<PathBuf>,
    /// Value for a parameter of the journeys, over the configuration
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    values: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Checks journeys.
pub(crate) fn run(command: &JourneysCommand, config: &Config) -> Result<(), CliError> {
    let JourneysCommand::Check(args) = command;
    let files =
        if args.files.is_empty() { files_of(&config.journeys.path)? } else { args.files.clone() };
    let mut unsafe_files = 0_u32;
    for file in &files {
        let findings = match load(file, &config.journeys, &args.values) {
            Ok(journey) => {
                let findings = signalbox_flow::check(&journey, wiring::contract()?);
                if findings.is_empty() {
                    output::line(format_args!(
                        "{}: {} version {} is safe",
                        file.display(),
                        journey.name(),
                        journey.version()
                    ))?;
                }
                findings
            }
            Err(CliError::Input(problem)) => {
                unsafe_files += 1;
                output::line(problem)?;
                continue;
            }
            Err(other) => return Err(other),
        };
        unsafe_files += u32::from(!findings.is_empty());
        for finding in &findings {
            output::line(told(file, finding))?;
        }
    }
    match unsafe_files {
        0 => Ok(()),
        count => {
            Err(CliError::Refused(format!("{count} of {} journeys must not run", files.len())))
        }
    }
}

/// Every version of every journey that a flow may follow. The files' versions are pinned first; one that the checker
/// does not pass stops the start, because a flow could begin to follow it.
pub(crate) async fn deploy(
    config: &JourneysConfig,
    reader: &Reader,
) -> Result<Vec<Journey>, CliError> {
    let contract = wiring::contract()?;
    for file in files_of(&config.path)? {
        let journey = load(&file, config, &[])?;
        let findings = signalbox_flow::check(&journey, contract);
        if !findings.is_empty() {
            let told: Vec<String> = findings.iter().map(|finding| told(&file, finding)).collect();
            return Err(CliError::Refused(format!(
                "a journey is unsafe and nothing was started:\n{}",
                told.join("\n")
            )));
        }
        reader.deploy_journey(journey.name().as_str(), journey.version(), journey.source()).await?;
        tracing::info!(journey = %journey.name(), version = journey.version(), "a journey is pinned");
    }
    let mut journeys = Vec::new();
    for (name, version, source) in reader.journeys().await? {
        let journey = Journey::parse(&source, contract, &BTreeMap::new()).map_err(|error| {
            CliError::Input(format!("pinned journey {name} version {version}: {error}"))
        })?;
        journeys.push(journey);
    }
    Ok(journeys)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |source| CliError::File { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(CliError::Input(format!(
            "{} holds no *.yaml; set journeys.path",
            directory.display()
        )));
    }
    files.sort();
    Ok(files)
}

/// Which parameters apply is known only once the journey has said its name, so it is read twice.
fn load(
    file: &Path,
    config: &JourneysConfig,
    over: &[(String, String)],
) -> Result<Journey, CliError> {
    let text = wiring::read(file)?;
    let contract = wiring::contract()?;
    let parse = |values: &BTreeMap<String, String>| {
        Journey::parse(&text, contract, values)
            .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))
    };
    let plain = parse(&BTreeMap::new())?;
    let mut values = config.parameters.get(plain.name().as_str()).cloned().unwrap_or_default();
    values.extend(over.iter().cloned());
    if values.is_empty() { Ok(plain) } else { parse(&values) }
}

fn told(file: &Path, finding: &Finding) -> String {
    let mut text = format!("{}: {}: {}", file.display(), finding.rule, finding.message);
    if !finding.path.is_empty() {
        text.push_str("\n    path: ");
        text.push_str(&finding.path.join(" -> "));
    }
    text
}
