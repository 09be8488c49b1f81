//! Onfido, public API v3.6: applicants and workflow runs, with its bodies and error shapes.
//!
//! Not simulated: documents, SDK tokens, webhooks, OAuth tokens, lists. What a workflow puts into
//! `output` is configured by its owner; the workflow here answers `decision` and `retry_allowed`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::checks::Run;
use crate::clock::iso;
use crate::personas::{Identity, Vendor, script};
use crate::state::State;
use crate::travel::{Trip, travel};

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/onfido/v3.6/applicants", post(create_applicant))
        .route("/onfido/v3.6/workflow_runs", post(create_run))
        .route("/onfido/v3.6/workflow_runs/{id}", get(find_run))
}

#[derive(Debug, Deserialize)]
struct ApplicantRequest {
    first_name: Option<String>,
    last_name: Option<String>,
    #[serde(default)]
    email: Value,
    #[serde(default)]
    dob: Value,
    #[serde(default)]
    phone_number: Value,
    #[serde(default)]
    id_numbers: Option<Vec<Value>>,
    #[serde(default)]
    address: Value,
    #[serde(default)]
    location: Value,
}

#[derive(Debug, Deserialize)]
struct RunRequest {
    applicant_id: Option<Uuid>,
    workflow_id: Option<Uuid>,
    customer_user_id: Option<String>,
    tags: Option<Vec<String>>,
}

async fn create_applicant(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !authorized(&headers) {
        return unauthorized();
    }
    let Ok(request) = serde_json::from_slice::<ApplicantRequest>(&body) else {
        return unreadable();
    };
    let names = (present(request.first_name.as_deref()), present(request.last_name.as_deref()));
    let (Some(first_name), Some(last_name)) = names else {
        return blank(&[("first_name", names.0.is_none()), ("last_name", names.1.is_none())]);
    };
    let id = state.checks.keep_name(format!("{first_name} {last_name}"));
    let body = json!({
        "id": id,
        "created_at": iso(state.clock.now()),
        "sandbox": true,
        "first_name": first_name,
        "last_name": last_name,
        "email": request.email,
        "dob": request.dob,
        "delete_at": null,
        "href": format!("/v3.6/applicants/{id}"),
        "id_numbers": request.id_numbers.unwrap_or_default(),
        "phone_number": request.phone_number,
        "address": address(&request.address),
        "location": location(&request.location),
    });
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn create_run(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !authorized(&headers) {
        return unauthorized();
    }
    let Ok(request) = serde_json::from_slice::<RunRequest>(&body) else {
        return unreadable();
    };
    let (Some(applicant_id), Some(workflow_id)) = (request.applicant_id, request.workflow_id)
    else {
        let missing = (request.applicant_id.is_none(), request.workflow_id.is_none());
        return blank(&[("applicant_id", missing.0), ("workflow_id", missing.1)]);
    };
    let Some(name) = state.checks.name(applicant_id) else {
        return not_found();
    };
    let persona = script(Vendor::Onfido, &name, None);
    let customer = request.customer_user_id.clone().unwrap_or(name);
    let trip =
        Trip { vendor: Vendor::Onfido, transport: persona.transport, key: &customer, unavailable };
    travel(&state, trip, || {
        let run = state.checks.keep_run(Run {
            id: Uuid::nil(),
            applicant_id,
            workflow_id,
            customer_user_id: request.customer_user_id,
            tags: request.tags,
            created_at_ms: state.clock.now(),
            decided_at_ms: None,
            polls: 0,
            end: settle(&state, persona.identity, &customer),
        });
        (StatusCode::CREATED, Json(run.body())).into_response()
    })
    .await
}

async fn find_run(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    if !authorized(&headers) {
        return unauthorized();
    }
    let polls_needed = state.options.decide_after_polls.max(1);
    let run = Uuid::parse_str(&id)
        .ok()
        .and_then(|id| state.checks.poll(id, polls_needed, state.clock.now()));
    run.map_or_else(not_found, |run| Json(run.body()).into_response())
}

/// A customer who fails softly once is approved at every check after the first, also where the first answer was lost.
fn settle(state: &State, end: Identity, customer: &str) -> Identity {
    if end != Identity::SoftFailOnce {
        return end;
    }
    let key = format!("soft fail of {customer}");
    if state.repeats.count(Vendor::Onfido, &key) == 0 {
        Identity::SoftFail
    } else {
        Identity::Approved
    }
}

impl Run {
    fn body(&self) -> Value {
        let decided = self.decided_at_ms.is_some();
        let (status, output, reasons) = if decided { self.ending() } else { PROCESSING };
        let output = output.map(|(decision, retry_allowed)| {
            json!({ "decision": decision, "retry_allowed": retry_allowed })
        });
        let error = (status == "error").then(|| {
            json!({
                "type": "workflow_task_error",
                "message": "A task of the workflow could not be completed.",
            })
        });
        let id = self.id;
        json!({
            "id": id,
            "applicant_id": self.applicant_id,
            "workflow_id": self.workflow_id,
            "workflow_version_id": 3,
            "status": status,
            "dashboard_url": format!("https://dashboard.onfido.com/results/{id}"),
            "output": output,
            "reasons": reasons,
            "error": error,
            "sdk_token": null,
            "created_at": iso(self.created_at_ms),
            "updated_at": iso(self.decided_at_ms.unwrap_or(self.created_at_ms)),
            "customer_user_id": self.customer_user_id,
            "tags": self.tags,
            "link": {
                "url": format!("https://eu.onfido.app/l/{id}"),
                "completed_redirect_url": null,
                "expired_redirect_url": null,
                "expires_at": null,
                "language": "en_US",
            },
        })
    }

    fn ending(&self) -> Ending {
        match self.end {
            Identity::Approved => ("approved", Some(("approved", false)), &[]),
            Identity::SoftFailOnce | Identity::SoftFail => {
                ("declined", Some(("declined", true)), &["document_image_quality"])
            }
            Identity::HardFail => {
                ("declined", Some(("declined", false)), &["document_suspected_fraud"])
            }
            Identity::Review => ("review", Some(("review", false)), &["document_data_comparison"]),
            Identity::StepUp => ("awaiting_input", None, &[]),
            Identity::Abandoned => ("abandoned", None, &[]),
            Identity::Error => ("error", None, &[]),
        }
    }
}

/// Status, (decision, retry allowed), reasons.
type Ending = (&'static str, Option<(&'static str, bool)>, &'static [&'static str]);

