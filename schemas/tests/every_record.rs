//! Promises that every record of the contract keeps, whatever its fields: random values survive Avro and back, every cut
//! and every surplus byte is refused, and what is read and written is what the reference implementation reads and writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod random;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use signalbox_schemas::{Contract, DecodeError, RecordSchema};

/// Runs a promise over random values of every record.
fn for_every_record(promise: impl Fn(&RecordSchema, Value)) {
    for record in Contract::builtin().unwrap().records() {
        let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
        let outcome = runner.run(&random::values_of(record), |value| {
            promise(record, value);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", record.name()));
    }
}

#[test]
fn every_value_survives_the_way_to_avro_and_back() {
    for_every_record(|record, value| {
        let bytes = record.encode(&value).expect("the value fits");
        assert_eq!(record.decode(record, &bytes).expect("the bytes are whole"), value);
    });
}

#[test]
fn the_reference_implementation_reads_what_we_write_and_writes_the_same_bytes() {
    for_every_record(|record, value| {
        let bytes = record.encode(&value).expect("the value fits");
        let reader = GenericDatumReader::builder(record.avro()).build().unwrap();
        let mut rest = bytes.as_slice();
        let read = reader.read_value(&mut rest).expect("they are Avro");
        assert!(rest.is_empty(), "{} bytes are left over", rest.len());
        assert_eq!(Value::try_from(read.clone()).unwrap(), record.decode(record, &bytes).unwrap());
        let writer = GenericDatumWriter::builder(record.avro()).build().unwrap();
        assert_eq!(writer.write_value_to_vec(read).unwrap(), bytes);
    });
}

#[test]
fn every_damaged_byte_is_answered_as_the_reference_implementation_answers_it() {
    for_every_record(|record, value| {
        let reader = GenericDatumReader::builder(record.avro()).build().unwrap();
        let whole = record.encode(&value).expect("the value fits");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x11;
            // Where the reference takes bytes that end early, or leaves some, ours refuse them: it may take more, never
            // something else.
            if let Ok(read) = record.decode(record, &bytes) {
                let told = reader.read_value(&mut bytes.as_slice()).expect("what we read is Avro");
                assert_eq!(Value::try_from(told).unwrap(), read, "with another byte at {at}");
                record.encode(&read).expect("what was read can be written");
            }
        }
    });
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_the_path_to_it() {
    let schema = r#"{"type": "record", "name": "A", "namespace": "t", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "on", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "word", "type": {"type": "enum", "name": "Word", "symbols": ["YES", "NO"]}, "default": "NO"},
        {"name": "count", "type": ["null", "int", "string"], "default": null},
        {"name": "parts", "default": [], "type": {"type": "array", "items":
            {"type": "record", "name": "Part", "fields": [{"name": "again", "type": "t.Word"}]}}}]}"#;
    let record = RecordSchema::compile("t.A".into(), schema.to_owned()).unwrap();
    let id = "9ec535ff-3e2a-45bd-91d3-0a01321b5a49";
    let fits = json!({"id": id, "on": "1970-01-03", "at": "1970-01-01T00:00:01Z"});
    let bytes = record.encode(&fits).unwrap();
    assert_eq!(
        record.decode(&record, &bytes).unwrap(),
        json!({"id": id, "on": 2, "at": 1_000_000, "word": "NO", "count": null, "parts": []})
    );
    for (field, value, told) in [
        ("id", json!("9ec5"), "id: expected a UUID, found text"),
        (
            "on",
            json!("1970-02-30"),
            "on: expected a date (YYYY-MM-DD or days since 1970-01-01), found text",
        ),
        (
            "at",
            json!(null),
            "at: expected an instant (RFC 3339 or microseconds since 1970-01-01), found null",
        ),
        ("word", json!("MAYBE"), "word: expected one of YES, NO, found text"),
        ("count", json!(i64::MAX), "count: expected text, found a number"),
        ("count", json!(true), "count: expected text, found true or false"),
        (
            "parts",
            json!([{"again": "YES"}, {"again": 1}]),
            "parts[1].again: expected a word, found a number",
        ),
        ("parts", json!([{}]), "parts[0].again: is required and missing"),
        ("partz", json!([]), "partz: t.A has no such field"),
    ] {
        let mut wrong = fits.clone();
        wrong[field] = value;
        assert_eq!(record.encode(&wrong).unwrap_err().to_string(), told);
    }
    let whole = json!({"id": id, "on": 0, "at": 0, "count": "three", "parts": [{"again": "YES"}]});
    let bytes = record.encode(&whole).unwrap();
    assert_eq!(record.decode(&record, &bytes).unwrap()["count"], json!("three"));
}

