//! The runtime against sandbox vendors over real HTTP, on a bus and a store in memory: every persona's answer, what the
//! vendors' own ledger says, redelivery, a full vendor, dead letters and the order of commits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use signalbox_bus::{BusError, Codec, Headers, Inbound, Outbound};
use signalbox_sandbox::{Sandbox, SandboxOptions, Vendor, serve as serve_sandbox};
use signalbox_schemas::{
    AttemptId, Contract, FlowId, Likeness, Micros, RecordName, SubjectId, TopicName, headers,
};
use signalbox_store::{AttemptRow, Disposition, Known, RecognitionRow};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

mod book;

use super::*;
use crate::routing::VendorPolicy;
use book::{Book, envelope};
use desk::Trouble;
use safe::Safe;

/// Long enough for any call of these tests to begin.
const PERMIT_AGE_MAX: Duration = Duration::from_secs(2);

type Commits = Arc<Mutex<Vec<(String, i64)>>>;

struct Channel {
    records: mpsc::Receiver<Inbound>,
    commits: Commits,
}

impl Inlet for Channel {
    async fn next(&mut self) -> Option<Inbound> {
        self.records.recv().await
    }

    fn commit(&self, topic: &TopicName, _partition: i32, next_offset: i64) -> Result<(), BusError> {
        self.commits.lock().unwrap().push((topic.to_string(), next_offset));
        Ok(())
    }
}

#[derive(Clone)]
struct Published(mpsc::Sender<Outbound>);

impl Outlet for Published {
    async fn publish(&self, record: &Outbound) -> Result<i64, BusError> {
        self.0.send(record.clone()).await.map_err(|_| BusError::Stopped)?;
        Ok(0)
    }
}

/// A running adapter with its vendors.
struct Station {
    sandbox: Sandbox,
    book: Book,
    codec: Arc<Codec>,
    inlets: HashMap<String, mpsc::Sender<Inbound>>,
    published: mpsc::Receiver<Outbound>,
    commits: Commits,
    offset: i64,
    _stop: watch::Sender<bool>,
}

/// A request for a capability, about people whose names say what shall happen.
struct Order<'a> {
    capability: &'a str,
    name: &'a str,
    rail: &'a str,
    subject: Option<AttemptId>,
}

impl Station {
    async fn open(change: impl Fn(&mut Policy)) -> Self {
        let options = SandboxOptions {
            settle_after: Duration::from_secs(3_600),
            slow_for: Duration::from_millis(300),
            hang_for: Duration::from_secs(20),
            ..SandboxOptions::default()
        };
        let sandbox = serve_sandbox(options).await.unwrap();
        let mut policy =
            Policy::parse(include_str!("../../../deploy/policies/routing.yaml")).unwrap();
        for vendor in Vendor::ALL {
            policy.override_base_url(vendor.prefix(), &sandbox.url(vendor)).unwrap();
            let terms = policy.vendors.get_mut(vendor.prefix()).unwrap();
            terms.backoff_ms = 20;
            terms.deadline_ms = 3_000;
        }
        change(&mut policy);
        let settings = [
            (
                "onfido",
                json!({"api_token": "t", "workflow_id": "7b1c2f64-1f7e-4d8a-8a5b-6d2c9c1e0b42", "poll_after_ms": 20}),
            ),
            ("seon", json!({"license_key": "k"})),
            (
                "increase",
                json!({"api_key": "k", "account_id": "a", "source_account_number_id": "s", "company_name": "Bank"}),
            ),
        ];
        let options = AdapterOptions {
            vendors: crate::VENDORS,
            policy,
            settings: settings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
            keys: Arc::new(envelope()),
            capabilities: Vec::new(),
            member: "adapter-1".to_owned(),
            under_way_max: 64,
            permit_age_ms_max: u64::try_from(PERMIT_AGE_MAX.as_millis()).unwrap(),
            drain_ms_max: 1_000,
        };
        let (stop, stopping) = watch::channel(false);
        let (outlet, published) = mpsc::channel(10_000);
        let codec = Arc::new(Codec::offline(Contract::builtin().unwrap()));
        let (book, commits) = (Book::default(), Commits::default());
        let mut senders = HashMap::new();
        let mut channels = HashMap::new();
        for capability in Contract::builtin().unwrap().capabilities() {
            let (sender, records) = mpsc::channel(1_000);
            senders.insert(capability.name.clone(), sender);
            channels.insert(
                capability.name.clone(),
                Channel { records, commits: Arc::clone(&commits) },
            );
        }
        let channels = Mutex::new(channels);
        let inlet =
            move |name: &str, _: &[TopicName]| Ok(channels.lock().unwrap().remove(name).unwrap());
        let running =
            run_on(options, Arc::clone(&codec), book.clone(), inlet, Published(outlet), stopping);
        // It ends with an error when the test drops its channels.
        tokio::spawn(running);
        Self { sandbox, book, codec, inlets: senders, published, commits, offset: 0, _stop: stop }
    }

