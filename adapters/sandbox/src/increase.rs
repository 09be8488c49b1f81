//! Increase: ACH transfers and Real-Time Payments transfers, with idempotency keys as documented.
//!
//! A key is unique over both kinds and never expires here, because the public documentation names
//! no window. Statuses follow from the entry and sandbox time: nothing runs in the background.
//! Not simulated: approvals, external accounts, debits, balances, webhooks, filters of lists other
//! than `idempotency_key`, `limit` and `cursor`. A list looks back over 10,000 transfers per page.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ledger::{Effect, Order, Posted, TransferKind};
use crate::personas::{Payout, Script, Vendor, script};
use crate::state::State;
use crate::travel::{REPLAYED, Trip, travel};

mod body;
mod course;

pub(crate) use course::{Step, course};

const KEY_LENGTH_MAX: usize = 200;
const PAGE_MAX: usize = 100;

const ACH: TransferKind = TransferKind::AchTransfer;
const RTP: TransferKind = TransferKind::RealTimePaymentsTransfer;

pub(crate) fn routes() -> Router<Arc<State>> {
    transfers("/increase/ach_transfers", ACH)
        .merge(transfers("/increase/real_time_payments_transfers", RTP))
}

fn transfers(path: &str, kind: TransferKind) -> Router<Arc<State>> {
    let create_one = move |state, headers, body| create(kind, state, headers, body);
    let list_some = move |state, headers, query| list(kind, state, headers, query);
    let find_one = move |state, headers, id| find(kind, state, headers, id);
    let cancel_one = move |state, headers, id| cancel(kind, state, headers, id);
    Router::new()
        .route(path, post(create_one).get(list_some))
        .route(&format!("{path}/{{id}}"), get(find_one))
        .route(&format!("{path}/{{id}}/cancel"), post(cancel_one))
}

async fn create(
    kind: TransferKind,
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = unauthorized(&headers) {
        return refusal;
    }
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    if key.is_some_and(|key| key.is_empty() || key.len() > KEY_LENGTH_MAX) {
        return invalid("Idempotency-Key", "must be 1 to 200 characters");
    }
    let (order, persona) = match order(kind, key, &body) {
        Ok(read) => read,
        Err(refusal) => return refusal.into_response(),
    };
    if persona.payout == Payout::BadAccount && kind == ACH {
        return invalid("account_number", "is not a valid account number");
    }
    // Once a key has an effect the persona has played its part: a replay always works.
    let known = key.is_some_and(|key| state.ledger.by_key(key).is_some());
    let transport = persona.transport.filter(|way| !known || way.outlasts_effect());
    let repeat_key = key.unwrap_or(&order.account_number).to_owned();
    let trip = Trip { vendor: Vendor::Increase, transport, key: &repeat_key, unavailable };
    travel(&state, trip, || post_order(&state, order)).await
}

fn post_order(state: &State, order: Order) -> Response {
    let posted = match state.ledger.post(order, state.clock.now()) {
        Ok(posted) => posted,
        Err(cause) => {
            tracing::error!(error = %cause, "the ledger cannot keep an effect");
            return broken();
        }
    };
    match posted {
        Posted::Created(effect) => Json(as_created(state, &effect)).into_response(),
        Posted::Replayed(effect) => {
            let mut response = Json(as_created(state, &effect)).into_response();
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            response
        }
        Posted::KeyUsed { transfer_id } => key_used(&transfer_id),
        Posted::Full => {
            tracing::error!("the ledger is full");
            unavailable()
        }
    }
}

async fn find(
    kind: TransferKind,
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    if let Some(refusal) = unauthorized(&headers) {
        return refusal;
    }
    let effect = state.ledger.by_id(kind, &id);
    effect.map_or_else(not_found, |effect| Json(as_of_now(&state, &effect)).into_response())
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    idempotency_key: Option<String>,
    limit: Option<usize>,
    cursor: Option<usize>,
}

async fn list(
    kind: TransferKind,
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Response {
    if let Some(refusal) = unauthorized(&headers) {
        return refusal;
    }
    let (found, next) = if let Some(key) = &query.idempotency_key {
        let found = state.ledger.by_key(key).filter(|effect| effect.order.kind == kind);
        (found.into_iter().collect(), None)
    } else {
        let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        state.ledger.newest(kind, query.cursor, limit)
    };
    let data: Vec<Value> = found.iter().map(|effect| as_of_now(&state, effect)).collect();
    let next_cursor = next.map(|index| index.to_string());
    Json(json!({ "data": data, "next_cursor": next_cursor })).into_response()
}

async fn cancel(
    kind: TransferKind,
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    if let Some(refusal) = unauthorized(&headers) {
        return refusal;
    }
    let now = state.clock.now();
    let pending = |effect: &Effect| {
        let last = course(effect, &state.options, now).last().map(|(_, step)| *step);
        last == Some(Step::PendingSubmission)
    };
    match state.ledger.cancel(kind, &id, now, pending) {
        Ok(Some((effect, true))) => Json(as_of_now(&state, &effect)).into_response(),
        Ok(Some((_, false))) => no_longer_pending(),
        Ok(None) => not_found(),
        Err(cause) => {
            tracing::error!(error = %cause, "the ledger cannot keep a cancellation");
            broken()
        }
    }
}

fn as_of_now(state: &State, effect: &Effect) -> Value {
    body::transfer(effect, &course(effect, &state.options, state.clock.now()))
}

/// The answer to the creation, which a replay repeats whatever has happened since.
fn as_created(state: &State, effect: &Effect) -> Value {
    let uncanceled = Effect { canceled_at_ms: None, ..effect.clone() };
    let mut course = course(&uncanceled, &state.options, effect.created_at_ms);
    course.truncate(1);
    body::transfer(&uncanceled, &course)
}

/// Why a request cannot become an order.
enum Refusal {
    Malformed,
    Invalid { field: String, message: &'static str },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed => malformed(),
            Self::Invalid { field, message } => invalid(&field, message),
        }
    }
}

