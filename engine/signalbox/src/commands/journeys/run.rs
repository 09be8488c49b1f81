//! `signalbox journeys run`: scenarios played on a journey, with the path step by step. Nothing is connected to.

use clap::Args;
use signalbox_flow::{Journey, Scenario};
use std::path::{Path, PathBuf};

use super::{check, load};
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Which journey, and what happens to it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Journey file
    file: PathBuf,
    /// Scenario file, or a directory of them; can be given several times
    #[arg(long = "script", value_name = "FILE", required = true)]
    scripts: Vec<PathBuf>,
    /// Value for a parameter of the journey, over the configuration
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = check::assignment)]
    values: Vec<(String, String)>,
}

/// Plays scenarios.
pub(super) fn run(args: &RunArgs, config: &Config) -> Result<(), CliError> {
    let journey = load::load(&args.file, &config.journeys, &args.values)?;
    let mut scripts = Vec::new();
    for script in &args.scripts {
        match script.is_dir() {
            true => scripts.extend(load::yaml_files(script)?),
            false => scripts.push(script.clone()),
        }
    }
    let mut failed = 0_u32;
    for script in &scripts {
        failed += u32::from(!holds(&journey, script)?);
    }
    match failed {
        0 => Ok(()),
        count => {
            Err(CliError::Refused(format!("{count} of {} scenarios do not hold", scripts.len())))
        }
    }
}

/// Plays one scenario and prints it. Whether everything holds that it expects.
fn holds(journey: &Journey, script: &Path) -> Result<bool, CliError> {
    let text = wiring::read(script)?;
    let beside = |name: &str| {
        let path = script.parent().unwrap_or(Path::new(".")).join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mistaken = |error| load::mistaken(script, &error);
    let scenario = Scenario::parse(&text, beside).map_err(mistaken)?;
    output::line(format_args!("{}: {}", script.display(), scenario.title()))?;
    let played = signalbox_flow::play(&scenario, journey, wiring::contract()?).map_err(mistaken)?;
    for moment in &played.moments {
        output::line(moment)?;
    }
    for failure in &played.failures {
        let place = load::place(script, failure.at());
        output::line(format_args!("{place}: {}", failure.problem()))?;
    }
    let holds = played.failures.is_empty();
    output::line(if holds { "            holds" } else { "            DOES NOT HOLD" })?;
    Ok(holds)
}
