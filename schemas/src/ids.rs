//! Typed ids: mixing two of them does not compile. Derived ids are HMACs, so a restored database derives them again.
//! Nothing here draws random numbers.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use uuid::Uuid;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);
        impl $name {
            /// Wraps a name that the contract, a journey or a record gave.
            pub fn new(name: impl Into<std::sync::Arc<str>>) -> Self { Self(name.into()) }
            /// The name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl From<&str> for $name { fn from(name: &str) -> Self { Self::new(name) } }
        impl From<String> for $name { fn from(name: String) -> Self { Self::new(name) } }
    )* };
}

names! {
    /// Business id of what a flow is about (a payout id): key of its records, unique per tenant.
    AggregateId,
    /// Name of a journey.
    JourneyName,
    /// Full name of an Avro record.
    RecordName,
    /// Name of a state of a journey, or `state/branch` for one branch of an `all`.
    StepName,
    /// Tenant on whose behalf a flow runs.
    Tenant,
    /// Name of a Kafka topic.
    TopicName,
}

/// One flow: a journey under way. UUIDv8 of HMAC-SHA-256(tenant key, journey and business id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(pub Uuid);

/// Whose personal data it is: a customer of a tenant. UUIDv8 of HMAC-SHA-256(tenant key, tenant and customer id), so that
/// whoever has the tenant key finds a customer's flows, and nobody else learns a customer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub Uuid);

/// As whom a customer is known: UUIDv8 of HMAC-SHA-256(tenant key, subject, kind and name). It is the same for the same
/// person under the same customer id, and nothing can be read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Likeness(pub Uuid);

/// One data key of a subject. A subject whose key was destroyed and that comes again gets the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId {
    /// Whose.
    pub subject: SubjectId,
    /// Which of theirs, from 1.
    pub generation: i32,
}

/// Which envelope key wrapped a data key: a fingerprint of it, which anybody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId(pub [u8; 8]);

/// One try at a step: the idempotency key and our reference at the vendor. UUIDv8 of HMAC-SHA-256(tenant key, flow, step, group).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub Uuid);

/// One migration: a bulk move of running flows to another version of their journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub Uuid);

/// One partition number of all co-partitioned topics with the flows that live there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u16);

/// Position of a record among all that a lane has published, from 1, without gaps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LaneSeq(pub i64);

/// What an attempt is for, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The flow that asks.
    pub flow: FlowId,
    /// The state (and branch) that asks.
    pub step: StepName,
    /// Raised each time the step is entered again.
    pub group: u32,
}

/// Secret from which a tenant's ids are derived. Never printed.
#[derive(Clone)]
pub struct TenantKey(Vec<u8>);

impl TenantKey {
    /// Takes the secret bytes; 16 bytes or more.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// The id of the flow that a journey runs for a business id.
    pub fn flow_id(
        &self,
        tenant: &Tenant,
        journey: &JourneyName,
        aggregate: &AggregateId,
    ) -> FlowId {
        FlowId(self.derive(&["flow", tenant.as_str(), journey.as_str(), aggregate.as_str()]))
    }

    /// The id of an attempt.
    pub fn attempt_id(&self, attempt: &Attempt) -> AttemptId {
        let flow = attempt.flow.0.to_string();
        AttemptId(self.derive(&[
            "attempt",
            &flow,
            attempt.step.as_str(),
            &attempt.group.to_string(),
        ]))
    }

    /// The id of a customer of a tenant.
    pub fn subject_id(&self, tenant: &Tenant, customer: &str) -> SubjectId {
        SubjectId(self.derive(&["subject", tenant.as_str(), customer]))
    }

    /// As whom a customer is known. Case and spacing of the name do not count.
    pub fn likeness(&self, subject: SubjectId, kind: &str, name: &str) -> Likeness {
        let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        Likeness(self.derive(&["likeness", &subject.to_string(), kind, &words.join(" ")]))
    }

    /// Who stands in for the people in records of one UTC day that say nothing of whom they are about. Days are counted
    /// from 1970-01-01.
    pub fn unattributed(&self, day: i64) -> SubjectId {
        SubjectId(self.derive(&["unattributed", &day.to_string()]))
    }

    fn derive(&self, parts: &[&str]) -> Uuid {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes a key of any length (RFC 2104)")
        };
        for part in parts {
            // The length before each part keeps ("ab","c") and ("a","bc") apart.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        let mut bytes = [0_u8; 16];
        bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Uuid::new_v8(bytes)
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantKey(masked)")
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MigrationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SubjectId {
    /// Out of the bytes in which stored data names it.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Likeness {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl LaneId {
    /// The partition of every co-partitioned topic that belongs to this lane.
    pub fn partition(self) -> i32 {
        i32::from(self.0)
    }
}

impl LaneSeq {
    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_id_is_the_same_for_the_same_payout_and_differs_for_any_other() {
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let id = |tenant: &str, payout: &str| {
            key.flow_id(&tenant.into(), &"payout".into(), &payout.into())
        };
        assert_eq!(id("acme", "p-1"), id("acme", "p-1"));
        assert_ne!(id("acme", "p-1"), id("acme", "p-2"));
        assert_ne!(id("acme", "p-1"), id("other", "p-1"));
        assert_ne!(id("acmep", "-1"), id("acme", "p-1"), "parts do not run into each other");
        assert_eq!(id("acme", "p-1").0.get_version_num(), 8);
    }

    #[test]
    fn a_customer_is_one_subject_in_a_tenant_and_another_in_every_other() {
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let other = TenantKey::new(b"another's secret".to_vec());
        let id = |tenant: &str, customer: &str| key.subject_id(&tenant.into(), customer);
        assert_eq!(id("acme", "c-1"), id("acme", "c-1"));
        assert_ne!(id("acme", "c-1"), id("acme", "c-2"));
        assert_ne!(id("acme", "c-1"), id("other", "c-1"));
        assert_ne!(id("acme", "c-1"), other.subject_id(&"acme".into(), "c-1"));
        assert_ne!(key.unattributed(20_000), key.unattributed(20_001));
    }

    #[test]
    fn a_person_is_alike_under_their_own_customer_id_and_name_alone() {
        let key = TenantKey::new(b"a tenant's secret".to_vec());
        let customer = |id: &str| key.subject_id(&"acme".into(), id);
        let ada = key.likeness(customer("c-1"), "person", "Ada Alder");
        assert_eq!(ada, key.likeness(customer("c-1"), "person", " ada  ALDER "));
        assert_ne!(ada, key.likeness(customer("c-1"), "person", "Eve Alder"));
        assert_ne!(ada, key.likeness(customer("c-1"), "organisation", "Ada Alder"));
        assert_ne!(ada, key.likeness(customer("c-2"), "person", "Ada Alder"));
    }
}
