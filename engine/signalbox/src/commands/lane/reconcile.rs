//! `signalbox lane reconcile`: what a restored or promoted database has forgotten, from what topics hold, and its
//! settlement. It decides nothing itself (`signalbox_worker::missing`), and no flow is moved by it.

use clap::Args;
use serde_json::json;
use signalbox_bus::KafkaLaneBus;
use signalbox_store::{Reader, Settled};
use signalbox_worker::{LaneGap, Missing, MissingEnding, MissingWrite, Permits, missing, settle};

use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to reconcile, who and why.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// Settle what is missing, instead of only telling it
    #[arg(long, requires = "actor", requires = "reason")]
    apply: bool,
    /// Who settles it
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Why, for the journal of every lane
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// No commit was lost: the promoted standby was synchronous. What is planned was not sent then
    #[arg(long)]
    nothing_lost: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Tells what is missing, and settles it where that is wanted.
pub(super) async fn run(
    args: &ReconcileArgs,
    config: &Config,
    reader: &Reader,
) -> Result<(), CliError> {
    let codec = wiring::codec(config).await?;
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-reconcile")?;
    let permits = if args.nothing_lost { Permits::Kept } else { Permits::MayBeLost };
    let found = missing(&mut bus, reader, &codec, permits).await?;
    tell(args, &found)?;
    if found.is_settled() {
        let value = json!({"settled": true});
        return said(args, &value, || "nothing is missing: lanes may be claimed".to_owned());
    }
    if found.contradicts() {
        return Err(CliError::Refused(
            "topics hold what this database never gave out, so commits were lost; reconcile without --nothing-lost"
                .to_owned(),
        ));
    }
    let (Some(actor), Some(reason), true) = (&args.actor, &args.reason, args.apply) else {
        return Err(CliError::Refused(
            "nothing was changed; stop the engines, then settle it with --apply --actor NAME --reason TEXT"
                .to_owned(),
        ));
    };
    let (actor, reason) = (actor.trim(), reason.trim());
    if actor.is_empty() || reason.is_empty() {
        return Err(CliError::Input(
            "an act needs --actor and --reason, with a word each".to_owned(),
        ));
    }
    match settle(reader, &found, actor, reason).await? {
        Settled::Done => {
            let text = || "settled: lanes may be claimed, and money moves again".to_owned();
            said(args, &json!({"settled": true}), text)
        }
        Settled::Held(lanes) => {
            let lanes: Vec<String> = lanes.iter().map(ToString::to_string).collect();
            Err(CliError::Refused(format!(
                "nothing was changed: engines hold or moved lanes {}; stop them, wait a lease, and reconcile again",
                lanes.join(", ")
            )))
        }
    }
}

fn tell(args: &ReconcileArgs, found: &Missing) -> Result<(), CliError> {
    for what in &found.installation {
        said(args, &json!({"installation": what}), || what.clone())?;
    }
    for gap in &found.gaps {
        let LaneGap { lane, stored, seen, records } = gap;
        let value = json!({"lane": lane, "stored": stored, "seen": seen, "records": records});
        said(args, &value, || {
            format!(
                "lane {lane}: gave out {stored}, its topics hold {seen}: {records} records are forgotten"
            )
        })?;
    }
    for write in &found.writes {
        said(args, &of_write(write), || write_as_text(write))?;
    }
    for MissingEnding { aggregate, ending } in &found.endings {
        let value = json!({"ending": aggregate, "flow": ending.flow, "lane": ending.lane,
            "status": ending.status, "reason": ending.reason});
        said(args, &value, || {
            format!("lane {}: {aggregate} ended {}: that stands", ending.lane, ending.status)
        })?;
    }
    for (lane, owner) in &found.held {
        output::note(format_args!("lane {lane} is held by {owner}"));
    }
    Ok(())
}

fn said(
    args: &ReconcileArgs,
    value: &serde_json::Value,
    text: impl Fn() -> String,
) -> Result<(), CliError> {
    if args.json { output::json(value) } else { output::line(text()) }
}

fn of_write(write: &MissingWrite) -> serde_json::Value {
    json!({"attempt": write.plan.id, "flow": write.plan.flow, "aggregate": write.aggregate,
        "lane": write.plan.lane, "capability": write.plan.capability, "known": write.known.word(),
        "vendor": write.vendor, "outcome": write.outcome()})
}

fn write_as_text(write: &MissingWrite) -> String {
    let plan = &write.plan;
    let about = write.aggregate.as_ref().map_or_else(
        || format!("flow {}", plan.flow),
        |aggregate| format!("{aggregate} (flow {})", plan.flow),
    );
    let vendor = write.vendor.as_deref().map_or("unknown vendor".to_owned(), str::to_owned);
    let outcome = write.outcome().unwrap_or("no outcome");
    format!(
        "lane {}: attempt {} of {} for {about}: {} here, {vendor}, {outcome}: may have been sent",
        plan.lane,
        plan.id,
        plan.capability,
        write.known.word()
    )
}
