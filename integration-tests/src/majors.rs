//! Commands in the words of their first majors, as services that have not moved yet say them. Written by hand: the lifts
//! of the contract are what is tested with it.

use serde_json::{Value, json};

/// The first major of the command that asks for a payout.
pub const FIRST_REQUEST_PAYOUT: &str = "payments.payout.RequestPayout";

/// A payout of the second major, without a structured reference, in the words of the first.
#[must_use]
pub fn in_first_major(request: &Value) -> Value {
    let mut told = request.clone();
    if let Some(fields) = told.as_object_mut() {
        let remittance = fields.remove("remittance").unwrap_or_default();
        let text = remittance.get("unstructured").cloned().unwrap_or_default();
        fields.insert("reference".to_owned(), text);
        let segment = match fields.get("segment").and_then(Value::as_str) {
            Some("personal") => "retail",
            Some("company") => "business",
            _ => "UNKNOWN",
        };
        fields.insert("segment".to_owned(), json!(segment));
    }
    told
}
