//! JSON Schemas for editors: what may be written where, with a sentence on each key. They are made from the types that
//! read the files, so they cannot say something else. Names of the contract are left to the check.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

use crate::bank::BankDoc;
use crate::compile_state::KINDS;
use crate::document::{
    AboutDoc, ArmDoc, InterruptDoc, JourneyDoc, LongArm, LongInterrupt, Ordered,
};
use crate::script::{AnswerDoc, LongAnswer, ScriptDoc};

/// A kind of file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditorFile {
    /// A journey.
    Journey,
    /// A scenario.
    Scenario,
    /// The bank's invariants.
    Invariants,
}

/// The JSON Schema (draft 2020-12) of a kind of file.
pub fn editor_schema(of: EditorFile) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match of {
        EditorFile::Journey => generator.into_root_schema_for::<JourneyDoc>(),
        EditorFile::Scenario => generator.into_root_schema_for::<ScriptDoc>(),
        EditorFile::Invariants => generator.into_root_schema_for::<BankDoc>(),
    };
    let mut schema = schema.to_value();
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        by_kind(definitions);
    }
    schema
}

/// A state takes the keys of its kind and no others. The type that reads it takes all keys, so that `compile` can say
/// which one is out of place; an editor should not offer them.
fn by_kind(definitions: &mut Map<String, Value>) {
    let Some(state) = definitions.get("StateDoc").cloned() else { return };
    let property = |key: &str| {
        let found = state.get("properties").and_then(|properties| properties.get(key));
        (key.to_owned(), without_null(found.cloned().unwrap_or(Value::Bool(true))))
    };
    let kind = |(kind, allowed): &(&str, &[&str])| {
        let keys = [*kind].into_iter().chain(allowed.iter().copied());
        json!({
            "title": kind,
            "type": "object",
            "required": [kind],
            "properties": keys.map(property).collect::<Map<_, _>>(),
            "additionalProperties": false,
        })
    };
    let kinds: Vec<Value> = KINDS.iter().map(kind).collect();
    let description = state.get("description").cloned().unwrap_or_default();
    definitions.insert("StateDoc".to_owned(), json!({"description": description, "oneOf": kinds}));
}

/// A key that may be left out is left out, not written as null.
fn without_null(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    fields.remove("default");
    if let Some(Value::Array(types)) = fields.get("type").cloned() {
        let mut types = types.into_iter().filter(|each| each != "null");
        if let (Some(only), None) = (types.next(), types.next()) {
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = fields.get("anyOf").cloned() {
        let choices: Vec<Value> =
            choices.into_iter().filter(|each| *each != json!({"type": "null"})).collect();
        fields.insert("anyOf".to_owned(), Value::Array(choices));
    }
    schema
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("NamesOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        json_schema!({"type": "object", "additionalProperties": entry})
    }
}

/// A word, or a mapping for more.
fn word_or<L: JsonSchema>(generator: &mut SchemaGenerator, description: &str) -> Schema {
    let long = generator.subschema_for::<L>();
    json_schema!({"description": description, "anyOf": [{"type": "string"}, long]})
}

impl JsonSchema for ArmDoc {
    fn schema_name() -> Cow<'static, str> {
        "ArmDoc".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        word_or::<LongArm>(
            generator,
            "Where an outcome or a decision leads: a state's name, or more.",
        )
    }
}

impl JsonSchema for InterruptDoc {
    fn schema_name() -> Cow<'static, str> {
        "InterruptDoc".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        word_or::<LongInterrupt>(generator, "A state's name, `remember`, `refuse`, or more.")
    }
}

impl JsonSchema for AboutDoc {
    fn schema_name() -> Cow<'static, str> {
        "AboutDoc".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        word_or::<Ordered<Vec<String>>>(
            generator,
            "A step, or a step and the outcomes that are ruled on.",
        )
    }
}

impl JsonSchema for AnswerDoc {
    fn schema_name() -> Cow<'static, str> {
        "AnswerDoc".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        word_or::<LongAnswer>(generator, "An outcome, or an outcome with more.")
    }
}
