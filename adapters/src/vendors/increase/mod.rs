//! Increase, payout.send, payout.inquire and payout.recall over ACH and Real-Time Payments (US).
//! The attempt's id is the idempotency key and the reference by which a transfer is found again.
//! Limits: by contract. A status or body that is not recognised is `in_doubt`, and so is every 409 and 5xx.
//! It does not reverse settled ACH transfers, and it does not read webhooks: inquiries poll.

mod order;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use signalbox_schemas::{AttemptId, ErrorClass, SendRequest};

use crate::codes::{Code, Codes, iso20022, nacha};
use crate::model::{
    Answer, Evidence, Exchange, HttpRequest, Next, Outcome, Partner, Payout, Reply, Sent, Vendor,
    VendorError, read_failure, write_failure,
};
use crate::vendors::{Listing, settings};

const NAME: &str = "increase";
const CREATE: &str = "create_transfer";
const FIND: &str = "find_transfer";
/// Where ACH transfers are.
const ACH: &str = "/ach_transfers";
/// Where real-time transfers are.
const REAL_TIME: &str = "/real_time_payments_transfers";
const CANCEL: &str = "cancel_transfer";

pub(crate) const LISTING: Listing = Listing { name: NAME, build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// API key.
    api_key: SecretString,
    /// Account that ACH transfers are made from.
    account_id: String,
    /// Account number that real-time transfers are made from.
    source_account_number_id: String,
    /// Our name as the beneficiary's bank shows it, at most 16 characters.
    company_name: String,
}

struct Increase {
    accounts: order::Accounts,
    refusals: Codes,
    rejections: Codes,
    iso20022: Codes,
    nacha: Codes,
}

fn build(given: Value) -> Result<Vendor, VendorError> {
    let config: Config = settings(NAME, given)?;
    let key = SecretString::from(format!("Bearer {}", config.api_key.expose_secret()));
    let payouts = Increase {
        accounts: order::Accounts {
            account_id: config.account_id,
            source_account_number_id: config.source_account_number_id,
            company_name: config.company_name,
        },
        refusals: Codes::parse("increase refusals", include_str!("refusals.csv"))?,
        rejections: Codes::parse("increase rejections", include_str!("rtp_rejections.csv"))?,
        iso20022: iso20022()?,
        nacha: nacha()?,
    };
    let partner = Partner::parse(NAME, include_str!("partner.yaml"))?;
    Ok(Vendor::new(partner).credential("authorization", key).payout(payouts))
}

/// A transfer of either kind.
#[derive(Deserialize)]
struct Transfer {
    id: String,
    status: String,
    idempotency_key: Option<String>,
    settlement: Option<Value>,
    rejection: Option<Rejection>,
    #[serde(rename = "return")]
    returned: Option<Return>,
}

/// Why a real-time transfer was rejected.
#[derive(Deserialize)]
struct Rejection {
    reject_reason_code: String,
    reject_reason_additional_information: Option<String>,
}

/// Why an ACH transfer came back.
#[derive(Deserialize)]
struct Return {
    raw_return_reason_code: Option<String>,
}

/// A list of transfers.
#[derive(Deserialize)]
struct Transfers {
    data: Vec<Transfer>,
}

/// An error body.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    retry_after: Option<u64>,
    #[serde(default)]
    errors: Vec<order::FieldError>,
}

impl Payout for Increase {
    fn request(&self, order: &SendRequest) -> Next {
        order::request(&self.accounts, order)
    }

    fn outcome(&self, reply: &Exchange) -> Answer {
        match transfer(reply) {
            Some(transfer) => self.taken_on(&transfer),
            None => self.refusal(reply).unwrap_or_else(|| write_failure(reply)),
        }
    }

    fn inquire(&self, sent: &Sent, so_far: &[Exchange]) -> Next {
        let search = match search(sent, so_far) {
            Ok(search) => search,
            Err(look) => return Next::Call(look),
        };
        Next::Done(match search.found {
            Found::One(transfer) => self.became(&transfer),
            Found::None => Answer::in_doubt("not_found").evidence(Evidence::NotFound),
            Found::Unclear => read_failure(search.last),
        })
    }