#[test]
fn lists_and_maps_are_read_in_whatever_blocks_they_were_written() {
    let schema = r#"{"type": "record", "name": "A", "namespace": "t", "fields": [
        {"name": "list", "type": {"type": "array", "items": "long"}},
        {"name": "map", "type": {"type": "map", "values": "string"}}]}"#;
    let record = RecordSchema::compile("t.A".into(), schema.to_owned()).unwrap();
    // A block of one item; one of two items that says that it has two bytes; the end. Then the map alike.
    let list = [&[0x02, 0x0a][..], &[0x03, 0x04, 0x0c, 0x0e], &[0x00]].concat();
    let map = [&[0x02, 0x02, b'k', 0x04, b'v', b'1'][..], &[0x00]].concat();
    let value = record.decode(&record, &[list, map].concat()).unwrap();
    assert_eq!(value, json!({"list": [5, 6, 7], "map": {"k": "v1"}}));
}

#[test]
fn a_few_bytes_never_ask_for_much_memory_or_depth() {
    let list = r#"{"type": "record", "name": "A", "namespace": "t", "fields": [
        {"name": "list", "type": {"type": "array", "items": "null"}}]}"#;
    let tree = r#"{"type": "record", "name": "A", "namespace": "t", "fields": [
        {"name": "child", "type": ["null", "t.A"]}]}"#;
    for (schema, bytes) in [
        // So many nulls that a list of them would not fit into memory.
        (list, vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00]),
        // Blocks that each claim no more than is left, and all together a multiple of it.
        (list, [vec![0x7e; 100], vec![0x00]].concat()),
        // A number of more than 64 bits.
        (list, vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00]),
        // A child within a child, ten thousand deep.
        (tree, [vec![0x02; 10_000], vec![0x00]].concat()),
    ] {
        let record = RecordSchema::compile("t.A".into(), schema.to_owned()).unwrap();
        let read = record.decode(&record, &bytes);
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{read:?}");
    }
}

#[test]
fn every_cut_of_every_record_is_refused() {
    for_every_record(|record, value| {
        let bytes = record.encode(&value).expect("the value fits");
        for cut in 0..bytes.len() {
            let read = record.decode(record, &bytes[..cut]);
            assert!(
                matches!(read, Err(DecodeError::Malformed(_))),
                "cut at {cut} of {}: {read:?}",
                bytes.len()
            );
        }
    });
}

#[test]
fn every_surplus_is_refused() {
    for_every_record(|record, value| {
        let mut bytes = record.encode(&value).expect("the value fits");
        bytes.extend_from_slice(&[0, 0, 0]);
        assert_eq!(record.decode(record, &bytes), Err(DecodeError::Trailing(3)));
    });
}

proptest! {
    #[test]
    fn random_bytes_are_never_read_past_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for record in Contract::builtin().unwrap().records() {
            // Whatever comes of it, it is an answer and not a panic; what decodes encodes to the same bytes again.
            if let Ok(value) = record.decode(record, &bytes) {
                let again = record.encode(&value).expect("what was read can be written");
                assert_eq!(record.decode(record, &again).unwrap(), value);
            }
        }
    }
}
