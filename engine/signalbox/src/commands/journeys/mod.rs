//! `signalbox journeys`: what people do with journeys before they run. One file per command; what a journey means is
//! known in `signalbox_flow` alone.

mod check;
mod load;
mod run;
mod show;

use clap::Subcommand;

use crate::config::Config;
use crate::error::CliError;

pub(crate) use load::{deploy, safe};

/// What to do with journeys.
#[derive(Debug, Subcommand)]
pub(crate) enum JourneysCommand {
    /// Explore every journey completely and print what makes it unsafe, with the path that leads there
    #[command(
        after_help = "Needs no server. Exit status 1 where a journey is unsafe. The bank's own rules are read from invariants.yaml beside each journey.\n\nExamples:\n  signalbox journeys check\n  signalbox journeys check journeys/payout.yaml --set review_sla=4h"
    )]
    Check(check::CheckArgs),
    /// Draw a journey as a Mermaid state diagram
    #[command(
        after_help = "Needs no server. Paste it into a Markdown page between ```mermaid and ```.\n\nExamples:\n  signalbox journeys graph journeys/payout.yaml > payout.mmd"
    )]
    Graph(show::GraphArgs),
    /// Tell in words what changed between two versions, and whether running flows of the old one could go on in the new
    #[command(
        after_help = "Needs no server. Exit status 1 where running flows could not go on as they are.\n\nExamples:\n  git show HEAD~1:journeys/payout.yaml > old.yaml && signalbox journeys diff old.yaml journeys/payout.yaml"
    )]
    Diff(show::DiffArgs),
    /// Play scenarios on a journey and print the path step by step; no Kafka, no Postgres, no waiting
    #[command(
        after_help = "Exit status 1 where something that a scenario expects does not hold.\n\nExamples:\n  signalbox journeys run journeys/payout.yaml --script journeys/scenarios/payout/cancel-too-late-recalls.yaml\n  signalbox journeys run journeys/payout.yaml --script journeys/scenarios/payout"
    )]
    Run(run::RunArgs),
    /// Print the JSON Schema with which editors complete and explain journeys, scenarios and invariants
    #[command(
        after_help = "The schemas of this version lie under schemas/editor.\n\nExamples:\n  signalbox journeys schema > journey.schema.json\n  signalbox journeys schema scenario"
    )]
    Schema(show::SchemaArgs),
}

/// Obeys.
pub(crate) fn run(command: &JourneysCommand, config: &Config) -> Result<(), CliError> {
    match command {
        JourneysCommand::Check(args) => check::run(args, config),
        JourneysCommand::Graph(args) => show::graph(args, config),
        JourneysCommand::Diff(args) => show::diff(args, config),
        JourneysCommand::Run(args) => run::run(args, config),
        JourneysCommand::Schema(args) => show::schema(args),
    }
}
