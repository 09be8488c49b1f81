//! What a vendor's reply means in the words of the contract: outcome, class, reason, and how firm a refusal is.
//! It does not decide whether a refusal may be believed: that depends on the number of sends (see `rules`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signalbox_schemas::ErrorClass;
use std::time::Duration;

/// Every canonical outcome of every capability, as the contract spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// customer.recognise: a customer whom an onboarding has approved.
    Recognised,
    /// customer.recognise: the same, and watched closely.
    Watched,
    /// customer.recognise: approved too long ago.
    Outdated,
    /// customer.recognise: nobody whom we know.
    Stranger,
    /// kyc.check: the identity is verified.
    Pass,
    /// kyc.check: not verified, another try may succeed.
    SoftFail,
    /// kyc.check: not verified, for good.
    HardFail,
    /// kyc.check: the customer has to do something.
    StepUp,
    /// aml.screen: nobody on a list.
    Clear,
    /// aml.screen: a listed party.
    Hit,
    /// aml.screen: perhaps a listed party, a person must look.
    Ambiguous,
    /// fraud.score: go on.
    Approve,
    /// fraud.score: a person must look.
    Review,
    /// fraud.score: do not pay.
    Decline,
    /// payout.send: taken on.
    Accepted,
    /// payout.send: refused.
    Rejected,
    /// payout.send: refused until data are corrected.
    RequiresRepair,
    /// payout.send and payout.inquire: refused for law or sanctions, nothing was executed.
    Blocked,
    /// payout.inquire: under way.
    Pending,
    /// payout.inquire: the money has arrived.
    Settled,
    /// payout.inquire: the money came back.
    Returned,
    /// payout.inquire: it did not and will not happen.
    NotExecuted,
    /// payout.recall: stopped or returned.
    Recalled,
    /// payout.recall: cannot be stopped any more.
    Refused,
    /// payout.*: it may or may not have happened.
    InDoubt,
    /// All: no business answer now.
    Unavailable,
}

impl Outcome {
    /// The word as the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Recognised => "recognised",
            Self::Watched => "watched",
            Self::Outdated => "outdated",
            Self::Stranger => "stranger",
            Self::Pass => "pass",
            Self::SoftFail => "soft_fail",
            Self::HardFail => "hard_fail",
            Self::StepUp => "step_up",
            Self::Clear => "clear",
            Self::Hit => "hit",
            Self::Ambiguous => "ambiguous",
            Self::Approve => "approve",
            Self::Review => "review",
            Self::Decline => "decline",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::RequiresRepair => "requires_repair",
            Self::Blocked => "blocked",
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Returned => "returned",
            Self::NotExecuted => "not_executed",
            Self::Recalled => "recalled",
            Self::Refused => "refused",
            Self::InDoubt => "in_doubt",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a reply proves about a write that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Nothing.
    #[default]
    None,
    /// The vendor holds our reference with an ending that excludes the effect; sending again gets the same.
    Recorded,
    /// A (status, code) from the vendor's "not executed" list that left no trace at the vendor: a proof only if it
    /// answers the only send, or if the vendor replays refusals under the key.
    Refused,
    /// This send did not leave this machine; an earlier one may have.
    NotSent,
    /// The vendor does not know our reference. Not a proof: a paused sender may still send.
    NotFound,
}

/// A reply in canonical words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Canonical outcome.
    pub outcome: Outcome,
    /// Error class where it is not a plain business answer.
    pub class: Option<ErrorClass>,
    /// Canonical reason code; never a vendor's free text, which may hold personal data.
    pub reason: Option<String>,
    /// Earliest sensible retry in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Fields that only this capability's outcome record has.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// The vendor's own id of the request or object.
    pub vendor_reference: Option<String>,
    /// What it proves about a write.
    #[serde(default)]
    pub evidence: Evidence,
}

impl Answer {
    /// A business answer.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            class: None,
            reason: None,
            retry_after_ms: None,
            extra: Map::new(),
            vendor_reference: None,
            evidence: Evidence::None,
        }
    }

    /// No business answer, and why.
    pub fn unavailable(class: ErrorClass, reason: &str) -> Self {
        Self::of(Outcome::Unavailable).class(class).reason(reason)
    }

    /// A write whose effect is not known.
    pub fn in_doubt(reason: &str) -> Self {
        Self::of(Outcome::InDoubt).class(ErrorClass::InDoubt).reason(reason)
    }

    /// With an error class.
    #[must_use]
    pub fn class(mut self, class: ErrorClass) -> Self {
        self.class = Some(class);
        self
    }

    /// With a canonical reason code.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// With the vendor's own id.
    #[must_use]
    pub fn reference(mut self, reference: Option<&str>) -> Self {
        self.vendor_reference = reference.map(str::to_owned);
        self
    }

    /// With what it proves.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// With the earliest sensible retry.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// With a field that only this capability's outcome record has.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_survives_being_stored() {
        let answer = Answer::of(Outcome::RequiresRepair)
            .class(ErrorClass::RequiresRepair)
            .reason("account_number_invalid")
            .reference(Some("t-1"))
            .evidence(Evidence::Refused)
            .with("problems", serde_json::json!([]));
        let stored = serde_json::to_vec(&answer).unwrap();
        assert_eq!(serde_json::from_slice::<Answer>(&stored).unwrap(), answer);
    }

    #[test]
    fn a_word_is_spelled_the_same_everywhere() {
        for outcome in
            [Outcome::SoftFail, Outcome::RequiresRepair, Outcome::NotExecuted, Outcome::InDoubt]
        {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
        }
    }
}
