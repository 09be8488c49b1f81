//! Records as they come from a topic and as they go to one. Values are bytes here; the codec gives them meaning.

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};
use sha2::{Digest, Sha256};
use signalbox_schemas::{TopicName, headers};
use std::fmt;

/// Headers in the order in which they were written, all in one buffer: a record has fifteen of them. A repeated name:
/// the last counts. Serialized they are a list of pairs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Names and values, one after the other.
    text: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for what a record of the contract carries.
    pub fn for_record() -> Self {
        Self { text: Vec::with_capacity(512), ends: Vec::with_capacity(16) }
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.text.extend_from_slice(name.as_bytes());
        let name_end = self.text.len();
        self.text.extend_from_slice(value);
        self.ends.push((name_end, self.text.len()));
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value.as_ref());
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
        let found = self.pairs().filter(|(given, _)| *given == name.as_bytes()).last();
        found.map(|(_, value)| value)
    }

    /// Every header, as written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // A name went in as text.
        self.pairs().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |(name_end, end)| {
            let name = self.text.get(begin..*name_end).unwrap_or_default();
            begin = *end;
            (name, self.text.get(*name_end..*end).unwrap_or_default())
        })
    }

    /// Bytes of all names and values.
    pub fn size(&self) -> usize {
        self.text.len()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)));
        f.debug_map().entries(readable).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.ends.len()))?;
        for (name, value) in self.iter() {
            list.serialize_element(&(name, Bytes::new(value)))?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(String, ByteBuf)>::deserialize(deserializer)?;
        Ok(pairs.iter().fold(Self::new(), |headers, (name, value)| headers.with(name, value)))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn headers_are_kept_as_a_list_of_pairs_and_the_last_of_a_name_counts() {
        let headers = Headers::new().with("a", "1").with("", [0xff]).with("a", "");
        let pairs =
            [("a", ByteBuf::from(*b"1")), ("", ByteBuf::from([0xff])), ("a", ByteBuf::new())];
        let kept = serde_json::to_string(&headers).unwrap();
        assert_eq!(kept, serde_json::to_string(&pairs).unwrap());
        assert_eq!(serde_json::from_str::<Headers>(&kept).unwrap(), headers);
        assert_eq!(headers.bytes("a"), Some(&[][..]));
        assert_eq!(headers.bytes("b"), None);
        assert_eq!(headers.iter().nth(1), Some(("", &[0xff][..])));
        assert_eq!(headers.size(), 4);
    }
}
