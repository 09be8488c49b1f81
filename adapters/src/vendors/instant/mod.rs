//! Instant: answers every capability at once, inside the process; for benchmarks and load tests, never for money.
//! It honours keys because it has no effects: a payout is accepted, then settled, and nothing moves.
//! Limits: none. An operation that it does not know is answered 404, which means `unavailable` or `in_doubt`.
//! It does not simulate anything: other endings, delays and faults are the sandbox's.

use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{AmlRequest, AttemptId, FraudRequest, KycRequest, SendRequest};

use crate::model::{
    Aml, Answer, Exchange, Fraud, HttpRequest, Kyc, Next, Outcome, Partner, Payout, Reply, Sent,
    Vendor, VendorError, read_failure, write_failure,
};
use crate::vendors::{Listing, settings};

const NAME: &str = "instant";
const CHECK: &str = "check";
const SCREEN: &str = "screen";
const SCORE: &str = "score";
const SEND: &str = "send";
const INQUIRE: &str = "inquire";
const RECALL: &str = "recall";

pub(crate) const LISTING: Listing = Listing { name: NAME, build };

/// It has no settings, and says so where it is given one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

struct Instant;

fn build(given: Value) -> Result<Vendor, VendorError> {
    let Config {} = settings(NAME, given)?;
    let vendor = Vendor::new(Partner::parse(NAME, include_str!("partner.yaml"))?);
    Ok(vendor.kyc(Instant).aml(Instant).fraud(Instant).payout(Instant).inside(answer))
}

/// Answers a request as a server would, at once.
fn answer(request: &HttpRequest) -> Reply {
    let known = [CHECK, SCREEN, SCORE, SEND, INQUIRE, RECALL].contains(&request.operation.as_str());
    Reply::Answered { status: if known { 200 } else { 404 }, retry_after: None, body: Vec::new() }
}

impl Kyc for Instant {
    fn next(&self, request: &KycRequest, so_far: &[Exchange]) -> Next {
        read(CHECK, request.call.attempt_id, so_far, || Answer::of(Outcome::Pass))
    }
}

impl Aml for Instant {
    fn next(&self, request: &AmlRequest, so_far: &[Exchange]) -> Next {
        read(SCREEN, request.call.attempt_id, so_far, || {
            Answer::of(Outcome::Clear).with("matches", 0)
        })
    }
}

impl Fraud for Instant {
    fn next(&self, request: &FraudRequest, so_far: &[Exchange]) -> Next {
        read(SCORE, request.call.attempt_id, so_far, || {
            Answer::of(Outcome::Approve).with("score", 0)
        })
    }
}

impl Payout for Instant {
    fn request(&self, order: &SendRequest) -> Next {
        let body = json!({"amount": order.amount.minor_units, "currency": order.amount.currency});
        Next::Call(write(SEND, order.call.attempt_id, &body))
    }

    fn outcome(&self, reply: &Exchange) -> Answer {
        if done(reply) { Answer::of(Outcome::Accepted) } else { write_failure(reply) }
    }

    fn inquire(&self, sent: &Sent, so_far: &[Exchange]) -> Next {
        read(INQUIRE, sent.attempt, so_far, || Answer::of(Outcome::Settled))
    }

    fn recall(&self, key: AttemptId, _sent: &Sent, so_far: &[Exchange]) -> Next {
        match so_far.last() {
            None => Next::Call(write(RECALL, key, &json!({}))),
            Some(reply) if done(reply) => {
                Next::Done(Answer::of(Outcome::Refused).reason("too_late"))
            }
            Some(reply) => Next::Done(write_failure(reply)),
        }
    }
}

fn read(
    operation: &str,
    reference: AttemptId,
    so_far: &[Exchange],
    answer: impl FnOnce() -> Answer,
) -> Next {
    match so_far.last() {
        None => Next::Call(HttpRequest::get(operation, format!("/{operation}/{reference}"))),
        Some(reply) if done(reply) => Next::Done(answer()),
        Some(reply) => Next::Done(read_failure(reply)),
    }
}

fn write(operation: &str, key: AttemptId, body: &Value) -> HttpRequest {
    let request = HttpRequest::post(operation, format!("/{operation}"), body).write();
    request.header("idempotency-key", &key.to_string())
}

fn done(reply: &Exchange) -> bool {
    matches!(&reply.reply, Reply::Answered { status: 200, body, .. } if body.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::harness;

    #[test]
    fn a_payout_is_accepted_then_settled_and_can_no_longer_be_recalled() {
        let vendor = harness::ready(&LISTING);
        let sent = harness::sent(&LISTING);
        for (capability, expected) in [
            ("kyc.check", Outcome::Pass),
            ("aml.screen", Outcome::Clear),
            ("fraud.score", Outcome::Approve),
            ("payout.send", Outcome::Accepted),
            ("payout.inquire", Outcome::Settled),
            ("payout.recall", Outcome::Refused),
        ] {
            let ask = harness::ask(capability);
            let mut so_far = Vec::new();
            let answer = loop {
                match vendor.next(&ask, Some(&sent), &so_far) {
                    Next::Done(answer) => break answer,
                    Next::Call(request) | Next::Poll(_, request) => {
                        so_far.push(Exchange {
                            operation: request.operation.clone(),
                            reply: answer(&request),
                        });
                    }
                }
            };
            assert_eq!(answer.outcome, expected, "{capability}");
        }
    }
}
