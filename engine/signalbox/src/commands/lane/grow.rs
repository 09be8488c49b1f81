//! `signalbox lane grow`: more lanes as a planned operation: drained, widened, mapped anew, verified. Whatever it is
//! interrupted by, running it again finishes it: topics only become wider, and the database moves in one transaction.
//!
//! It stops no engine and waits for nothing: what is left to do it tells. Answers of adapters may be under way meanwhile;
//! lanes forward them.

use clap::Args;
use signalbox_bus::{KafkaLaneBus, LaneBus, TopicAdmin, TopicChange};
use signalbox_schemas::topics::Role;
use signalbox_schemas::{LaneId, TopicName};
use signalbox_store::{Grown, Growth, GrowthOrder, Reader};
use std::collections::BTreeMap;
use std::fmt::Display;

use super::LANES_MAX;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// A stretch of a log that is longer holds records; a shorter one may hold markers of transactions alone.
const MARKERS_MAX: i64 = 1_000;

/// How many lanes, who and why.
#[derive(Debug, Args)]
pub(crate) struct GrowArgs {
    /// Lanes afterwards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=LANES_MAX))]
    to: u16,
    /// Tell what stands in the way and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Who adds them
    #[arg(long, value_name = "NAME", required_unless_present = "dry_run")]
    actor: Option<String>,
    /// Why, for the journal of every lane
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
}

/// Adds lanes, or tells what stands in the way.
pub(super) async fn run(args: &GrowArgs, config: &Config, reader: &Reader) -> Result<(), CliError> {
    let word = |given: &Option<String>| given.as_deref().unwrap_or_default().trim().to_owned();
    let order = GrowthOrder { to: args.to, actor: word(&args.actor), reason: word(&args.reason) };
    if !args.dry_run && (order.actor.is_empty() || order.reason.is_empty()) {
        return Err(CliError::Input(
            "adding lanes needs --actor and --reason, with a word each".to_owned(),
        ));
    }
    let (hindrances, preview) = reader.preview_growth(args.to).await?;
    let mut in_the_way: Vec<String> = hindrances.iter().map(ToString::to_string).collect();
    if preview.to > preview.from {
        in_the_way.extend(unsettled(reader).await?);
        in_the_way.extend(strangers(config, (preview.from, preview.to)).await?);
        let unread = unread(config, reader, preview.from).await?;
        in_the_way.extend(unread.commands);
        if unread.outcomes > 0 {
            output::line(format_args!(
                "{} answers of adapters are not read yet; lanes will forward them",
                unread.outcomes
            ))?;
        }
    }
    tell(&in_the_way)?;
    let admin = TopicAdmin::connect(config.kafka()?)?;
    let wider = too_narrow(&admin, args.to)?;
    for change in &wider {
        output::line(change)?;
    }
    if args.dry_run {
        output::line(would(&preview))?;
    }
    if !in_the_way.is_empty() {
        let things = in_the_way.len();
        return Err(CliError::Refused(format!(
            "{things} things stand in the way of more lanes; nothing was changed"
        )));
    }
    if args.dry_run {
        return Ok(());
    }
    admin.apply(&wider).await?;
    match reader.grow(&order).await? {
        Growth::Done(grown) => told(&grown),
        Growth::Refused(hindrances) => {
            tell(&hindrances)?;
            Err(CliError::Refused(
                "something came into the way; topics are wider and no flow has moved: mend it and run this again".to_owned(),
            ))
        }
    }
}

fn tell<T: Display>(in_the_way: &[T]) -> Result<(), CliError> {
    in_the_way.iter().try_for_each(|what| output::line(format_args!("in the way: {what}")))
}

/// What a restored database has not caught up with: where it forgot something, and what it reads once more, is known by lane.
async fn unsettled(reader: &Reader) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    if reader.installation().await?.lost_commits {
        found.push(
            "the database has lost commits: settle that with `signalbox lane reconcile`".to_owned(),
        );
    }
    let told = |(lane, topic, until): (LaneId, TopicName, i64)| {
        format!("{topic}-{lane} is read once more up to offset {until}: let engines read it")
    };
    found.extend(reader.read_again().await?.into_iter().map(told));
    Ok(found)
}

