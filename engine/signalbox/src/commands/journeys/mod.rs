//! `signalbox journeys`: what people do with journeys: before they run, and to bring running flows to a new version. One file per command; what a journey means is
//! known in `signalbox_flow` alone.

mod check;
mod deploy;
mod load;
mod migrate;
mod migrations;
mod pinned;
mod proof;
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
    /// Pin a version for every engine, after its check; the same version with another definition is refused
    #[command(
        after_help = "Needs postgres.url. Engines take it up while they run, within a fifth of their lease; running flows keep their version.\n\nExample:\n  signalbox journeys deploy journeys/payout.yaml"
    )]
    Deploy(deploy::DeployArgs),
    /// Move running flows to another version by a plan: dry run over the real flows, or in bulk by their lanes
    #[command(after_help = "\
Needs postgres.url; without --dry-run kafka.brokers and registry.url, too. Both versions are pinned. An illegal plan is
refused with the way that leads there, before any flow is touched. A flow that cannot be moved stays under its version.

PLAN is a file such as

    journey: payout
    from: 1
    to: 2
    states: {review_fraud: judge_fraud}   # states that are not named keep their name

Examples:
  signalbox journeys migrate plan.yaml --dry-run
  signalbox journeys migrate plan.yaml --actor ann --reason 'CHG-7: people judge fraud anew'")]
    Migrate(migrate::MigrateArgs),
    /// List migrations, show what became of the flows of one, or stop it
    #[command(
        after_help = "Needs postgres.url.\n\nExamples:\n  signalbox journeys migrations\n  signalbox journeys migrations 01890a5d-ac96-774b-bcce-b302099a8057\n  signalbox journeys migrations stop 01890a5d-ac96-774b-bcce-b302099a8057 --actor ann --reason 'CHG-8'"
    )]
    Migrations(migrations::MigrationsArgs),
    /// Print the JSON Schema with which editors complete and explain journeys, scenarios and invariants
    #[command(
        after_help = "The schemas of this version lie under schemas/editor.\n\nExamples:\n  signalbox journeys schema > journey.schema.json\n  signalbox journeys schema scenario"
    )]
    Schema(show::SchemaArgs),
}

/// Obeys.
pub(crate) async fn run(command: &JourneysCommand, config: &Config) -> Result<(), CliError> {
    match command {
        JourneysCommand::Check(args) => check::run(args, config),
        JourneysCommand::Graph(args) => show::graph(args, config),
        JourneysCommand::Diff(args) => show::diff(args, config),
        JourneysCommand::Run(args) => run::run(args, config),
        JourneysCommand::Deploy(args) => deploy::run(args, config).await,
        JourneysCommand::Migrate(args) => migrate::migrate(args, config).await,
        JourneysCommand::Migrations(args) => migrations::run(args, config).await,
        JourneysCommand::Schema(args) => show::schema(args),
    }
}
