//! `signalbox review`: a person's decision becomes a command on Kafka, like every other. Whether it counts, and how many
//! people must agree, the journey decides.

use clap::{Args, Subcommand};
use serde_json::json;

use super::publish::{Desk, now};
use crate::config::Config;
use crate::error::CliError;

const DECISION: &str = "signalbox.review.ReviewDecision";

/// What to do with reviews.
#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// Decide the open review of a flow
    #[command(after_help = "\
Needs kafka.brokers and registry.url. Releasing a compliance hold takes this command by two different actors.
`signalbox tail --topic signalbox.review.tasks.v1 --from-beginning` shows what waits for a decision.

Example:
  signalbox review decide --id p-42 --step compliance_hold --decision release --actor ann --reason 'other birth date'")]
    Decide(DecideArgs),
}

/// One decision.
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// Journey of the flow
    #[arg(long, value_name = "NAME", default_value = "payout")]
    journey: String,
    /// Business id of the flow
    #[arg(long, value_name = "ID")]
    id: String,
    /// Tenant of the flow
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: String,
    /// State whose review is decided
    #[arg(long, value_name = "STATE")]
    step: String,
    /// approve, decline, release, uphold, executed or not_executed
    #[arg(long, value_name = "WORD")]
    decision: String,
    /// Who decides
    #[arg(long, value_name = "NAME")]
    actor: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Publishes the decision.
pub(crate) async fn run(command: &ReviewCommand, config: &Config) -> Result<(), CliError> {
    let ReviewCommand::Decide(args) = command;
    let decision = json!({
        "aggregate_id": args.id, "tenant": args.tenant, "journey": args.journey, "step": args.step,
        "decision": args.decision, "actor": args.actor, "reason": args.reason, "decided_at": now(),
    });
    let desk = Desk::open(config, DECISION, None, None).await?;
    let (good, bad) = desk.prepare(&decision.to_string());
    match bad.first() {
        Some(problem) => Err(CliError::Input(problem.trim_start_matches("line 1: ").to_owned())),
        None => desk.send(&good, None, false).await,
    }
}
