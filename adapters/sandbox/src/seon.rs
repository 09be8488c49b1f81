//! SEON, Fraud API v2: one request, one score, one state.
//!
//! Enrichment (email, phone, IP, device, BIN) is not simulated: those members are null. Labels,
//! webhooks and rate limits are not simulated either.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::scramble;
use crate::personas::{Fraud, Vendor, script};
use crate::state::State;
use crate::travel::{Trip, travel};

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/seon/SeonRestService/fraud-api/v2", post(score))
        .route("/seon/SeonRestService/fraud-api/v2/", post(score))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FraudRequest {
    transaction_id: Option<String>,
    user_fullname: Option<String>,
    user_firstname: Option<String>,
    user_lastname: Option<String>,
}

async fn score(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if key.is_empty() {
        return error(StatusCode::UNAUTHORIZED, "2001", "Missing license key.");
    }
    if key.contains("invalid") {
        return error(StatusCode::UNAUTHORIZED, "2002", "Invalid license key.");
    }
    if body.is_empty() {
        return error(StatusCode::BAD_REQUEST, "1000", "Empty request body.");
    }
    let Ok(request) = serde_json::from_slice::<FraudRequest>(&body) else {
        return error(StatusCode::BAD_REQUEST, "1006", "Invalid input json.");
    };
    let name = request.name();
    let persona = script(Vendor::Seon, &name, None);
    let key = request.transaction_id.clone().unwrap_or(name);
    let trip = Trip { vendor: Vendor::Seon, transport: persona.transport, key: &key, unavailable };
    travel(&state, trip, || {
        Json(verdict(persona.fraud, &key, request.transaction_id.as_deref())).into_response()
    })
    .await
}

impl FraudRequest {
    fn name(&self) -> String {
        if let Some(full) = &self.user_fullname {
            return full.clone();
        }
        let parts = [&self.user_firstname, &self.user_lastname];
        parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
    }
}

fn verdict(fraud: Fraud, key: &str, transaction_id: Option<&str>) -> Value {
    let new_customer = rule("P106", "Customer is new and amount is above the usual", 14.0);
    let many_payouts = rule("C201", "Many payouts to the same beneficiary in one day", 8.0);
    let seen_in_fraud = rule("C305", "Account details seen in confirmed fraud", 70.0);
    let (state, score, blackbox, rules) = match fraud {
        Fraud::Approve => ("APPROVE", 2.5, 2.25, vec![]),
        Fraud::Review => ("REVIEW", 22.0, 19.8, vec![new_customer, many_payouts]),
        Fraud::Decline => ("DECLINE", 92.0, 82.8, vec![new_customer, many_payouts, seen_in_fraud]),
    };
    let bits = key.bytes().fold(0, |bits, byte| scramble(bits, u64::from(byte)));
    json!({
        "success": true,
        "error": {},
        "data": {
            "id": format!("{:012x}", bits >> 16),
            "state": state,
            "fraud_score": score,
            "blackbox_score": blackbox,
            "bin_details": null,
            "version": "v2",
            "applied_rules": rules,
            "device_details": null,
            "calculation_time": 84,
            "seon_id": bits >> 40,
            "ip_details": null,
            "email_details": null,
            "phone_details": null,
            "aml_details": null,
            "geolocation_details": null,
            "transaction_id": transaction_id,
        },
    })
}

fn rule(id: &str, name: &str, score: f64) -> Value {
    json!({ "id": id, "name": name, "operation": "+", "score": score })
}

pub(crate) fn unavailable() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "2001", "Service unavailable.")
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({ "code": code, "message": message });
    (status, Json(json!({ "success": false, "error": error, "data": {} }))).into_response()
}
