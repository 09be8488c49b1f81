//! Files that people write: journeys with their guards, rules, plans, scenarios, policies, topics, catalogues.

use signalbox_adapters::model::Partner;
use signalbox_adapters::{Policy, VENDORS};
use signalbox_flow::{BankInvariants, Journey, MigrationPlan, Scenario, difference, graph};
use signalbox_schemas::topics::Topics;
use signalbox_schemas::{Consumers, LiftDoc};
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{contract, told};

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A journey, with every guard in it. One that is read can be drawn, and is no other than itself. It is not explored: how
/// long that takes grows with what it allows.
pub fn journey(bytes: &[u8]) {
    match Journey::parse(&text(bytes), contract(), &BTreeMap::new()) {
        Ok(journey) => {
            assert!(
                graph(&journey).is_ok_and(|drawn| drawn.contains("stateDiagram")),
                "it is not drawn"
            );
            let changes = difference(&journey, &journey);
            assert!(
                changes.is_ok_and(|changes| changes.is_empty()),
                "a journey differs from itself"
            );
            let again = Journey::parse(journey.source(), contract(), &BTreeMap::new());
            assert!(
                again.is_ok_and(|again| again.name() == journey.name()),
                "its source is refused"
            );
        }
        Err(error) => told(&error),
    }
}

/// The bank's own rules.
pub fn rules_of_the_bank(bytes: &[u8]) {
    if let Err(error) = BankInvariants::parse(&text(bytes), contract()) {
        told(&error);
    }
}

/// The plan of a migration.
pub fn migration_plan(bytes: &[u8]) {
    if let Err(error) = MigrationPlan::parse(&text(bytes)) {
        told(&error);
    }
}

/// A scenario, whose command is like any other.
pub fn scenario(bytes: &[u8]) {
    let like = |_: &str| Ok(r#"{"payout_id": "p-1", "amount": {"minor_units": 1}}"#.to_owned());
    if let Err(error) = Scenario::parse(&text(bytes), like) {
        told(&error);
    }
}

/// A routing policy.
pub fn policy(bytes: &[u8]) {
    if let Err(error) = Policy::parse(&text(bytes)) {
        told(&error);
    }
}

/// The contract's topics.
pub fn topics(bytes: &[u8]) {
    match Topics::parse(&text(bytes)) {
        Ok(topics) => {
            topics.lane_inputs();
            topics.wanted(topics.lanes.clamp(1, 64), Some(1));
        }
        Err(error) => told(&error),
    }
}

/// How an older major of a command is said in a newer one.
pub fn lift(bytes: &[u8]) {
    if let Err(error) = LiftDoc::parse(&text(bytes)) {
        told(&error);
    }
}

/// Who consumes what.
pub fn consumers(bytes: &[u8]) {
    if let Err(error) = Consumers::parse(&text(bytes)) {
        told(&error);
    }
}

/// A vendor's catalogue entry, read as that of each vendor.
pub fn partner(bytes: &[u8]) {
    for listing in VENDORS {
        if let Err(error) = Partner::parse(listing.name, &text(bytes)) {
            told(&error);
        }
    }
}
