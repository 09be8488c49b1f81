//! A vendor's catalog entry, `partner.yaml`: what it can do, under which terms, and who answers for it.
//! Base URLs, limits of the day and secrets are not in it: those are policy and configuration.

use serde::Deserialize;
use std::time::Duration;

/// The catalog entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// Name: that of the folder.
    pub name: String,
    /// Capabilities served.
    pub capabilities: Vec<String>,
    /// Business domains, such as identity.
    pub domains: Vec<String>,
    /// Regions in which it may be used, ISO 3166-1 alpha-2, or `global`.
    pub regions: Vec<String>,
    /// Payment rails; empty where it moves no money.
    pub rails: Vec<String>,
    /// ISO 4217 codes; empty where it moves no money.
    pub currencies: Vec<String>,
    /// Contractual rate limit.
    pub rate_limit: RateLimit,
    /// Who answers for the contract.
    pub contract_owner: String,
    /// Who answers for the integration.
    pub technical_owner: String,
    /// What a repeated key does.
    pub idempotency: Idempotency,
    /// Words of the vendor's own that the contract must never speak.
    pub vocabulary: Vec<String>,
    /// What this integration does not do, so that nobody has to find out.
    pub known_gaps: Vec<String>,
}

/// A contractual rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second.
    pub per_second: u32,
    /// Where the number comes from.
    pub source: String,
}

/// What a repeated idempotency key does at the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// A repeated key has no second effect.
    pub honours_keys: bool,
    /// How long a key is remembered, in seconds. Keys are used for half of it.
    pub window_secs: u64,
    /// A refusal is remembered under the key, so that a later send gets the same refusal.
    pub replays_refusals: bool,
}

impl Idempotency {
    /// How long after the first send a key may be used again.
    pub fn resend_within(self) -> Duration {
        if self.honours_keys { Duration::from_secs(self.window_secs / 2) } else { Duration::ZERO }
    }
}

/// A catalog entry cannot be used: it must be corrected.
#[derive(Debug, thiserror::Error)]
#[error("partner.yaml of {vendor}: {reason}")]
pub struct PartnerError {
    vendor: String,
    reason: String,
}

impl Partner {
    /// Reads an entry; unknown keys and missing ones are errors.
    pub fn parse(vendor: &str, text: &str) -> Result<Self, PartnerError> {
        let refuse = |reason: String| PartnerError { vendor: vendor.to_owned(), reason };
        let entry: Self =
            serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
        if entry.name != vendor {
            return Err(refuse(format!("is named {}; use the folder's name", entry.name)));
        }
        if entry.idempotency.honours_keys && entry.idempotency.window_secs < 60 {
            return Err(refuse(
                "a key window below a minute cannot be used; say honours_keys: false".to_owned(),
            ));
        }
        Ok(entry)
    }
}
