//! `signalbox config`: the configuration as it is in effect. It asks no server; `signalbox doctor` does.

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with the configuration and the files it names, and which commands lack what
    #[command(
        after_help = "Needs no server. Exit status 1 where a file that is named is wrong, 2 where the configuration itself is.\n\nExample:\n  signalbox config check"
    )]
    Check,
    /// Print the configuration as it is in effect, as JSON
    #[command(after_help = "Needs no server.\n\nExample:\n  signalbox config show --redacted")]
    Show(ShowArgs),
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// With every secret masked; there is no other way
    #[arg(long, required = true)]
    redacted: bool,
}

/// Checks or shows.
pub(crate) fn run(command: &ConfigCommand, config: &Config) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check => check(config),
        ConfigCommand::Show(_) => {
            let shown = serde_json::to_string_pretty(&config.redacted());
            output::line(shown.map_err(|error| CliError::Output(error.into()))?)
        }
    }
}

fn check(config: &Config) -> Result<(), CliError> {
    let mut wrong = 0_u32;
    for (what, outcome) in parts(config) {
        match outcome {
            Ok(()) => output::line(format_args!("ok       {what}"))?,
            Err(CliError::Config(
                missing @ (crate::config::ConfigError::Missing { .. }
                | crate::config::ConfigError::NoEnvelopeKey),
            )) => {
                output::line(format_args!("missing  {what}: {missing}"))?;
            }
            Err(error) => {
                wrong += 1;
                output::line(format_args!("wrong    {what}: {error}"))?;
            }
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(CliError::Refused(format!("{wrong} parts of the configuration are wrong")))
}

/// Every part that can be looked at without a server. What is missing is wrong only for commands that need it.
pub(super) fn parts(config: &Config) -> Vec<(&'static str, Result<(), CliError>)> {
    vec![
        ("kafka", config.kafka().map(drop).map_err(CliError::from)),
        ("registry", config.registry().map(drop).map_err(CliError::from)),
        ("postgres", config.postgres().map(drop).map_err(CliError::from)),
        ("tenant_key", config.tenant_key().map(drop).map_err(CliError::from)),
        ("privacy.envelope_key", config.key_provider().map(drop).map_err(CliError::from)),
        ("audit.signing_key", signing_key(config)),
        ("adapter.policy", super::adapter::policy(&config.adapter).map(drop)),
        ("journeys", super::journeys::safe(&config.journeys).map(drop)),
    ]
}

fn signing_key(config: &Config) -> Result<(), CliError> {
    match config.anchor_key()? {
        Some(_) => Ok(()),
        None => Err(crate::config::missing("audit.signing_key").into()),
    }
}
