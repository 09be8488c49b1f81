//! Capabilities: what a step may ask for, which canonical outcomes it can get, and whether it moves money.
//! A capability is a pair of records `<name>.Request` and `<name>.Outcome`; nothing here is registered by hand.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::ids::{
    AggregateId, AttemptId, FlowId, LaneId, Likeness, RecordName, StepName, Tenant, TopicName,
};
use crate::money::Money;
use crate::time::Micros;

/// Whether carrying out a request may be repeated freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Repeating it harms nobody.
    Read,
    /// It moves money or the like: at most once, under a permit.
    Write,
}

/// What went wrong, by what is done next (facts: transient is tried again, in_doubt is inquired, and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Try again with the same key.
    Transient,
    /// Sent, answer unknown: inquire, never resend blindly.
    InDoubt,
    /// The data are wrong; somebody can correct them.
    RequiresRepair,
    /// It will not succeed.
    Permanent,
    /// Sanctions, law, fraud: freeze, two people release.
    ComplianceHold,
    /// Already done: answer with the first result.
    Duplicate,
    /// Our credentials, limits or schema are wrong: stop and page.
    Misconfigured,
}

impl ErrorClass {
    /// The word by which the contract knows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::InDoubt => "in_doubt",
            Self::RequiresRepair => "requires_repair",
            Self::Permanent => "permanent",
            Self::ComplianceHold => "compliance_hold",
            Self::Duplicate => "duplicate",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Name, such as `aml.screen`.
    pub name: String,
    /// Whether it moves money.
    pub effect: Effect,
    /// Canonical outcomes, without the default symbol.
    pub outcomes: Vec<String>,
}

impl Capability {
    /// The request's record.
    pub fn request(&self) -> RecordName {
        RecordName::from(format!("{}.Request", self.name))
    }

    /// The outcome's record.
    pub fn outcome(&self) -> RecordName {
        RecordName::from(format!("{}.Outcome", self.name))
    }

    /// Where lanes publish requests.
    pub fn requests_topic(&self) -> TopicName {
        TopicName::from(format!("{}.requests.v1", self.name))
    }

    /// Where adapters publish outcomes.
    pub fn outcomes_topic(&self) -> TopicName {
        TopicName::from(format!("{}.outcomes.v1", self.name))
    }

    /// Every capability that the schema documents define.
    pub(crate) fn all(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::new();
        for (record, document) in documents {
            let Some(name) = record.strip_suffix(".Request") else { continue };
            let Some(outcome) = documents.get(&format!("{name}.Outcome")) else { continue };
            let effect = match document.get("effect").and_then(Value::as_str) {
                Some("read") => Effect::Read,
                // What does not say that it is harmless is treated as if it moved money.
                _ => Effect::Write,
            };
            all.insert(
                name.to_owned(),
                Self { name: name.to_owned(), effect, outcomes: outcome_symbols(outcome) },
            );
        }
        all
    }
}

fn outcome_symbols(outcome: &Value) -> Vec<String> {
    let fields =
        outcome.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kind =
        fields.iter().find(|field| field.get("name").and_then(Value::as_str) == Some("outcome"));
    let symbols = kind.and_then(|field| field.pointer("/type/symbols")).and_then(Value::as_array);
    let words = symbols.map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str);
    words.filter(|word| *word != "UNKNOWN").map(str::to_owned).collect()
}

/// The Rust shapes of records that adapters handle field by field.
pub mod shapes {
    use super::{
        AggregateId, AttemptId, Deserialize, FlowId, LaneId, Micros, Serialize, StepName, Tenant,
    };

