//! Promises that every record of the contract keeps, whatever its fields: random values survive Avro and back, every cut
//! and every surplus byte is refused, and the generic decoder is never what reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod random;

use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::test_runner::TestRunner;
use serde_json::Value;
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
