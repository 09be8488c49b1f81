//! Vendors as a twin: one that checks people and moves money inside the process, with books of its own. Requests and
//! answers are lost, it is full now and then, and what was lost may be carried out later. It knows no adapter.

use serde_json::{Value, json};
use signalbox_adapters::Listing;
use signalbox_adapters::model::{
    Aml, Answer, Evidence, Exchange, Fraud, HttpRequest, Kyc, Lost, Next, Outcome, Partner, Payout,
    Reply, Sent, Vendor, VendorError, read_failure, write_failure,
};
use signalbox_schemas::{
    AmlRequest, AttemptId, ErrorClass, FraudRequest, KycRequest, SendRequest, shapes,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::plan::{Fault, Plan};

/// Its name, and the only one in the policy of simulations.
pub(crate) const NAME: &str = "twin";
/// Vendors of simulations.
pub(crate) const LISTINGS: &[Listing] = &[Listing { name: NAME, build }];

const KEY: &str = "idempotency-key";

thread_local! {
    /// The vendor of the run on this thread: a listing is built from settings alone.
    static VENDOR: RefCell<Option<SharedBooks>> = const { RefCell::new(None) };
}

pub(crate) type SharedBooks = Arc<Mutex<Books>>;

/// The vendor's own books.
pub(crate) struct Books {
    rng: fastrand::Rng,
    pub(crate) plan: Plan,
    /// A repeated key has no second effect.
    pub(crate) honours_keys: bool,
    /// Every effect by key, with how often it was carried out.
    pub(crate) ledger: BTreeMap<AttemptId, u32>,
    /// Payments that were called back.
    pub(crate) recalled: BTreeSet<AttemptId>,
    /// Payments that were received and whose answer was lost: carried out at some time.
    late: Vec<AttemptId>,
}

impl Books {
    /// Empty ones, for the run on this thread.
    pub(crate) fn open(rng: fastrand::Rng, plan: Plan) -> SharedBooks {
        let mut rng = rng;
        let honours_keys = rng.u8(0..3) > 0;
        let books = Self {
            rng,
            plan,
            honours_keys,
            ledger: BTreeMap::new(),
            recalled: BTreeSet::new(),
            late: Vec::new(),
        };
        let books = Arc::new(Mutex::new(books));
        VENDOR.set(Some(Arc::clone(&books)));
        books
    }

    /// Some of what was received is carried out.
    pub(crate) fn turn(&mut self) {
        for _ in 0..self.rng.usize(0..=self.late.len()) {
            let any = self.rng.usize(0..self.late.len());
            let payment = self.late.swap_remove(any);
            self.carry_out(payment);
        }
    }

    /// Whether nothing is under way any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.late.is_empty()
    }

    fn carry_out(&mut self, payment: AttemptId) {
        let times = self.ledger.entry(payment).or_insert(0);
        *times = if self.honours_keys { 1 } else { *times + 1 };
    }

    fn answer(&mut self, request: &HttpRequest) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let key = |name: &str| AttemptId(body[name].as_str().unwrap().parse().unwrap());
        match request.operation.as_str() {
            "send" => self.send(key("key")),
            "recall" => {
                let payment = key("payment");
                let recalled = self.recalled.contains(&payment)
                    || self.rng.bool() && self.ledger.contains_key(&payment);
                if recalled {
                    self.recalled.insert(payment);
                }
                said(if recalled { "recalled" } else { "refused" })
            }
            _ if self.rng.u8(0..12) == 0 => status(503),
            "inquire" => self.inquire(key("payment")),
            _ => said(&self.check(&request.operation, &body)),
        }
    }

    fn send(&mut self, payment: AttemptId) -> Reply {
        if self.rng.u8(0..12) == 0 {
            // It is full, and looked at nothing.
            return status(429);
        }
        if self.plan.has(Fault::LostAnswers) && self.rng.u8(0..4) == 0 {
            match self.rng.u8(0..4) {
                0 => {}
                1 => self.late.push(payment),
                _ => self.carry_out(payment),
            }
            return Reply::Lost(if self.rng.bool() { Lost::TimedOut } else { Lost::Broken });
        }
        self.carry_out(payment);
        said("accepted")
    }

    fn inquire(&mut self, payment: AttemptId) -> Reply {
        if self.recalled.contains(&payment) {
            return said("returned");
        }
        match self.ledger.contains_key(&payment) {
            true if self.rng.bool() => said("settled"),
            true => said("pending"),
            false => status(404),
        }
    }

    /// Checks by a word in the flow's id.
    fn check(&self, capability: &str, body: &Value) -> String {
        let id = body["id"].as_str().unwrap();
        let role = body["role"].as_str().unwrap_or_default();
        let first_try = body["group"].as_u64().unwrap() < 2;
        let word = match capability {
            "kyc.check" if id.contains("hardfail") => "hard_fail",
            "kyc.check" if id.contains("forged") && body["document"] == true => "hard_fail",
            "kyc.check" if id.contains("stepup") && first_try => "step_up",
            "kyc.check" if id.contains("softfail") && first_try => "soft_fail",
            "kyc.check" => "pass",
            "aml.screen" if id.contains("hit") && role != "originator" => "hit",
            "aml.screen" if id.contains("ambiguous") && role != "beneficiary" => "ambiguous",
            "aml.screen" => "clear",
            "fraud.score" if id.contains("fraudreview") => "review",
            "fraud.score" if id.contains("fraud") => "decline",
            _ => "approve",
        };
        word.to_owned()
    }
}

