//! `signalbox migrate`: tables, lanes and journal partitions. Forward only; it starts no service and makes no login.

use clap::Args;
use signalbox_store::Migrated;

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Needs postgres.url. Running it again changes nothing.\n\nExamples:\n  signalbox migrate\n  \
                  signalbox migrate --print-roles | psql service=owner"
)]
pub(crate) struct MigrateArgs {
    /// Change nothing; print a script that gives each kind of process its least privileges
    #[arg(long)]
    print_roles: bool,
}

/// Brings the database to this program's schema.
pub(crate) async fn run(args: &MigrateArgs, config: &Config) -> Result<(), CliError> {
    if args.print_roles {
        return output::line(signalbox_store::role_script().trim_end());
    }
    let lanes = wiring::contract()?.topics().lanes;
    match wiring::reader(config)?.migrate(lanes).await? {
        Migrated::ToThisProgram => {
            output::line(format_args!("the database has this program's schema and {lanes} lanes"))
        }
        Migrated::ByANewerProgram => output::line(
            "a newer program has migrated this database, and this one works with it: nothing to change",
        ),
    }
}
