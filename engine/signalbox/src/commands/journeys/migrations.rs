//! `signalbox journeys migrations`: how far migrations are and what became of their flows; and the word to their lanes, to
//! begin once more or to stop. What a lane makes of it is the lane's.

use clap::{Args, Subcommand};
use serde_json::json;
use signalbox_schemas::{FlowId, MigrationId, StepName, home_lane};
use signalbox_store::{MigrationRow, MigrationStatus, Reader};
use uuid::Uuid;

use crate::commands::publish::{Desk, now};
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Which migration.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct MigrationsArgs {
    #[command(subcommand)]
    act: Option<MigrationsAct>,
    /// Id of one, to see what became of its flows
    id: Option<Uuid>,
    /// Tell its lanes once more to begin, where not all of them have heard it
    #[arg(long, requires = "id")]
    again: bool,
}

/// What to do with a migration.
#[derive(Debug, Subcommand)]
enum MigrationsAct {
    /// Move no more flows of a migration, for good: those that were moved stay moved, the others stay as they are
    #[command(after_help = "\
Needs postgres.url, kafka.brokers and registry.url. Each lane is told by a record and stops between two flows. A lane that
has heard it never begins again; told twice is told once. The flows that are left can be moved by another migration.

Example:
  signalbox journeys migrations stop 01890a5d-ac96-774b-bcce-b302099a8057 --actor ann --reason 'CHG-8: wrong version'")]
    Stop(StopArgs),
}

/// What to stop, who and why.
#[derive(Debug, Args)]
struct StopArgs {
    /// Id of the migration
    id: Uuid,
    /// Who wants it
    #[arg(long, value_name = "NAME", value_parser = wiring::word)]
    actor: String,
    /// Why, for the journal of each lane
    #[arg(long, value_name = "TEXT", value_parser = wiring::word)]
    reason: String,
}

/// What every lane is told about a migration.
pub(super) struct LaneAct<'a> {
    /// As in the record.
    pub(super) word: &'static str,
    pub(super) actor: &'a str,
    pub(super) reason: &'a str,
}

impl LaneAct<'_> {
    /// The record of the act.
    pub(super) const RECORD: &'static str = "signalbox.operator.OperatorAct";

    /// One act for each lane, under a key whose home is that lane.
    pub(super) async fn tell_lanes(
        &self,
        desk: &Desk,
        row: &MigrationRow,
        lanes: u16,
    ) -> Result<(), CliError> {
        let mut lines = String::new();
        for lane in 0..lanes {
            let home = |key: &String| home_lane(key.as_bytes(), lanes).0 == lane;
            let keys = (0_u32..).map(|number| format!("{}/{number}", row.id));
            let Some(key) = keys.take(usize::from(lanes) * 1_000).find(home) else {
                return Err(CliError::Input(format!(
                    "no key was found for lane {lane}; try again"
                )));
            };
            let value = json!({
                "aggregate_id": key, "journey": row.journey, "act": self.word, "actor": self.actor,
                "reason": self.reason, "requested_at": now(), "migration": row.id,
            });
            lines.push_str(&format!("{value}\n"));
        }
        let (good, bad) = desk.prepare(&lines);
        match bad.first() {
            Some(problem) => Err(CliError::Input(problem.clone())),
            None => desk.send(&good, None, false).await,
        }
    }
}

/// What became of flows, told line by line and counted.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) moved: i64,
    pub(super) stayed: i64,
}

impl Totals {
    /// One answer, as a line.
    pub(super) fn tell(
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

/// Lists migrations, shows one, or has its lanes told something.
pub(super) async fn run(args: &MigrationsArgs, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    if let Some(MigrationsAct::Stop(args)) = &args.act {
        return stop(args, config, &reader).await;
    }
    let lanes = reader.lane_count().await?;
    let Some(id) = args.id.map(MigrationId) else {
        let all = reader.migrations(None).await?;
        return all.iter().try_for_each(|status| output::line(said(status, lanes)));
    };
    let status = one(&reader, id).await?;
    output::line(said(&status, lanes))?;
    let asked = &status.migration;
    if args.again {
        if status.stopped > 0 {
            return Err(CliError::Refused(
                "it was stopped and does not begin again; move what is left by another migration"
                    .to_owned(),
            ));
        }
        let desk = Desk::open(config, LaneAct::RECORD, None, None).await?;
        let act = LaneAct { word: "migrate", actor: &asked.actor, reason: &asked.reason };
        return act.tell_lanes(&desk, asked, lanes).await;
    }
    let mut totals = Totals::default();
    for count in reader.migration_counts(id).await? {
        totals.tell(&count.before, &count.became, count.flows, &count.examples)?;
    }
    let Totals { moved, stayed } = totals;
    if status.stopped == 0 {
        return output::line(format_args!("so far: {moved} moved, {stayed} stayed"));
    }
    let versions = reader.flows_by_version(asked.journey.as_str()).await?;
    let left =
        versions.iter().find(|(version, _)| *version == asked.from).map_or(0, |(_, flows)| *flows);
    output::line(format_args!(
        "before it stopped: {moved} moved, {stayed} stayed; {left} flows run under version {} now",
        asked.from
    ))
}

/// Tells every lane to stop.
async fn stop(args: &StopArgs, config: &Config, reader: &Reader) -> Result<(), CliError> {
    let status = one(reader, MigrationId(args.id)).await?;
    let lanes = reader.lane_count().await?;
    if status.ended == i64::from(lanes) {
        return Err(CliError::Refused(format!(
            "there is nothing to stop: {}",
            said(&status, lanes)
        )));
    }
    let desk = Desk::open(config, LaneAct::RECORD, None, None).await?;
    let act = LaneAct { word: "stop_migration", actor: &args.actor, reason: &args.reason };
    act.tell_lanes(&desk, &status.migration, lanes).await?;
    output::note(format_args!(
        "see what became of it: signalbox journeys migrations {}",
        status.migration.id
    ));
    Ok(())
}

async fn one(reader: &Reader, id: MigrationId) -> Result<MigrationStatus, CliError> {
    let found = reader.migrations(Some(id)).await?.pop();
    found.ok_or_else(|| CliError::Refused(format!("there is no migration {id}")))
}

fn said(status: &MigrationStatus, lanes: u16) -> String {
    let lanes = i64::from(lanes);
    let MigrationStatus { migration, begun, ended, stopped } = status;
    let stage = match (*begun, *ended, *stopped) {
        (0, _, _) => "not begun".to_owned(),
        (_, ended, 0) if ended == lanes => "ended".to_owned(),
        (_, ended, stopped) if ended == lanes => {
            format!("stopped: {stopped} of {lanes} lanes had not ended")
        }
        (begun, ended, 0) => {
            format!("{begun} of {lanes} lanes have begun, {ended} have ended")
        }
        (_, ended, stopped) => {
            format!(
                "stopping: {stopped} of {lanes} lanes have stopped, {} had ended",
                ended - stopped
            )
        }
    };
    format!(
        "{} {} {} {} -> {} by {}: {} ({stage})",
        migration.id,
        output::instant(migration.requested_at),
        migration.journey,
        migration.from,
        migration.to,
        migration.actor,
        migration.reason
    )
}
