//! `signalbox publish`: JSON lines become Avro commands on Kafka, all of them or, where one is wrong, none.
//! It waits for Kafka's acknowledgement, not for what becomes of a command.

use clap::Args;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, Outbound, Publisher};
use signalbox_schemas::topics::Role;
use signalbox_schemas::{Contract, Micros, RecordName, TopicName, headers, home_lane};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Who publishes, in `ce_source`.
const SOURCE: &str = "/signalbox/cli";
/// Records on their way at once.
const IN_FLIGHT: usize = 1_000;
/// Wrong lines that are told before the rest is only counted.
const TOLD_MAX: usize = 20;
/// The record that is published where none is named.
const DEFAULT_RECORD: &str = "payments.payout.v2.RequestPayout";
const OLD_RECORD: &str = "payments.payout.RequestPayout";
const ONBOARDING_RECORD: &str = "onboarding.application.RequestOnboarding";
const CANCEL_RECORD: &str = "payments.payout.CancelPayout";

/// A line of each command that can be tried out at once, every field written out.
const EXAMPLES: [(&str, &str); 5] = [
    (DEFAULT_RECORD, include_str!("../examples/payments.payout.v2.RequestPayout.json")),
    (OLD_RECORD, include_str!("../examples/payments.payout.RequestPayout.json")),
    (CANCEL_RECORD, include_str!("../examples/payments.payout.CancelPayout.json")),
    (ONBOARDING_RECORD, include_str!("../examples/onboarding.application.RequestOnboarding.json")),
    (
        "signalbox.review.ReviewDecision",
        include_str!("../examples/signalbox.review.ReviewDecision.json"),
    ),
];

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs kafka.brokers and registry.url. Each line is one JSON object with the fields of the record; fields with a default
may be left out. Nothing is published unless every line is right: `line 3: amount.minor_units: expected a whole number,
found text`. Exit status 1 where a line is wrong.

Examples:
  signalbox publish --example | signalbox publish -
  signalbox publish payouts.jsonl --rate 30/s
  signalbox publish --record onboarding.application.RequestOnboarding --example
  signalbox publish --cancel p-42 --actor ann --reason 'wrong amount'
  echo '{...}' | signalbox publish --record signalbox.review.ReviewDecision")]
pub(crate) struct PublishArgs {
    /// File of JSON lines; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Full name of the record that every line is
    #[arg(long, value_name = "NAME", default_value = DEFAULT_RECORD)]
    record: String,
    /// Topic, where several take the record
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Publish the right lines even where others are wrong
    #[arg(long)]
    keep_going: bool,
    /// At most so many records per second, as in 30/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// W3C trace context for every record; else each begins a trace of its own
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<String>,
    /// Say where each record went
    #[arg(long)]
    verbose: bool,
    /// Print a right line with every field, with a fresh id, and publish nothing
    #[arg(long, conflicts_with_all = ["file", "cancel"])]
    example: bool,
    /// Ask to cancel this payout instead of reading lines
    #[arg(long, value_name = "PAYOUT_ID", conflicts_with_all = ["file", "record"])]
    cancel: Option<String>,
    /// With --cancel: who asks
    #[arg(long, value_name = "NAME", default_value = "operator", requires = "cancel")]
    actor: String,
    /// With --cancel: why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "cancelled by an operator",
        requires = "cancel"
    )]
    reason: String,
    /// With --cancel: tenant of the payout
    #[arg(long, value_name = "NAME", default_value = "default", requires = "cancel")]
    tenant: String,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix("/s")
        .unwrap_or(text)
        .parse::<f64>()
        .ok()
        .filter(|rate| *rate > 0.0 && rate.is_finite());
    number.ok_or_else(|| format!("{text:?} is not a rate; write a number per second, such as 30/s"))
}

