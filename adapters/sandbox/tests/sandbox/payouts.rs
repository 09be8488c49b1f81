//! Transfers over real HTTP: idempotency, the course of each persona, and the ledger's account.

use crate::support::{Stage, ach, at, json_of, quick, real_time, stage, stage_with};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use signalbox_sandbox::SandboxOptions;

const ACH: &str = "ach_transfers";
const RTP: &str = "real_time_payments_transfers";

async fn by_key(stage: &Stage, kind: &str, key: &str) -> Value {
    let (status, list) = stage.payout(&format!("{kind}?idempotency_key={key}")).await;
    assert_eq!(status, StatusCode::OK);
    at(&list, "data.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_fifty_times_at_once_is_one_effect() {
    let stage = stage().await;
    let body = ach("Bob Clear");
    let answers = join_all((0..50).map(|_| stage.pay(ACH, "k", &body))).await;
    let mut fresh = 0;
    let mut ids = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        fresh += usize::from(!answer.headers().contains_key("Idempotent-Replayed"));
        ids.push(at(&json_of(answer).await.1, "id"));
    }
    ids.dedup();
    assert_eq!((fresh, ids.len()), (1, 1));
    let ledger = stage.control("ledger").await;
    assert_eq!(ledger.as_array().unwrap().len(), 1);
    assert_eq!(at(&ledger, "0.requests_seen"), 50);
}

