//! `signalbox subject show`: a customer's flows and keys with their dates, and whether later flows recognise them. It opens
//! nothing.

use clap::Args;
use serde_json::json;
use signalbox_store::{FlowRow, KeyRow, RecognitionRow};

use super::Customer;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Whom to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    who: Customer,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Shows.
pub(super) async fn run(args: &ShowArgs, config: &Config) -> Result<(), CliError> {
    let subject = args.who.subject(config)?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let keys = reader.keys_of_subject(subject).await?;
    let flows = reader.flows_of_subject(subject).await?;
    let recognition = reader.recognition_of(subject).await?;
    if keys.is_empty() && flows.is_empty() {
        return Err(CliError::Refused(format!(
            "nothing is stored about this customer of tenant {}",
            args.who.tenant
        )));
    }
    if args.json {
        return output::json(&json!({
            "subject": subject,
            "keys": keys.iter().map(|key| json!({
                "generation": key.id.generation, "created_at": key.created_at, "erased_at": key.erased_at,
            })).collect::<Vec<_>>(),
            "recognition": recognition.as_ref().map(|found| json!({
                "recognised": found.known.is_some(), "watched": found.known.is_some_and(|known| known.watched),
                "flow_id": found.flow, "at": found.at,
            })),
            "flows": flows.iter().map(flow_json).collect::<Vec<_>>(),
        }));
    }
    output::line(format_args!("subject {subject} of tenant {}", args.who.tenant))?;
    for key in &keys {
        output::line(key_text(key))?;
    }
    if let Some(found) = &recognition {
        output::line(recognition_text(found))?;
    }
    flows.iter().try_for_each(|flow| output::line(flow_text(flow)))
}

/// A flow as JSON, without its content.
pub(crate) fn flow_json(flow: &FlowRow) -> serde_json::Value {
    json!({
        "flow_id": flow.id, "aggregate_id": flow.aggregate, "journey": flow.journey, "state": flow.state,
        "ended": flow.ended, "started_at": flow.started_at, "updated_at": flow.updated_at,
    })
}

/// A flow in a line, without its content.
pub(crate) fn flow_text(flow: &FlowRow) -> String {
    format!(
        "  {}  {} {}: {}{}",
        output::instant(flow.started_at),
        flow.journey,
        flow.aggregate,
        flow.state,
        if flow.ended { " (ended)" } else { "" }
    )
}

fn recognition_text(found: &RecognitionRow) -> String {
    let told = match found.known {
        Some(known) if known.watched => "recognised and watched",
        Some(_) => "recognised",
        None => "not recognised any more",
    };
    format!("  {told}, by flow {} on {}", found.flow, output::instant(found.at))
}

fn key_text(key: &KeyRow) -> String {
    let made = output::instant(key.created_at);
    match key.erased_at {
        Some(at) => {
            format!("  key {} of {made}, erased on {}", key.id.generation, output::instant(at))
        }
        None => format!("  key {} of {made}, in use", key.id.generation),
    }
}
