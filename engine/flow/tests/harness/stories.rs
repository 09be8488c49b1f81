//! The journeys of `journeys/` as the harness knows them. A file that is not registered here fails a property.
//! The rules are written without a look at the journey's own conditions: they are what a bank would say.

use serde_json::{Value, json};
use signalbox_flow::{Decision, Effect, Flow, Recognition, Status};
use signalbox_schemas::StepName;

use super::Story;

/// Every journey.
pub(crate) const STORIES: [&Story; 2] = [&PAYOUT, &ONBOARDING];

pub(crate) const PAYOUT: Story = Story {
    file: "payout.yaml",
    yaml: include_str!("../../../../journeys/payout.yaml"),
    renamed: &[
        ("await_customer", "await_proof"),
        ("review_fraud", "judge_fraud"),
        ("review_sending", "judge_sending"),
        ("bank_hold", "held_by_bank"),
        ("review_settlement", "judge_settlement"),
    ],
    request,
    voices: &[
        ("house", "recognise_customer"),
        ("kyc", "confirm_identity"),
        ("originator", "screen_parties/originator"),
        ("beneficiary", "screen_parties/beneficiary"),
        ("fraud", "score_fraud"),
        ("recall", "recall_payment"),
    ],
    commands: &[("cancel", "payments.payout.CancelPayout", cancel)],
    milestones: &[
        "",
        "house recognised, originator clear, beneficiary clear, fraud approve",
        "house stranger, kyc pass",
        "house stranger, kyc pass, originator hit, beneficiary clear",
        "house stranger, kyc pass, originator clear, beneficiary clear, fraud approve",
        "house stranger, kyc pass, originator clear, beneficiary clear, fraud approve, permit, send in_doubt",
        "house stranger, kyc pass, originator clear, beneficiary clear, fraud approve, permit, send accepted",
        "house stranger, kyc pass, originator clear, beneficiary clear, fraud approve, permit, send accepted, cancel",
    ],
    holds: &[("compliance_hold", "blocked"), ("bank_hold", "blocked")],
    settled_by_people: Some((
        "send",
        &["settle_doubt", "await_settlement", "review_settlement", "judge_settlement"],
    )),
    unsent: &[
        ("send", &["rejected", "requires_repair", "blocked"]),
        ("settle_doubt", &["not_executed", "blocked"]),
        ("await_settlement", &["not_executed", "blocked"]),
    ],
    rule: only_checked_money_is_sent,
};

pub(crate) const ONBOARDING: Story = Story {
    file: "onboarding.yaml",
    yaml: include_str!("../../../../journeys/onboarding.yaml"),
    renamed: &[
        ("await_identity", "await_proof"),
        ("review_risk", "judge_risk"),
        ("await_consent", "hope_for_consent"),
    ],
    request: application,
    voices: &[
        ("identity", "verify_identity"),
        ("document", "check_document"),
        ("screening", "screen_customer"),
    ],
    commands: &[
        ("consent", "onboarding.application.RecordConsent", consent),
        ("continue", "onboarding.application.ContinueOnboarding", proceed),
        ("withdraw", "onboarding.application.WithdrawOnboarding", withdraw),
    ],
    milestones: &[
        "",
        "identity step_up",
        "identity pass",
        "identity pass, document step_up",
        "identity pass, document pass",
        "identity pass, document pass, screening hit",
        "identity pass, document pass, screening ambiguous",
        "identity pass, document pass, screening ambiguous, anna release",
    ],
    holds: &[("compliance_hold", "declined_compliance")],
    settled_by_people: None,
    unsent: &[],
    rule: only_a_checked_customer_is_approved,
};

/// A payout that everything is right with.
pub(crate) fn request() -> Value {
    let account = json!({"scheme": "iban", "iban": "DE89370400440532013000", "routing_number": null, "account_number": null, "bic": null});
    json!({
        "payout_id": "p-1", "tenant": "default", "customer_id": "c-1",
        "amount": {"minor_units": 1000, "currency": "EUR", "exponent": 2},
        "originator": person("Ada"), "beneficiary": {"party": person("Bob"), "account": account},
        "rail": "ach", "remittance": {"structured_reference": null, "unstructured": null},
        "segment": "personal", "requested_at": 1
    })
}

