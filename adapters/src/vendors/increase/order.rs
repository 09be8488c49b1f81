//! A payout as this vendor's create requests, and its field errors as ours.
//! It decides nothing about what an answer means.

use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{ErrorClass, SendRequest, shapes};

use super::CREATE;
use crate::codes::Code;
use crate::model::{Answer, HttpRequest, Next, Outcome};

/// Rail field of the scheme: longest name of an ACH receiver.
const ACH_NAME_MAX: usize = 22;
/// Longest identification of an ACH receiver.
const ACH_ID_MAX: usize = 15;
/// Longest remittance text of a real-time payment.
const RTP_REMITTANCE_MAX: usize = 140;

/// Our own accounts at the vendor.
pub(super) struct Accounts {
    pub(super) account_id: String,
    pub(super) source_account_number_id: String,
    pub(super) company_name: String,
}

/// One field that the vendor did not like.
#[derive(Deserialize)]
pub(super) struct FieldError {
    field: String,
}

/// The create request of the wished rail; ACH where none is wished.
pub(super) fn request(accounts: &Accounts, order: &SendRequest) -> Next {
    let (routing, number) = match us_account(order) {
        Ok(account) => account,
        Err((field, code)) => return Next::Done(repair_field(field, code)),
    };
    let key = order.call.attempt_id.to_string();
    let (path, body) = if order.rail == "rtp" {
        (super::REAL_TIME, real_time(accounts, order, routing, number))
    } else {
        (super::ACH, ach(accounts, order, routing, number))
    };
    Next::Call(
        HttpRequest::post(CREATE, path.to_owned(), &body).header("idempotency-key", &key).write(),
    )
}

/// Routing and account number, or the field that this vendor does not serve, and why.
fn us_account(order: &SendRequest) -> Result<(&str, &str), (&'static str, &'static str)> {
    if order.amount.currency != "USD" || order.amount.exponent != 2 {
        return Err(("amount.currency", "currency_not_served"));
    }
    let account = &order.account;
    match (account.scheme.as_str(), &account.routing_number, &account.account_number) {
        ("aba", Some(routing), Some(number)) => Ok((routing, number)),
        _ => Err(("beneficiary.account.scheme", "account_not_served")),
    }
}

fn ach(accounts: &Accounts, order: &SendRequest, routing: &str, number: &str) -> Value {
    let class = match order.beneficiary.kind {
        shapes::PartyKind::Organisation => "corporate_credit_or_debit",
        shapes::PartyKind::Person | shapes::PartyKind::Unknown => {
            "prearranged_payments_and_deposit"
        }
    };
    json!({
        "account_id": accounts.account_id,
        "amount": order.amount.minor_units,
        "statement_descriptor": order.remittance().as_deref().unwrap_or("PAYOUT"),
        "account_number": number,
        "routing_number": routing,
        "funding": "checking",
        "individual_name": cut(&order.beneficiary.name, ACH_NAME_MAX),
        "individual_id": end_to_end(order),
        "company_name": accounts.company_name,
        "standard_entry_class_code": class,
    })
}

fn real_time(accounts: &Accounts, order: &SendRequest, routing: &str, number: &str) -> Value {
    let remittance = match order.remittance() {
        Some(told) => format!("{} {told}", end_to_end(order)),
        None => end_to_end(order),
    };
    json!({
        "amount": order.amount.minor_units,
        "creditor_name": order.beneficiary.name,
        "source_account_number_id": accounts.source_account_number_id,
        "unstructured_remittance_information": cut(&remittance, RTP_REMITTANCE_MAX),
        "account_number": number,
        "routing_number": routing,
        "debtor_name": order.originator.name,
    })
}

/// What travels with the money: the same for every attempt of a payout, so that a second one would be seen.
fn end_to_end(order: &SendRequest) -> String {
    cut(&order.call.flow_id.0.simple().to_string(), ACH_ID_MAX)
}

fn cut(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

/// `requires_repair` with our names for the fields that were refused.
pub(super) fn repair(code: &Code, errors: &[FieldError]) -> Answer {
    let fields: Vec<_> = errors.iter().map(|error| our_field(&error.field)).collect();
    // A field that the command does not have is ours to correct, not the caller's.
    if fields.is_empty() || fields.contains(&None) {
        return Answer::unavailable(ErrorClass::Misconfigured, &code.reason);
    }
    let problems: Vec<Value> =
        fields.into_iter().flatten().map(|field| problem(field, "refused_by_vendor")).collect();
    Answer::of(Outcome::RequiresRepair)
        .class(code.class)
        .reason(&code.reason)
        .with("problems", problems)
}

fn repair_field(field: &str, code: &str) -> Answer {
    Answer::of(Outcome::RequiresRepair)
        .class(ErrorClass::RequiresRepair)
        .reason(code)
        .with("problems", vec![problem(field, code)])
}

fn problem(field: &str, code: &str) -> Value {
    json!({"field": field, "code": code, "message": "was refused; correct it and send the payout again under a new id"})
}

fn our_field(theirs: &str) -> Option<&'static str> {
    match theirs {
        "account_number" => Some("beneficiary.account.account_number"),
        "routing_number" => Some("beneficiary.account.routing_number"),
        "individual_name" | "creditor_name" => Some("beneficiary.party.name"),
        "debtor_name" => Some("originator.name"),
        "amount" => Some("amount.minor_units"),
        "statement_descriptor" | "unstructured_remittance_information" => Some("remittance"),
        _ => None,
    }
}