const PROCESSING: Ending = ("processing", None, &[]);

const ADDRESS_FIELDS: [&str; 12] = [
    "flat_number",
    "building_number",
    "building_name",
    "street",
    "sub_street",
    "town",
    "state",
    "postcode",
    "country",
    "line1",
    "line2",
    "line3",
];

fn address(given: &Value) -> Value {
    members(given, &ADDRESS_FIELDS)
}

fn location(given: &Value) -> Value {
    members(given, &["ip_address", "country_of_residence"])
}

/// Onfido answers every member of these objects, null where none was given.
fn members(given: &Value, fields: &[&str]) -> Value {
    if given.is_null() {
        return Value::Null;
    }
    let member = |field: &&str| {
        let value = given.get(*field).cloned().unwrap_or(Value::Null);
        ((*field).to_owned(), value)
    };
    Value::Object(fields.iter().map(member).collect())
}

fn authorized(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Token token="));
    token.is_some_and(|token| !token.is_empty() && !token.contains("invalid"))
}

fn present(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn unreadable() -> Response {
    let message = "The request body is not valid.";
    error(StatusCode::BAD_REQUEST, "bad_request", message, Map::new())
}

fn blank(fields: &[(&str, bool)]) -> Response {
    let fields = fields
        .iter()
        .filter(|(_, missing)| *missing)
        .map(|(field, _)| ((*field).to_owned(), json!(["can't be blank"])))
        .collect();
    let message = "There was a validation error on this request";
    error(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", message, fields)
}

fn unauthorized() -> Response {
    let message = "Authorization error: please re-check your credentials";
    error(StatusCode::UNAUTHORIZED, "authorization_error", message, Map::new())
}

fn not_found() -> Response {
    let message = "Could not find requested resource.";
    error(StatusCode::NOT_FOUND, "resource_not_found", message, Map::new())
}

pub(crate) fn unavailable() -> Response {
    let message = "The service is temporarily unavailable";
    error(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message, Map::new())
}

fn error(status: StatusCode, kind: &str, message: &str, fields: Map<String, Value>) -> Response {
    let body = json!({ "error": { "type": kind, "message": message, "fields": fields } });
    (status, Json(body)).into_response()
}
