//! The control routes, and that every recorded body has the shape that the sandbox answers.

use crate::support::{ach, at, json_of, quick, real_time, stage, stage_with};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn the_ledger_says_who_got_what_and_when() {
    let stage = stage().await;
    stage.sent("k", "Bob Returned").await;
    stage.later(120).await;
    let entry = at(&stage.control("ledger").await, "0");
    let expected = [
        ("vendor", json!("increase")),
        ("kind", json!("ach_transfer")),
        ("idempotency_key", json!("k")),
        ("amount", json!(12_550)),
        ("currency", json!("USD")),
        ("account_number", json!("987654321")),
        ("routing_number", json!("101050001")),
        ("beneficiary_name", json!("Bob Returned")),
        ("reference", json!("e2e-7c1f")),
        ("requests_seen", json!(1)),
        ("sequence", json!(1)),
    ];
    for (field, value) in expected {
        assert_eq!(at(&entry, field), value, "{field}");
    }
    let history = at(&entry, "status_history");
    let words: Vec<Value> =
        history.as_array().unwrap().iter().map(|moment| at(moment, "status")).collect();
    assert_eq!(words, ["pending_submission", "submitted", "settled", "returned"]);
}

#[tokio::test]
async fn the_ledger_is_read_in_pages_and_by_key() {
    let stage = stage().await;
    for number in 0..5 {
        stage.sent(&format!("k{number}"), "Bob").await;
    }
    let page = stage.control("ledger?since=2&limit=2").await;
    let sequences: Vec<Value> =
        page.as_array().unwrap().iter().map(|one| at(one, "sequence")).collect();
    assert_eq!(sequences, [3, 4]);
    let one = stage.control("ledger?idempotency_key=k1").await;
    assert_eq!((one.as_array().unwrap().len(), at(&one, "0.sequence")), (1, json!(2)));
}

#[tokio::test]
async fn the_summary_names_money_that_was_sent_twice() {
    let stage = stage().await;
    let first = stage.sent("k1", "Bob").await;
    let again = stage.sent("k2", "Bob").await;
    let summary = stage.control("summary").await;
    assert_eq!((at(&summary, "effects"), at(&summary, "distinct_keys")), (json!(2), json!(2)));
    assert_eq!(at(&summary, "duplicate_effects"), 1);
    assert_eq!(at(&summary, "duplicates.0.first_transfer_id"), first);
    assert_eq!(at(&summary, "duplicates.0.again_transfer_id"), again);
    assert_eq!(at(&summary, "statuses"), json!({ "pending_submission": 2 }));
}

#[tokio::test]
async fn reset_forgets_everything() {
    let stage = stage().await;
    let id = stage.sent("k", "Bob").await;
    stage.set("faults", json!({ "unavailable": 1.0 })).await;
    stage.later(60).await;
    assert_eq!(stage.set("reset", json!({})).await.0, StatusCode::OK);
    assert_eq!(stage.control("ledger").await, json!([]));
    assert_eq!(stage.control("calls").await, json!({}));
    assert_eq!(stage.sent("k", "Bob").await, id, "the same seed gives the same identifiers");
}

#[tokio::test]
async fn calls_are_counted_by_vendor_and_operation() {
    let stage = stage().await;
    stage.sent("k", "Bob").await;
    stage.payout("ach_transfers/unknown").await;
    stage.screen("Ann").await.unwrap();
    let calls = stage.control("calls").await;
    assert_eq!(
        calls,
        json!({
            "increase": { "GET /ach_transfers/{id}": 1, "POST /ach_transfers": 1 },
            "yente": { "POST /match/{dataset}": 1 },
        })
    );
}

