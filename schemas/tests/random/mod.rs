//! Random values of records of the contract.
#![allow(clippy::panic, clippy::indexing_slicing)]

use apache_avro::Schema;
use apache_avro::schema::UuidSchema;
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::BoxedStrategy;
use serde_json::{Map, Value, json};
use signalbox_schemas::RecordSchema;
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

/// Values of a record.
pub(crate) fn values_of(record: &RecordSchema) -> BoxedStrategy<Value> {
    let mut found = Names::new();
    names(record.avro(), &mut found);
    values(record.avro(), &found)
}