/// An application that everything is right with.
pub(crate) fn application() -> Value {
    json!({
        "onboarding_id": "o-1", "tenant": "default", "customer_id": "c-1", "customer": person("Ada"),
        "document": {"kind": "passport", "country": "DE"},
        "consent": {"consent_id": "consent-1", "text_version": "2026-11", "given_at": 1},
        "politically_exposed": false, "segment": "retail", "requested_at": 1
    })
}

fn person(name: &str) -> Value {
    let address = json!({"street": null, "building": null, "post_code": null, "town": "Berlin", "region": null, "country": "DE"});
    json!({"kind": "person", "name": name, "given_name": null, "family_name": null, "birth_date": null, "address": address})
}

fn cancel() -> Value {
    json!({"payout_id": "p-1", "tenant": "default", "actor": "service", "reason": "changed my mind", "requested_at": 1})
}

fn consent() -> Value {
    let consent = json!({"consent_id": "consent-2", "text_version": "2026-11", "given_at": 2});
    json!({"onboarding_id": "o-1", "tenant": "default", "consent": consent, "actor": "app", "requested_at": 2})
}

fn proceed() -> Value {
    json!({"onboarding_id": "o-1", "tenant": "default", "actor": "app", "requested_at": 2})
}

fn withdraw() -> Value {
    json!({"onboarding_id": "o-1", "tenant": "default", "actor": "app", "reason": "changed my mind", "requested_at": 2})
}

/// Identity, both screenings and fraud are good before money is sent; an identity that was not checked was recognised.
fn only_checked_money_is_sent(decision: &Decision) {
    let sends = |effect: &Effect| matches!(effect, Effect::Ask { capability, .. } if capability == "payout.send");
    if decision.effects.iter().any(sends) {
        if decision.flow.data.calls.contains_key(&StepName::from("confirm_identity")) {
            good(&decision.flow, "confirm_identity", ["pass", "approved"]);
        } else {
            good(&decision.flow, "recognise_customer", ["recognised", "recognised"]);
        }
        good(&decision.flow, "screen_parties/originator", ["clear", "released"]);
        good(&decision.flow, "screen_parties/beneficiary", ["clear", "released"]);
        good(&decision.flow, "score_fraud", ["approve", "approved"]);
    }
}

/// Nobody is asked about a customer who has not consented, nobody is screened unidentified, and whoever is approved
/// passed everything, with two people's word where the risk is high.
fn only_a_checked_customer_is_approved(decision: &Decision) {
    let flow = &decision.flow;
    let says = |event: &Value| event.get("status").and_then(Value::as_str).map(str::to_owned);
    let is_approval = |effect: &Effect| matches!(effect, Effect::Publish { value, .. } if says(value).as_deref() == Some("approved"));
    let approves = decision.effects.iter().any(is_approval);
    for effect in &decision.effects {
        match effect {
            Effect::Ask { capability, .. } if capability == "aml.screen" => {
                good(flow, "verify_identity", ["pass", "approved"]);
                good(flow, "check_document", ["pass", "approved"]);
            }
            Effect::Recognise(Recognition::Known { .. }) => {
                assert!(approves, "recognised and not approved")
            }
            Effect::Publish { value, .. } if says(value).as_deref() == Some("approved") => {
                good(flow, "verify_identity", ["pass", "approved"]);
                good(flow, "check_document", ["pass", "approved"]);
                good(flow, "screen_customer", ["clear", "released"]);
                assert_eq!(flow.status, Status::Ended);
                let people_spoke = ["verify_identity", "check_document", "screen_customer"]
                    .iter()
                    .any(|step| ["approved", "released"].contains(&word(flow, step).as_str()));
                let high = value.get("risk_tier") == Some(&Value::from("high"));
                assert!(high || !people_spoke, "approved by people and not watched: {flow:?}");
            }
            _ => {}
        }
    }
}

fn good(flow: &Flow, step: &str, words: [&str; 2]) {
    assert!(words.contains(&word(flow, step).as_str()), "{step} in {flow:?}");
}

fn word(flow: &Flow, step: &str) -> String {
    let call = flow.data.calls.get(&StepName::from(step)).expect("the step was asked");
    call.ruling.clone().or(call.outcome.clone()).unwrap_or_default()
}