/// Reads the arguments; those that only the books of the sender see stay in the kept request.
fn order(kind: TransferKind, key: Option<&str>, bytes: &Bytes) -> Result<(Order, Script), Refusal> {
    let request = std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed)?;
    let arguments: Value = serde_json::from_str(request).map_err(|_| Refusal::Malformed)?;
    let wrong = |field: &str, message| Refusal::Invalid { field: field.to_owned(), message };
    let text = |field: &str| {
        let value = arguments.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(|| wrong(field, "is required"))
    };
    let amount = arguments.get("amount").and_then(Value::as_i64).filter(|amount| *amount > 0);
    let amount = amount.ok_or_else(|| wrong("amount", "must be a positive integer"))?;
    let routing_number = text("routing_number")?;
    if routing_number.len() != 9 || !routing_number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("routing_number", "is not a valid routing number"));
    }
    let (beneficiary, reference) = match kind {
        TransferKind::AchTransfer => {
            text("account_id")?;
            let descriptor = text("statement_descriptor")?;
            let name = text("individual_name").unwrap_or(descriptor);
            (name, text("individual_id").unwrap_or_default())
        }
        TransferKind::RealTimePaymentsTransfer => {
            text("source_account_number_id")?;
            (text("creditor_name")?, text("unstructured_remittance_information")?)
        }
    };
    let persona = script(Vendor::Increase, &beneficiary, Some(amount));
    let order = Order {
        kind,
        idempotency_key: key.map(Arc::from),
        amount,
        account_number: text("account_number")?,
        routing_number,
        beneficiary,
        reference,
        payout: persona.payout,
        request: Arc::from(request),
    };
    Ok((order, persona))
}

fn unauthorized(headers: &HeaderMap) -> Option<Response> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let (reason, detail) = if token.is_empty() {
        ("no_header", "No API key was provided.")
    } else if token.contains("invalid") {
        ("no_credential", "No API key has this value.")
    } else {
        return None;
    };
    Some(error_with(
        StatusCode::UNAUTHORIZED,
        "invalid_api_key_error",
        "Your API key is invalid.",
        Some(detail),
        ("reason", json!(reason)),
    ))
}

fn malformed() -> Response {
    let title = "We couldn't parse your request body.";
    error(StatusCode::BAD_REQUEST, "malformed_request_error", title, None)
}

fn invalid(field: &str, message: &str) -> Response {
    error_with(
        StatusCode::BAD_REQUEST,
        "invalid_parameters_error",
        "Your request contains invalid parameters.",
        Some("One or more parameters did not validate."),
        ("errors", json!([{ "field": field, "message": message }])),
    )
}

fn key_used(transfer_id: &str) -> Response {
    error_with(
        StatusCode::CONFLICT,
        "idempotency_key_already_used_error",
        "The idempotency key was already used for another request.",
        Some("Use a new key for a new request."),
        ("resource_id", json!(transfer_id)),
    )
}

fn not_found() -> Response {
    error_with(
        StatusCode::NOT_FOUND,
        "object_not_found_error",
        "Could not find the specified object.",
        Some("No transfer has this identifier."),
        ("likely_environment", Value::Null),
    )
}

fn no_longer_pending() -> Response {
    let title = "The action you specified can't be performed on the object in its current state.";
    let detail = Some("The transfer is no longer pending.");
    error(StatusCode::CONFLICT, "invalid_operation_error", title, detail)
}

pub(crate) fn unavailable() -> Response {
    let title = "The service is temporarily unavailable.";
    error(StatusCode::SERVICE_UNAVAILABLE, "internal_server_error", title, None)
}

fn broken() -> Response {
    let title = "Something went wrong on our side.";
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", title, None)
}

fn error(status: StatusCode, kind: &str, title: &str, detail: Option<&str>) -> Response {
    (status, Json(problem(status, kind, title, detail))).into_response()
}

fn error_with(
    status: StatusCode,
    kind: &str,
    title: &str,
    detail: Option<&str>,
    (member, value): (&str, Value),
) -> Response {
    let mut body = problem(status, kind, title, detail);
    if let Some(members) = body.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
    (status, Json(body)).into_response()
}

fn problem(status: StatusCode, kind: &str, title: &str, detail: Option<&str>) -> Value {
    json!({ "type": kind, "status": status.as_u16(), "title": title, "detail": detail })
}
