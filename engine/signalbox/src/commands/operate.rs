//! `signalbox flow pause|resume|release|set-aside|retry|cancel`: what an operator wants becomes a record on Kafka, like
//! every other input. Whether it is possible, and how many people it takes, the flow decides; nothing is written here.

use clap::Args;
use serde_json::json;
use signalbox_flow::Act;
use signalbox_store::{FlowRow, Reader};

use super::publish::{Desk, now};
use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

const ACT: &str = "signalbox.operator.OperatorAct";

/// Help of every act; clap wants a constant.
pub(crate) const HELP: &str = "\
Needs postgres.url, kafka.brokers and registry.url. ID is the business id or the flow's. The act is published and journaled
by the flow's lane; `signalbox flow show ID` tells what became of it. What takes two people takes this command twice, by
two different actors.

Example:
  signalbox flow pause p-42 --actor ann --reason 'the bank called'";

/// Which flow, who and why.
#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    /// Business id or flow id
    id: String,
    /// Who acts
    #[arg(long, value_name = "NAME", value_parser = wiring::word)]
    actor: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", value_parser = wiring::word)]
    reason: String,
    /// Journey, where several have a flow of this id
    #[arg(long, value_name = "NAME")]
    journey: Option<String>,
    /// Tenant, where several have a flow of this id
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// Publishes the act.
pub(crate) async fn run(
    act: Act,
    args: &ActArgs,
    config: &Config,
    reader: &Reader,
) -> Result<(), CliError> {
    let found = reader.find_flows(&args.id).await?.into_iter().map(|found| found.row).collect();
    let flow = the_one(found, args)?;
    let value = json!({
        "aggregate_id": flow.aggregate, "tenant": flow.tenant, "journey": flow.journey, "act": act.word(),
        "actor": args.actor, "reason": args.reason, "requested_at": now(),
    });
    let desk = Desk::open(config, ACT, None, None).await?;
    let (good, bad) = desk.prepare(&value.to_string());
    if let Some(problem) = bad.first() {
        return Err(CliError::Input(problem.trim_start_matches("line 1: ").to_owned()));
    }
    desk.send(&good, None, false).await?;
    output::note(format_args!("see what became of it: signalbox flow show {}", flow.id));
    Ok(())
}

/// The flow that is meant: an act on the wrong one cannot be taken back.
fn the_one(found: Vec<FlowRow>, args: &ActArgs) -> Result<FlowRow, CliError> {
    let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
    let mut meant: Vec<FlowRow> = found
        .into_iter()
        .filter(|flow| {
            fits(&args.journey, flow.journey.as_str()) && fits(&args.tenant, flow.tenant.as_str())
        })
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(flow), true) => Ok(flow),
        (Some(_), false) => Err(CliError::Input(format!(
            "several flows have the id {}; say which with --journey and --tenant, or give the flow's id",
            args.id
        ))),
        (None, _) => Err(CliError::Refused(format!("there is no flow {}", args.id))),
    }
}
