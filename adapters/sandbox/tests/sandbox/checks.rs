//! Identity, screening and fraud over real HTTP: wire shapes as recorded, each persona's answer.

use crate::support::{at, json_of, stage};
use reqwest::StatusCode;
use serde_json::{Value, json};
use signalbox_sandbox::Vendor;

#[tokio::test]
async fn a_check_runs_from_processing_to_the_persona_s_ending() {
    let stage = stage().await;
    let cases = [
        ("Miller", "approved", json!({ "decision": "approved", "retry_allowed": false })),
        ("Softfailalways", "declined", json!({ "decision": "declined", "retry_allowed": true })),
        ("Hardfail", "declined", json!({ "decision": "declined", "retry_allowed": false })),
        ("Kycreview", "review", json!({ "decision": "review", "retry_allowed": false })),
        ("Stepup", "awaiting_input", Value::Null),
        ("Abandoned", "abandoned", Value::Null),
        ("Kycerror", "error", Value::Null),
    ];
    for (last_name, status, output) in cases {
        let (created, run) = json_of(stage.check(last_name).await.unwrap()).await;
        assert_eq!(created, StatusCode::CREATED);
        assert_eq!(at(&run, "status"), "processing");
        let (_, run) = stage.run(&at(&run, "id")).await;
        assert_eq!(at(&run, "status"), status, "{last_name}");
        assert_eq!(at(&run, "output"), output, "{last_name}");
        assert_eq!(at(&run, "error").is_null(), last_name != "Kycerror");
    }
}

#[tokio::test]
async fn a_soft_fail_passes_at_the_second_check() {
    let stage = stage().await;
    for expected in ["declined", "approved"] {
        let (_, run) = json_of(stage.check("Softfail").await.unwrap()).await;
        let (_, run) = stage.run(&at(&run, "id")).await;
        assert_eq!(at(&run, "status"), expected);
    }
}

#[tokio::test]
async fn identity_errors_have_the_vendor_s_shape() {
    let stage = stage().await;
    let (status, body) = stage.applicant("").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body, support_fixture("onfido", "error_422.json"));
    let (status, body) = stage.run(&json!("00000000-0000-4000-8000-000000000000")).await;
    assert_eq!(
        (status, body),
        (StatusCode::NOT_FOUND, support_fixture("onfido", "error_404.json"))
    );
    let url = format!("{}/v3.6/applicants", stage.sandbox.url(Vendor::Onfido));
    let (status, body) = json_of(stage.client.post(url).send().await.unwrap()).await;
    let expected = support_fixture("onfido", "error_401.json");
    assert_eq!((status, body), (StatusCode::UNAUTHORIZED, expected));
}