    /// `signalbox.common.Address`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Address {
        /// Street name.
        pub street: Option<String>,
        /// Building number or name.
        pub building: Option<String>,
        /// Postal code.
        pub post_code: Option<String>,
        /// Town name.
        pub town: String,
        /// Country subdivision.
        pub region: Option<String>,
        /// ISO 3166-1 alpha-2.
        pub country: String,
    }

    /// `signalbox.common.PartyKind`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum PartyKind {
        /// Not known to this version.
        #[serde(rename = "UNKNOWN")]
        Unknown,
        /// A natural person.
        #[serde(rename = "person")]
        Person,
        /// An organisation.
        #[serde(rename = "organisation")]
        Organisation,
    }

    /// `signalbox.common.Party`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Party {
        /// Person or organisation.
        pub kind: PartyKind,
        /// Full legal name.
        pub name: String,
        /// Given name of a person.
        pub given_name: Option<String>,
        /// Family name of a person.
        pub family_name: Option<String>,
        /// Days since 1970-01-01.
        pub birth_date: Option<i32>,
        /// Where it lives or is seated.
        pub address: Address,
    }

    /// `signalbox.common.IdentityDocument`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct IdentityDocument {
        /// `passport`, `identity_card`, `driving_licence`, `residence_permit` or `UNKNOWN`.
        pub kind: String,
        /// Issuing country, ISO 3166-1 alpha-2.
        pub country: String,
    }

    /// `signalbox.common.Account`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Account {
        /// `iban` or `aba`.
        pub scheme: String,
        /// ISO 13616.
        pub iban: Option<String>,
        /// ABA routing transit number.
        pub routing_number: Option<String>,
        /// Account number at the institution.
        pub account_number: Option<String>,
        /// ISO 9362.
        pub bic: Option<String>,
    }

    /// `signalbox.common.Call`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Call {
        /// The idempotency key and our reference at the vendor.
        pub attempt_id: AttemptId,
        /// The flow that asks.
        pub flow_id: FlowId,
        /// Business id of the flow.
        pub aggregate_id: AggregateId,
        /// Tenant.
        pub tenant: Tenant,
        /// Lane that asks.
        pub lane: LaneId,
        /// State (and branch) that asks.
        pub step: StepName,
        /// Raised each time the step is entered again.
        pub group: u32,
        /// After this instant nobody waits.
        pub reply_by: Micros,
        /// Opaque words for routes not to take again.
        pub excluded: Vec<String>,
    }

    /// `signalbox.common.CallRef`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct CallRef {
        /// The attempt that is answered.
        pub attempt_id: AttemptId,
        /// The flow that asked.
        pub flow_id: FlowId,
        /// Business id of the flow.
        pub aggregate_id: AggregateId,
        /// Tenant.
        pub tenant: Tenant,
        /// Lane that asked; the flow may have moved to another since.
        pub lane: LaneId,
        /// When the answer was known.
        pub answered_at: Micros,
    }

    impl Call {
        /// The reference under which this call is answered.
        pub fn answered(&self, at: Micros) -> CallRef {
            CallRef {
                attempt_id: self.attempt_id,
                flow_id: self.flow_id,
                aggregate_id: self.aggregate_id.clone(),
                tenant: self.tenant.clone(),
                lane: self.lane,
                answered_at: at,
            }
        }
    }

    /// `signalbox.common.Problem`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Problem {
        /// Path of the field in the command.
        pub field: String,
        /// Stable code.
        pub code: String,
        /// What is wrong and what to do.
        pub message: String,
    }
}

/// `kyc.check.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KycRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// The customer.
    pub customer_id: String,
    /// Whose identity is checked.
    pub subject: shapes::Party,
    /// What the identity is needed for.
    pub purpose: String,
    /// The document to be checked, where the check is about one.
    #[serde(default)]
    pub document: Option<shapes::IdentityDocument>,
}

/// `customer.recognise.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecogniseRequest {
    /// Who asks; the customer is the one whom that flow is about.
    pub call: shapes::Call,
    /// Who is to be recognised.
    pub likeness: Likeness,
    /// How long ago the approval may be, in milliseconds.
    pub fresh_for_ms: u64,
}

/// `aml.screen.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmlRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// `originator`, `beneficiary` or `customer`.
    pub role: String,
    /// Who is screened.
    pub party: shapes::Party,
}

/// `fraud.score.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FraudRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// The customer.
    pub customer_id: String,
    /// How much.
    pub amount: Money,
    /// Who pays.
    pub originator: shapes::Party,
    /// Who is paid.
    pub beneficiary: shapes::Party,
    /// Where to.
    pub account: shapes::Account,
}

/// `payout.send.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// How much.
    pub amount: Money,
    /// Who pays.
    pub originator: shapes::Party,
    /// Who is paid.
    pub beneficiary: shapes::Party,
    /// Where to.
    pub account: shapes::Account,
    /// `ach`, `rtp` or `UNKNOWN` for any.
    pub rail: String,
    /// Shown to the beneficiary.
    pub reference: Option<String>,
    /// The beneficiary's own reference, by which their books match the payment.
    #[serde(default)]
    pub structured_reference: Option<String>,
}

impl SendRequest {
    /// What the beneficiary is told, in one line: their own reference, then the text.
    pub fn remittance(&self) -> Option<String> {
        let parts = [&self.structured_reference, &self.reference];
        let told: Vec<&str> = parts.into_iter().filter_map(Option::as_deref).collect();
        (!told.is_empty()).then(|| told.join(" "))
    }
}

/// `payout.inquire.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InquireRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// The attempt of payout.send that is asked about.
    pub subject_attempt: AttemptId,
}

/// `payout.recall.Request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallRequest {
    /// Who asks.
    pub call: shapes::Call,
    /// The attempt of payout.send to recall.
    pub subject_attempt: AttemptId,
    /// Canonical reason.
    pub why: String,
}

/// What every `<capability>.Outcome` has in common; fields of one capability only are in `extra`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The request it answers.
    #[serde(rename = "ref")]
    pub call: shapes::CallRef,
    /// Canonical outcome of the capability.
    pub outcome: String,
    /// Canonical error class where it is not a business answer.
    pub class: Option<ErrorClass>,
    /// Canonical reason code.
    pub reason: Option<String>,
    /// Earliest sensible retry in milliseconds where the outcome is unavailable.
    pub retry_after_ms: Option<u64>,
    /// Fields that only this capability has.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, Value>,
}