/// Publishes.
pub(crate) async fn run(args: &PublishArgs, config: &Config) -> Result<(), CliError> {
    if args.example {
        return output::line(example(&args.record)?);
    }
    let (record, text) = match &args.cancel {
        Some(payout) => {
            let cancel = json!({"payout_id": payout, "tenant": args.tenant, "actor": args.actor, "reason": args.reason, "requested_at": now()});
            (CANCEL_RECORD, cancel.to_string())
        }
        None => (args.record.as_str(), input(args)?),
    };
    let desk =
        Desk::open(config, record, args.topic.as_deref(), args.traceparent.as_deref()).await?;
    let (good, bad) = desk.prepare(&text);
    for problem in bad.iter().take(TOLD_MAX) {
        output::note(problem);
    }
    if !bad.is_empty() && !args.keep_going {
        return Err(CliError::Refused(format!(
            "{} of {} lines are wrong; nothing was published",
            bad.len(),
            bad.len() + good.len()
        )));
    }
    desk.send(&good, args.rate, args.verbose).await?;
    if bad.is_empty() {
        Ok(())
    } else {
        Err(CliError::Refused(format!("{} lines are wrong and were left out", bad.len())))
    }
}

/// Everything needed to make records of one sort.
pub(crate) struct Desk {
    publisher: Publisher,
    codec: Codec,
    record: RecordName,
    topic: TopicName,
    key_field: String,
    lanes: u16,
    traceparent: Option<String>,
}

impl Desk {
    /// Finds the record's topic and connects.
    pub(crate) async fn open(
        config: &Config,
        record: &str,
        topic: Option<&str>,
        traceparent: Option<&str>,
    ) -> Result<Self, CliError> {
        let contract = wiring::contract()?;
        let (topic, key_field) = topic_of(contract, record, topic)?;
        let codec = wiring::codec(config).await?;
        let publisher = Publisher::connect(config.kafka()?, "signalbox-publish")?;
        let lanes = publisher.partitions(topic.as_str()).await?;
        if lanes == 0 {
            return Err(CliError::Input(format!(
                "topic {topic} does not exist; run `signalbox topics apply`"
            )));
        }
        let traceparent = traceparent.map(str::to_owned);
        Ok(Self {
            publisher,
            codec,
            record: RecordName::from(record),
            topic,
            key_field,
            lanes,
            traceparent,
        })
    }

    /// Turns lines into records: those that are right, and what is wrong with the others. Empty lines do not count.
    pub(crate) fn prepare(&self, text: &str) -> (Vec<Outbound>, Vec<String>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (number, line) in
            (1_usize..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
        {
            match self.outbound(line) {
                Ok(record) => good.push(record),
                Err(problem) => bad.push(format!("line {number}: {problem}")),
            }
        }
        (good, bad)
    }

    fn outbound(&self, line: &str) -> Result<Outbound, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
        let payload = self
            .codec
            .encode(&self.topic, &self.record, &value)
            .map_err(|error| error.to_string())?;
        let key = value.get(&self.key_field).and_then(Value::as_str).unwrap_or_default();
        if key.is_empty() {
            return Err(format!("{}: is the record's key and must not be empty", self.key_field));
        }
        let trace = self.traceparent.clone().unwrap_or_else(new_trace);
        let headers = Headers::new()
            .with(headers::CE_SPECVERSION, "1.0")
            .with(headers::CE_ID, Uuid::now_v7().to_string())
            .with(headers::CE_SOURCE, SOURCE)
            .with(headers::CE_TYPE, self.record.as_str())
            .with(headers::CE_TIME, now().to_rfc3339())
            .with(headers::CE_SUBJECT, key)
            .with(headers::CONTENT_TYPE, headers::AVRO)
            .with(headers::TRACEPARENT, trace);
        let partition = home_lane(key.as_bytes(), self.lanes).partition();
        Ok(Outbound {
            topic: self.topic.clone(),
            partition,
            key: key.as_bytes().to_vec(),
            payload: Some(payload),
            headers,
        })
    }

