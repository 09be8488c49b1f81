//! `signalbox subject envelopes`: which envelope keys the keys of customers need, as fingerprints. It opens nothing.

use clap::Args;
use serde_json::json;
use signalbox_schemas::EnvelopeId;
use signalbox_store::Reader;
use signalbox_vault::EnvelopeKeys;

use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// How to tell.
#[derive(Debug, Args)]
pub(crate) struct EnvelopesArgs {
    /// One JSON object per envelope key
    #[arg(long)]
    json: bool,
}

/// What is known of an envelope key here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It wraps new keys.
    Current,
    /// It unwraps what it wrapped.
    Other,
    /// What it wrapped cannot be opened here.
    Not,
}

/// An envelope key that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) id: EnvelopeId,
    pub(crate) known: Known,
    /// How many keys of customers it wraps.
    pub(crate) keys: i64,
}

/// Every envelope key that wraps a key, as it is known here.
pub(crate) async fn envelopes(
    reader: &Reader,
    here: Option<&EnvelopeKeys>,
) -> Result<Vec<Envelope>, CliError> {
    let known = |id| match here {
        Some(here) if here.current() == id => Known::Current,
        Some(here) if here.opens(id) => Known::Other,
        Some(_) | None => Known::Not,
    };
    let counted = reader.envelopes().await?;
    Ok(counted.into_iter().map(|(id, keys)| Envelope { id, known: known(id), keys }).collect())
}

/// Counts.
pub(super) async fn run(args: &EnvelopesArgs, config: &Config) -> Result<(), CliError> {
    let here = config.envelope_keys()?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let envelopes = envelopes(&reader, here.as_ref()).await?;
    for Envelope { id, known, keys } in &envelopes {
        let known = match known {
            Known::Current => "privacy.envelope_key",
            Known::Other => "privacy.other_envelope_keys",
            Known::Not => "not configured here",
        };
        if args.json {
            output::json(
                &json!({"envelope": id.to_string(), "keys": keys, "configured_as": known}),
            )?;
        } else {
            output::line(format_args!("{id}  wraps {keys} keys  {known}"))?;
        }
    }
    if envelopes.iter().any(|envelope| envelope.known == Known::Not) {
        return Err(CliError::Refused("an envelope key is needed that is not configured here: name it in privacy.other_envelope_keys".to_owned()));
    }
    Ok(())
}
