//! A payout flow driven in domain words: `kyc pass`, `originator hit`, `anna release`, `timer retry`, `cancel`.
//! It plays the worker as far as `step` can tell, and checks every record against the contract. It keeps no database.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use signalbox_flow::{
    Context, Decision, Effect, Flow, Input, Journey, Refusal, Start, begin, step,
};
use signalbox_schemas::{
    Attempt, AttemptId, Contract, LaneId, Micros, RecordName, StepName, TenantKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

pub(crate) const PAYOUT: &str = include_str!("../../../../journeys/payout.yaml");

/// The payout journey, parsed once.
pub(crate) fn payout() -> &'static Journey {
    static JOURNEY: OnceLock<Journey> = OnceLock::new();
    JOURNEY.get_or_init(|| {
        Journey::parse(PAYOUT, Contract::builtin().unwrap(), &BTreeMap::new()).unwrap()
    })
}

/// One flow and the world around it.
pub(crate) struct World {
    pub(crate) flow: Flow,
    pub(crate) now: Micros,
    /// Attempts whose permit was taken.
    pub(crate) sent: BTreeSet<AttemptId>,
    pub(crate) key: TenantKey,
}

/// A request that everything is right with.
pub(crate) fn request() -> Value {
    let address = json!({"street": null, "building": null, "post_code": null, "town": "Berlin", "region": null, "country": "DE"});
    let party = |name: &str| json!({"kind": "person", "name": name, "given_name": null, "family_name": null, "birth_date": null, "address": address});
    let account = json!({"scheme": "iban", "iban": "DE89370400440532013000", "routing_number": null, "account_number": null, "bic": null});
    json!({
        "payout_id": "p-1", "tenant": "default", "customer_id": "c-1",
        "amount": {"minor_units": 1000, "currency": "EUR", "exponent": 2},
        "originator": party("Ada"), "beneficiary": {"party": party("Bob"), "account": account},
        "rail": "ach", "reference": null, "segment": "retail", "requested_at": 1
    })
}

impl World {
    /// A flow that has just begun.
    pub(crate) fn begin(command: Value) -> (Self, Decision) {
        let key = TenantKey::new(b"a secret of the tests".to_vec());
        let now = Micros(1_000_000);
        let none = BTreeSet::new();
        let command = Arc::new(command);
        let start = Start { command: &command, lane: LaneId(3) };
        let decision = begin(payout(), start, Context { now, key: &key, sending: &none }).unwrap();
        valid(&decision);
        (Self { flow: decision.flow.clone(), now, sent: BTreeSet::new(), key }, decision)
    }

    /// Applies an input as the worker does: an abandonment that is lost is stepped again with the fact.
    pub(crate) fn apply(&mut self, input: Input<'_>) -> Result<Decision, Refusal> {
        let none = BTreeSet::new();
        let first = step(
            payout(),
            &self.flow,
            input,
            Context { now: self.now, key: &self.key, sending: &none },
        )?;
        let lost = abandoned(&first).iter().any(|attempt| self.sent.contains(attempt));
        let decision = if lost {
            step(
                payout(),
                &self.flow,
                input,
                Context { now: self.now, key: &self.key, sending: &self.sent },
            )?
        } else {
            first
        };
        assert!(
            abandoned(&decision).iter().all(|attempt| !self.sent.contains(attempt)),
            "a sent write is not abandoned"
        );
        valid(&decision);
        assert_eq!(decision.flow.rev, self.flow.rev + 1);
        self.flow = decision.flow.clone();
        Ok(decision)
    }

    /// One input in words.
    pub(crate) fn say(&mut self, words: &str) -> Result<Decision, Refusal> {
        match words.split(' ').collect::<Vec<_>>().as_slice() {
            ["timer", name] => self.timer(name),
            ["cancel"] => self.cancel(),
            ["permit"] => {
                self.sent.extend(
                    self.flow
                        .data
                        .calls
                        .iter()
                        .filter(|(step, _)| is_write(step))
                        .map(|(_, call)| call.attempt),
                );
                Err(Refusal::Known)
            }
            ["older", who, word] => {
                let step = self.step_of(who);
                let group = self.flow.data.calls.get(&step).unwrap().group - 1;
                self.answer(&step, group, word)
            }
            [actor @ ("anna" | "ben" | "ANNA"), decision] => self.decide(actor, decision),
            [who, word] => {
                let step = self.step_of(who);
                let group = self.flow.data.calls.get(&step).map_or(1, |call| call.group);
                self.answer(&step, group, word)
            }
            other => panic!("what does {other:?} mean?"),
        }
    }