    /// Publishes in order and waits until Kafka has everything.
    pub(crate) async fn send(
        &self,
        records: &[Outbound],
        rate: Option<f64>,
        verbose: bool,
    ) -> Result<(), CliError> {
        let begun = tokio::time::Instant::now();
        let due = |place: usize| {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            rate.map(|rate| begun + Duration::from_secs_f64(f64::from(place) / rate))
        };
        let paced = stream::iter(records.iter().enumerate()).then(async |(place, record)| {
            if let Some(due) = due(place) {
                tokio::time::sleep_until(due).await;
            }
            record
        });
        let sent = paced
            .map(async |record: &Outbound| (record, self.publisher.publish(record).await))
            .buffered(IN_FLIGHT);
        let mut sent = std::pin::pin!(sent);
        while let Some((record, offset)) = sent.next().await {
            let offset = offset?;
            if verbose {
                let key = String::from_utf8_lossy(&record.key);
                output::line(format_args!(
                    "{key} is at {}-{}, offset {offset}",
                    record.topic, record.partition
                ))?;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        output::line(format_args!(
            "published {} {} to {} in {seconds:.1} s",
            records.len(),
            self.record,
            self.topic
        ))
    }
}

/// The one topic of commands that takes a record, and the field that is its key.
fn topic_of(
    contract: &Contract,
    record: &str,
    wanted: Option<&str>,
) -> Result<(TopicName, String), CliError> {
    let takes = contract
        .topics()
        .of_role(Role::Command)
        .filter(|(_, topic)| topic.schemas.value.iter().any(|name| name == record));
    let found: Vec<_> =
        takes.filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)).collect();
    match found.as_slice() {
        [(name, topic)] => Ok((TopicName::from(*name), topic.key.clone())),
        [] => {
            let known: Vec<&str> = contract
                .topics()
                .of_role(Role::Command)
                .flat_map(|(_, topic)| topic.schemas.value.iter().map(String::as_str))
                .collect();
            Err(CliError::Input(format!(
                "no topic of commands takes {record}; use one of {}",
                known.join(", ")
            )))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            Err(CliError::Input(format!(
                "{record} is taken by {}; choose with --topic",
                names.join(" and ")
            )))
        }
    }
}

fn input(args: &PublishArgs) -> Result<String, CliError> {
    if args.file.as_os_str() != "-" {
        return wiring::read(&args.file);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|source| CliError::File { path: "standard input".into(), source })?;
    Ok(text)
}

/// A right line of a record, with a fresh id and the present time.
fn example(record: &str) -> Result<String, CliError> {
    let found = EXAMPLES.iter().find(|(name, _)| *name == record);
    let Some((_, text)) = found else {
        let names: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        return Err(CliError::Input(format!(
            "there is no example of {record}, only of {}",
            names.join(", ")
        )));
    };
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| CliError::Input(format!("the example is broken: {error}")))?;
    if let Some(fields) = value.as_object_mut() {
        for (name, field) in fields {
            match name.as_str() {
                "requested_at" | "decided_at" => *field = json!(now()),
                "payout_id" if matches!(record, DEFAULT_RECORD | OLD_RECORD) => {
                    *field = json!(format!("p-{}", Uuid::now_v7()))
                }
                "onboarding_id" if record == ONBOARDING_RECORD => {
                    *field = json!(format!("o-{}", Uuid::now_v7()))
                }
                _ => {}
            }
        }
    }
    Ok(value.to_string())
}

/// The machine's clock; the instant is for the record, nothing is decided by it here.
pub(crate) fn now() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}

/// A W3C trace context of its own, sampled.
fn new_trace() -> String {
    let (parent, _) = Uuid::new_v4().as_u64_pair();
    format!("00-{:032x}-{parent:016x}-01", Uuid::new_v4().as_u128())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_example_fits_its_record_and_names_all_its_fields() {
        let contract = Contract::builtin().unwrap();
        for (name, _) in EXAMPLES {
            let value: Value = serde_json::from_str(&example(name).unwrap()).unwrap();
            let record = contract.record(name).unwrap();
            let bytes = record.encode(&value).unwrap();
            assert_eq!(
                record.decode(record, &bytes).unwrap(),
                value,
                "{name}: a field was left out"
            );
            assert!(topic_of(contract, name, None).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_record_that_is_no_command_is_refused_with_those_that_are() {
        let error = topic_of(Contract::builtin().unwrap(), "payments.payout.PayoutEvent", None)
            .unwrap_err();
        assert!(error.to_string().contains(DEFAULT_RECORD), "{error}");
    }

    #[test]
    fn a_rate_is_a_positive_number_per_second() {
        assert_eq!(rate("30/s"), Ok(30.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1/s", "fast", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_new_trace_has_the_form_of_the_w3c() {
        let parts: Vec<usize> = new_trace().split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2]);
    }
}
