//! `signalbox journeys deploy`: pins a version of a journey, after the check that engines make at their start. Engines take
//! it up while they run; which version a flow follows is not changed by it.

use clap::Args;
use signalbox_flow::Journey;
use signalbox_worker::JourneyLibrary;
use std::path::PathBuf;

use super::{check, load, pinned, proof};
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Which journey.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Journey file
    file: PathBuf,
    /// Value for a parameter of the journey, over the configuration
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = check::assignment)]
    values: Vec<(String, String)>,
}

/// Pins it, or says why not.
pub(super) async fn run(args: &DeployArgs, config: &Config) -> Result<(), CliError> {
    let journey = load::load(&args.file, &config.journeys, &args.values)?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    proof::prove(&args.file, &journey, &reader).await?;
    let (name, version) = (journey.name().clone(), journey.version());
    let pinned = pinned::journeys(&reader).await?;
    let same = pinned.iter().find(|each| *each.name() == name && each.version() == version);
    match same {
        Some(same) if same.source() == journey.source() => {
            output::line(format_args!("{name} version {version} is pinned already"))?;
        }
        Some(same) => return Err(refuse_other(&args.file, same, &journey)),
        None => {
            let source = journey.source().to_owned();
            let all = pinned.into_iter().chain([journey]).collect();
            JourneyLibrary::new(all).map_err(|error| CliError::Input(error.to_string()))?;
            reader.deploy_journey(name.as_str(), version, &source).await?;
            output::line(format_args!(
                "{name} version {version} is pinned; engines start new flows with the newest version from a heartbeat on"
            ))?;
        }
    }
    for (version, flows) in reader.flows_by_version(name.as_str()).await? {
        output::line(format_args!("{flows} flows run under version {version}"))?;
    }
    Ok(())
}

/// The version is in use with another definition: what differs is told.
fn refuse_other(file: &std::path::Path, pinned: &Journey, given: &Journey) -> CliError {
    let told = match signalbox_flow::difference(pinned, given) {
        Ok(changes) if changes.is_empty() => "only what no flow could notice".to_owned(),
        Ok(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n    "),
        Err(error) => return load::mistaken(file, &error),
    };
    CliError::Refused(format!(
        "{} version {} is in use with another definition; give this one a new version. What differs:\n    {told}",
        given.name(),
        given.version()
    ))
}
