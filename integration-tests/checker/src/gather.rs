//! Reads evidence: every record of every topic from its first to the one that is its last now, decoded with the schema
//! that the registry has under its id; the sandbox's ledger; an export's lines; the files of journeys. It judges nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers as _, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::evidence::{Evidence, EvidenceError, Line, Record, Transfer};
use crate::graph::Graph;

/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(20);
/// Without a record for this long, what is missing does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes before the record in the wire format: a zero and the schema's id.
const PREFIX: usize = 5;

/// Where evidence is.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// Root of the registry's Confluent API.
    pub registry: String,
    /// Root of the sandbox's control routes, such as `http://127.0.0.1:7070/_sandbox`.
    pub sandbox: String,
    /// File that `signalbox audit export` wrote.
    pub export: PathBuf,
    /// Folder with the journeys' files.
    pub journeys: PathBuf,
}

/// Reads everything.
///
/// # Errors
/// Whatever cannot be read; see [`EvidenceError`].
pub async fn gather(sources: &Sources) -> Result<Evidence, EvidenceError> {
    let brokers = sources.brokers.clone();
    let raw = tokio::task::spawn_blocking(move || read_topics(&brokers)).await??;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let schemas = schemas(&http, &sources.registry, &raw).await?;
    Ok(Evidence {
        records: raw.into_iter().map(|raw| raw.decoded(&schemas)).collect(),
        transfers: ledger(&http, &sources.sandbox).await?,
        export: export(&sources.export)?,
        journeys: Graph::read_all(&sources.journeys)?,
    })
}

/// A record before it is decoded.
struct Raw {
    record: Record,
    payload: Vec<u8>,
}

impl Raw {
    fn schema(&self) -> Option<u32> {
        match self.payload.first_chunk::<PREFIX>()? {
            [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => None,
        }
    }

    /// What cannot be decoded keeps no name: whether that is right is judged elsewhere.
    fn decoded(self, schemas: &HashMap<u32, Schema>) -> Record {
        let schema = self.schema().and_then(|id| schemas.get(&id));
        let mut record = self.record;
        let body = self.payload.get(PREFIX..).unwrap_or_default();
        let Some(schema) = schema else { return record };
        if let Some(value) = decode(schema, body) {
            record.name = schema.name().map(|name| name.fullname(None));
            record.value = value;
        }
        record
    }
}

/// Content as JSON, where the bytes are one record and nothing else.
fn decode(schema: &Schema, mut body: &[u8]) -> Option<Value> {
    let value = GenericDatumReader::builder(schema).build().ok()?.read_value(&mut body).ok()?;
    if body.is_empty() { Value::try_from(value).ok() } else { None }
}

fn read_topics(brokers: &str) -> Result<Vec<Raw>, EvidenceError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "signalbox-checker")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(None, ASK)?;
    let mut positions = TopicPartitionList::new();
    // Offset of the record that is missing next, and of the end.
    let mut open: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for topic in metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
        for partition in topic.partitions() {
            let (low, high) = consumer.fetch_watermarks(topic.name(), partition.id(), ASK)?;
            if low < high {
                positions.add_partition_offset(
                    topic.name(),
                    partition.id(),
                    Offset::Offset(low),
                )?;
                open.insert((topic.name().to_owned(), partition.id()), (low, high));
            }
        }
    }
    consumer.assign(&positions)?;
    let mut records = Vec::new();
    let mut last = Instant::now();
    while !open.is_empty() {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            if last.elapsed() > PATIENCE {
                let what: Vec<String> = open
                    .iter()
                    .map(|((t, p), (at, end))| format!("{t}-{p} at {at} of {end}"))
                    .collect();
                return Err(EvidenceError::Unread {
                    seconds: PATIENCE.as_secs(),
                    what: what.join(", "),
                });
            }
            continue;
        };
        let message = message?;
        last = Instant::now();
        let place = (message.topic().to_owned(), message.partition());
        let Some((next, end)) = open.get_mut(&place) else { continue };
        if message.offset() < *next {
            continue;
        }
        *next = message.offset() + 1;
        let is_read = *next >= *end;
        if message.offset() < *end {
            records.push(raw(&message));
        }
        if is_read {
            open.remove(&place);
        }
    }
    records.sort_by(|one, other| place(&one.record).cmp(&place(&other.record)));
    Ok(records)
}

fn place(record: &Record) -> (&str, i32, i64) {
    (&record.topic, record.partition, record.offset)
}

fn raw(message: &impl Message) -> Raw {
    let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    let mut hash = Sha256::new();
    hash.update(u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(key);
    hash.update(payload);
    let mut headers = BTreeMap::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
        headers.insert(header.key.to_owned(), value);
    }
    let record = Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        at_ms: message.timestamp().to_millis().unwrap_or_default(),
        key: String::from_utf8_lossy(key).into_owned(),
        digest: hex::encode(hash.finalize()),
        headers,
        name: None,
        value: Value::Null,
    };
    Raw { record, payload: payload.to_vec() }
}

/// Every schema that a record names and the registry has.
async fn schemas(
    http: &reqwest::Client,
    registry: &str,
    records: &[Raw],
) -> Result<HashMap<u32, Schema>, EvidenceError> {
    let mut schemas = HashMap::new();
    let mut unknown = Vec::new();
    for id in records.iter().filter_map(Raw::schema) {
        if schemas.contains_key(&id) || unknown.contains(&id) {
            continue;
        }
        let answer = http.get(format!("{registry}/schemas/ids/{id}")).send().await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            unknown.push(id);
            continue;
        }
        let wrong = |reason: String| EvidenceError::Schema { id, reason };
        let told: Value = answer.error_for_status()?.json().await?;
        let text = told.get("schema").and_then(Value::as_str).unwrap_or_default();
        let schema = Schema::parse_str(text).map_err(|error| wrong(error.to_string()))?;
        schemas.insert(id, schema);
    }
    Ok(schemas)
}

/// The whole ledger, page by page.
async fn ledger(http: &reqwest::Client, sandbox: &str) -> Result<Vec<Transfer>, EvidenceError> {
    let mut transfers: Vec<Transfer> = Vec::new();
    loop {
        let url = format!("{sandbox}/ledger?since={}&limit=10000", transfers.len());
        let page: Vec<Transfer> = http.get(url).send().await?.error_for_status()?.json().await?;
        if page.is_empty() {
            return Ok(transfers);
        }
        transfers.extend(page);
    }
}

fn export(path: &Path) -> Result<Vec<Line>, EvidenceError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| EvidenceError::File { path: path.to_owned(), source })?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| EvidenceError::Content {
            path: path.to_owned(),
            reason: format!("line {}: {error}", number + 1),
        })
    };
    text.lines().enumerate().map(line).collect()
}
