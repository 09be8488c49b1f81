//! `signalbox subject rewrap`: the keys of all customers, wrapped anew in portions. What is left to do is read from the keys
//! themselves, so that it can be given up and run again. The vault proves each key before the store replaces it.

use clap::Args;
use signalbox_store::{KeyRow, Reader, RewrapOrder, RewrappedKey};
use signalbox_vault::{EnvelopeKeys, rewrap};

use super::envelopes::{Known, envelopes};
use crate::commands::wiring;
use crate::config::{Config, ConfigError};
use crate::error::CliError;
use crate::output;

/// Who wants it, and why.
#[derive(Debug, Args)]
pub(crate) struct RewrapArgs {
    /// Who wants it
    #[arg(long, value_name = "NAME", value_parser = wiring::word)]
    actor: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = wiring::word)]
    reason: String,
    /// Keys in one transaction
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = 1..=10_000)]
    portion: i64,
}

/// Wraps all keys anew.
pub(super) async fn run(args: &RewrapArgs, config: &Config) -> Result<(), CliError> {
    let keys = config.envelope_keys()?.ok_or(ConfigError::NoEnvelopeKey)?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let order = RewrapOrder {
        envelope: keys.current(),
        actor: args.actor.clone(),
        reason: args.reason.clone(),
    };
    let total = left(&reader, &keys).await?;
    replace(&reader, &keys, &order, (args.portion, total)).await?;
    // What was made meanwhile is counted, too: somebody may still wrap with another envelope key.
    match left(&reader, &keys).await? {
        0 => output::line(format_args!(
            "every key of a customer is wrapped by {}; others can be retired as docs/privacy.md says",
            order.envelope
        )),
        left => Err(CliError::Refused(format!(
            "{left} keys were made meanwhile under another envelope key; start every engine with privacy.envelope_key = \
             {} and run this again",
            order.envelope
        ))),
    }
}

/// How many keys are wrapped by another envelope key than the current one; refused where one of those is not here.
async fn left(reader: &Reader, keys: &EnvelopeKeys) -> Result<i64, CliError> {
    let mut left = 0;
    for envelope in envelopes(reader, Some(keys)).await? {
        match envelope.known {
            Known::Current => {}
            Known::Other => left += envelope.keys,
            Known::Not => {
                return Err(CliError::Refused(format!(
                    "{} keys are wrapped by the envelope key {}, which is not configured here; name it in \
                     privacy.other_envelope_keys. Nothing more is changed before",
                    envelope.keys, envelope.id
                )));
            }
        }
    }
    Ok(left)
}

async fn replace(
    reader: &Reader,
    keys: &EnvelopeKeys,
    order: &RewrapOrder,
    (at_most, total): (i64, i64),
) -> Result<(), CliError> {
    let (mut after, mut done) = (None, 0);
    loop {
        let portion = reader.keys_wrapped_by_others(order.envelope, after, at_most).await?;
        let Some(last) = portion.last() else { return Ok(()) };
        after = Some(last.id);
        done += reader.rewrap(&anew(keys, portion).await?, order).await?;
        output::line(format_args!("{done} of {total} keys are wrapped anew"))?;
    }
}

/// A portion of keys as they are stored from now on.
async fn anew(keys: &EnvelopeKeys, portion: Vec<KeyRow>) -> Result<Vec<RewrappedKey>, CliError> {
    let held = portion.into_iter().filter_map(|row| Some((row.id, row.wrapped?)));
    let (ids, before): (Vec<_>, Vec<_>) =
        held.map(|(id, wrapped)| (id, (id.subject, wrapped))).unzip();
    let after = rewrap(keys, &before).await?;
    let replaced = ids.into_iter().zip(before).zip(after);
    Ok(replaced.map(|((id, (_, before)), after)| RewrappedKey { id, before, after }).collect())
}
