//! `signalbox subject erase`: the order to destroy a key, and what stood in the way. The store decides; see
//! `Reader::erase`.

use clap::Args;
use signalbox_schemas::{Micros, SubjectId};
use signalbox_store::{Erasure, ErasureOrder, Hindrance, Reader};
use std::time::Duration;

use super::Customer;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Whom to erase.
#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    /// Tenant whose customer it is
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: String,
    /// The customer's id, as commands name it
    #[arg(long, value_name = "ID", required_unless_present = "unattributed_before")]
    customer: Option<String>,
    /// Instead of a customer: records before this UTC day of which nobody can say whom they are about, such as broken ones
    #[arg(long, value_name = "DATE", conflicts_with = "customer", value_parser = day)]
    unattributed_before: Option<i64>,
    /// Who wants it
    #[arg(long, value_name = "NAME", value_parser = wiring::word)]
    actor: String,
    /// Why, for the record; it must hold no personal data
    #[arg(long, value_name = "TEXT", value_parser = wiring::word)]
    reason: String,
    /// Refuse where a flow of the customer changed within this time
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = wiring::duration)]
    settled_for: Duration,
}

/// A UTC day, counted from 1970-01-01.
fn day(text: &str) -> Result<i64, String> {
    let instant: Result<jiff::Timestamp, _> = format!("{text}T00:00:00Z").parse();
    let wrong = |_| format!("{text:?} is not a day; write one such as 2026-11-01");
    instant.map(|instant| Micros(instant.as_microsecond()).day()).map_err(wrong)
}

/// Erases.
pub(super) async fn run(args: &EraseArgs, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let subjects = subjects(args, config, &reader).await?;
    let order = ErasureOrder {
        subjects: subjects.clone(),
        actor: args.actor.clone(),
        reason: args.reason.clone(),
        settled_for: args.settled_for,
    };
    match reader.erase(&order).await? {
        Erasure::Refused(hindrances) => {
            for hindrance in &hindrances {
                output::line(told(hindrance))?;
            }
            Err(CliError::Refused("nothing was erased: see above what must end first".to_owned()))
        }
        Erasure::Done { keys, .. } if keys.is_empty() => {
            Err(CliError::Refused(match subjects.as_slice() {
                [subject] => {
                    format!("there is no key to destroy: {}", earlier(&reader, *subject).await?)
                }
                _ => "there is no key to destroy".to_owned(),
            }))
        }
        Erasure::Done { keys, at } => {
            for key in &keys {
                output::line(format_args!(
                    "subject {}: key {} was destroyed at {}",
                    key.subject,
                    key.generation,
                    output::instant(at)
                ))?;
            }
            Ok(())
        }
    }
}

async fn subjects(
    args: &EraseArgs,
    config: &Config,
    reader: &Reader,
) -> Result<Vec<SubjectId>, CliError> {
    let key = config.tenant_key()?;
    if let Some(customer) = &args.customer {
        let who = Customer { tenant: args.tenant.clone(), customer: customer.clone() };
        return Ok(vec![who.subject(config)?]);
    }
    let end = args.unattributed_before.unwrap_or(0);
    let today = reader.now().await?.day();
    if end > today {
        let today = output::instant(Micros(today.saturating_mul(MICROS_PER_DAY)));
        return Err(CliError::Input(format!("the day that begins at {today} is not over yet")));
    }
    let first = reader.oldest_key().await?.map_or(end, Micros::day);
    Ok((first..end).map(|day| key.unattributed(day)).collect())
}

/// What is known of a subject without a key.
async fn earlier(reader: &Reader, subject: SubjectId) -> Result<String, CliError> {
    let last = reader.keys_of_subject(subject).await?.pop();
    Ok(match last.and_then(|key| key.erased_at) {
        Some(at) => format!("the customer was erased on {}", output::instant(at)),
        None => "nothing is stored about this customer; look at --tenant and --customer".to_owned(),
    })
}

fn told(hindrance: &Hindrance) -> String {
    match hindrance {
        Hindrance::Running { aggregate, journey, flow } => {
            format!("{journey} {aggregate} still runs (flow {flow}); it must end first")
        }
        Hindrance::JustChanged { aggregate, at } => format!(
            "{aggregate} changed at {}; wait until its last answers are in",
            output::instant(*at)
        ),
        Hindrance::Unpublished { lane, seq } => format!(
            "lane {lane}: what journal row {seq} publishes is not acknowledged by Kafka yet; try again in a few seconds"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn days_are_read_as_utc_days() {
        let rows = [("1970-01-01", Some(0)), ("1970-01-02", Some(1)), ("2026-11-21", Some(20_778))];
        for (text, number) in rows {
            assert_eq!(day(text).ok(), number, "{text}");
        }
        assert!(day("yesterday").is_err() && day("2026-13-01").is_err());
    }
}
