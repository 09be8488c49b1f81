//! The journeys that are simulated, each with its commands, what is special about some of them, and how those may end.
//! A journey file that is not registered here fails `every_journey_is_simulated`. It runs nothing itself.

use integration_tests::{FIRST_REQUEST_PAYOUT, in_first_major};
use serde_json::{Value, json};
use signalbox_flow::Journey;
use signalbox_schemas::Contract;
use std::collections::BTreeMap;

/// One journey in the world of a simulation.
pub(crate) struct Business {
    /// The journey's file, without its folder.
    pub(crate) file: &'static str,
    yaml: &'static str,
    /// States that the next version calls otherwise: `old`, `new`.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Times that a run can wait for.
    short: &'static [(&'static str, &'static str)],
    pub(crate) commands: &'static str,
    pub(crate) starts_with: &'static str,
    pub(crate) events: &'static str,
    pub(crate) event: &'static str,
    /// Field by which events name their flow.
    pub(crate) aggregate: &'static str,
    /// What can be special about one: a word in its id, which vendors, people and customers read.
    pub(crate) words: &'static [&'static str],
    pub(crate) request: fn(&str) -> Value,
    /// The major before, where there is one.
    pub(crate) older: Option<Older>,
    /// Commands that follow the request.
    pub(crate) follow_up: fn(&str) -> Vec<(&'static str, Value)>,
    /// Statuses of the one final event that are right.
    pub(crate) endings: fn(&str) -> &'static [&'static str],
}

/// What came before the newest major of a command.
pub(crate) struct Older {
    pub(crate) record: &'static str,
    /// The same request in its words.
    pub(crate) told: fn(&Value) -> Value,
    /// The journey as it was written for it: edits of today's.
    edits: &'static [(&'static str, &'static str)],
}

/// How many flows after their onboarding a customer's payout is asked for: an odd number.
const PAID_AFTER: usize = 9;

/// Every journey.
pub(crate) const ALL: [Business; 2] = [PAYOUT, ONBOARDING];

const PAYOUT: Business = Business {
    file: "payout.yaml",
    yaml: include_str!("../../../journeys/payout.yaml"),
    renamed: &[
        ("review_fraud", "judge_fraud"),
        ("await_customer", "await_proof"),
        ("compliance_hold", "second_hold"),
    ],
    short: &[
        ("check_time", "20s"),
        ("send_time", "30s"),
        ("retry_wait", "2s"),
        ("identity_retry_wait", "2s"),
        ("step_up_wait", "5s"),
        ("inquire_soon", "1s"),
        ("inquire_later", "2s"),
        ("inquire_seldom", "3s"),
        ("inquire_slowly", "5s"),
        ("settlement_poll", "2s"),
        ("return_poll", "3s"),
        ("return_window", "10s"),
        ("doubt_escalation", "60s"),
        ("settlement_escalation", "60s"),
        ("review_escalation", "60s"),
    ],
    commands: "payments.payout.commands.v1",
    starts_with: "payments.payout.v2.RequestPayout",
    events: "payments.payout.events.v1",
    event: "payments.payout.PayoutEvent",
    aggregate: "payout_id",
    words: &[
        "clear",
        "hardfail",
        "stepup",
        "hit",
        "hit-uphold",
        "ambiguous",
        "fraud",
        "fraudreview",
        "cancel",
    ],
    request: payout,
    older: Some(Older {
        record: FIRST_REQUEST_PAYOUT,
        told: in_first_major,
        edits: &[
            ("\nversion: 2\n", "\nversion: 1\n"),
            ("payments.payout.v2.RequestPayout", "payments.payout.RequestPayout"),
            ("command.remittance.unstructured", "command.reference"),
            ("      structured_reference: command.remittance.structured_reference\n", ""),
        ],
    }),
    follow_up: |id| {
        let cancel = json!({"payout_id": id, "actor": "customer", "reason": "changed their mind", "requested_at": 0});
        let cancels = id.contains("cancel");
        cancels.then_some(("payments.payout.CancelPayout", cancel)).into_iter().collect()
    },
    endings: |id| {
        if id.contains("hardfail") || id.ends_with("-fraud") {
            &["declined"]
        } else if id.contains("uphold") {
            &["blocked"]
        } else if id.contains("cancel") {
            &["cancelled", "recalled", "completed", "returned"]
        } else {
            &["completed"]
        }
    },
};

