//! `signalbox topics senders`: who sends which commands, counted over what Kafka still has, so that owners of a record
//! that is on its way out know whom to ask. It looks at headers and record names alone and keeps nothing.

use clap::Args;
use serde::Serialize;
use signalbox_bus::{KafkaLaneBus, LaneBus, Publisher};
use signalbox_schemas::topics::{Deprecation, Role, Topics};
use signalbox_schemas::{Micros, TopicName, headers};
use std::collections::BTreeMap;

use super::super::tail::{Lens, Shown};
use super::super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Offsets read at once.
const STRETCH: i64 = 10_000;
/// Senders that are told apart; a producer that makes up a source for each record must not fill the memory.
const SENDERS_MAX: usize = 10_000;
const OTHERS: &str = "(others)";

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs kafka.brokers and registry.url. Reads the topics from their beginning to their present end, joins no group.
The source is the header ce_source; - where a producer sets none.

Examples:
  signalbox topics senders
  signalbox topics senders payments.payout.commands.v1 --deprecated")]
pub(crate) struct SendersArgs {
    /// Topic of commands; every one where none is named
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
    /// Deprecated records alone
    #[arg(long)]
    deprecated: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Who sent what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Sender {
    topic: String,
    record: String,
    source: String,
}

/// How often, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Sent {
    records: u64,
    last_ms: i64,
}

/// Everybody who was seen.
#[derive(Debug, Default)]
struct Senders(BTreeMap<Sender, Sent>);

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    sender: &'a Sender,
    #[serde(flatten)]
    sent: Sent,
    last: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated: Option<String>,
}

/// Reads, counts and tells.
pub(super) async fn run(args: &SendersArgs, config: &Config) -> Result<(), CliError> {
    let topics = wiring::contract()?.topics();
    let mut lens = Lens::new(wiring::codec(config).await?, false);
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-senders")?;
    let publisher = Publisher::connect(config.kafka()?, "signalbox-senders")?;
    let mut senders = Senders::default();
    for topic in wanted(topics, args.topic.as_deref())? {
        for partition in 0..i32::from(publisher.partitions(topic.as_str()).await?) {
            let range = bus.range(&topic, partition).await?;
            let mut from = range.start;
            while from < range.end {
                let end = range.end.min(from.saturating_add(STRETCH));
                for inbound in bus.read(&topic, partition, from, end).await? {
                    senders.saw(&lens.show(&inbound).await?);
                }
                from = end;
            }
        }
    }
    tell(&senders, topics, args)
}

fn wanted(topics: &Topics, named: Option<&str>) -> Result<Vec<TopicName>, CliError> {
    let all = topics.of_role(Role::Command).map(|(name, _)| TopicName::from(name));
    let found: Vec<TopicName> =
        all.filter(|topic| named.is_none_or(|named| named == topic.as_str())).collect();
    match (found.is_empty(), named) {
        (true, Some(named)) => Err(CliError::Input(format!(
            "{named} is no topic of commands; `signalbox topics export catalog` lists them"
        ))),
        _ => Ok(found),
    }
}

fn tell(senders: &Senders, topics: &Topics, args: &SendersArgs) -> Result<(), CliError> {
    let mut told = 0_u64;
    for (sender, sent) in &senders.0 {
        let notice = notice(topics, sender);
        if args.deprecated && notice.is_none() {
            continue;
        }
        told += 1;
        let last = output::instant(Micros(sent.last_ms.saturating_mul(1_000)));
        if args.json {
            let deprecated = notice.map(ToString::to_string);
            output::json(&Line { sender, sent: *sent, last, deprecated })?;
            continue;
        }
        let mark = notice.map(|notice| format!("  ({notice})")).unwrap_or_default();
        let Sender { record, source, .. } = sender;
        let records = sent.records;
        output::line(format_args!("{record}  {source}  {records} commands, last {last}{mark}"))?;
    }
    match (told, args.json) {
        (0, false) => output::line("nobody, as far back as Kafka keeps these topics"),
        _ => Ok(()),
    }
}

fn notice<'t>(topics: &'t Topics, sender: &Sender) -> Option<&'t Deprecation> {
    topics.topics.get(&sender.topic)?.deprecated.get(&sender.record)
}

impl Senders {
    fn saw(&mut self, shown: &Shown) {
        let record = shown.record.as_ref().map_or("undecodable", |record| record.as_str());
        let source = shown.headers.get(headers::CE_SOURCE).map_or("-", String::as_str);
        let mut sender = Sender {
            topic: shown.topic.to_string(),
            record: record.to_owned(),
            source: source.to_owned(),
        };
        if self.0.len() >= SENDERS_MAX && !self.0.contains_key(&sender) {
            OTHERS.clone_into(&mut sender.source);
        }
        let sent = self.0.entry(sender).or_default();
        sent.records += 1;
        sent.last_ms = sent.last_ms.max(shown.timestamp_ms);
    }
}
