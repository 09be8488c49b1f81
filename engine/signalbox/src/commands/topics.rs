//! `signalbox topics`: what differs between a cluster and topics.yaml, and bringing the cluster closer. It never
//! deletes and never shrinks. `topics export` tells other tools what topics there are.

mod export;
mod senders;

use clap::{Args, Subcommand};
use signalbox_bus::TopicAdmin;

use super::{publish, wiring};
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Show what `apply` would change
    #[command(
        after_help = "Needs kafka.brokers, and postgres.url for the number of lanes. Changes nothing.\n\nExample:\n  signalbox topics plan"
    )]
    Plan(PlanArgs),
    /// Create missing topics, widen those with fewer partitions than lanes, and settle their configuration
    #[command(
        after_help = "Needs kafka.brokers, and postgres.url for the number of lanes. Deletes and shrinks nothing.\n\nExample, on a single broker:\n  signalbox topics apply --replicas 1"
    )]
    Apply(PlanArgs),
    /// Count who sends which commands, such as those that are deprecated
    Senders(senders::SendersArgs),
    /// Print topics and schemas for other tools
    #[command(subcommand)]
    Export(export::ExportCommand),
}

/// How the cluster differs from the file on purpose.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Replicas of each new topic, where the cluster is smaller than topics.yaml supposes
    #[arg(long, value_name = "N")]
    replicas: Option<i32>,
}

/// Plans or applies.
pub(crate) async fn run(command: &TopicsCommand, config: &Config) -> Result<(), CliError> {
    let (plan, applies) = match command {
        TopicsCommand::Plan(plan) => (plan, false),
        TopicsCommand::Apply(plan) => (plan, true),
        TopicsCommand::Senders(args) => return senders::run(args, config).await,
        TopicsCommand::Export(command) => return export::run(command),
    };
    let admin = TopicAdmin::connect(config.kafka()?)?;
    let topics = wiring::contract()?.topics();
    for (topic, record, notice) in topics.overdue(&publish::now().into()) {
        output::note(format_args!(
            "{record} on {topic} is past its time: {notice}; `signalbox topics senders {topic} --deprecated` says who still sends it"
        ));
    }
    let lanes = wiring::lanes(config).await?;
    let changes = admin.plan(&topics.wanted(lanes, plan.replicas)).await?;
    for change in &changes {
        output::line(change)?;
    }
    if !applies {
        return output::line(if changes.is_empty() {
            "nothing to change"
        } else {
            "`signalbox topics apply` does this"
        });
    }
    admin.apply(&changes).await?;
    output::line("the cluster has every topic of topics.yaml")
}