    fn recall(&self, key: AttemptId, sent: &Sent, so_far: &[Exchange]) -> Next {
        let cancelled_before = so_far.iter().any(|exchange| exchange.operation == CANCEL);
        // The last place that was looked at before anything was cancelled is where it is.
        let looks = so_far.iter().take_while(|exchange| exchange.operation != CANCEL).count();
        let place = places(sent).into_iter().nth(looks.saturating_sub(1));
        let place = place.unwrap_or_else(|| ACH.to_owned());
        if let Some(last) = so_far.last().filter(|last| last.operation == CANCEL) {
            return match (transfer(last), last.status()) {
                (Some(transfer), _) if transfer.status == "canceled" => {
                    Next::Done(recalled(&transfer, "cancelled"))
                }
                // "No longer pending" may be the answer to our own earlier cancellation: look.
                (None, Some(409)) => Next::Call(find(&place, sent)),
                _ => {
                    Next::Done(self.refusal(last).map_or_else(|| write_failure(last), unavailable))
                }
            };
        }
        let search = match search(sent, so_far) {
            Ok(search) => search,
            Err(look) => return Next::Call(look),
        };
        match search.found {
            Found::One(transfer) => stop(key, &place, &transfer, cancelled_before),
            Found::None => Next::Done(Answer::in_doubt("not_found").evidence(Evidence::NotFound)),
            Found::Unclear if cancelled_before => {
                Next::Done(Answer::in_doubt("cancellation_not_confirmed"))
            }
            Found::Unclear => Next::Done(read_failure(search.last)),
        }
    }
}

impl Increase {
    /// payout.send: the vendor holds a transfer under our key.
    fn taken_on(&self, transfer: &Transfer) -> Answer {
        let answer = match transfer.status.as_str() {
            "pending_approval" | "pending_reviewing" | "pending_submission" | "submitted"
            | "complete" | "returned" => Answer::of(Outcome::Accepted),
            "requires_attention" => Answer::of(Outcome::Accepted).reason("vendor_attention"),
            "rejected" => self.rejected(transfer),
            "canceled" => recorded(Outcome::Rejected, ErrorClass::Permanent, "cancelled"),
            _ => Answer::in_doubt("answer_unrecognised"),
        };
        answer.reference(Some(&transfer.id))
    }

    fn rejected(&self, transfer: &Transfer) -> Answer {
        let code = self.rejection_code(transfer);
        let outcome = match code.class {
            ErrorClass::RequiresRepair => Outcome::RequiresRepair,
            ErrorClass::ComplianceHold => Outcome::Blocked,
            _ => Outcome::Rejected,
        };
        recorded(outcome, code.class, &code.reason)
    }

    /// payout.inquire: what became of the transfer.
    fn became(&self, transfer: &Transfer) -> Answer {
        let answer = match transfer.status.as_str() {
            "pending_approval" | "pending_reviewing" | "pending_submission" => {
                Answer::of(Outcome::Pending)
            }
            "requires_attention" => Answer::of(Outcome::Pending).reason("vendor_attention"),
            // An ACH transfer keeps the status `submitted` after it has settled.
            "submitted" if transfer.settlement.is_some() => Answer::of(Outcome::Settled),
            "submitted" => Answer::of(Outcome::Pending),
            "complete" => Answer::of(Outcome::Settled),
            "returned" => {
                let code = self.return_code(transfer);
                Answer::of(Outcome::Returned).class(code.class).reason(&code.reason)
            }
            "rejected" => {
                let code = self.rejection_code(transfer);
                let blocked = code.class == ErrorClass::ComplianceHold;
                let outcome = if blocked { Outcome::Blocked } else { Outcome::NotExecuted };
                recorded(outcome, code.class, &code.reason)
            }
            "canceled" => recorded(Outcome::NotExecuted, ErrorClass::Permanent, "cancelled"),
            _ => Answer::in_doubt("answer_unrecognised"),
        };
        answer.reference(Some(&transfer.id))
    }

    fn rejection_code(&self, transfer: &Transfer) -> Code {
        let Some(rejection) = &transfer.rejection else {
            return Code {
                class: ErrorClass::Permanent,
                reason: "vendor_rejected".to_owned(),
                known: true,
            };
        };
        // A narrative may begin with an ISO 20022 code, which says more than "narrative".
        let narrative =
            rejection.reject_reason_additional_information.as_deref().unwrap_or_default();
        let iso = narrative.split_whitespace().next().and_then(|word| self.iso20022.find(word));
        iso.unwrap_or_else(|| self.rejections.meaning(&rejection.reject_reason_code))
    }

    fn return_code(&self, transfer: &Transfer) -> Code {
        let code = transfer
            .returned
            .as_ref()
            .and_then(|returned| returned.raw_return_reason_code.as_deref());
        self.nacha.meaning(code.unwrap_or_default())
    }