const ONBOARDING: Business = Business {
    file: "onboarding.yaml",
    yaml: include_str!("../../../journeys/onboarding.yaml"),
    renamed: &[
        ("review_risk", "judge_risk"),
        ("await_identity", "await_proof"),
        ("compliance_hold", "second_hold"),
    ],
    short: &[
        ("consent_wait", "20s"),
        ("check_time", "20s"),
        ("retry_wait", "2s"),
        ("soft_fail_wait", "2s"),
        ("customer_wait", "5s"),
        ("review_escalation", "60s"),
    ],
    commands: "onboarding.application.commands.v1",
    starts_with: "onboarding.application.RequestOnboarding",
    events: "onboarding.application.events.v1",
    event: "onboarding.application.OnboardingEvent",
    aggregate: "onboarding_id",
    words: &[
        "clear",
        "softfail",
        "hardfail",
        "stepup",
        "forged",
        "hit",
        "hit-uphold",
        "ambiguous",
        "ambiguous-uphold",
        "exposed",
        "silent",
        "withdraw",
    ],
    request: application,
    older: None,
    follow_up: |id| {
        let withdraw = json!({"onboarding_id": id, "actor": "customer", "reason": "changed their mind", "requested_at": 0});
        let withdraws = id.contains("withdraw");
        let record = "onboarding.application.WithdrawOnboarding";
        withdraws.then_some((record, withdraw)).into_iter().collect()
    },
    endings: |id| {
        if ["hardfail", "forged", "uphold"].iter().any(|word| id.contains(word)) {
            &["declined"]
        } else if id.contains("silent") {
            &["abandoned"]
        } else if id.contains("withdraw") {
            // Where the withdrawal comes too late, or before the request that was sent to a foreign lane.
            &["abandoned", "approved"]
        } else {
            &["approved"]
        }
    },
};

impl Business {
    /// The real journey with times that a run can wait for.
    pub(crate) fn journey(&self, contract: &Contract) -> Journey {
        self.parsed(self.yaml, contract)
    }

    /// The journey as it was before the newest major of its command; today's where there is but one.
    pub(crate) fn first_journey(&self, contract: &Contract) -> Journey {
        let edits = self.older.as_ref().map_or(&[][..], |older| older.edits);
        let yaml = edits.iter().fold(self.yaml.to_owned(), |yaml, (new, old)| {
            assert!(yaml.contains(new), "{} no longer says {new:?}", self.file);
            yaml.replace(new, old)
        });
        self.parsed(&yaml, contract)
    }

    /// The same as its next version, in which some states have other names.
    pub(crate) fn next_journey(&self, contract: &Contract) -> Journey {
        let rename = |yaml: String, (old, new): &(&str, &str)| yaml.replace(old, new);
        let yaml = self.renamed.iter().fold(self.yaml.to_owned(), rename);
        let version = self.journey(contract).version();
        let (this, next) =
            (format!("\nversion: {version}\n"), format!("\nversion: {}\n", version + 1));
        self.parsed(&yaml.replace(&this, &next), contract)
    }

    fn parsed(&self, yaml: &str, contract: &Contract) -> Journey {
        let overrides: BTreeMap<String, String> =
            self.short.iter().map(|(name, time)| ((*name).into(), (*time).into())).collect();
        Journey::parse(yaml, contract, &overrides).unwrap()
    }
}

fn person() -> Value {
    json!({"kind": "person", "name": "Ann Clear", "address": {"town": "Berlin", "country": "DE"}})
}

fn payout(id: &str) -> Value {
    json!({
        "payout_id": id, "customer_id": customer(id), "requested_at": 0, "rail": "ach", "segment": "personal",
        "remittance": {"unstructured": format!("rent of {id}")},
        "amount": {"minor_units": 1000, "currency": "USD", "exponent": 2},
        "originator": person(),
        "beneficiary": {"party": person(), "account": {"scheme": "iban", "iban": "DE89370400440532013000"}}})
}

fn application(id: &str) -> Value {
    let consent = json!({"consent_id": "consent-1", "text_version": "2026-11", "given_at": 0});
    json!({
        "onboarding_id": id, "customer_id": customer(id), "requested_at": 0, "segment": "retail",
        "customer": person(),
        "document": {"kind": "passport", "country": "DE"},
        "consent": if id.contains("silent") { Value::Null } else { consent },
        "politically_exposed": id.contains("exposed")})
}

/// Each customer is onboarded, and somewhat later is paid for.
pub(crate) fn customer(id: &str) -> String {
    let number = id.trim_start_matches('f').split('-').next().and_then(|text| text.parse().ok());
    let number: usize = number.unwrap_or_default();
    let is_paid_for = number.is_multiple_of(2);
    let onboarding = if is_paid_for { number.saturating_sub(PAID_AFTER) } else { number };
    format!("c-{onboarding}")
}
