//! `signalbox migrate`: tables, lanes and journal partitions. Forward only; it starts no service.

use clap::Args;

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Needs postgres.url. Running it again changes nothing.\n\nExample:\n  signalbox migrate"
)]
pub(crate) struct MigrateArgs {}

/// Brings the database to this program's schema.
pub(crate) async fn run(_args: &MigrateArgs, config: &Config) -> Result<(), CliError> {
    let lanes = wiring::contract()?.topics().lanes;
    wiring::reader(config)?.migrate(lanes).await?;
    output::line(format_args!("the database has this program's schema and {lanes} lanes"))
}