    /// A refusal from the "not executed" list: nothing was created under our key.
    fn refusal(&self, reply: &Exchange) -> Option<Answer> {
        let Reply::Answered { status, body, .. } = &reply.reply else { return None };
        let problem: Problem = serde_json::from_slice(body).ok()?;
        let code = self.refusals.find(&format!("{status}/{}", problem.kind))?;
        let answer = if code.class == ErrorClass::RequiresRepair {
            order::repair(&code, &problem.errors)
        } else {
            let wait = problem.retry_after.map(std::time::Duration::from_secs);
            Answer::unavailable(code.class, &code.reason).retry_after(wait)
        };
        Some(answer.evidence(Evidence::Refused))
    }
}

/// What a list by our key brought.
enum Found {
    One(Box<Transfer>),
    None,
    /// Not a list, several transfers, or one that is not ours.
    Unclear,
}

fn found(reply: &Exchange, attempt: AttemptId) -> Found {
    let Reply::Answered { status: 200, body, .. } = &reply.reply else { return Found::Unclear };
    let Ok(mut list) = serde_json::from_slice::<Transfers>(body) else { return Found::Unclear };
    match (list.data.pop(), list.data.is_empty()) {
        (None, _) => Found::None,
        (Some(one), true)
            if one.idempotency_key.as_deref() == Some(attempt.to_string().as_str()) =>
        {
            Found::One(Box::new(one))
        }
        _ => Found::Unclear,
    }
}

/// What looking for a transfer has brought so far.
struct Search<'a> {
    found: Found,
    last: &'a Exchange,
}

/// Looks wherever the transfer may be, place after place, until it is found or a place does not answer as it should.
fn search<'a>(sent: &Sent, so_far: &'a [Exchange]) -> Result<Search<'a>, HttpRequest> {
    let places = places(sent);
    let looks = so_far.iter().filter(|exchange| exchange.operation == FIND);
    let next = || places.get(looks.clone().count()).map(|place| find(place, sent));
    let Some(last) = looks.clone().next_back() else {
        return Err(next().unwrap_or_else(|| find(ACH, sent)));
    };
    match (found(last, sent.attempt), next()) {
        (Found::None, Some(look)) => Err(look),
        (found, _) => Ok(Search { found, last }),
    }
}

/// Where the transfer was made; anywhere, where that is forgotten.
fn places(sent: &Sent) -> Vec<String> {
    match &sent.request {
        Some(request) => vec![request.path.clone()],
        None => [ACH, REAL_TIME].map(str::to_owned).into(),
    }
}

fn find(place: &str, sent: &Sent) -> HttpRequest {
    HttpRequest::get(FIND, format!("{place}?idempotency_key={}", sent.attempt))
}

/// payout.recall, with the transfer as it is now.
fn stop(key: AttemptId, place: &str, transfer: &Transfer, cancelled_before: bool) -> Next {
    let pending = matches!(
        transfer.status.as_str(),
        "pending_approval" | "pending_reviewing" | "pending_submission"
    );
    Next::Done(match transfer.status.as_str() {
        "canceled" => recalled(transfer, "cancelled"),
        "rejected" => recalled(transfer, "rejected_before"),
        "returned" => recalled(transfer, "returned_before"),
        "submitted" | "complete" | "requires_attention" => {
            Answer::of(Outcome::Refused).reason("too_late").reference(Some(&transfer.id))
        }
        _ if pending && !cancelled_before => {
            let path = format!("{place}/{}/cancel", transfer.id);
            let cancel = HttpRequest::post(CANCEL, path, &serde_json::json!({})).write();
            return Next::Call(cancel.header("idempotency-key", &key.to_string()));
        }
        _ => Answer::in_doubt("cancellation_not_confirmed").reference(Some(&transfer.id)),
    })
}

fn recalled(transfer: &Transfer, reason: &str) -> Answer {
    Answer::of(Outcome::Recalled).reason(reason).reference(Some(&transfer.id))
}

/// A recall whose cancellation was refused has no repair of its own: it is asked again.
fn unavailable(refusal: Answer) -> Answer {
    Answer { outcome: Outcome::Unavailable, extra: serde_json::Map::new(), ..refusal }
}

fn recorded(outcome: Outcome, class: ErrorClass, reason: &str) -> Answer {
    Answer::of(outcome).class(class).reason(reason).evidence(Evidence::Recorded)
}

fn transfer(reply: &Exchange) -> Option<Transfer> {
    match &reply.reply {
        Reply::Answered { status: 200 | 201, body, .. } => serde_json::from_slice(body).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
