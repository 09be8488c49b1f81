//! yente, the OpenSanctions matching API: `POST /match/{dataset}`.
//!
//! Candidates come from the persona table, not from any list, and scores are fixed: this tests how
//! answers are read, not how names are matched. Search, entities and catalog are not simulated.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::personas::{Screening, Vendor, script};
use crate::state::State;
use crate::travel::{Trip, travel};

/// Scores at or above it are a match, unless the request names another threshold.
const THRESHOLD: f64 = 0.7;
/// Candidates per query, unless the request names another number.
const LIMIT: usize = 5;

const DATASETS: [&str; 3] = ["default", "sanctions", "peps"];
const SCHEMATA: [&str; 5] = ["Person", "Company", "Organization", "LegalEntity", "PublicBody"];

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new().route("/yente/match/{dataset}", post(matches))
}

#[derive(Debug, Deserialize)]
struct MatchRequest {
    queries: BTreeMap<String, Example>,
}

#[derive(Debug, Clone, Deserialize)]
struct Example {
    #[serde(default)]
    id: Value,
    schema: String,
    properties: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    threshold: Option<f64>,
    limit: Option<usize>,
}

async fn matches(
    Shared(state): Shared<Arc<State>>,
    Path(dataset): Path<String>,
    Query(settings): Query<Settings>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if refused(&headers) {
        return error(StatusCode::UNAUTHORIZED, json!("Invalid API key."));
    }
    if !DATASETS.contains(&dataset.as_str()) {
        return error(StatusCode::NOT_FOUND, json!(format!("No such dataset: {dataset}")));
    }
    let request: MatchRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(cause) => return unprocessable(&cause.to_string()),
    };
    let unknown = request.queries.values().find(|query| !known(&query.schema));
    if let Some(query) = unknown {
        let detail = format!("No such schema: {}", query.schema);
        return error(StatusCode::BAD_REQUEST, json!(detail));
    }
    let names: Vec<String> = request.queries.values().map(Example::name).collect();
    let names = names.join(" ");
    let transport = script(Vendor::Yente, &names, None).transport;
    let trip = Trip { vendor: Vendor::Yente, transport, key: &names, unavailable };
    travel(&state, trip, || answer(&request, &settings)).await
}

fn answer(request: &MatchRequest, settings: &Settings) -> Response {
    let limit = settings.limit.unwrap_or(LIMIT);
    let threshold = settings.threshold.unwrap_or(THRESHOLD);
    let response = |query: &Example| {
        let results: Vec<Value> = query.candidate(threshold).into_iter().take(limit).collect();
        json!({
            "status": 200,
            "total": { "value": results.len(), "relation": "eq" },
            "results": results,
            "query": { "id": query.id, "schema": query.schema, "properties": query.properties },
        })
    };
    let responses: BTreeMap<&str, Value> =
        request.queries.iter().map(|(key, query)| (key.as_str(), response(query))).collect();
    Json(json!({ "responses": responses, "limit": limit })).into_response()
}

/// What a list entry would hold: identity, score, topics, source lists.
struct Listed {
    id: &'static str,
    score: f64,
    topics: &'static [&'static str],
    datasets: &'static [&'static str],
}

const HIT: Listed = Listed {
    id: "NK-sandboxHit01",
    score: 0.97,
    topics: &["sanction"],
    datasets: &["us_ofac_sdn", "eu_fsf"],
};
const AMBIGUOUS: Listed = Listed {
    id: "NK-sandboxAmbiguous01",
    score: 0.62,
    topics: &["role.pep", "poi"],
    datasets: &["wd_peps"],
};
const PEP: Listed =
    Listed { id: "NK-sandboxPep01", score: 0.81, topics: &["role.pep"], datasets: &["wd_peps"] };

impl Example {
    /// All names given for the party; every value may be a text or a list of texts.
    fn name(&self) -> String {
        let texts = |value: &Value| match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) => {
                all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        let of = |property: &str| self.properties.get(property).map(texts).unwrap_or_default();
        let whole = of("name");
        if whole.is_empty() {
            return [of("firstName"), of("lastName")].concat().join(" ");
        }
        whole.join(" ")
    }

    fn candidate(&self, threshold: f64) -> Option<Value> {
        let name = self.name();
        match script(Vendor::Yente, &name, None).screening {
            Screening::Clear => None,
            Screening::Hit => Some(self.scored(&HIT, &name, threshold)),
            Screening::Ambiguous => Some(self.scored(&AMBIGUOUS, &name, threshold)),
            Screening::Pep => Some(self.scored(&PEP, &name, threshold)),
        }
    }

    fn scored(&self, listed: &Listed, name: &str, threshold: f64) -> Value {
        let Listed { id, score, topics, datasets } = listed;
        json!({
            "id": id,
            "caption": name,
            "schema": self.schema,
            "properties": {
                "name": [name],
                "birthDate": ["1962-08-30"],
                "country": ["ru"],
                "topics": topics,
                "sourceUrl": [format!("https://www.opensanctions.org/entities/{id}/")],
            },
            "datasets": datasets,
            "referents": [format!("sandbox-{id}")],
            "target": true,
            "first_seen": "2022-03-01T00:00:00",
            "last_seen": "2026-02-27T00:00:00",
            "last_change": "2024-06-12T00:00:00",
            "score": score,
            "explanations": {
                "name_match": { "score": score, "detail": null, "query": name, "candidate": name },
            },
            "match": *score >= threshold,
        })
    }
}

fn known(schema: &str) -> bool {
    SCHEMATA.contains(&schema)
}

/// A self-hosted yente asks for no key; a key that says it is invalid is refused.
fn refused(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.contains("invalid"))
}

fn unprocessable(cause: &str) -> Response {
    let detail = json!([{ "type": "missing", "loc": ["body"], "msg": cause, "input": {} }]);
    error(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

pub(crate) fn unavailable() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, json!("Index not ready."))
}

fn error(status: StatusCode, detail: Value) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}
