//! `signalbox journeys migrate`: running flows are moved to another version by their lanes. Here a plan is checked, tried on
//! the real flows without touching them, and put down; then each lane is told to begin. What becomes of it is told by
//! `migrations`.

use clap::Args;
use signalbox_flow::{Migration, MigrationPlan};
use signalbox_schemas::MigrationId;
use signalbox_store::{MigrationRow, Reader};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

use super::migrations::{LaneAct, Totals};
use super::{load, pinned, proof};
use crate::commands::publish::{Desk, now};
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to move, who and why.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Plan: journey, from, to, and where flows go that wait in a state
    plan: PathBuf,
    /// Try it on the real flows and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Who wants it
    #[arg(long, value_name = "NAME", value_parser = wiring::word, required_unless_present = "dry_run")]
    actor: Option<String>,
    /// Why, for the journal of each flow
    #[arg(long, value_name = "TEXT", value_parser = wiring::word, required_unless_present = "dry_run")]
    reason: Option<String>,
}

/// Checks a plan, then tries it or puts it down.
pub(super) async fn migrate(args: &MigrateArgs, config: &Config) -> Result<(), CliError> {
    let text = wiring::read(&args.plan)?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let migration = read_plan(args, &text, config, &reader).await?;
    if args.dry_run {
        let found = proof::explore_migration(&args.plan, &text, &migration, &reader).await?;
        for ((_, why), told) in &found.stays {
            output::note(format_args!(
                "some flows could stay as they are ({}): {told}",
                why.code()
            ));
        }
        return dry_run(&migration, &reader, config).await;
    }
    proof::prove_migration(&args.plan, &text, &migration, &reader).await?;
    let plan = migration.plan();
    let row = MigrationRow {
        id: MigrationId(Uuid::now_v7()),
        journey: plan.journey.clone(),
        from: plan.from,
        to: plan.to,
        plan: text,
        actor: args.actor.clone().unwrap_or_default(),
        reason: args.reason.clone().unwrap_or_default(),
        requested_at: now(),
    };
    // Connected before anything is put down: a migration whose lanes cannot be told is none.
    let desk = Desk::open(config, LaneAct::RECORD, None, None).await?;
    reader.ask_for_migration(&row).await?;
    output::line(format_args!("migration {}", row.id))?;
    let act = LaneAct { word: "migrate", actor: &row.actor, reason: &row.reason };
    act.tell_lanes(&desk, &row, reader.lane_count().await?).await?;
    output::note(format_args!("see what becomes of it: signalbox journeys migrations {}", row.id));
    Ok(())
}

/// The plan with its versions, as they are pinned, under the bank's rules of today.
async fn read_plan(
    args: &MigrateArgs,
    text: &str,
    config: &Config,
    reader: &Reader,
) -> Result<Migration, CliError> {
    let mistaken = |error| load::mistaken(&args.plan, &error);
    let plan = MigrationPlan::parse(text).map_err(mistaken)?;
    let bank = load::bank(&config.journeys.path.join("any.yaml"))?;
    let mut versions = pinned::journeys(reader).await?;
    let mut version = |version: u32| {
        let place = versions
            .iter()
            .position(|each| *each.name() == plan.journey && each.version() == version);
        let found = place.map(|place| Arc::new(versions.swap_remove(place).under(&bank)));
        found.ok_or_else(|| {
            CliError::Input(format!(
                "{}: {} version {version} is not pinned; `signalbox journeys deploy` pins it",
                args.plan.display(),
                plan.journey
            ))
        })
    };
    let (old, new) = (version(plan.from)?, version(plan.to)?);
    Migration::new(plan, old, new).map_err(mistaken)
}

/// What would become of the flows that there are.
async fn dry_run(migration: &Migration, reader: &Reader, config: &Config) -> Result<(), CliError> {
    let keys = config.key_provider()?;
    let seen = signalbox_worker::preview(migration, reader, keys).await?;
    let mut totals = Totals::default();
    for ((before, became), sample) in &seen {
        let flows = i64::try_from(sample.flows).unwrap_or(i64::MAX);
        totals.tell(before, became, flows, &sample.examples)?;
    }
    output::line(format_args!("dry run: {} would move, {} would stay", totals.moved, totals.stayed))
}