#[tokio::test]
async fn faults_are_set_and_lifted_while_it_runs() {
    let stage = stage().await;
    stage.set("faults", json!({ "unavailable": 1.0, "vendors": ["increase"] })).await;
    let refused = stage.pay("ach_transfers", "k", &ach("Bob")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(stage.screen("Ann").await.unwrap().status().is_success());

    stage.set("faults", json!({ "hang": 1.0, "hang_for_ms": 10 })).await;
    assert!(stage.pay("ach_transfers", "k", &ach("Bob")).await.is_err());
    assert_eq!(stage.control("ledger").await, json!([]));

    stage.set("faults", json!({ "answer_lost": 1.0 })).await;
    assert!(stage.pay("ach_transfers", "k", &ach("Bob")).await.is_err());
    stage.set("faults", json!({})).await;
    let again = stage.pay("ach_transfers", "k", &ach("Bob")).await.unwrap();
    assert!(again.headers().contains_key("Idempotent-Replayed"));

    let (status, body) = stage.set("faults", json!({ "hang": 2 })).await;
    assert_eq!(
        (status, at(&body, "error")),
        (StatusCode::BAD_REQUEST, json!("hang must be between 0 and 1"))
    );
    assert_eq!(stage.set("faults", json!({ "hangs": 1 })).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_hanging_requests() {
    let options = signalbox_sandbox::SandboxOptions {
        hang_for: std::time::Duration::from_secs(600),
        ..quick()
    };
    let stage = stage_with(options).await;
    let url = stage.sandbox.url(signalbox_sandbox::Vendor::Increase);
    let hanging = stage
        .client
        .post(format!("{url}/ach_transfers"))
        .bearer_auth("key")
        .json(&ach("Bob Vanish"))
        .send();
    let hanging = tokio::spawn(hanging);
    while stage.control("calls").await == json!({}) {
        tokio::task::yield_now().await;
    }
    let before = std::time::Instant::now();
    stage.sandbox.stop().await.unwrap();
    assert!(hanging.await.unwrap().is_err());
    assert!(before.elapsed() < std::time::Duration::from_secs(4));
}

#[tokio::test]
async fn every_persona_is_listed() {
    let stage = stage().await;
    assert_eq!(stage.control("health").await, json!({ "status": "ok" }));
    let listed = stage.control("personas").await;
    assert_eq!(listed.as_array().unwrap().len(), signalbox_sandbox::personas().len());
    assert_eq!(at(&listed, "0.marker"), "Clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_transfers_stay_quick() {
    let stage = stage().await;
    for batch in 0..40 {
        let bodies: Vec<Value> = (0..50)
            .map(|number| with(ach("Bob"), "individual_id", &format!("e{batch}-{number}")))
            .collect();
        let keys: Vec<String> = (0..50).map(|number| format!("k{batch}-{number}")).collect();
        let sends =
            keys.iter().zip(&bodies).map(|(key, body)| stage.pay("ach_transfers", key, body));
        for answer in join_all(sends).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    }
    let summary = stage.control("summary").await;
    assert_eq!(
        (at(&summary, "effects"), at(&summary, "duplicate_effects")),
        (json!(2_000), json!(0))
    );
}

#[tokio::test]
async fn recorded_bodies_have_the_shape_of_live_answers() {
    let stage = stage().await;
    let (_, applicant) = stage.applicant("Clear").await;
    same_shape(&applicant, "onfido", "applicant_created.json");
    for (last_name, fixture) in [
        ("Clear", "workflow_run_approved.json"),
        ("Hardfail", "workflow_run_declined.json"),
        ("Softfailalways", "workflow_run_declined_retry_allowed.json"),
        ("Kycreview", "workflow_run_review.json"),
        ("Stepup", "workflow_run_awaiting_input.json"),
        ("Abandoned", "workflow_run_abandoned.json"),
        ("Kycerror", "workflow_run_error.json"),
    ] {
        let (_, run) = json_of(stage.check(last_name).await.unwrap()).await;
        same_shape(&run, "onfido", "workflow_run_processing.json");
        let (_, run) = stage.run(&at(&run, "id")).await;
        same_shape(&run, "onfido", fixture);
    }
    for (name, fixture) in
        [("Clear", "clear"), ("Hit", "hit"), ("Ambiguous", "ambiguous"), ("Pep", "pep")]
    {
        let (_, found) = json_of(stage.screen(&format!("Ann {name}")).await.unwrap()).await;
        same_shape(&found, "yente", &format!("match_{fixture}.json"));
    }
    for (name, fixture) in
        [("Clear", "approve"), ("Fraudreview", "review"), ("Frauddecline", "decline")]
    {
        let (_, score) = json_of(stage.score(&format!("Ann {name}")).await.unwrap()).await;
        same_shape(&score, "seon", &format!("fraud_{fixture}.json"));
    }
    let down = [
        ("onfido", stage.check("Down").await),
        ("yente", stage.screen("Ann Down").await),
        ("seon", stage.score("Ann Down").await),
        ("increase", stage.pay("ach_transfers", "down", &ach("Bob Down")).await),
    ];
    for (vendor, answer) in down {
        let (_, body) = json_of(answer.unwrap()).await;
        assert_eq!(body, fixture(vendor, "error_503.json"));
    }
}

#[tokio::test]
async fn recorded_transfers_have_the_shape_of_live_ones() {
    let stage = stage().await;
    let cases = [
        ("ach_transfer", "Clear", "pending_submission", "settled"),
        ("ach_transfer", "Returned", "pending_submission", "returned"),
        ("ach_transfer", "Blocked", "pending_submission", "returned_sanctions"),
        ("ach_transfer", "Rejected", "pending_submission", "rejected"),
        ("ach_transfer", "Attention", "pending_submission", "requires_attention"),
        ("real_time_payments_transfer", "Clear", "pending_submission", "complete"),
        ("real_time_payments_transfer", "Rejected", "pending_submission", "rejected"),
        ("real_time_payments_transfer", "Badaccount", "pending_submission", "rejected_bad_account"),
        ("real_time_payments_transfer", "Blocked", "pending_submission", "rejected_regulatory"),
    ];
    for (kind, persona, first, last) in cases {
        let name = format!("Bob {persona}");
        let body = if kind == "ach_transfer" { ach(&name) } else { real_time(&name) };
        let key = format!("{kind} {persona}");
        let sent = stage.pay(&format!("{kind}s"), &key, &body).await.unwrap();
        let (_, sent) = json_of(sent).await;
        same_shape(&sent, "increase", &format!("{kind}_{first}.json"));
        stage.later(120).await;
        let id = at(&sent, "id");
        let (_, now) = stage.payout(&format!("{kind}s/{}", id.as_str().unwrap())).await;
        same_shape(&now, "increase", &format!("{kind}_{last}.json"));
    }
    let bad = stage.pay("ach_transfers", "bad", &ach("Bob Badaccount")).await.unwrap();
    assert_eq!(json_of(bad).await.1, fixture("increase", "error_400.json"));
    let unknown = stage.payout("ach_transfers/unknown").await;
    assert_eq!(unknown.1, fixture("increase", "error_404.json"));
}

fn with(mut body: Value, field: &str, value: &str) -> Value {
    body.as_object_mut().unwrap().insert(field.to_owned(), json!(value));
    body
}

fn fixture(vendor: &str, name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/vendors");
    let text = std::fs::read_to_string(format!("{folder}/{vendor}/fixtures/{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Same members and kinds of values everywhere; words (status, reason) the same, data may differ.
fn same_shape(live: &Value, vendor: &str, name: &str) {
    compare(live, &fixture(vendor, name), &format!("{vendor} {name}"));
}

fn compare(live: &Value, recorded: &Value, at: &str) {
    match (live, recorded) {
        (Value::Object(live), Value::Object(recorded)) => {
            let keys = |map: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(live), keys(recorded), "{at}");
            for (key, value) in live {
                compare(value, recorded.get(key).unwrap(), &format!("{at}.{key}"));
            }
        }
        (Value::Array(live), Value::Array(recorded)) => {
            for (one, other) in live.iter().zip(recorded) {
                compare(one, other, &format!("{at}[]"));
            }
        }
        (Value::String(live), Value::String(recorded)) => {
            let word = ["status", "state", "reason_code", "type", "decision"]
                .iter()
                .any(|ending| at.ends_with(ending));
            // A country's state is data, not a word of the vendor.
            if word && !at.contains("address") {
                assert_eq!(live, recorded, "{at}");
            }
        }
        (live, recorded) => {
            let given = at.contains("address") || at.contains(".query.");
            let same = std::mem::discriminant(live) == std::mem::discriminant(recorded);
            assert!(same || given, "{at}: {live} instead of {recorded}");
        }
    }
}

#[test]
fn the_documentation_lists_every_persona_with_its_amount() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox.md");
    let text = std::fs::read_to_string(path).unwrap();
    for persona in signalbox_sandbox::personas() {
        let amount = persona.amount_minor.map(|amount| amount.to_string()).unwrap_or_default();
        let row = format!("| `{}` | {amount}", persona.marker);
        assert!(text.contains(row.trim_end()), "{row}");
    }
}
