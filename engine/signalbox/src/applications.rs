//! Makes onboarding commands for the demo and tests: invented people who show a document and consent, or not yet.
//! The same seed makes the same people. It publishes nothing and knows no vendor; what a marker in a name does is told
//! by the sandbox (docs/sandbox.md).

use serde_json::{Value, json};
use signalbox_schemas::Micros;

use crate::payouts::person;

/// What a new customer should be like; the rest is invented.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Newcomer {
    /// Marker in the name.
    pub marker: Option<String>,
    /// The request comes without a consent.
    pub silent: bool,
    /// Declares a public function.
    pub exposed: bool,
}

/// One application, ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Business id, and key of the record.
    pub id: String,
    /// Content of `onboarding.application.RequestOnboarding`.
    pub command: Value,
}

/// An endless source of applications.
#[derive(Debug)]
pub struct Applications {
    run: String,
    random: fastrand::Rng,
    made: u64,
}

impl Applications {
    /// A source whose ids begin with `run`, which should be new for every run against the same installation.
    #[must_use]
    pub fn new(run: &str, seed: u64) -> Self {
        Self { run: run.to_owned(), random: fastrand::Rng::with_seed(seed), made: 0 }
    }

    /// The next application, made at `now`.
    pub fn next(&mut self, like: &Newcomer, now: Micros) -> Application {
        self.made += 1;
        let id = format!("{}-new-{:06}", self.run, self.made);
        let consent = (!like.silent).then(|| consent(&id, now));
        let command = json!({
            "onboarding_id": id,
            "tenant": "default",
            "customer_id": format!("c-{id}"),
            "customer": person(&mut self.random, like.marker.as_deref()),
            "document": {"kind": "passport", "country": "US"},
            "consent": consent,
            "politically_exposed": like.exposed,
            "segment": "retail",
            "requested_at": now.0,
        });
        Application { id, command }
    }
}

/// The consent that belongs to an application.
pub(crate) fn consent(id: &str, now: Micros) -> Value {
    json!({"consent_id": format!("consent-{id}"), "text_version": "2026-11", "given_at": now.0})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use signalbox_schemas::{Contract, Micros};

    use super::{Applications, Newcomer};

    #[test]
    fn every_application_fits_the_contract_and_consents_unless_wished_otherwise() {
        let contract = Contract::builtin().unwrap();
        let schema = contract.record("onboarding.application.RequestOnboarding").unwrap();
        let mut applications = Applications::new("t", 1);
        for silent in [false, true] {
            let marker = Some("Hit".to_owned());
            let made = applications.next(&Newcomer { marker, silent, exposed: true }, Micros(1));
            schema.encode(&made.command).unwrap();
            assert_eq!(made.command["consent"].is_null(), silent);
            assert!(made.command["customer"]["name"].as_str().unwrap().ends_with(" Hit"));
        }
    }
}
