//! The consumers' rule of the package for consumers, fed with records of our own bus. It decides nothing of its own.

use signalbox_bus::Inbound;
use signalbox_schemas::headers;

pub use signalbox_consumer::{ConsumerRule, Sighting, Stream, Verdict};

/// Reads a record's sequence headers. `None`: no lane published it, so the rule does not apply.
#[must_use]
pub fn sighting(record: &Inbound) -> Option<Sighting> {
    let lane = u16::try_from(record.number(headers::LANE)?).ok()?;
    let topic = record.topic.as_str().to_owned();
    Some(Sighting {
        stream: Stream { topic, partition: record.partition, lane },
        lane_seq: record.number(headers::LANE_SEQ)?,
        prev_seq: record.number(headers::PREV_SEQ)?,
        content: record.content_hash(),
    })
}