    async fn deliver(&mut self, order: &Order<'_>, attempt: AttemptId) {
        let topic = TopicName::from(format!("{}.requests.v1", order.capability));
        let record = RecordName::from(format!("{}.Request", order.capability));
        let value = request(order, attempt);
        let payload = self.codec.encode(&topic, &record, &value).unwrap();
        self.deliver_bytes(order.capability, payload).await;
    }

    async fn deliver_bytes(&mut self, capability: &str, payload: Vec<u8>) {
        let record = Inbound {
            topic: TopicName::from(format!("{capability}.requests.v1")),
            partition: 3,
            offset: self.offset,
            timestamp_ms: -1,
            key: Some(b"p-1".to_vec()),
            payload: Some(payload),
            headers: Headers::new()
                .with(headers::CE_ID, "request-1")
                .with(headers::TRACEPARENT, "00-ab-cd-01"),
        };
        self.offset += 1;
        self.inlets[capability].send(record).await.unwrap();
    }

    /// The next record on a topic, whatever else is published before it.
    async fn published_on(&mut self, topic: &str) -> Outbound {
        let found = async {
            loop {
                let record = self.published.recv().await.unwrap();
                if record.topic.as_str() == topic {
                    return record;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found)
            .await
            .unwrap_or_else(|_| panic!("nothing on {topic}"))
    }

    async fn outcome(&mut self, capability: &str) -> Value {
        let record = self.published_on(&format!("{capability}.outcomes.v1")).await;
        assert_eq!(
            record.partition, 3,
            "an outcome goes to the partition where it was asked, whatever lane asked"
        );
        self.codec.decode(record.payload.as_deref()).unwrap().1
    }

    /// Asks and waits for the answer.
    async fn ask(&mut self, order: &Order<'_>) -> (AttemptId, Value) {
        let attempt = AttemptId(Uuid::new_v4());
        if order.capability == "payout.send" || order.capability == "payout.recall" {
            self.book.plan(attempt, order.capability);
        }
        self.deliver(order, attempt).await;
        (attempt, self.outcome(order.capability).await)
    }

    async fn ledger(&self) -> Value {
        let url = format!("{}/ledger", self.sandbox.control_url());
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    async fn sandbox_calls(&self) -> Value {
        reqwest::get(format!("{}/calls", self.sandbox.control_url()))
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn effects(&self) -> u64 {
        let url = format!("{}/summary", self.sandbox.control_url());
        let summary: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(summary["duplicate_effects"], 0, "{summary}");
        summary["effects"].as_u64().unwrap()
    }
}

fn request(order: &Order<'_>, attempt: AttemptId) -> Value {
    let call = json!({"attempt_id": attempt, "flow_id": attempt, "aggregate_id": "p-1", "tenant": "acme", "lane": 11,
        "step": "s", "group": 0, "reply_by": 4_000_000_000_000_000_i64, "excluded": []});
    let address = json!({"street": "1 Main Street", "building": null, "post_code": "62701", "town": "Springfield",
        "region": "IL", "country": "US"});
    let party = json!({"kind": "person", "name": format!("Ann {}", order.name), "given_name": "Ann",
        "family_name": order.name, "birth_date": 7_406, "address": address});
    let amount = json!({"minor_units": 12_550, "currency": "USD", "exponent": 2});
    let account = json!({"scheme": "aba", "iban": null, "routing_number": "101050001", "account_number": "987654321", "bic": null});
    match order.capability {
        "customer.recognise" => {
            let likeness = Likeness(Uuid::from_u128(u128::from(order.name == "Clear")));
            json!({"call": call, "likeness": likeness, "fresh_for_ms": 1_000})
        }
        "kyc.check" => {
            json!({"call": call, "customer_id": attempt, "subject": party, "purpose": "payout"})
        }
        "aml.screen" => json!({"call": call, "role": "originator", "party": party}),
        "fraud.score" => {
            json!({"call": call, "customer_id": "c", "amount": amount, "originator": party,
            "beneficiary": party, "account": account})
        }
        "payout.send" => {
            json!({"call": call, "amount": amount, "originator": party, "beneficiary": party,
            "account": account, "rail": order.rail, "reference": null})
        }
        "payout.inquire" => json!({"call": call, "subject_attempt": order.subject}),
        _ => {
            json!({"call": call, "subject_attempt": order.subject, "why": "requested_by_customer"})
        }
    }
}

fn order<'a>(capability: &'a str, name: &'a str) -> Order<'a> {
    Order { capability, name, rail: "ach", subject: None }
}

fn about<'a>(capability: &'a str, subject: AttemptId) -> Order<'a> {
    Order { subject: Some(subject), ..order(capability, "Clear") }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_persona_gets_its_answer() {
    let mut station = Station::open(|_| {}).await;
    let rows = [
        ("kyc.check", "Clear", "pass", None),
        ("kyc.check", "Softfailalways", "soft_fail", None),
        ("kyc.check", "Hardfail", "hard_fail", None),
        ("kyc.check", "Stepup", "step_up", None),
        ("kyc.check", "Kycreview", "soft_fail", None),
        ("kyc.check", "Abandoned", "soft_fail", None),
        ("kyc.check", "Kycerror", "unavailable", Some("transient")),
        ("kyc.check", "Kycflaky", "pass", None),
        ("kyc.check", "Kycslow", "pass", None),
        ("kyc.check", "Kycdown", "unavailable", Some("transient")),
        ("kyc.check", "Kycgarbage", "unavailable", Some("requires_repair")),
        ("aml.screen", "Clear", "clear", None),
        ("aml.screen", "Hit", "hit", Some("compliance_hold")),
        ("aml.screen", "Ambiguous", "ambiguous", None),
        ("aml.screen", "Pep", "ambiguous", None),
        ("aml.screen", "Amlflaky", "clear", None),
        ("aml.screen", "Amldown", "unavailable", Some("transient")),
        ("aml.screen", "Amlgarbage", "unavailable", Some("requires_repair")),
        ("fraud.score", "Clear", "approve", None),
        ("fraud.score", "Fraudreview", "review", None),
        ("fraud.score", "Frauddecline", "decline", None),
        ("fraud.score", "Fraudflaky", "approve", None),
        ("fraud.score", "Frauddown", "unavailable", Some("transient")),
        ("fraud.score", "Fraudgarbage", "unavailable", Some("requires_repair")),
        ("payout.send", "Clear", "accepted", None),
        ("payout.send", "Badaccount", "requires_repair", Some("requires_repair")),
        ("payout.send", "Payoutflaky", "accepted", None),
        ("payout.send", "Payoutslow", "accepted", None),
        ("payout.send", "Lost", "accepted", None),
        ("payout.send", "Vanish", "accepted", None),
        ("payout.send", "Lostforever", "in_doubt", Some("in_doubt")),
        ("payout.send", "Vanishforever", "in_doubt", Some("in_doubt")),
        ("payout.send", "Payoutdown", "in_doubt", Some("in_doubt")),
        ("payout.send", "Payoutgarbage", "in_doubt", Some("in_doubt")),
    ];
    for (capability, name, outcome, class) in rows {
        let (_, answer) = station.ask(&order(capability, name)).await;
        assert_eq!(
            (answer["outcome"].as_str(), answer["class"].as_str()),
            (Some(outcome), class),
            "{capability} {name}: {answer}"
        );
        assert_eq!(
            answer["outcome"] == "unavailable",
            !answer["retry_after_ms"].is_null(),
            "{capability} {name}: {answer}"
        );
    }
    // Clear, Payoutflaky, Payoutslow, Lost, Vanish, Lostforever and Payoutgarbage moved money, each once.
    assert_eq!(station.effects().await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_recognised_by_what_the_house_knows_and_no_vendor_is_asked() {
    let mut station = Station::open(|_| {}).await;
    let known = Known { likeness: Likeness(Uuid::from_u128(1)), watched: false };
    let row = RecognitionRow {
        subject: SubjectId(Uuid::nil()),
        known: Some(known),
        flow: FlowId(Uuid::nil()),
        at: Micros(0),
    };
    for (found, name, later, outcome) in [
        (None, "Clear", 0, "stranger"),
        (Some(row), "Clear", 0, "recognised"),
        (Some(row), "Somebodyelse", 0, "stranger"),
        (Some(row), "Clear", 1_000_001, "outdated"),
    ] {
        *station.book.known.lock().unwrap() = found;
        *station.book.later.lock().unwrap() = later;
        let (_, answer) = station.ask(&order("customer.recognise", name)).await;
        assert_eq!(answer["outcome"], outcome, "{name} at {later}: {answer}");
    }
    assert_eq!(station.sandbox_calls().await, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_found_by_inquiry_and_nothing_is_sent_twice() {
    let mut station = Station::open(|_| {}).await;
    let (payout, answer) = station.ask(&order("payout.send", "Lostforever")).await;
    assert_eq!(answer["outcome"], "in_doubt");
    let row = station.book.row(payout);
    assert_eq!(row.sends, 3, "the same bytes under the same key, each send counted");
    assert_eq!(row.result.unwrap()["outcome"], "in_doubt");
    let (_, answer) = station.ask(&about("payout.inquire", payout)).await;
    assert_eq!(answer["outcome"], "pending");
    assert_eq!(station.effects().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_the_vendor_does_not_know_is_sent_again_only_while_the_key_is_remembered() {
    let mut station = Station::open(|_| {}).await;
    let (payout, answer) = station.ask(&order("payout.send", "Vanishforever")).await;
    assert_eq!(answer["outcome"], "in_doubt");
    let sends = station.book.row(payout).sends;
    let (_, answer) = station.ask(&about("payout.inquire", payout)).await;
    assert_eq!(answer["outcome"], "in_doubt", "a send that hangs again proves nothing");
    assert_eq!(station.book.row(payout).sends, sends + 1);
    *station.book.later.lock().unwrap() = 13 * 3_600 * 1_000_000;
    let (_, answer) = station.ask(&about("payout.inquire", payout)).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("in_doubt"), Some("not_found"))
    );
    assert_eq!(station.book.row(payout).sends, sends + 1, "half of the key's window is over");
    assert_eq!(station.effects().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_payout_is_answered_as_before() {
    let mut station = Station::open(|_| {}).await;
    let (payout, first) = station.ask(&order("payout.send", "Clear")).await;
    station.deliver(&order("payout.send", "Clear"), payout).await;
    let again = station.outcome("payout.send").await;
    assert_eq!((&again["outcome"], &again["reason"]), (&first["outcome"], &first["reason"]));
    assert_eq!(station.book.row(payout).sends, 1);

    station.book.change(payout, |row| row.result = None);
    station.deliver(&order("payout.send", "Other"), payout).await;
    assert_eq!(station.outcome("payout.send").await["outcome"], "accepted");
    assert_eq!(
        station.book.row(payout).sends,
        2,
        "the stored bytes were sent again, not the record's"
    );
    assert_eq!(station.effects().await, 1);

    *station.book.later.lock().unwrap() = 13 * 3_600 * 1_000_000;
    station.book.change(payout, |row| row.result = None);
    station.deliver(&order("payout.send", "Clear"), payout).await;
    assert_eq!(
        station.outcome("payout.send").await["outcome"],
        "accepted",
        "asked about, not sent"
    );
    assert_eq!(station.book.row(payout).sends, 2);
    assert_eq!(station.effects().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_doubt_where_another_adapter_has_sent_the_payout_again() {
    let mut station = Station::open(|_| {}).await;
    let (refused, answer) = station.ask(&order("payout.send", "Badaccount")).await;
    assert_eq!(answer["outcome"], "requires_repair", "it answers the only send");
    assert_eq!(station.book.row(refused).result.unwrap()["outcome"], "requires_repair");

    *station.book.another_sends.lock().unwrap() = true;
    let (sent_again, answer) = station.ask(&order("payout.send", "Badaccount")).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("in_doubt"), Some("refusal_is_no_proof"))
    );
    assert_eq!(station.book.row(sent_again).result.unwrap()["outcome"], "in_doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_is_as_old_as_the_judgement_of_its_key() {
    let mut station = Station::open(|_| {}).await;
    let (payout, _) = station.ask(&order("payout.send", "Clear")).await;
    let calls = station.sandbox_calls().await;
    // Whoever sends it again stands still for longer than a permit may be old.
    *station.book.slow_to_raise.lock().unwrap() = PERMIT_AGE_MAX * 2;
    station.book.change(payout, |row| row.result = None);
    station.deliver(&order("payout.send", "Clear"), payout).await;
    assert_eq!(station.outcome("payout.send").await["outcome"], "in_doubt");
    assert_eq!(station.book.row(payout).sends, 2, "it was counted");
    assert_eq!(station.sandbox_calls().await, calls, "it left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_stays_with_the_vendor_that_got_it_first_whatever_the_route_is_today() {
    let mut station =
        Station::open(|policy| policy.route_all_to("instant", VendorPolicy::inside())).await;
    let (payout, answer) = station.ask(&order("payout.send", "Clear")).await;
    assert_eq!(
        (answer["outcome"].as_str(), station.book.row(payout).vendor),
        (Some("accepted"), Some("instant".to_owned()))
    );
    let request = station.book.opened(payout);
    let elsewhere = request.replace("/send", "/ach_transfers");
    let elsewhere = station.book.sealed(payout, &elsewhere);
    station.book.change(payout, |row| {
        row.result = None;
        row.vendor = Some("increase".to_owned());
        row.request = Some(elsewhere);
    });
    station.deliver(&order("payout.send", "Clear"), payout).await;
    let answer = station.outcome("payout.send").await;
    // Those bytes are none that this vendor takes, so its refusal of a second send proves nothing.
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("in_doubt"), Some("refusal_is_no_proof"))
    );
    assert_eq!(station.book.row(payout).sends, 2);
    let calls = station.sandbox_calls().await;
    assert!(calls["increase"].is_object(), "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_stored_sealed_and_after_an_erasure_the_vendor_is_asked_not_sent_to() {
    let mut station = Station::open(|_| {}).await;
    let (payout, answer) = station.ask(&order("payout.send", "Clear")).await;
    assert_eq!(answer["outcome"], "accepted");
    let stored = station.book.row(payout).request.unwrap();
    assert!(!String::from_utf8_lossy(&stored).contains("Clear"), "a name is stored in clear");
    assert!(station.book.opened(payout).contains("Clear"), "it is what was sent");
    station.book.change(payout, |row| row.result = None);
    station.book.erase();
    station.deliver(&order("payout.send", "Clear"), payout).await;
    // Nobody can read where it was sent to, so it is looked for wherever it may be.
    let answer = station.outcome("payout.send").await;
    assert_eq!(answer["outcome"], "accepted", "{answer}");
    assert_eq!((station.book.row(payout).sends, station.effects().await), (1, 1));
}

#[tokio::test]
async fn a_stored_request_that_somebody_changed_stands_in_no_other_requests_way() {
    let book = Book::default();
    let [changed, sound] = [1, 2].map(|number| AttemptId(Uuid::from_u128(number)));
    for attempt in [changed, sound] {
        book.plan(attempt, "payout.send");
        // What was sealed for the one is no request of the other.
        let sealed = book.sealed(sound, "a transfer");
        book.change(attempt, |row| row.request = Some(sealed));
    }
    let safe = Safe { store: Arc::new(book), keys: Arc::new(envelope()) };
    let found = desk::find_rows(safe, vec![changed, sound]).await;
    let request = |row: &Option<AttemptRow>| row.clone().and_then(|row| row.request);
    let found: Vec<_> = found.iter().map(|found| found.as_ref().map(request)).collect();
    assert_eq!(found, [Err(&Trouble), Ok(Some(b"a transfer".to_vec()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_the_database_forgot_is_asked_about_and_never_sent() {
    let mut station = Station::open(|_| {}).await;
    let (sent, _) = station.ask(&order("payout.send", "Clear")).await;
    let unsent = AttemptId(Uuid::new_v4());
    station.book.plan(unsent, "payout.send");
    for payout in [sent, unsent] {
        // As recovery puts it down: it may have been sent, nobody knows to whom and what.
        station.book.change(payout, |row| {
            row.disposition = Disposition::Sending;
            (row.vendor, row.request, row.first_sent_at) = (None, None, None);
            (row.sends, row.result) = (2, None);
        });
    }
    for (payout, expected) in [(sent, "accepted"), (unsent, "in_doubt")] {
        station.deliver(&order("payout.send", "Clear"), payout).await;
        assert_eq!(station.outcome("payout.send").await["outcome"], expected);
        let (_, answer) = station.ask(&about("payout.inquire", payout)).await;
        assert_eq!(answer["outcome"] == "in_doubt", expected == "in_doubt", "{answer}");
    }
    assert_eq!(station.effects().await, 1, "a payout was sent that may have been sent before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_or_unknown_attempt_is_never_sent() {
    let mut station = Station::open(|_| {}).await;
    let (abandoned, missing) = (AttemptId(Uuid::new_v4()), AttemptId(Uuid::new_v4()));
    station.book.plan(abandoned, "payout.send");
    station.book.change(abandoned, |row| row.disposition = Disposition::Abandoned);
    station.deliver(&order("payout.send", "Clear"), abandoned).await;
    station.deliver(&order("payout.send", "Clear"), missing).await;
    let (_, answer) = station.ask(&about("payout.inquire", abandoned)).await;
    assert_eq!(answer["outcome"], "not_executed");
    let (_, answer) = station.ask(&about("payout.inquire", missing)).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("in_doubt"), Some("attempt_missing"))
    );
    assert_eq!(station.effects().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_payout_is_recalled_once() {
    let mut station = Station::open(|_| {}).await;
    let (payout, _) = station.ask(&order("payout.send", "Clear")).await;
    let (recall, answer) = station.ask(&about("payout.recall", payout)).await;
    assert_eq!(answer["outcome"], "recalled", "{answer}");
    assert_eq!(station.book.row(recall).sends, 1);
    station.deliver(&about("payout.recall", payout), recall).await;
    assert_eq!(station.outcome("payout.recall").await["outcome"], "recalled");
    assert_eq!(station.book.row(recall).sends, 1);
    let (_, answer) = station.ask(&about("payout.inquire", payout)).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("not_executed"), Some("cancelled"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_vendor_is_told_at_once_and_does_not_block_the_others() {
    let mut station = Station::open(|policy| {
        for terms in policy.vendors.values_mut() {
            terms.in_flight_max = 1;
            terms.start_within_ms = 50;
        }
    })
    .await;
    let hanging = AttemptId(Uuid::new_v4());
    station.deliver(&order("aml.screen", "Amlvanishforever"), hanging).await;
    while station.sandbox_calls().await["yente"].is_null() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, answer) = station.ask(&order("aml.screen", "Clear")).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["reason"].as_str()),
        (Some("unavailable"), Some("vendor_full"))
    );
    assert!(answer["retry_after_ms"].as_i64().unwrap() > 0);
    let (_, answer) = station.ask(&order("fraud.score", "Clear")).await;
    assert_eq!(answer["outcome"], "approve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_is_a_dead_letter_and_the_partition_goes_on() {
    let mut station = Station::open(|_| {}).await;
    let whole = {
        let (topic, record) =
            (TopicName::from("aml.screen.requests.v1"), RecordName::from("aml.screen.Request"));
        station
            .codec
            .encode(
                &topic,
                &record,
                &request(&order("aml.screen", "Clear"), AttemptId(Uuid::nil())),
            )
            .unwrap()
    };
    let cut = whole[..whole.len() - 7].to_vec();
    for (payload, code) in [(b"garbage".to_vec(), "undecodable"), (cut, "undecodable")] {
        station.deliver_bytes("aml.screen", payload.clone()).await;
        let dead = station.published_on("aml.screen.requests.v1.dlq").await;
        assert_eq!(dead.payload, Some(payload));
        assert_eq!(dead.headers.text(headers::DLQ_CODE), Some(code));
        assert_eq!(dead.headers.text(headers::DLQ_TOPIC), Some("aml.screen.requests.v1"));
        assert_eq!(dead.headers.text(headers::DLQ_PARTITION), Some("3"));
        assert_eq!(dead.headers.text(headers::CE_ID), Some("request-1"), "its own headers stay");
    }
    assert_eq!(station.ask(&order("aml.screen", "Clear")).await.1["outcome"], "clear");
    let all_done = ("aml.screen.requests.v1".to_owned(), 3);
    let committed = async {
        while station.commits.lock().unwrap().last() != Some(&all_done) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), committed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_and_its_calls_are_recorded_with_cause_and_trace() {
    let mut station = Station::open(|_| {}).await;
    let attempt = AttemptId(Uuid::new_v4());
    station.book.plan(attempt, "payout.send");
    station.deliver(&order("payout.send", "Lost"), attempt).await;
    let outcome = station.published_on("payout.send.outcomes.v1").await;
    assert_eq!(outcome.headers.text(headers::CE_ID), Some(format!("{attempt}/accepted").as_str()));
    assert_eq!(outcome.headers.text(headers::CE_CAUSATION), Some("request-1"));
    assert_eq!(outcome.headers.text(headers::TRACEPARENT), Some("00-ab-cd-01"));
    let mut calls = Vec::new();
    for _ in 0..2 {
        let call = station.published_on("partner.calls.v1").await;
        calls.push(station.codec.decode(call.payload.as_deref()).unwrap().1);
    }
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call["send"].as_i64(), call["class"].as_str(), call["http_status"].as_i64()))
        .collect();
    assert_eq!(told, [(Some(1), Some("in_doubt"), None), (Some(2), Some("ok"), Some(200))]);
    assert!(calls[0]["route_reason"].as_str().unwrap().contains("primary for payout.send"));
    let ledger = station.ledger().await.to_string();
    assert!(ledger.contains(&attempt.to_string()), "the vendor holds our reference");
    let printed = format!("{calls:?}");
    assert!(
        !printed.contains("Lost") && !printed.contains("987654321"),
        "a call record holds no personal data"
    );
}
