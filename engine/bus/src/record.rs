//! Records as they come from a topic and as they go to one. Values are bytes here; the codec gives them meaning.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use signalbox_schemas::{TopicName, headers};

/// Headers in the order in which they were written. A repeated name: the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(Vec<(String, ByteBuf)>);

impl Headers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((name.to_owned(), ByteBuf::from(value)));
        self
    }

    /// Adds a header at the end where there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The last value of a name, where it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The last value of a name.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_ref())
    }

    /// Every header, as written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }

    /// Bytes of all names and values.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl FromIterator<(String, Vec<u8>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(headers: I) -> Self {
        Self(headers.into_iter().map(|(name, value)| (name, ByteBuf::from(value))).collect())
    }
}

/// A record read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970-01-01, as the producer or broker wrote; -1 where unknown.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; none is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
}

impl Inbound {
    /// The key as text, where it is UTF-8.
    pub fn key_text(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// Hash of key and value: tells whether an offset still holds the record that was consumed there.
    pub fn content_hash(&self) -> [u8; 32] {
        content_hash(
            self.key.as_deref().unwrap_or_default(),
            self.payload.as_deref().unwrap_or_default(),
        )
    }

    /// Where it stands: topic, partition and offset in one word.
    pub fn place(&self) -> String {
        format!("{}-{}@{}", self.topic, self.partition, self.offset)
    }

    /// A lane's sequence header, as a number.
    pub fn number(&self, header: &str) -> Option<i64> {
        self.headers.text(header).and_then(|text| text.parse().ok())
    }
}

/// A record to be written to a topic, at an explicit partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// Key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// Value; none where the dead letter had none.
    #[serde(with = "serde_bytes")]
    pub payload: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
}

impl Outbound {
    /// Bytes that count against `max.message.bytes`, with room for the batch's own overhead.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 128;
        self.key.len() + self.payload.as_ref().map_or(0, Vec::len) + self.headers.size() + OVERHEAD
    }

    /// The lane's sequence, where a lane published it.
    pub fn lane_seq(&self) -> Option<i64> {
        self.headers.text(headers::LANE_SEQ).and_then(|text| text.parse().ok())
    }
}

fn content_hash(key: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(key);
    hash.update(payload);
    hash.finalize().into()
}
