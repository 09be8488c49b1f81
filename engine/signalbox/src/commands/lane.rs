//! `signalbox lane`: which lanes there are, who has them, how a stopped one is started again, how more are added, and what a
//! restored database has forgotten. It moves no position: a lane that is started again is checked anew by whoever claims it.

mod grow;
mod reconcile;

use clap::{Args, Subcommand};
use serde_json::json;
use signalbox_schemas::LaneId;
use signalbox_store::{LaneStatus, PeerRow, Reader};

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Most lanes that an installation can have: their numbers are small integers in the database.
pub(crate) const LANES_MAX: i64 = 32_000;

/// What to do with lanes.
#[derive(Debug, Subcommand)]
pub(crate) enum LaneCommand {
    /// List lanes: owner, what is not published yet, and why a stopped one is stopped
    #[command(
        after_help = "Needs postgres.url. Exit status 1 where a lane is stopped.\n\nExample:\n  signalbox lane list"
    )]
    List(ListArgs),
    /// Let a stopped lane be claimed again
    #[command(after_help = "\
Needs postgres.url. Mend the cause first: whoever claims the lane checks it again and stops it again where the check
fails. Who started it and why is journaled in the lane's hash chain.

Examples:
  signalbox lane start 3 --actor ann --reason 'the topic was restored, see INC-7'
  signalbox lane start 3 --without-forwards 5:1207 --actor ann --reason 'sent again, see INC-9'")]
    Start(StartArgs),
    /// After Postgres was restored or a standby promoted: tell what it has forgotten, and settle it
    #[command(after_help = "\
Needs postgres.url, kafka.brokers and registry.url, and the engines stopped for --apply. Without --apply it changes
nothing. Exit status 1 where something is missing and was not settled. Read \"After a restore\" in docs/operations.md.

Example:
  signalbox lane reconcile
  signalbox lane reconcile --apply --actor ann --reason 'restored to 11:55, see INC-7'")]
    Reconcile(reconcile::ReconcileArgs),
    /// Add lanes: widen the topics and move what lives in another lane from then on
    #[command(after_help = "\
Needs kafka.brokers and postgres.url, as the owner of the tables. Stop the commands first, let engines read them to the
end, then stop the engines in order; adapters may run. Whatever stands in the way is told and nothing is changed. Running
it again finishes what was begun and else verifies: every row in the home lane of its key.

Examples:
  signalbox lane grow --to 16 --dry-run
  signalbox lane grow --to 16 --actor ann --reason 'twice the customers, CHG-12'")]
    Grow(grow::GrowArgs),
}

/// How to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Which lane, who and why.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Number of the lane
    lane: u16,
    /// Give up the forwards of a lane up to a sequence: they are missing, and it goes on after them
    #[arg(long, value_name = "LANE:SEQ", value_parser = forwards)]
    without_forwards: Option<(u16, i64)>,
    /// Who starts it
    #[arg(long, value_name = "NAME", value_parser = wiring::word)]
    actor: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", value_parser = wiring::word)]
    reason: String,
}

/// Lists or starts.
pub(crate) async fn run(command: &LaneCommand, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    match command {
        LaneCommand::List(args) => list(args, &reader).await,
        LaneCommand::Start(args) => start(args, &reader).await,
        LaneCommand::Reconcile(args) => reconcile::run(args, config, &reader).await,
        LaneCommand::Grow(args) => grow::run(args, config, &reader).await,
    }
}

async fn list(args: &ListArgs, reader: &Reader) -> Result<(), CliError> {
    let lanes = reader.lanes().await?;
    for lane in &lanes {
        if args.json {
            output::json(&json!({
                "lane": lane.lane, "owner": lane.owner, "program": lane.program, "stopped": lane.stopped, "epoch": lane.epoch,
                "unpublished": lane.unpublished, "journal": lane.journal_seq,
            }))?;
        } else {
            output::line(as_text(lane))?;
        }
    }
    if reader.installation().await?.lost_commits {
        return Err(CliError::Refused(
            "Postgres lost commits: no lane is claimed and no money moves until `signalbox lane reconcile` has settled it"
                .to_owned(),
        ));
    }
    let stopped = lanes.iter().filter(|lane| lane.stopped.is_some()).count();
    if stopped == 0 {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "{stopped} of {} lanes are stopped; docs/operations.md says what each reason means",
        lanes.len()
    )))
}

fn as_text(lane: &LaneStatus) -> String {
    let what = match (&lane.stopped, &lane.owner) {
        (Some(reason), _) => format!("stopped: {reason}"),
        (None, Some(owner)) => match lane.program {
            Some(program) => format!("owned by {owner} (program {program})"),
            None => format!("owned by {owner}"),
        },
        (None, None) => "free".to_owned(),
    };
    format!(
        "{:>4}  epoch {:>6}  journal {:>9}  unpublished {:>6}  {what}",
        lane.lane, lane.epoch, lane.journal_seq, lane.unpublished
    )
}

/// Reads a lane and a sequence of it. For clap.
fn forwards(text: &str) -> Result<(u16, i64), String> {
    let read = |(lane, seq): (&str, &str)| Some((lane.parse().ok()?, seq.parse().ok()?));
    let read = text.split_once(':').and_then(read);
    read.ok_or_else(|| format!("{text:?} is not LANE:SEQ, such as 5:1207"))
}

async fn start(args: &StartArgs, reader: &Reader) -> Result<(), CliError> {
    let lane = LaneId(args.lane);
    let missing = args.without_forwards.map(|(source, last_seq)| PeerRow {
        lane,
        source: LaneId(source),
        last_seq,
    });
    let reason = match args.without_forwards {
        Some((source, seq)) => {
            format!("{}; forwards of lane {source} up to {seq} are given up", args.reason)
        }
        None => args.reason.clone(),
    };
    if reader.start_lane(lane, missing, (&args.actor, &reason)).await? {
        return output::line(format_args!("lane {} may be claimed again", args.lane));
    }
    Err(CliError::Refused(format!("there is no stopped lane {}", args.lane)))
}
