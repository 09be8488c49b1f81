//! Hides the fields that the schemas mark as personal data, before a value is shown. It knows no field by name.

use serde_json::Value;
use std::collections::HashMap;

/// What stands in the place of personal data.
const MASK: &str = "***";

/// The schema of one record, to be laid over its values.
pub(crate) struct Masking {
    schema: Value,
    named: HashMap<String, Value>,
}

impl Masking {
    /// Reads a self-contained schema. What cannot be read masks everything.
    pub(crate) fn of(schema: &str) -> Self {
        let schema: Value = serde_json::from_str(schema).unwrap_or(Value::Null);
        let mut named = HashMap::new();
        collect(&schema, "", &mut named);
        Self { schema, named }
    }

    /// Replaces personal data that is there; absence stays visible.
    pub(crate) fn apply(&self, value: &mut Value) {
        if self.schema.is_null() {
            *value = Value::from(MASK);
        } else {
            self.walk(&self.schema, value);
        }
    }

    fn walk(&self, schema: &Value, value: &mut Value) {
        match (schema, value) {
            (_, Value::Null) => {}
            (Value::String(name), value) => {
                if let Some(definition) = self.named.get(name) {
                    self.walk(definition, value);
                }
            }
            // Of a union the branch that fits is not worked out: every branch may mask what it knows.
            (Value::Array(branches), value) => {
                branches.iter().for_each(|branch| self.walk(branch, value))
            }
            (Value::Object(object), value) => match (object.get("type"), value) {
                (Some(Value::String(kind)), Value::Object(fields)) if kind == "record" => {
                    let declared = object
                        .get("fields")
                        .and_then(Value::as_array)
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    for field in declared {
                        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
                        let Some(content) =
                            fields.get_mut(name).filter(|content| !content.is_null())
                        else {
                            continue;
                        };
                        if field.get("personal_data").and_then(Value::as_bool) == Some(true) {
                            *content = Value::from(MASK);
                        } else if let Some(inner) = field.get("type") {
                            self.walk(inner, content);
                        }
                    }
                }
                (Some(Value::String(kind)), Value::Array(items)) if kind == "array" => {
                    if let Some(inner) = object.get("items") {
                        items.iter_mut().for_each(|item| self.walk(inner, item));
                    }
                }
                (Some(Value::String(kind)), Value::Object(entries)) if kind == "map" => {
                    if let Some(inner) = object.get("values") {
                        entries.values_mut().for_each(|entry| self.walk(inner, entry));
                    }
                }
                (Some(inner @ (Value::Object(_) | Value::Array(_))), value) => {
                    self.walk(inner, value)
                }
                (Some(Value::String(name)), value) => {
                    if let Some(definition) = self.named.get(name) {
                        self.walk(definition, value);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// Records that are defined inside of a schema and referred to by name further on.
fn collect(schema: &Value, namespace: &str, named: &mut HashMap<String, Value>) {
    match schema {
        Value::Object(object) => {
            let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
            if object.get("type").and_then(Value::as_str) == Some("record")
                && let Some(name) = object.get("name").and_then(Value::as_str)
            {
                let full = if own.is_empty() { name.to_owned() } else { format!("{own}.{name}") };
                named.insert(full, schema.clone());
            }
            object.values().for_each(|inner| collect(inner, own, named));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, namespace, named)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use signalbox_schemas::Contract;

    #[test]
    fn names_and_accounts_of_both_parties_are_hidden_and_the_rest_stays() {
        let text =
            Contract::builtin().unwrap().record("payments.payout.v2.RequestPayout").unwrap().text();
        let mut value: Value =
            serde_json::from_str(include_str!("examples/payments.payout.v2.RequestPayout.json"))
                .unwrap();
        Masking::of(text).apply(&mut value);
        let shown = value.to_string();
        for personal in [
            "Ada",
            "Alder",
            "Ben",
            "Birch",
            "9876543210",
            "Invoice",
            "RF18539007547034",
            "Springfield",
            "Portland",
            "7409",
            "4483",
        ] {
            assert!(!shown.contains(personal), "{personal} is shown: {shown}");
        }
        for harmless in ["\"p-1\"", "12500", "USD", "021000021", "\"country\":\"US\""] {
            assert!(shown.contains(harmless), "{harmless} is hidden: {shown}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_read_hides_everything() {
        let mut value = serde_json::json!({"name": "Ada"});
        Masking::of("no schema").apply(&mut value);
        assert_eq!(value, "***");
    }
}