    pub(crate) fn timer(&mut self, name: &str) -> Result<Decision, Refusal> {
        let due = self.flow.data.timers.get(name).copied().unwrap_or(self.now);
        self.now = self.now.max(due);
        self.apply(Input::Timer { name })
    }

    pub(crate) fn cancel(&mut self) -> Result<Decision, Refusal> {
        let value = json!({"payout_id": "p-1", "tenant": "default", "actor": "service", "reason": "changed my mind", "requested_at": 1});
        self.apply(Input::Command {
            record: &RecordName::from("payments.payout.CancelPayout"),
            value: &value,
        })
    }

    pub(crate) fn decide(&mut self, actor: &str, decision: &str) -> Result<Decision, Refusal> {
        let value = json!({"aggregate_id": "p-1", "tenant": "default", "journey": "payout", "step": self.flow.state,
            "decision": decision, "actor": actor, "reason": "looked at it", "decided_at": 1});
        self.apply(Input::Command {
            record: &RecordName::from("signalbox.review.ReviewDecision"),
            value: &value,
        })
    }

    pub(crate) fn answer(
        &mut self,
        step: &StepName,
        group: u32,
        word: &str,
    ) -> Result<Decision, Refusal> {
        let attempt =
            self.key.attempt_id(&Attempt { flow: self.flow.id, step: step.clone(), group });
        let value = json!({"outcome": word, "reason": null, "retry_after_ms": null});
        self.apply(Input::Outcome { attempt, capability: capability(step), value: &value })
    }

    fn step_of(&self, who: &str) -> StepName {
        match who {
            "kyc" => "confirm_identity".into(),
            "originator" => "screen_parties/originator".into(),
            "beneficiary" => "screen_parties/beneficiary".into(),
            "fraud" => "score_fraud".into(),
            "send" => "send".into(),
            "recall" => "recall_payment".into(),
            "inquiry" => self.flow.state.clone(),
            step => step.into(),
        }
    }
}

/// The capability that a step of the payout journey calls.
pub(crate) fn capability(step: &StepName) -> &'static str {
    match step.as_str() {
        "confirm_identity" => "kyc.check",
        "screen_parties/originator" | "screen_parties/beneficiary" => "aml.screen",
        "score_fraud" => "fraud.score",
        "send" => "payout.send",
        "recall_payment" => "payout.recall",
        _ => "payout.inquire",
    }
}

fn is_write(step: &StepName) -> bool {
    matches!(step.as_str(), "send" | "recall_payment")
}

fn abandoned(decision: &Decision) -> Vec<AttemptId> {
    let attempt = |effect: &Effect| match effect {
        Effect::Abandon { attempt } => Some(*attempt),
        _ => None,
    };
    decision.effects.iter().filter_map(attempt).collect()
}

/// Every record that a decision publishes fits the contract.
fn valid(decision: &Decision) {
    for effect in &decision.effects {
        let (Effect::Ask { record, value, .. } | Effect::Publish { record, value, .. }) = effect
        else {
            continue;
        };
        let schema = Contract::builtin().unwrap().record(record.as_str()).unwrap();
        schema.encode(value).unwrap_or_else(|error| panic!("{record}: {error} in {value}"));
    }
}

/// A decision in words: where the flow is, and what is to be done; timers apart.
pub(crate) fn told(result: &Result<Decision, Refusal>) -> String {
    let decision = match result {
        Ok(decision) => decision,
        Err(Refusal::Known) => return "known".to_owned(),
        Err(Refusal::NotPossibleNow { .. }) => return "not possible now".to_owned(),
        Err(Refusal::Unresolvable { .. }) => return "unresolvable".to_owned(),
    };
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let effect = |effect: &Effect| match effect {
        Effect::Ask { step, group, .. } => Some(format!("ask {step} {group}")),
        Effect::Abandon { .. } => Some("abandon".to_owned()),
        Effect::Publish { record, value, .. }
            if record.as_str() == "signalbox.review.ReviewTask" =>
        {
            Some(format!("task {} {}", text(value, "step"), text(value, "status")))
        }
        Effect::Publish { value, .. } => {
            let last = if value.get("final") == Some(&Value::Bool(true)) { "final " } else { "" };
            Some(format!("{last}{}", text(value, "status")))
        }
        Effect::SetTimer { .. } | Effect::CancelTimer { .. } => None,
    };
    let effects: Vec<String> = decision.effects.iter().filter_map(effect).collect();
    format!("{}: {}", decision.flow.state, effects.join(", "))
        .trim_end_matches([':', ' '])
        .to_owned()
}
