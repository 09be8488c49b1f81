//! Commands and their arguments. The help texts are the manual, so each command carries an example. It does nothing.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

use crate::commands;
use crate::logs::{LogLevel, Reader};

/// Orchestrates regulated financial journeys over Kafka: commands in, decided and journalled in Postgres, outcomes out.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, arg_required_else_help = true, after_help = GLOBAL_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const GLOBAL_HELP: &str = "\
To set up an installation:      signalbox migrate && signalbox topics apply && signalbox schemas register
To run it:                      signalbox engine & signalbox adapter --all
To pay somebody (simulated):    signalbox publish --example | signalbox publish -
To see what became of it:       signalbox flow show PAYOUT_ID

Every setting can be given in the file or as an environment variable: kafka.brokers is SIGNALBOX__KAFKA__BROKERS, and
SIGNALBOX__POSTGRES__URL_FILE names a file that holds postgres.url. See signalbox.example.toml.
Exit status: 0 done, 1 a check says no, 2 something given is wrong, 3 Kafka, registry, Postgres or system fails.";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file; without it signalbox.toml is read where there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How much is logged; by default info for services and warn for other commands
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole system locally, to play with
    Dev(crate::dev::DevArgs),
    /// Pay over a thousand simulated payouts, kill an engine on the way, and print a summary
    Demo(crate::demo::DemoArgs),
    /// Measure throughput, latency and cost per flow, beside the bound of this machine
    Bench(crate::bench::BenchArgs),
    /// Run an engine: take lanes, decide, commit, publish
    Engine(commands::engine::EngineArgs),
    /// Run adapters: carry out what engines ask for at the vendors
    Adapter(commands::adapter::AdapterArgs),
    /// Run simulated vendors
    Sandbox(commands::sandbox::SandboxArgs),
    /// Bring the database to this program's schema
    Migrate(commands::migrate::MigrateArgs),
    /// Compare topics with topics.yaml, create and widen them
    #[command(subcommand)]
    Topics(commands::topics::TopicsCommand),
    /// Compare schemas with the registry, register them
    #[command(subcommand)]
    Schemas(commands::schemas::SchemasCommand),
    /// Prove journeys safe, draw, compare and play them
    #[command(subcommand)]
    Journeys(commands::journeys::JourneysCommand),
    /// Publish commands from JSON lines
    Publish(commands::publish::PublishArgs),
    /// Decide reviews
    #[command(subcommand)]
    Review(commands::review::ReviewCommand),
    /// Watch topics, decoded
    Tail(commands::tail::TailArgs),
    /// Show what happened to flows, pause them, let them go on
    #[command(subcommand)]
    Flow(commands::flow::FlowCommand),
    /// Look a customer up, and erase them
    #[command(subcommand)]
    Subject(commands::subject::SubjectCommand),
    /// List lanes, start a stopped one again
    #[command(subcommand)]
    Lane(commands::lane::LaneCommand),
    /// Prove that the journal is as it was written, here or from an export
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Look at every connection, permission, clock and version, and say what to do
    Doctor(commands::doctor::DoctorArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
}

impl Command {
    /// Who reads the log of this command.
    pub(crate) fn log_reader(&self) -> Reader {
        match self {
            Self::Engine(_) | Self::Adapter(_) | Self::Sandbox(_) => Reader::Machine,
            _ => Reader::Person,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_contradict_each_other_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_s_help_has_an_example() {
        fn examine(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if leaf && help.is_empty() {
                silent.push(path.to_owned());
            }
            for inner in command.get_subcommands() {
                examine(inner, &format!("{path} {}", inner.get_name()), silent);
            }
        }
        let mut silent = Vec::new();
        examine(&Cli::command(), "signalbox", &mut silent);
        assert!(silent.is_empty(), "no example: {silent:?}");
    }
}
