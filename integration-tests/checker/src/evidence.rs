//! What is judged: records as they lie on topics, the bank's transfers, the lines of an audit export, the journeys.
//! It can be kept in a file and read again, so that a run can be judged a second time. Names, accounts and amounts are in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::Graph;

/// Evidence cannot be read; nothing was judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A journey.
    #[error(transparent)]
    Journey(#[from] crate::graph::GraphError),
    /// Kafka.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Topics that could not be read to their end.
    #[error("after {seconds} s without a record these are not read to their end: {what}")]
    Unread {
        /// How long nothing came.
        seconds: u64,
        /// Partitions.
        what: String,
    },
    /// The registry or the sandbox.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// A schema of the registry.
    #[error("schema {id} of the registry: {reason}")]
    Schema {
        /// Its id.
        id: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading ended badly.
    #[error("reading topics ended badly: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Everything that a run left.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Records of all topics, each partition in its order.
    pub records: Vec<Record>,
    /// The bank's ledger.
    pub transfers: Vec<Transfer>,
    /// The audit export.
    pub export: Vec<Line>,
    /// Journeys, by name and version.
    pub journeys: Vec<Graph>,
}

/// A record on a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its time in milliseconds, as the topic has it.
    pub at_ms: i64,
    /// Key as text.
    pub key: String,
    /// Hash over key and value.
    pub digest: String,
    /// Headers; of a name that occurs twice, the last.
    pub headers: BTreeMap<String, String>,
    /// Full name of its schema, where it can be decoded.
    pub name: Option<String>,
    /// Its content, where it can be decoded.
    #[serde(default)]
    pub value: Value,
}

/// One line of the bank's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Idempotency key.
    pub idempotency_key: Option<String>,
    /// Name at the bank.
    pub transfer_id: String,
    /// Amount in minor units.
    pub amount: i64,
    /// Currency.
    pub currency: String,
    /// Account that is paid.
    pub account_number: String,
    /// Its bank.
    pub routing_number: String,
    /// Who is paid, as the bank was told.
    pub beneficiary_name: String,
    /// What became of it, oldest first.
    pub status_history: Vec<Moment>,
}

/// A status of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Status.
    pub status: String,
}

impl Transfer {
    /// What it is now.
    #[must_use]
    pub fn status(&self) -> &str {
        self.status_history.last().map_or("", |moment| moment.status.as_str())
    }
}

/// One line of an audit export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// First line.
    Header {
        /// Version of the format.
        format: u32,
    },
    /// A signed head. Its signature is not checked here, its hash is.
    Anchor {
        /// Lane.
        lane: u16,
        /// Row.
        seq: i64,
        /// Hash of that row.
        hash: String,
    },
    /// Beginning of a lane's rows.
    Stretch {
        /// Lane.
        lane: u16,
        /// Row before the first; 0 at the beginning.
        after_seq: i64,
        /// Its hash.
        after_hash: String,
        /// Last row.
        last_seq: i64,
    },
    /// A row.
    Row(Box<Row>),
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Lane.
    pub lane: u16,
    /// Position in the lane, from 1.
    pub seq: i64,
    /// When it was decided, in microseconds.
    pub at: i64,
    /// Flow.
    pub flow: Option<String>,
    /// Its revision afterwards.
    pub flow_rev: i64,
    /// What kind of row it is.
    pub kind: String,
    /// Topic of the input.
    pub input_topic: Option<String>,
    /// Its partition.
    pub input_partition: Option<i32>,
    /// Its offset.
    pub input_offset: Option<i64>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Journey.
    pub journey: Option<String>,
    /// Version.
    pub version: Option<u32>,
    /// State before.
    pub before: Option<String>,
    /// State afterwards.
    pub after: Option<String>,
    /// Last sequence of the lane after what the row publishes.
    pub out_last: i64,
    /// What it publishes, sealed; hexadecimal.
    pub records: String,
    /// Hash of the row before.
    pub prev_hash: String,
    /// Hash of this row.
    pub hash: String,
}

impl Row {
    /// Where its input lies.
    pub(crate) fn input(&self) -> Option<(&str, i32, i64)> {
        Some((self.input_topic.as_deref()?, self.input_partition?, self.input_offset?))
    }
}

impl Record {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A header as a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.parse().ok()
    }

    /// A text of its content, by JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str()
    }

    /// Last word of its schema's name, such as `RequestPayout`.
    pub(crate) fn short_name(&self) -> &str {
        let name = self.name.as_deref().unwrap_or_default();
        name.rsplit('.').next().unwrap_or_default()
    }

    /// Where it lies, for people.
    pub(crate) fn place(&self) -> String {
        format!("{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

impl Evidence {
    /// Rows of the journal.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.export.iter().filter_map(|line| match line {
            Line::Row(row) => Some(row.as_ref()),
            _ => None,
        })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// `File` where it cannot be written.
    pub fn keep(&self, path: &Path) -> Result<(), EvidenceError> {
        let failed = |source| EvidenceError::File { path: path.to_owned(), source };
        let file = BufWriter::new(File::create(path).map_err(failed)?);
        serde_json::to_writer(file, self).map_err(|error| failed(error.into()))
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// `File` where it cannot be read, `Content` where it is no evidence.
    pub fn read(path: &Path) -> Result<Self, EvidenceError> {
        let file = File::open(path)
            .map_err(|source| EvidenceError::File { path: path.to_owned(), source })?;
        serde_json::from_reader(BufReader::new(file)).map_err(|error| EvidenceError::Content {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }
}