#[tokio::test]
async fn screening_finds_what_the_persona_says() {
    let stage = stage().await;
    let cases = [
        ("Ann Miller", Value::Null, Value::Null, Value::Null),
        ("Ann Hit", json!(true), json!(0.97), json!(["sanction"])),
        ("Ann Ambiguous", json!(false), json!(0.62), json!(["role.pep", "poi"])),
        ("Ann Pep", json!(true), json!(0.81), json!(["role.pep"])),
    ];
    for (name, matched, score, topics) in cases {
        let (status, body) = json_of(stage.screen(name).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        let first = at(&body, "responses.q.results.0");
        assert_eq!(at(&first, "match"), matched, "{name}");
        assert_eq!(at(&first, "score"), score, "{name}");
        assert_eq!(at(&first, "properties.topics"), topics, "{name}");
    }
}

#[tokio::test]
async fn each_party_of_one_screening_request_is_matched_for_itself() {
    let stage = stage().await;
    let party = |name: &str| json!({ "schema": "Person", "properties": { "name": [name] } });
    let body = json!({ "queries": { "from": party("Ann Clear"), "to": party("Bob Hit") } });
    let url = format!("{}/match/default", stage.sandbox.url(Vendor::Yente));
    let (_, body) = json_of(stage.client.post(url).json(&body).send().await.unwrap()).await;
    assert_eq!(at(&body, "responses.from.total.value"), 0);
    assert_eq!(at(&body, "responses.to.total.value"), 1);
}

#[tokio::test]
async fn screening_refuses_what_the_vendor_refuses() {
    let stage = stage().await;
    let url = |set: &str| format!("{}/match/{set}", stage.sandbox.url(Vendor::Yente));
    let query =
        |schema: &str| json!({ "queries": { "q": { "schema": schema, "properties": {} } } });
    let cases = [
        (url("default"), query("Persn"), StatusCode::BAD_REQUEST, "error_400.json"),
        (url("defalt"), query("Person"), StatusCode::NOT_FOUND, "error_404.json"),
    ];
    for (url, body, status, fixture) in cases {
        let answer = json_of(stage.client.post(url).json(&body).send().await.unwrap()).await;
        assert_eq!(answer, (status, support_fixture("yente", fixture)));
    }
    let unread = stage.client.post(url("default")).json(&json!({})).send().await.unwrap();
    assert_eq!(unread.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_score_says_what_the_persona_says() {
    let stage = stage().await;
    let cases = [
        ("Ann Miller", "APPROVE", 2.5),
        ("Ann Fraudreview", "REVIEW", 22.0),
        ("Ann Frauddecline", "DECLINE", 92.0),
    ];
    for (name, state, score) in cases {
        let (status, body) = json_of(stage.score(name).await.unwrap()).await;
        assert_eq!((status, at(&body, "success")), (StatusCode::OK, json!(true)));
        assert_eq!(
            (at(&body, "data.state"), at(&body, "data.fraud_score")),
            (json!(state), json!(score))
        );
        assert_eq!(at(&body, "data.transaction_id"), format!("for {name}"));
    }
}

#[tokio::test]
async fn scoring_needs_a_licence_key_and_json() {
    let stage = stage().await;
    let url = format!("{}/SeonRestService/fraud-api/v2", stage.sandbox.url(Vendor::Seon));
    let cases = [
        (None, "{}", StatusCode::UNAUTHORIZED, "error_401_missing.json"),
        (Some("invalid"), "{}", StatusCode::UNAUTHORIZED, "error_401.json"),
        (Some("key"), "{", StatusCode::BAD_REQUEST, "error_400.json"),
    ];
    for (key, body, status, fixture) in cases {
        let request = stage.client.post(&url).body(body);
        let request = if let Some(key) = key { request.header("X-API-KEY", key) } else { request };
        let answer = json_of(request.send().await.unwrap()).await;
        assert_eq!(answer, (status, support_fixture("seon", fixture)));
    }
}

#[tokio::test]
async fn transport_personas_travel_the_same_way_at_every_reading_vendor() {
    let stage = stage().await;
    for name in ["Flaky", "Down", "Garbage", "Slow"] {
        let party = format!("Ann {name}");
        for attempt in 1..=3 {
            let answers = [
                json_of(stage.check(name).await.unwrap()).await,
                json_of(stage.screen(&party).await.unwrap()).await,
                json_of(stage.score(&party).await.unwrap()).await,
            ];
            for (status, body) in answers {
                let refused = name == "Down" || (name == "Flaky" && attempt < 3);
                assert_eq!(status == StatusCode::SERVICE_UNAVAILABLE, refused, "{name} {attempt}");
                assert_eq!(body.is_string(), name == "Garbage", "{name}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn a_scoped_marker_acts_at_its_vendor_only() {
    let stage = stage().await;
    assert!(stage.screen("Ann Amllost").await.is_err());
    assert!(stage.screen("Ann Amllost").await.is_ok());
    assert!(stage.score("Ann Amllost").await.is_ok());
    assert_eq!(stage.check("Kycdown").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

fn support_fixture(vendor: &str, name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/vendors");
    let path = format!("{folder}/{vendor}/fixtures/{name}");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
