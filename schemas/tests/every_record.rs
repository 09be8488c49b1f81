//! Promises that every record of the contract keeps, whatever its fields: random values survive Avro and back, every cut
//! and every surplus byte is refused, and the generic decoder is never what reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use apache_avro::Schema;
use apache_avro::schema::UuidSchema;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, proptest};
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use signalbox_schemas::{Contract, DecodeError, RecordSchema};
use std::collections::HashMap;

type Names = HashMap<String, Schema>;

/// Values that fit a schema.
fn values(schema: &Schema, names: &Names) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Schema::Int | Schema::Date => any::<i32>().prop_map(Value::from).boxed(),
        Schema::Long | Schema::TimestampMicros => any::<i64>().prop_map(Value::from).boxed(),
        Schema::String => "[ -~éß漢]{0,12}".prop_map(Value::from).boxed(),
        Schema::Uuid(UuidSchema::String) => {
            any::<u128>().prop_map(|bits| json!(uuid::Uuid::from_u128(bits))).boxed()
        }
        Schema::Enum(symbols) => {
            proptest::sample::select(symbols.symbols.clone()).prop_map(Value::from).boxed()
        }
        Schema::Array(array) => proptest::collection::vec(values(&array.items, names), 0..3)
            .prop_map(Value::from)
            .boxed(),
        Schema::Union(union) => {
            let branches: Vec<_> =
                union.variants().iter().map(|branch| values(branch, names)).collect();
            proptest::strategy::Union::new(branches).boxed()
        }
        Schema::Ref { name } => values(&names[&name.fullname(None)], names),
        Schema::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .map(|field| (Just(field.name.clone()), values(&field.schema, names)))
                .collect();
            fields
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
                .boxed()
        }
        other => panic!("the contract uses {other:?}: teach this test to make such values"),
    }
}

fn names(schema: &Schema, found: &mut Names) {
    if let Some(name) = schema.name()
        && !matches!(schema, Schema::Ref { .. })
    {
        found.insert(name.fullname(None), schema.clone());
    }
    match schema {
        Schema::Record(record) => {
            record.fields.iter().for_each(|field| names(&field.schema, found))
        }
        Schema::Union(union) => union.variants().iter().for_each(|branch| names(branch, found)),
        Schema::Array(array) => names(&array.items, found),
        _ => {}
    }
}

/// Runs a promise over random values of every record.
fn for_every_record(promise: impl Fn(&RecordSchema, Value)) {
    for record in Contract::builtin().unwrap().records() {
        let mut found = Names::new();
        names(record.avro(), &mut found);
        let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
        let strategy = values(record.avro(), &found);
        let outcome = runner.run(&strategy, |value| {
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
