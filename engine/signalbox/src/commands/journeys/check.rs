//! `signalbox journeys check`: every journey, explored completely. What is unsafe is told with its place and its path.

use clap::Args;
use std::path::PathBuf;

use super::load;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Which journeys.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Journey files; without any, every *.yaml of journeys.path
    files: Vec<PathBuf>,
    /// Value for a parameter of the journeys, over the configuration
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    values: Vec<(String, String)>,
}

/// `NAME=VALUE`, for clap.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Checks journeys.
pub(super) fn run(args: &CheckArgs, config: &Config) -> Result<(), CliError> {
    let files = if args.files.is_empty() {
        load::files_of(&config.journeys.path)?
    } else {
        args.files.clone()
    };
    let mut unsafe_files = 0_u32;
    for file in &files {
        let findings = match load::load(file, &config.journeys, &args.values) {
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
            output::line(load::told(file, finding))?;
        }
    }
    match unsafe_files {
        0 => Ok(()),
        count => {
            Err(CliError::Refused(format!("{count} of {} journeys must not run", files.len())))
        }
    }
}
