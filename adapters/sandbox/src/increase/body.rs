//! Transfers as Increase writes them. Only rendering: no decision is taken here.

use serde_json::{Value, json};

use super::course::Step;
use crate::clock::{Millis, iso, iso_date, scramble};
use crate::ledger::{Effect, TransferKind};
use crate::personas::Payout;

const TWO_DAYS_MS: Millis = 2 * 24 * 60 * 60 * 1_000;
/// The account that the real-time transfers of this sandbox come from.
const ACCOUNT_ID: &str = "account_in71c4amph0vgo2qllky";

pub(super) fn transfer(effect: &Effect, course: &[(Millis, Step)]) -> Value {
    let request = serde_json::from_str(&effect.order.request).unwrap_or(Value::Null);
    let view = View { effect, course, request };
    match effect.order.kind {
        TransferKind::AchTransfer => view.ach(),
        TransferKind::RealTimePaymentsTransfer => view.real_time(),
    }
}

struct View<'a> {
    effect: &'a Effect,
    course: &'a [(Millis, Step)],
    request: Value,
}

impl View<'_> {
    fn ach(&self) -> Value {
        let order = &self.effect.order;
        json!({
            "id": self.effect.transfer_id,
            "account_id": self.given("account_id"),
            "account_number": order.account_number,
            "acknowledgement": self.when(Step::Submitted, |at| json!({ "acknowledged_at": iso(at) })),
            "addenda": self.given("addenda"),
            "amount": order.amount,
            "approval": null,
            "cancellation": self.cancellation(),
            "company_descriptive_date": self.given("company_descriptive_date"),
            "company_discretionary_data": self.given("company_discretionary_data"),
            "company_entry_description": self.given("company_entry_description"),
            "company_id": "1234567890",
            "company_name": self.given("company_name"),
            "created_at": iso(self.effect.created_at_ms),
            "created_by": created_by(),
            "currency": "USD",
            "destination_account_holder": self.given_or("destination_account_holder", "unknown"),
            "external_account_id": null,
            "funding": self.given_or("funding", "checking"),
            "idempotency_key": order.idempotency_key,
            "inbound_funds_hold": null,
            "individual_id": self.given("individual_id"),
            "individual_name": self.given("individual_name"),
            "network": "ach",
            "notifications_of_change": [],
            "pending_transaction_id": self.related("pending_transaction"),
            "preferred_effective_date": {
                "date": self.nested("preferred_effective_date", "date"),
                "settlement_schedule": self.nested("preferred_effective_date", "settlement_schedule"),
            },
            "return": self.when(Step::Returned, |at| self.ach_return(at)),
            "routing_number": order.routing_number,
            "settlement": self.when(Step::Settled, |at| json!({ "settled_at": iso(at) })),
            "standard_entry_class_code":
                self.given_or("standard_entry_class_code", "corporate_credit_or_debit"),
            "statement_descriptor": self.given("statement_descriptor"),
            "status": self.status(),
            "submission": self.when(Step::Submitted, |at| self.ach_submission(at)),
            "transaction_id": self.related("transaction"),
            "type": "ach_transfer",
        })
    }

    fn real_time(&self) -> Value {
        let order = &self.effect.order;
        let funded = self.when(Step::Complete, |_| self.related("transaction"));
        json!({
            "id": self.effect.transfer_id,
            "account_id": ACCOUNT_ID,
            "account_number": order.account_number,
            "acknowledgement": self.when(Step::Complete, |at| json!({ "acknowledged_at": iso(at) })),
            "amount": order.amount,
            "approval": null,
            "cancellation": self.cancellation(),
            "created_at": iso(self.effect.created_at_ms),
            "created_by": created_by(),
            "creditor_name": self.given("creditor_name"),
            "currency": "USD",
            "debtor_name": self.given("debtor_name"),
            "external_account_id": null,
            "idempotency_key": order.idempotency_key,
            "pending_transaction_id": self.related("pending_transaction"),
            "rejection": self.when(Step::Rejected, |at| self.rejection(at)),
            "routing_number": order.routing_number,
            "source_account_number_id": self.given("source_account_number_id"),
            "status": self.status(),
            "submission": self.when(Step::Submitted, |at| self.real_time_submission(at)),
            "transaction_id": funded,
            "type": "real_time_payments_transfer",
            "ultimate_creditor_name": self.given("ultimate_creditor_name"),
            "ultimate_debtor_name": self.given("ultimate_debtor_name"),
            "unstructured_remittance_information":
                self.given("unstructured_remittance_information"),
        })
    }

    fn status(&self) -> &'static str {
        match self.course.last() {
            Some((_, Step::Settled)) => Step::Submitted.name(),
            Some((_, step)) => step.name(),
            None => Step::PendingSubmission.name(),
        }
    }

    /// Null until the step is reached.
    fn when(&self, step: Step, value: impl Fn(Millis) -> Value) -> Value {
        let reached = self.course.iter().find(|(_, reached)| *reached == step);
        reached.map_or(Value::Null, |(at, _)| value(*at))
    }

    fn cancellation(&self) -> Value {
        self.when(Step::Canceled, |at| json!({ "canceled_at": iso(at), "canceled_by": null }))
    }

    fn ach_submission(&self, at: Millis) -> Value {
        let expected = iso(at.saturating_mul(2).saturating_sub(self.effect.created_at_ms));
        json!({
            "administrative_returns_expected_by": iso(at.saturating_add(TWO_DAYS_MS)),
            "effective_date": iso_date(at),
            "expected_funds_settlement_at": expected,
            "expected_settlement_schedule": "same_day",
            "submitted_at": iso(at),
            "trace_number": format!("05834923{:07}", self.bits() % 10_000_000),
        })
    }

    fn ach_return(&self, at: Millis) -> Value {
        let (raw, reason) = if self.effect.order.payout == Payout::Blocked {
            ("R16", "account_frozen_entry_returned_per_ofac_instruction")
        } else {
            ("R03", "no_account")
        };
        json!({
            "addenda_information": null,
            "created_at": iso(at),
            "raw_return_reason_code": raw,
            "return_reason_code": reason,
            "trace_number": format!("11112222{:07}", self.bits() % 10_000_000),
            "transaction_id": self.related("transaction"),
            "transfer_id": self.effect.transfer_id,
        })
    }

    fn real_time_submission(&self, at: Millis) -> Value {
        let day = iso_date(at).replace('-', "");
        let number = self.bits() % 10_000_000;
        json!({
            "submitted_at": iso(at),
            "transaction_identification": format!("{day}058349238T1BX1RTP{number:07}"),
        })
    }

    fn rejection(&self, at: Millis) -> Value {
        let (code, information) = match self.effect.order.payout {
            Payout::BadAccount => ("invalid_creditor_account_number", None),
            Payout::Blocked => ("narrative", Some("RR04 regulatory reason")),
            Payout::Settles | Payout::Rejected | Payout::Returned | Payout::NeedsAttention => {
                ("account_closed", None)
            }
        };
        json!({
            "reject_reason_additional_information": information,
            "reject_reason_code": code,
            "rejected_at": iso(at),
        })
    }

    fn given(&self, field: &str) -> Value {
        self.request.get(field).cloned().unwrap_or(Value::Null)
    }

    fn given_or(&self, field: &str, default: &str) -> Value {
        self.request.get(field).cloned().unwrap_or_else(|| json!(default))
    }

    fn nested(&self, object: &str, field: &str) -> Value {
        let object = self.request.get(object);
        object.and_then(|object| object.get(field)).cloned().unwrap_or(Value::Null)
    }

    /// Identifier of another object of the vendor that belongs to this transfer.
    fn related(&self, kind: &str) -> Value {
        let suffix = self.effect.transfer_id.rsplit('_').next().unwrap_or_default();
        json!(format!("{kind}_{suffix}"))
    }

    fn bits(&self) -> u64 {
        let bytes = self.effect.transfer_id.bytes();
        bytes.fold(0, |bits, byte| scramble(bits, u64::from(byte)))
    }
}

fn created_by() -> Value {
    json!({
        "category": "api_key",
        "api_key": { "description": "Sandbox" },
        "oauth_application": null,
        "user": null,
    })
}
