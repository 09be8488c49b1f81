//! `signalbox doctor`: looks at everything that an installation stands on and says, for each thing that is not right,
//! what to do. It changes nothing anywhere. Each file judges one server; what it learnt from the server is data, so that
//! the judgement can be tested without one.
//!
//! It cannot tell whether Kafka lets this user write: the only way to know is to write.

mod contract;
mod finding;
mod kafka;
mod keys;
mod postgres;
mod registry;
mod vendors;

use clap::Args;

use super::config::parts;
use super::{publish, wiring};
use crate::config::{Config, ConfigError};
use crate::error::CliError;
use crate::output;
use finding::{Finding, Level};

/// How to look and tell.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at everything that is configured and changes nothing. Exit status 1 where something would keep a service from
working; warnings do not count.

Examples:
  signalbox doctor
  signalbox doctor --replicas 1 --json")]
pub(crate) struct DoctorArgs {
    /// Replicas of each topic, where the cluster is smaller than topics.yaml supposes
    #[arg(long, value_name = "N")]
    replicas: Option<i32>,
    /// One JSON object per finding
    #[arg(long)]
    json: bool,
}

/// Looks, tells, and says no where something has failed.
pub(crate) async fn run(args: &DoctorArgs, config: &Config) -> Result<(), CliError> {
    let mut findings =
        vec![Finding::ok("program", format!("signalbox {}", env!("CARGO_PKG_VERSION")))];
    findings.extend(parts(config).into_iter().map(|(what, outcome)| of_part(what, outcome)));
    findings.extend(Box::pin(postgres::look(config)).await);
    findings.extend(keys::look(config).await);
    findings.extend(Box::pin(kafka::look(config, args.replicas)).await);
    findings.extend(registry::look(config).await);
    findings.extend(vendors::look(config).await);
    findings.extend(contract::judge(wiring::contract()?.topics(), &publish::now().into()));
    for finding in &findings {
        if args.json {
            output::json(finding)?;
        } else {
            output::line(finding)?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    if failed > 0 {
        return Err(CliError::Refused(format!("{failed} things are wrong, {warned} are doubtful")));
    }
    if args.json {
        return Ok(());
    }
    output::line(format_args!("nothing is wrong, {warned} things are doubtful"))
}

fn of_part(what: &'static str, outcome: Result<(), CliError>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok("config", format!("{what} is set and readable")),
        Err(CliError::Config(missing @ ConfigError::Missing { .. }))
            if what == "audit.signing_key" =>
        {
            Finding::warn("config", "lane heads are not anchored".to_owned(), missing.to_string())
        }
        Err(CliError::Config(missing @ ConfigError::Missing { .. })) => {
            Finding::fail("config", format!("{what} is missing"), missing.to_string())
        }
        Err(error) => {
            Finding::fail("config", format!("{what}: {error}"), "correct what is named".to_owned())
        }
    }
}
