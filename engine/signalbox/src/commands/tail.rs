//! `signalbox tail`: records of topics as they come, decoded. It joins no group and commits nothing, so it disturbs
//! nobody; personal data is hidden unless asked for.

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use signalbox_bus::{Codec, Inbound, KafkaLaneBus, LaneBus, Position, Publisher, Undecoded};
use signalbox_schemas::topics::Role;
use signalbox_schemas::{Contract, Micros, RecordName, TopicName};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::masking::Masking;
use crate::{output, shutdown};

/// Records taken from Kafka at once.
const BATCH: usize = 1_000;
/// How long Kafka is listened to before it is looked whether to stop.
const LISTEN: Duration = Duration::from_millis(200);

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs kafka.brokers and registry.url. Ends at Ctrl-C or after --count records.

Examples:
  signalbox tail
  signalbox tail --topic partner.calls.v1 --from-beginning --json | jq .value.latency_micros
  signalbox tail --topic payments.payout.commands.v1.dlq --from-beginning --count 1")]
pub(crate) struct TailArgs {
    /// Topic; give it again for more. Without it, every topic of events
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Begin with the oldest record that Kafka still has, not with the next one
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// One JSON object per line: topic, partition, offset, key, headers, record, value
    #[arg(long)]
    json: bool,
    /// Show fields that are marked as personal data
    #[arg(long)]
    show_personal_data: bool,
}

/// A record as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) topic: TopicName,
    partition: i32,
    offset: i64,
    #[serde(skip)]
    pub(crate) timestamp_ms: i64,
    key: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) record: Option<RecordName>,
    pub(crate) value: Value,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Decodes records for people.
pub(crate) struct Lens {
    codec: Codec,
    masks: Option<HashMap<RecordName, Masking>>,
}

impl Lens {
    /// Shows personal data only where that is asked for.
    pub(crate) fn new(codec: Codec, show_personal_data: bool) -> Self {
        let masks = (!show_personal_data).then(HashMap::new);
        Self { codec, masks }
    }

    /// Decodes one record, asking the registry where its schema is new.
    pub(crate) async fn show(&mut self, inbound: &Inbound) -> Result<Shown, CliError> {
        let mut decoded = self.codec.decode(inbound.payload.as_deref());
        if let Err(Undecoded::UnknownId(id)) = decoded {
            decoded = match self.codec.learn(id).await? {
                Some(_) => self.codec.decode(inbound.payload.as_deref()),
                None => Err(Undecoded::NoSuchId(id)),
            };
        }
        let (record, value, error) = match decoded {
            Ok((record, mut value)) => {
                self.mask(&record, &mut value);
                (Some(record), value, None)
            }
            Err(error) => (None, Value::Null, Some(error.to_string())),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Shown {
            topic: inbound.topic.clone(),
            partition: inbound.partition,
            offset: inbound.offset,
            timestamp_ms: inbound.timestamp_ms,
            key: inbound.key.as_deref().map(text),
            headers: inbound
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect(),
            record,
            value,
            error,
        })
    }

    fn mask(&mut self, record: &RecordName, value: &mut Value) {
        let contract = self.codec.contract();
        if let Some(masks) = &mut self.masks {
            let text = || contract.record(record.as_str()).map_or("", |record| record.text());
            masks.entry(record.clone()).or_insert_with(|| Masking::of(text())).apply(value);
        }
    }
}

impl Shown {
    fn line(&self) -> String {
        let time = output::instant(Micros(self.timestamp_ms.saturating_mul(1_000)));
        let Self { topic, partition, offset, value, .. } = self;
        let key = self.key.as_deref().unwrap_or("-");
        let record = self.record.as_ref().map_or("undecodable", RecordName::as_str);
        let content = self.error.clone().unwrap_or_else(|| value.to_string());
        format!("{time} {topic}-{partition}@{offset} {key} {record} {content}")
    }
}

/// Shows records until it is told to stop.
pub(crate) async fn run(args: &TailArgs, config: &Config) -> Result<(), CliError> {
    let stopping = shutdown::on_signal()?;
    let mut lens = Lens::new(wiring::codec(config).await?, args.show_personal_data);
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-tail")?;
    let topics = topics(args, wiring::contract()?);
    let positions = positions(config, &mut bus, &topics, args.from_beginning).await?;
    bus.assign(positions)?;
    let mut left = args.count.unwrap_or(usize::MAX);
    while left > 0 && !*stopping.borrow() {
        for inbound in bus.poll(BATCH.min(left), LISTEN).await? {
            let shown = lens.show(&inbound).await?;
            if args.json {
                output::json(&shown)?
            } else {
                output::line(shown.line())?
            }
            left -= 1;
        }
    }
    Ok(())
}

fn topics(args: &TailArgs, contract: &Contract) -> Vec<TopicName> {
    if args.topic.is_empty() {
        return contract
            .topics()
            .of_role(Role::Event)
            .map(|(name, _)| TopicName::from(name))
            .collect();
    }
    args.topic.iter().map(|name| TopicName::from(name.as_str())).collect()
}

async fn positions(
    config: &Config,
    bus: &mut KafkaLaneBus,
    topics: &[TopicName],
    from_beginning: bool,
) -> Result<Vec<Position>, CliError> {
    let publisher = Publisher::connect(config.kafka()?, "signalbox-tail")?;
    let mut positions = Vec::new();
    for topic in topics {
        let partitions = publisher.partitions(topic.as_str()).await?;
        if partitions == 0 {
            return Err(CliError::Input(format!(
                "topic {topic} does not exist; `signalbox topics plan` lists those that should"
            )));
        }
        for partition in 0..i32::from(partitions) {
            let range = bus.range(topic, partition).await?;
            let offset = if from_beginning { range.start } else { range.end };
            positions.push(Position { topic: topic.clone(), partition, offset });
        }
    }
    Ok(positions)
}
