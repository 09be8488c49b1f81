//! What Kafka, a pipe or the database hand over: envelopes, Avro, JSON lines, headers, rows of the journal.

use serde_json::Value;
use signalbox_bus::{Death, Headers, Inbound, Outbound, dead_letter};
use signalbox_schemas::{Micros, RecordSchema, TopicName, confluent_envelope, headers as names};
use signalbox_worker::decode_records;

use crate::{CODEC, contract, files, told};

/// A record's bytes as they lie on a topic, envelope and all.
pub fn envelope(bytes: &[u8]) {
    if let Err(error) = CODEC.decode(Some(bytes)) {
        told(&error);
    }
}

/// The bytes of an Avro body, read as each record of the contract. What is read is written and read again to the same, or
/// may not be written: a UUID is text to the reader, and whoever needs one looks at it.
pub fn avro_body(bytes: &[u8]) {
    for record in contract().records() {
        match record.decode(record, bytes) {
            Ok(value) => match record.encode(&value) {
                Ok(written) => is_read_as(record, &written, &value),
                Err(error) => told(&error),
            },
            Err(error) => told(&error),
        }
    }
}

/// A line of JSON, as `publish` takes it, for each record of the contract. What was written once is written again.
pub fn json_line(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    for record in contract().records() {
        match record.encode(&value) {
            Ok(body) => match record.decode(record, &body) {
                Ok(value) => {
                    let written = record.encode(&value).unwrap();
                    is_read_as(record, &written, &value);
                }
                Err(error) => panic!("{}: what was written is not read: {error}", record.name()),
            },
            Err(error) => told(&error),
        }
    }
}

fn is_read_as(record: &RecordSchema, written: &[u8], value: &Value) {
    let read = record.decode(record, written);
    let read = read.unwrap_or_else(|error| panic!("{}: {value}: {error}", record.name()));
    assert_eq!(read, *value, "{}", record.name());
}

/// Headers of a record, each line `name=value`: whatever they are, the record can be judged and dead-lettered with them.
pub fn headers(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let headers = lines.fold(Headers::new(), |headers, line| {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        headers.with(&name, parts.next().unwrap_or_default())
    });
    let record = Inbound {
        topic: TopicName::from("payments.payout.commands.v1"),
        partition: 0,
        offset: 7,
        key: Some(bytes.to_vec()),
        payload: Some(bytes.to_vec()),
        headers,
        timestamp_ms: -1,
    };
    for name in [names::LANE, names::LANE_SEQ, names::PREV_SEQ] {
        record.number(name);
        record.headers.text(name);
    }
    record.key_text();
    let dead = dead_letter(&record, &Death::undecodable("broken"), "signalbox", Micros(1));
    assert_eq!(dead.payload.as_deref(), Some(bytes), "a dead letter is what it was");
    assert_eq!(dead.key, bytes, "a dead letter keeps its key");
}

/// The records of a journal row, after they were opened.
pub fn journal_records(bytes: &[u8]) {
    if let Err(error) = decode_records(bytes) {
        told(&error);
    }
}

/// An example of each command, as Avro.
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let examples = files("engine/signalbox/src/examples", ".json");
    let values = examples.iter().map(|example| serde_json::from_slice::<Value>(example).unwrap());
    let written = |value: Value| {
        contract()
            .records()
            .filter_map(move |record| record.encode(&value).ok())
            .collect::<Vec<_>>()
    };
    values.flat_map(written).collect()
}

/// The same in envelopes of the first schemas there are.
#[must_use]
pub fn envelopes() -> Vec<Vec<u8>> {
    let ids = (1_u32..).take(contract().records().count());
    let bodies = bodies();
    ids.zip(bodies.iter().cycle())
        .map(|(id, body)| [confluent_envelope(id), body.clone()].concat())
        .collect()
}

/// A row of the journal with one record.
#[must_use]
pub fn rows() -> Vec<Vec<u8>> {
    let record = Outbound {
        topic: TopicName::from("payments.payout.events.v1"),
        partition: 3,
        key: b"p-1".to_vec(),
        payload: bodies().pop(),
        headers: Headers::new().with(names::LANE, "3").with(names::LANE_SEQ, "41"),
    };
    vec![rmp_serde::to_vec(&[&record]).unwrap()]
}
