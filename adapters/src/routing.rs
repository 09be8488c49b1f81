//! Which vendor gets a request, from the policy file; and the reason, for the record.
//! One primary vendor per capability for now: it does not weigh cost, health or segments, and does not fail over.

use serde::Deserialize;
use signalbox_schemas::Contract;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::vendors;

/// `deploy/policies/routing.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the file format; 1.
    pub version: u32,
    /// Primary vendor per capability. An inquiry or a recall goes where the payout went.
    pub capabilities: BTreeMap<String, String>,
    /// How hard each vendor may be worked.
    pub vendors: BTreeMap<String, VendorPolicy>,
}

/// How hard a vendor may be worked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorPolicy {
    /// Where it is reached, without a slash at the end; empty for a vendor inside the process.
    pub base_url: String,
    /// Longest time for a whole request, in milliseconds.
    pub deadline_ms: u64,
    /// Most sends of one call in a row.
    pub attempts_max: u32,
    /// Wait before the second send in milliseconds; doubled each time.
    pub backoff_ms: u64,
    /// Most requests at the vendor at once.
    pub in_flight_max: usize,
    /// Longest wait for a place in milliseconds.
    pub start_within_ms: u64,
    /// Wait that an `unavailable` answer asks for where the vendor names none, in milliseconds.
    pub retry_after_ms: u64,
    /// Whether calls that move money are sent.
    pub write: bool,
}

/// The policy cannot be used: correct the file, or the settings that override it.
#[derive(Debug, thiserror::Error)]
#[error("routing policy: {0}")]
pub struct PolicyError(String);

/// Where a request goes and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Vendor.
    pub vendor: String,
    /// Why, for the record.
    pub reason: String,
}

/// Where a request of a capability goes; none where every vendor is excluded or the policy names none.
pub fn route(policy: &Policy, capability: &str, excluded: &[String]) -> Option<Route> {
    let vendor = policy.capabilities.get(capability)?;
    if excluded.iter().any(|word| *word == opaque(vendor)) {
        return None;
    }
    Some(Route {
        vendor: vendor.clone(),
        reason: format!("primary for {capability} in policy version {}", policy.version),
    })
}

/// The word by which a lane may exclude a vendor without learning its name.
pub fn opaque(vendor: &str) -> String {
    // FNV-1a: the word must be stable over releases and machines; it need not be secret.
    let hash = vendor.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("r{hash:016x}")
}

impl Policy {
    /// Reads the file; unknown keys, vendors and capabilities are errors.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Self =
            serde_saphyr::from_str(text).map_err(|error| PolicyError(error.to_string()))?;
        let contract = Contract::builtin().map_err(|error| PolicyError(error.to_string()))?;
        if policy.version != 1 {
            return Err(PolicyError(format!("version {} is not known; use 1", policy.version)));
        }
        for (capability, vendor) in &policy.capabilities {
            if contract.capability(capability).is_none() {
                return Err(PolicyError(format!("capability {capability} is not in the contract")));
            }
            if !policy.vendors.contains_key(vendor) {
                return Err(PolicyError(format!(
                    "capability {capability}: vendor {vendor} has no entry under vendors"
                )));
            }
        }
        for (vendor, entry) in &policy.vendors {
            if vendors::find(vendors::ALL, vendor).is_none() {
                return Err(PolicyError(format!("vendor {vendor} does not exist")));
            }
            entry.check(vendor)?;
        }
        Ok(policy)
    }

    /// Sends a vendor's requests elsewhere, as an installation's settings say.
    pub fn override_base_url(&mut self, vendor: &str, url: &str) -> Result<(), PolicyError> {
        let entry = self.vendors.get_mut(vendor);
        let entry = entry
            .ok_or_else(|| PolicyError(format!("vendor {vendor} has no entry under vendors")))?;
        url.trim_end_matches('/').clone_into(&mut entry.base_url);
        Ok(())
    }

    /// Makes a vendor the primary of every capability that the policy routes, as benchmarks and load tests do.
    pub fn route_all_to(&mut self, vendor: &str, terms: VendorPolicy) {
        self.capabilities.values_mut().for_each(|primary| vendor.clone_into(primary));
        self.vendors.insert(vendor.to_owned(), terms);
    }
}

impl VendorPolicy {
    /// Terms for a vendor inside the process: bounded by this machine alone.
    pub fn inside() -> Self {
        Self {
            base_url: String::new(),
            deadline_ms: 10_000,
            attempts_max: 1,
            backoff_ms: 100,
            in_flight_max: 10_000,
            start_within_ms: 5_000,
            retry_after_ms: 1_000,
            write: true,
        }
    }

    fn check(&self, vendor: &str) -> Result<(), PolicyError> {
        let wrong = |what: &str| Err(PolicyError(format!("vendor {vendor}: {what}")));
        if self.deadline_ms == 0 || self.attempts_max == 0 || self.in_flight_max == 0 {
            return wrong("deadline_ms, attempts_max and in_flight_max must be at least 1");
        }
        if self.base_url.ends_with('/') {
            return wrong("base_url must not end with a slash");
        }
        Ok(())
    }

    /// Longest time for a whole request.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHIPPED: &str = include_str!("../../deploy/policies/routing.yaml");

    #[test]
    fn the_policy_that_is_shipped_routes_every_step_of_a_payout() {
        let policy = Policy::parse(SHIPPED).unwrap();
        for capability in ["kyc.check", "aml.screen", "fraud.score", "payout.send"] {
            let route = route(&policy, capability, &[]).unwrap();
            assert!(vendors::find(vendors::ALL, &route.vendor).is_some());
            assert!(route.reason.contains(capability));
        }
    }

    #[test]
    fn an_excluded_vendor_is_not_chosen_again() {
        let policy = Policy::parse(SHIPPED).unwrap();
        let first = route(&policy, "aml.screen", &["r0".to_owned()]).unwrap();
        assert_eq!(route(&policy, "aml.screen", &[opaque(&first.vendor)]), None);
        assert!(!opaque(&first.vendor).contains(&first.vendor));
    }

    /// Vectors of the FNV reference code (draft-eastlake-fnv): lanes keep these words over releases.
    #[test]
    fn a_vendor_is_excluded_by_the_same_word_in_every_release() {
        assert_eq!(opaque(""), "rcbf29ce484222325");
        assert_eq!(opaque("a"), "raf63dc4c8601ec8c");
        assert_eq!(opaque("foobar"), "r85944171f73967e8");
    }

    #[test]
    fn a_slip_in_the_policy_is_named() {
        for (from, to, problem) in [
            ("version: 1", "version: 2", "version 2 is not known"),
            ("kyc.check: ", "kyc.chek: ", "capability kyc.chek is not in the contract"),
            ("kyc.check: onfido", "kyc.check: nobody", "vendor nobody has no entry"),
            ("write: true", "rite: true", "rite"),
            ("attempts_max: 3", "attempts_max: 0", "must be at least 1"),
        ] {
            let error = Policy::parse(&SHIPPED.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_installation_names_its_own_address() {
        let mut policy = Policy::parse(SHIPPED).unwrap();
        policy.override_base_url("seon", "http://127.0.0.1:1/seon/").unwrap();
        assert_eq!(policy.vendors.get("seon").unwrap().base_url, "http://127.0.0.1:1/seon");
        assert!(policy.override_base_url("nobody", "http://x").is_err());
    }
}