fn said(word: &str) -> Reply {
    Reply::Answered { status: 200, retry_after: None, body: word.as_bytes().to_vec() }
}

fn status(status: u16) -> Reply {
    Reply::Answered { status, retry_after: None, body: Vec::new() }
}

fn build(_settings: Value) -> Result<Vendor, VendorError> {
    let books = VENDOR.with_borrow(Clone::clone).expect("a run has opened the books");
    let entry = json!({
        "name": NAME, "capabilities": [], "domains": [], "regions": [], "rails": [], "currencies": [],
        "rate_limit": {"per_second": 1_000, "source": "a simulation"},
        "contract_owner": "nobody", "technical_owner": "nobody",
        "idempotency": {
            "honours_keys": books.lock().unwrap().honours_keys, "window_secs": 86_400,
            "replays_refusals": false},
        "vocabulary": [], "known_gaps": []});
    let vendor = Vendor::new(Partner::parse(NAME, &entry.to_string())?);
    let vendor = vendor.kyc(Twin).aml(Twin).fraud(Twin).payout(Twin);
    Ok(vendor.inside(move |request| books.lock().unwrap().answer(request)))
}

/// The vendor's words in those of the contract.
struct Twin;

impl Kyc for Twin {
    fn next(&self, request: &KycRequest, so_far: &[Exchange]) -> Next {
        let facts = json!({"document": request.document.is_some()});
        check("kyc.check", &request.call, &facts, so_far)
    }
}

impl Aml for Twin {
    fn next(&self, request: &AmlRequest, so_far: &[Exchange]) -> Next {
        check("aml.screen", &request.call, &json!({"role": request.role}), so_far)
    }
}

impl Fraud for Twin {
    fn next(&self, request: &FraudRequest, so_far: &[Exchange]) -> Next {
        check("fraud.score", &request.call, &json!({}), so_far)
    }
}

impl Payout for Twin {
    fn request(&self, order: &SendRequest) -> Next {
        let key = order.call.attempt_id;
        Next::Call(write("send", key, &json!({"key": key})))
    }

    fn outcome(&self, reply: &Exchange) -> Answer {
        match reply.status() {
            Some(429) => Answer::unavailable(ErrorClass::Transient, "rate_limited")
                .evidence(Evidence::Refused),
            _ => told(reply).unwrap_or_else(|| write_failure(reply)),
        }
    }

    fn inquire(&self, sent: &Sent, so_far: &[Exchange]) -> Next {
        let Some(reply) = so_far.last() else {
            let body = json!({"payment": sent.attempt});
            return Next::Call(HttpRequest::post("inquire", "/inquire".to_owned(), &body));
        };
        Next::Done(match reply.status() {
            Some(404) => Answer::of(Outcome::NotExecuted)
                .class(ErrorClass::Permanent)
                .evidence(Evidence::NotFound),
            _ => told(reply).unwrap_or_else(|| read_failure(reply)),
        })
    }

    fn recall(&self, key: AttemptId, sent: &Sent, so_far: &[Exchange]) -> Next {
        match so_far.last() {
            None => Next::Call(write("recall", key, &json!({"payment": sent.attempt}))),
            Some(reply) => Next::Done(told(reply).unwrap_or_else(|| write_failure(reply))),
        }
    }
}

fn check(capability: &str, call: &shapes::Call, facts: &Value, so_far: &[Exchange]) -> Next {
    let Some(reply) = so_far.last() else {
        let mut body = facts.clone();
        body["id"] = json!(call.aggregate_id);
        body["group"] = json!(call.group);
        return Next::Call(HttpRequest::post(capability, "/check".to_owned(), &body));
    };
    Next::Done(told(reply).unwrap_or_else(|| read_failure(reply)))
}

fn write(operation: &str, key: AttemptId, body: &Value) -> HttpRequest {
    HttpRequest::post(operation, format!("/{operation}"), body)
        .write()
        .header(KEY, &key.to_string())
}

/// The outcome that a reply names.
fn told(reply: &Exchange) -> Option<Answer> {
    let Reply::Answered { status: 200, body, .. } = &reply.reply else { return None };
    let word = std::str::from_utf8(body).ok()?;
    serde_json::from_value(json!(word)).ok().map(Answer::of)
}
