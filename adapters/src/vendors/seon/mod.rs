//! SEON, Fraud API v2, fraud.score: one request, one state, one score.
//! No keys: scoring twice harms nobody; our attempt is sent as its transaction id. Limits: by contract, 10 a second here.
//! A state that is not recognised is `unavailable`, never `approve`. The score is advice; the state decides.
//! It does not send labels back and does not ask for enrichment by e-mail, phone, device or IP.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{ErrorClass, FraudRequest, Money};

use crate::codes::Codes;
use crate::model::{
    Answer, Exchange, Fraud, HttpRequest, Next, Outcome, Partner, Reply, Vendor, VendorError,
    read_failure,
};
use crate::vendors::{Listing, settings};

const NAME: &str = "seon";
const SCORE: &str = "score";

pub(crate) const LISTING: Listing = Listing { name: NAME, build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Licence key.
    license_key: SecretString,
}

struct Seon {
    errors: Codes,
}

fn build(given: Value) -> Result<Vendor, VendorError> {
    let config: Config = settings(NAME, given)?;
    let errors = Codes::parse("seon errors", include_str!("errors.csv"))?;
    let partner = Partner::parse(NAME, include_str!("partner.yaml"))?;
    Ok(Vendor::new(partner).credential("x-api-key", config.license_key).fraud(Seon { errors }))
}

/// The answer.
#[derive(Deserialize)]
struct Verdict {
    success: bool,
    #[serde(default)]
    error: Failure,
    data: Data,
}

/// Why there is no verdict.
#[derive(Default, Deserialize)]
struct Failure {
    code: Option<String>,
}

/// The verdict itself; empty where there is none.
#[derive(Deserialize)]
struct Data {
    id: Option<String>,
    state: Option<String>,
    fraud_score: Option<f64>,
}

impl Fraud for Seon {
    fn next(&self, request: &FraudRequest, so_far: &[Exchange]) -> Next {
        match so_far.last() {
            None => Next::Call(score_request(request)),
            Some(reply) => Next::Done(self.outcome(reply)),
        }
    }
}

fn score_request(request: &FraudRequest) -> HttpRequest {
    let payer = &request.originator;
    let mut body = json!({
        "config": {"ip_api": false, "email_api": false, "phone_api": false, "device_fingerprinting": false},
        "action_type": "withdrawal",
        "transaction_id": request.call.attempt_id,
        "user_id": request.customer_id,
        "user_fullname": payer.name,
        "user_country": payer.address.country,
        "transaction_type": "payout",
        "transaction_amount": major_units(&request.amount),
        "transaction_currency": request.amount.currency,
    });
    let parts = [("user_firstname", &payer.given_name), ("user_lastname", &payer.family_name)];
    for (field, name) in parts {
        if let (Some(body), Some(name)) = (body.as_object_mut(), name) {
            body.insert(field.to_owned(), json!(name));
        }
    }
    HttpRequest::post(SCORE, "/SeonRestService/fraud-api/v2".to_owned(), &body)
}

/// The amount as a JSON number in major units, which this API wants. Only a score depends on it, so binary fractions do.
fn major_units(amount: &Money) -> f64 {
    let text = format!("{}e-{}", amount.minor_units, amount.exponent.max(0));
    text.parse().unwrap_or_default()
}

impl Seon {
    fn outcome(&self, reply: &Exchange) -> Answer {
        let Reply::Answered { status: 200, body, .. } = &reply.reply else {
            return read_failure(reply);
        };
        let Ok(verdict) = serde_json::from_slice::<Verdict>(body) else {
            return read_failure(reply);
        };
        if !verdict.success {
            let code = self.errors.meaning(verdict.error.code.as_deref().unwrap_or_default());
            return Answer::unavailable(code.class, &code.reason);
        }
        let outcome = match verdict.data.state.as_deref() {
            Some("APPROVE") => Outcome::Approve,
            Some("REVIEW") => Outcome::Review,
            Some("DECLINE") => Outcome::Decline,
            Some(_) | None => {
                return Answer::unavailable(ErrorClass::RequiresRepair, "answer_unrecognised");
            }
        };
        let answer = Answer::of(outcome).reference(verdict.data.id.as_deref());
        match verdict.data.fraud_score.and_then(whole_score) {
            Some(score) => answer.with("score", score),
            None => answer,
        }
    }
}

/// The score as a whole number from 0 to 100, found without a cast.
fn whole_score(score: f64) -> Option<i32> {
    (0..=100).rev().find(|whole| f64::from(*whole) - 0.5 <= score).filter(|_| score.is_finite())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::vendors::harness;

    fn outcome(status: u16, fixture: &str) -> Answer {
        let reply = Exchange::answered(SCORE, status, harness::fixture(NAME, fixture));
        let Next::Done(answer) =
            harness::ready(&LISTING).next(&harness::ask("fraud.score"), None, &[reply])
        else {
            panic!()
        };
        answer
    }

    #[test]
    fn a_payment_is_scored_by_who_pays_and_how_much() {
        let Next::Call(request) =
            harness::ready(&LISTING).next(&harness::ask("fraud.score"), None, &[])
        else {
            panic!()
        };
        let mut expected: Value =
            serde_json::from_slice(&harness::fixture(NAME, "fraud_request.json")).unwrap();
        expected["transaction_id"] = json!(harness::ATTEMPT);
        harness::same_json(&request.body, expected.to_string().as_bytes());
    }

    #[test]
    fn the_state_decides_and_the_score_is_kept() {
        let rows = [
            ("fraud_approve.json", Outcome::Approve, 3),
            ("fraud_review.json", Outcome::Review, 22),
            ("fraud_decline.json", Outcome::Decline, 92),
        ];
        for (fixture, expected, score) in rows {
            let answer = outcome(200, fixture);
            assert_eq!((answer.outcome, answer.class), (expected, None), "{fixture}");
            assert_eq!(answer.extra.get("score"), Some(&json!(score)), "{fixture}");
        }
    }

    #[test]
    fn an_answer_without_a_known_state_is_no_approval() {
        let rows = [
            (200, "fraud_unknown_state.json", ErrorClass::RequiresRepair),
            (200, "fraud_missing_state.json", ErrorClass::RequiresRepair),
            (200, "fraud_success_false.json", ErrorClass::Transient),
            (200, "garbage.txt", ErrorClass::RequiresRepair),
            (400, "error_400.json", ErrorClass::RequiresRepair),
            (401, "error_401.json", ErrorClass::Misconfigured),
            (401, "error_401_missing.json", ErrorClass::Misconfigured),
            (429, "error_429.json", ErrorClass::Transient),
            (500, "error_500.json", ErrorClass::Transient),
            (503, "error_503.json", ErrorClass::Transient),
        ];
        for (status, fixture, class) in rows {
            let answer = outcome(status, fixture);
            assert_eq!(
                (answer.outcome, answer.class),
                (Outcome::Unavailable, Some(class)),
                "{fixture}"
            );
        }
        harness::every_fixture_is_used(NAME, include_str!("mod.rs"));
    }

    #[test]
    fn amounts_are_told_in_major_units() {
        let rows = [(12_550, 2, 125.5), (1_000, 0, 1_000.0), (1, 3, 0.001)];
        for (minor_units, exponent, major) in rows {
            let amount = Money { minor_units, currency: "USD".to_owned(), exponent };
            assert!((major_units(&amount) - major).abs() < f64::EPSILON);
        }
    }
}
