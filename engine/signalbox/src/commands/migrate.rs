//! `signalbox migrate`: tables, lanes and journal partitions. Forward only; it starts no service and makes no login.

use clap::Args;
use signalbox_store::Migrated;

use super::lane::LANES_MAX;
use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Needs postgres.url. Running it again changes nothing.\n\nExamples:\n  signalbox migrate\n  \
                  signalbox migrate --lanes 64\n  signalbox migrate --print-roles | psql service=owner"
)]
pub(crate) struct MigrateArgs {
    /// Lanes of a new installation, over topics.yaml; one that exists keeps its own, see `signalbox lane grow`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=LANES_MAX))]
    lanes: Option<u16>,
    /// Change nothing; print a script that gives each kind of process its least privileges
    #[arg(long)]
    print_roles: bool,
}

/// Brings the database to this program's schema.
pub(crate) async fn run(args: &MigrateArgs, config: &Config) -> Result<(), CliError> {
    if args.print_roles {
        return output::line(signalbox_store::role_script().trim_end());
    }
    let wanted = args.lanes.unwrap_or(wiring::contract()?.topics().lanes);
    let reader = wiring::reader(config)?;
    let migrated = reader.migrate(wanted).await?;
    let lanes = reader.lane_count().await?;
    if args.lanes.is_some_and(|wanted| wanted != lanes) {
        return Err(CliError::Refused(format!(
            "the database is migrated and has {lanes} lanes, not {wanted}; `signalbox lane grow --to` adds some"
        )));
    }
    match migrated {
        Migrated::ToThisProgram => {
            output::line(format_args!("the database has this program's schema and {lanes} lanes"))
        }
        Migrated::ByANewerProgram => output::line(format_args!(
            "a newer program has migrated this database, and this one works with it: nothing to change; {lanes} lanes"
        )),
    }
}
