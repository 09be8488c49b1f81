//! Routes under `/_sandbox` for tests and operators: ledger, summary, faults, clock, reset.
//! No vendor has these; nothing here changes what a persona does.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{Millis, iso};
use crate::faults::Faults;
use crate::increase::{Step, course};
use crate::ledger::{Effect, LedgerError};
use crate::personas::{Vendor, personas};
use crate::state::State;

/// Entries per page, and the most that one page can have.
const PAGE_MAX: usize = 200_000;
/// Entries that the summary reads at a time, so that it never holds the ledger for long.
const SUMMARY_STEP: usize = 10_000;

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/_sandbox/health", get(health))
        .route("/_sandbox/personas", get(list_personas))
        .route("/_sandbox/ledger", get(ledger))
        .route("/_sandbox/summary", get(summary))
        .route("/_sandbox/calls", get(calls))
        .route("/_sandbox/faults", post(set_faults))
        .route("/_sandbox/clock", post(advance_clock))
        .route("/_sandbox/reset", post(reset))
}

#[derive(Serialize)]
struct Entry<'a> {
    sequence: usize,
    vendor: Vendor,
    kind: &'static str,
    idempotency_key: Option<&'a str>,
    transfer_id: &'a str,
    amount: i64,
    currency: &'static str,
    account_number: &'a str,
    routing_number: &'a str,
    beneficiary_name: &'a str,
    reference: &'a str,
    created_at: String,
    status_history: Vec<Moment>,
    requests_seen: u32,
}

#[derive(Serialize)]
struct Moment {
    status: &'static str,
    at: String,
}

#[derive(Deserialize)]
struct Page {
    /// Last sequence already read.
    since: Option<usize>,
    limit: Option<usize>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u32,
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn list_personas() -> Response {
    Json(personas()).into_response()
}

async fn ledger(Shared(state): Shared<Arc<State>>, Query(page): Query<Page>) -> Response {
    let effects = if let Some(key) = &page.idempotency_key {
        state.ledger.by_key(key).into_iter().collect()
    } else {
        let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        state.ledger.page(page.since.unwrap_or_default(), limit)
    };
    let now = state.clock.now();
    let entries: Vec<Entry<'_>> = effects.iter().map(|effect| entry(&state, effect, now)).collect();
    Json(entries).into_response()
}

fn entry<'a>(state: &State, effect: &'a Effect, now: Millis) -> Entry<'a> {
    let moment = |(at, step): (Millis, Step)| Moment { status: step.name(), at: iso(at) };
    Entry {
        sequence: effect.sequence(),
        vendor: Vendor::Increase,
        kind: effect.order.kind.name(),
        idempotency_key: effect.order.idempotency_key.as_deref(),
        transfer_id: &effect.transfer_id,
        amount: effect.order.amount,
        currency: "USD",
        account_number: &effect.order.account_number,
        routing_number: &effect.order.routing_number,
        beneficiary_name: &effect.order.beneficiary,
        reference: &effect.order.reference,
        created_at: iso(effect.created_at_ms),
        status_history: course(effect, &state.options, now).into_iter().map(moment).collect(),
        requests_seen: effect.requests_seen,
    }
}

async fn summary(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let totals = state.ledger.totals();
    let now = state.clock.now();
    let mut statuses: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut amount: i64 = 0;
    let mut requests: u64 = 0;
    for start in (0..totals.effects).step_by(SUMMARY_STEP) {
        for effect in state.ledger.page(start, SUMMARY_STEP.min(totals.effects - start)) {
            let last = course(&effect, &state.options, now).last().map(|(_, step)| step.name());
            *statuses.entry(last.unwrap_or_default()).or_default() += 1;
            amount = amount.saturating_add(effect.order.amount);
            requests = requests.saturating_add(u64::from(effect.requests_seen));
        }
    }
    Json(json!({
        "effects": totals.effects,
        "distinct_keys": totals.distinct_keys,
        "duplicate_effects": totals.duplicate_effects,
        "duplicates": totals.duplicates,
        "requests_seen": requests,
        "amount": amount,
        "statuses": statuses,
    }))
}

async fn calls(Shared(state): Shared<Arc<State>>) -> Response {
    Json(state.calls.all()).into_response()
}

async fn set_faults(Shared(state): Shared<Arc<State>>, body: axum::body::Bytes) -> Response {
    let faults: Faults = match serde_json::from_slice(&body) {
        Ok(faults) => faults,
        Err(cause) => return refuse(&cause.to_string()),
    };
    if let Some(field) = faults.invalid() {
        return refuse(&format!("{field} must be between 0 and 1"));
    }
    state.chance.set(faults.clone());
    Json(faults).into_response()
}

async fn advance_clock(Shared(state): Shared<Arc<State>>, body: axum::body::Bytes) -> Response {
    let advance: Advance = match serde_json::from_slice(&body) {
        Ok(advance) => advance,
        Err(cause) => return refuse(&cause.to_string()),
    };
    let offset_ms = state.clock.advance(advance.advance_ms);
    if let Err(cause) = state.ledger.keep_clock(offset_ms) {
        return fail(&cause);
    }
    let now = iso(state.clock.now());
    Json(json!({ "now": now, "offset_ms": offset_ms })).into_response()
}

async fn reset(Shared(state): Shared<Arc<State>>) -> Response {
    match state.reset() {
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(cause) => fail(&cause),
    }
}

fn refuse(cause: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": cause }))).into_response()
}

fn fail(cause: &LedgerError) -> Response {
    let body = Json(json!({ "error": cause.to_string() }));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}
