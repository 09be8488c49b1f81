//! `signalbox journeys migrate` and `migrations`: running flows are moved to another version by their lanes. Here a plan is
//! checked, tried on the real flows without touching them, and put down; then each lane is told to begin.

use clap::Args;
use serde_json::json;
use signalbox_flow::{Migration, MigrationPlan};
use signalbox_schemas::{FlowId, MigrationId, StepName, home_lane};
use signalbox_store::{MigrationRow, MigrationStatus, Reader};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

use super::{deploy, load};
use crate::commands::publish::{Desk, now};
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

const ACT: &str = "signalbox.operator.OperatorAct";

/// What to move, who and why.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Plan: journey, from, to, and where flows go that wait in a state
    plan: PathBuf,
    /// Try it on the real flows and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Who wants it
    #[arg(long, value_name = "NAME", required_unless_present = "dry_run")]
    actor: Option<String>,
    /// Why, for the journal of each flow
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
}

/// Which migration.
#[derive(Debug, Args)]
pub(crate) struct MigrationsArgs {
    /// Id of one, to see what became of its flows
    id: Option<Uuid>,
    /// Tell its lanes once more to begin, where not all of them have heard it
    #[arg(long, requires = "id")]
    again: bool,
}

/// Checks a plan, then tries it or puts it down.
pub(super) async fn migrate(args: &MigrateArgs, config: &Config) -> Result<(), CliError> {
    let text = wiring::read(&args.plan)?;
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let migration = read_plan(args, &text, config, &reader).await?;
    let found = signalbox_flow::check_migration(&migration);
    load::refuse_unsafe(&args.plan, &found.findings)?;
    for ((_, why), told) in &found.stays {
        output::note(format_args!("some flows could stay as they are ({}): {told}", why.code()));
    }
    if args.dry_run {
        return dry_run(&migration, &reader, config).await;
    }
    let word = |given: &Option<String>| given.as_deref().unwrap_or_default().trim().to_owned();
    let (actor, reason) = (word(&args.actor), word(&args.reason));
    if actor.is_empty() || reason.is_empty() {
        return Err(CliError::Input(
            "a migration needs --actor and --reason, with a word each".to_owned(),
        ));
    }
    let plan = migration.plan();
    let row = MigrationRow {
        id: MigrationId(Uuid::now_v7()),
        journey: plan.journey.clone(),
        from: plan.from,
        to: plan.to,
        plan: text,
        actor,
        reason,
        requested_at: now(),
    };
    // Connected before anything is put down: a migration whose lanes cannot be told is none.
    let desk = Desk::open(config, ACT, None, None).await?;
    reader.ask_for_migration(&row).await?;
    output::line(format_args!("migration {}", row.id))?;
    tell_lanes(&desk, &row).await?;
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
    let mut pinned = deploy::pinned(reader, wiring::contract()?).await?;
    let mut version = |version: u32| {
        let place = pinned
            .iter()
            .position(|each| *each.name() == plan.journey && each.version() == version);
        let found = place.map(|place| Arc::new(pinned.swap_remove(place).under(&bank)));
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

#[derive(Default)]
struct Totals {
    moved: i64,
    stayed: i64,
}

impl Totals {
    /// One answer, as a line.
    fn tell(
        &mut self,
        before: &StepName,
        became: &Result<StepName, String>,
        flows: i64,
        examples: &[FlowId],
    ) -> Result<(), CliError> {
        match became {
            Ok(after) => {
                self.moved += flows;
                output::line(format_args!("{before} -> {after}: {flows}"))
            }
            Err(why) => {
                self.stayed += flows;
                let some: Vec<String> = examples.iter().map(ToString::to_string).collect();
                let some = some.join(", ");
                output::line(format_args!("{before} stays, {why}: {flows}, such as {some}"))
            }
        }
    }
}

/// One act for each lane, under a key whose home is that lane.
async fn tell_lanes(desk: &Desk, row: &MigrationRow) -> Result<(), CliError> {
    let lanes = wiring::contract()?.topics().lanes;
    let mut lines = String::new();
    for lane in 0..lanes {
        let home = |key: &String| home_lane(key.as_bytes(), lanes).0 == lane;
        let keys = (0_u32..).map(|number| format!("{}/{number}", row.id));
        let Some(key) = keys.take(usize::from(lanes) * 1_000).find(home) else {
            return Err(CliError::Input(format!("no key was found for lane {lane}; try again")));
        };
        let value = json!({
            "aggregate_id": key, "journey": row.journey, "act": "migrate", "actor": row.actor,
            "reason": row.reason, "requested_at": now(), "migration": row.id,
        });
        lines.push_str(&format!("{value}\n"));
    }
    let (good, bad) = desk.prepare(&lines);
    match bad.first() {
        Some(problem) => Err(CliError::Input(problem.clone())),
        None => desk.send(&good, None, false).await,
    }
}

/// Lists migrations, or shows one.
pub(super) async fn migrations(args: &MigrationsArgs, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let found = reader.migrations(args.id.map(MigrationId)).await?;
    for status in &found {
        output::line(said(status)?)?;
    }
    let Some(id) = args.id.map(MigrationId) else { return Ok(()) };
    let Some(status) = found.first() else {
        return Err(CliError::Refused(format!("there is no migration {id}")));
    };
    if args.again {
        let desk = Desk::open(config, ACT, None, None).await?;
        return tell_lanes(&desk, &status.migration).await;
    }
    let mut totals = Totals::default();
    for count in reader.migration_counts(id).await? {
        totals.tell(&count.before, &count.became, count.flows, &count.examples)?;
    }
    output::line(format_args!("so far: {} moved, {} stayed", totals.moved, totals.stayed))
}

fn said(status: &MigrationStatus) -> Result<String, CliError> {
    let lanes = i64::from(wiring::contract()?.topics().lanes);
    let MigrationStatus { migration, begun, ended } = status;
    let stage = match (*begun, *ended) {
        (0, _) => "not begun".to_owned(),
        (_, ended) if ended == lanes => "ended".to_owned(),
        (begun, ended) => format!("{begun} of {lanes} lanes have begun, {ended} have ended"),
    };
    Ok(format!(
        "{} {} {} {} -> {} by {}: {} ({stage})",
        migration.id,
        output::instant(migration.requested_at),
        migration.journey,
        migration.from,
        migration.to,
        migration.actor,
        migration.reason
    ))
}