/// Partitions that no lane of this database can have written to, and that hold records of lanes: it was restored to a
/// time before lanes were added, and new lanes would give out sequences that were told already.
async fn strangers(config: &Config, (from, to): (u16, u16)) -> Result<Vec<String>, CliError> {
    let partitions = TopicAdmin::connect(config.kafka()?)?.partitions()?;
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-grow")?;
    let topics = &wiring::contract()?.topics().topics;
    let told_by_lanes = |role| matches!(role, Role::Request | Role::Event | Role::Forward);
    let mut found = Vec::new();
    for (name, _) in topics.iter().filter(|(_, topic)| told_by_lanes(topic.role)) {
        let there = partitions.get(name).copied().unwrap_or(0).min(to);
        for lane in (from..there).map(LaneId) {
            if bus.range(&TopicName::from(name.as_str()), lane.partition()).await?.end > 0 {
                found.push(format!(
                    "{name}-{lane} holds records of a lane that this database does not know: it was restored to a time before lanes were added; restore a later one"
                ));
            }
        }
    }
    Ok(found)
}

/// What lies on the inputs of lanes and was not read.
#[derive(Default)]
struct Unread {
    /// Each input with commands, decisions, acts or forwards. A later one of the same key would be read by another lane,
    /// and could be first.
    commands: Vec<String>,
    /// Answers of adapters: their order does not matter.
    outcomes: i64,
}

async fn unread(config: &Config, reader: &Reader, lanes: u16) -> Result<Unread, CliError> {
    let topics = wiring::contract()?.topics();
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-grow")?;
    let positions: BTreeMap<(LaneId, TopicName), i64> = reader
        .lane_inputs()
        .await?
        .into_iter()
        .map(|row| ((row.lane, row.topic), row.next_offset))
        .collect();
    let mut unread = Unread::default();
    for name in topics.lane_inputs() {
        let is_outcome = topics.topics.get(&name).is_some_and(|topic| topic.role == Role::Outcome);
        let topic = TopicName::from(name);
        for lane in (0..lanes).map(LaneId) {
            let position = positions.get(&(lane, topic.clone())).copied();
            match left(&mut bus, &topic, lane, position).await? {
                0 => {}
                records if is_outcome => unread.outcomes += records,
                records => unread.commands.push(format!(
                    "{topic}-{lane} has {records} records that were not read: stop what publishes them and let engines read them"
                )),
            }
        }
    }
    Ok(unread)
}

/// Records of an input that its lane has not read.
async fn left(
    bus: &mut KafkaLaneBus,
    topic: &TopicName,
    lane: LaneId,
    position: Option<i64>,
) -> Result<i64, CliError> {
    let range = bus.range(topic, lane.partition()).await?;
    let from = position.unwrap_or(range.start).max(range.start);
    let gap = range.end - from;
    if gap > MARKERS_MAX {
        return Ok(gap);
    }
    let records = bus.read(topic, lane.partition(), from, range.end).await?;
    Ok(i64::try_from(records.len()).unwrap_or(i64::MAX))
}

/// Topics with fewer partitions than there will be lanes. One that is missing is the business of `topics apply`.
fn too_narrow(admin: &TopicAdmin, to: u16) -> Result<Vec<TopicChange>, CliError> {
    let partitions = admin.partitions()?;
    let wanted = wiring::contract()?.topics().wanted(to, None);
    let change = |topic: String| {
        let from = partitions.get(&topic).copied().filter(|from| *from < to)?;
        Some(TopicChange::Widen { topic, from, to })
    };
    Ok(wanted.into_iter().filter_map(|topic| change(topic.name)).collect())
}

fn would(grown: &Grown) -> String {
    let Grown { from, to, flows, moved, .. } = grown;
    format!("dry run: {from} lanes would become {to}, {moved} of {flows} flows would move")
}

fn told(grown: &Grown) -> Result<(), CliError> {
    let Grown { from, to, flows, moved, timers, attempts, parked } = grown;
    if from == to {
        output::line(format_args!("there are {to} lanes already"))?;
    } else {
        output::line(format_args!("{from} lanes became {to}"))?;
        output::line(format_args!(
            "moved: {moved} of {flows} flows, {timers} timers, {attempts} attempts, {parked} parked inputs"
        ))?;
    }
    output::line(format_args!(
        "verified: every row of {flows} flows is in the home lane of its key, and none is missing"
    ))
}