#[tokio::test]
async fn a_replay_repeats_the_first_answer_even_after_settlement() {
    let stage = stage().await;
    let first = json_of(stage.pay(ACH, "k", &ach("Bob")).await.unwrap()).await;
    stage.later(60).await;
    let again = json_of(stage.pay(ACH, "k", &ach("Bob")).await.unwrap()).await;
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_key_used_for_another_request_names_the_first_transfer() {
    let stage = stage().await;
    let id = stage.sent("k", "Bob").await;
    let others = [(ACH, ach("Eve")), (RTP, real_time("Bob"))];
    for (kind, body) in others {
        let (status, body) = json_of(stage.pay(kind, "k", &body).await.unwrap()).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(at(&body, "type"), "idempotency_key_already_used_error");
        assert_eq!(at(&body, "resource_id"), id);
    }
    assert_eq!(at(&stage.control("summary").await, "effects"), 1);
}

#[tokio::test]
async fn transfers_take_the_course_of_their_persona() {
    let stage = stage().await;
    let cases = [
        (ACH, "Clear", ["pending_submission", "submitted", "submitted", "submitted"]),
        (ACH, "Rejected", ["pending_submission", "rejected", "rejected", "rejected"]),
        (ACH, "Returned", ["pending_submission", "submitted", "submitted", "returned"]),
        (ACH, "Blocked", ["pending_submission", "submitted", "returned", "returned"]),
        (
            ACH,
            "Attention",
            [
                "pending_submission",
                "requires_attention",
                "requires_attention",
                "requires_attention",
            ],
        ),
        (RTP, "Clear", ["pending_submission", "submitted", "complete", "complete"]),
        (RTP, "Rejected", ["pending_submission", "submitted", "rejected", "rejected"]),
        (RTP, "Badaccount", ["pending_submission", "submitted", "rejected", "rejected"]),
        (RTP, "Blocked", ["pending_submission", "submitted", "rejected", "rejected"]),
        (RTP, "Returned", ["pending_submission", "submitted", "complete", "complete"]),
    ];
    for (kind, persona, _) in cases {
        let name = format!("Bob {persona}");
        let body = if kind == ACH { ach(&name) } else { real_time(&name) };
        let answer = stage.pay(kind, &format!("{kind}-{persona}"), &body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{kind} {persona}");
    }
    for (moment, step) in [0, 30, 30, 60].into_iter().enumerate() {
        stage.later(step).await;
        for (kind, persona, expected) in &cases {
            let transfer = by_key(&stage, kind, &format!("{kind}-{persona}")).await;
            let expected = expected.get(moment).unwrap();
            assert_eq!(at(&transfer, "status"), **expected, "{kind} {persona} {moment}");
        }
    }
    let returned = by_key(&stage, ACH, "ach_transfers-Returned").await;
    assert_eq!(at(&returned, "return.raw_return_reason_code"), "R03");
    assert!(at(&returned, "settlement.settled_at").is_string());
    let blocked = by_key(&stage, ACH, "ach_transfers-Blocked").await;
    assert_eq!(at(&blocked, "return.raw_return_reason_code"), "R16");
    assert!(at(&blocked, "settlement").is_null());
    let bad = by_key(&stage, RTP, &format!("{RTP}-Badaccount")).await;
    assert_eq!(at(&bad, "rejection.reject_reason_code"), "invalid_creditor_account_number");
}

#[tokio::test]
async fn a_bad_account_is_refused_by_field_and_has_no_effect() {
    let stage = stage().await;
    let (status, body) = json_of(stage.pay(ACH, "k", &ach("Bob Badaccount")).await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(at(&body, "errors.0.field"), "account_number");
    assert_eq!(stage.control("ledger").await, json!([]));
    stage.sent("k", "Bob Repaired").await;
}

#[tokio::test]
async fn an_exact_amount_directs_a_transfer_as_a_name_does() {
    let stage = stage().await;
    let mut body = ach("Bob Miller");
    body.as_object_mut().unwrap().insert("amount".into(), json!(990_111));
    assert!(stage.pay(ACH, "k", &body).await.is_err());
    assert_eq!(at(&by_key(&stage, ACH, "k").await, "amount"), 990_111);
}

#[tokio::test]
async fn a_lost_answer_is_replayed_under_the_same_key() {
    let stage = stage().await;
    assert!(stage.pay(ACH, "k", &ach("Bob Lost")).await.is_err());
    let again = stage.pay(ACH, "k", &ach("Bob Lost")).await.unwrap();
    assert_eq!(again.headers().get("Idempotent-Replayed").unwrap(), "true");
    let summary = stage.control("summary").await;
    assert_eq!((at(&summary, "effects"), at(&summary, "duplicate_effects")), (json!(1), json!(0)));
}

#[tokio::test]
async fn an_answer_lost_forever_is_found_by_its_key() {
    let stage = stage().await;
    for _ in 0..3 {
        assert!(stage.pay(RTP, "k", &real_time("Bob Lostforever")).await.is_err());
    }
    assert_eq!(at(&by_key(&stage, RTP, "k").await, "status"), "pending_submission");
    assert_eq!(at(&stage.control("ledger").await, "0.requests_seen"), 3);
}

#[tokio::test]
async fn a_vanished_request_has_no_effect() {
    let stage = stage().await;
    for name in ["Bob Vanish", "Bob Vanishforever"] {
        assert!(stage.pay(ACH, name, &ach(name)).await.is_err());
        assert!(by_key(&stage, ACH, name).await.is_null());
    }
    stage.sent("Bob Vanish", "Bob Vanish").await;
    assert!(stage.pay(ACH, "Bob Vanishforever", &ach("Bob Vanishforever")).await.is_err());
}

#[tokio::test]
async fn flaky_works_at_the_third_request_and_down_never() {
    let stage = stage().await;
    for expected in [503, 503, 200, 200] {
        let flaky = stage.pay(ACH, "k", &ach("Bob Flaky")).await.unwrap();
        assert_eq!(flaky.status().as_u16(), expected);
        let down = stage.pay(ACH, "d", &ach("Bob Payoutdown")).await.unwrap();
        assert_eq!(down.status().as_u16(), 503);
    }
    assert_eq!(at(&stage.control("summary").await, "effects"), 1);
}

#[tokio::test]
async fn garbage_and_slow_answers_come_after_the_effect() {
    let stage = stage().await;
    let (status, body) = json_of(stage.pay(ACH, "g", &ach("Bob Garbage")).await.unwrap()).await;
    assert!(status.is_success() && body.is_string());
    let impatient =
        reqwest::Client::builder().timeout(std::time::Duration::from_millis(20)).build().unwrap();
    let patient = stage;
    let hasty = Stage { client: impatient, sandbox: patient.sandbox };
    assert!(hasty.pay(ACH, "s", &ach("Bob Slow")).await.unwrap_err().is_timeout());
    let stage = Stage { client: patient.client, sandbox: hasty.sandbox };
    for key in ["g", "s"] {
        assert_eq!(at(&by_key(&stage, ACH, key).await, "idempotency_key"), key);
    }
}

#[tokio::test]
async fn a_pending_transfer_is_canceled_and_a_submitted_one_is_not() {
    let stage = stage().await;
    let early = stage.sent("early", "Bob").await;
    let (status, body) = stage.cancel(&format!("{ACH}/{early}")).await;
    assert_eq!((status, at(&body, "status")), (StatusCode::OK, json!("canceled")));
    let late = stage.sent("late", "Bob").await;
    stage.later(30).await;
    let (status, body) = stage.cancel(&format!("{ACH}/{late}")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(at(&body, "type"), "invalid_operation_error");
    stage.later(30).await;
    assert_eq!(at(&by_key(&stage, ACH, "early").await, "status"), "canceled");
}

#[tokio::test]
async fn requests_that_cannot_be_right_are_refused() {
    let stage = stage().await;
    let without = |field: &str| {
        let mut body = ach("Bob");
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for field in ["amount", "account_id", "account_number", "routing_number"] {
        let (status, body) = json_of(stage.pay(ACH, "k", &without(field)).await.unwrap()).await;
        assert_eq!((status, at(&body, "errors.0.field")), (StatusCode::BAD_REQUEST, json!(field)));
    }
    let (status, body) = stage.payout("ach_transfers/ach_transfer_nothing").await;
    assert_eq!(
        (status, at(&body, "type")),
        (StatusCode::NOT_FOUND, json!("object_not_found_error"))
    );
    let id = stage.sent("k", "Bob").await;
    assert_eq!(stage.payout(&format!("{RTP}/{id}")).await.0, StatusCode::NOT_FOUND);
    let url = format!("{}/{ACH}", stage.sandbox.url(signalbox_sandbox::Vendor::Increase));
    let (status, body) = json_of(stage.client.get(url).send().await.unwrap()).await;
    assert_eq!((status, at(&body, "reason")), (StatusCode::UNAUTHORIZED, json!("no_header")));
}

#[tokio::test]
async fn a_list_is_read_page_by_page_newest_first() {
    let stage = stage().await;
    for number in 0..5 {
        stage.sent(&format!("k{number}"), "Bob").await;
    }
    let mut keys = Vec::new();
    let mut path = format!("{ACH}?limit=2");
    loop {
        let (_, page) = stage.payout(&path).await;
        let data = at(&page, "data");
        keys.extend(data.as_array().unwrap().iter().map(|one| at(one, "idempotency_key")));
        let Some(cursor) = at(&page, "next_cursor").as_str().map(str::to_owned) else {
            break;
        };
        path = format!("{ACH}?limit=2&cursor={cursor}");
    }
    assert_eq!(keys, ["k4", "k3", "k2", "k1", "k0"]);
}

#[tokio::test]
async fn a_killed_sandbox_still_knows_its_transfers() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SandboxOptions { ledger_file: Some(folder.path().join("ledger.jsonl")), ..quick() };
    let stage = stage_with(options.clone()).await;
    let id = stage.sent("k", "Bob").await;
    stage.later(60).await;
    // Dropped, not stopped: nothing gets a chance to be written late.
    drop(stage);

    let stage = stage_with(options).await;
    let again = stage.pay(ACH, "k", &ach("Bob")).await.unwrap();
    assert!(again.headers().contains_key("Idempotent-Replayed"));
    let transfer = by_key(&stage, ACH, "k").await;
    assert_eq!(at(&transfer, "id"), id);
    assert!(at(&transfer, "settlement").is_object(), "sandbox time goes on where it was");
}
