//! The personas of deploy/demo/personas.yaml, read as the expectations of a test: who asks, what people decide, how it
//! must end. It plays nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use signalbox::payouts::{Account, Rail, Wish};

use crate::failure::Failure;

/// One sort of payout.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// What the table calls it.
    pub name: String,
    /// How often the demo plays it; a test plays each once.
    #[serde(rename = "share")]
    _share: usize,
    #[serde(default)]
    originator: Option<String>,
    #[serde(default)]
    beneficiary: Option<String>,
    #[serde(default)]
    amount_minor: Option<i64>,
    #[serde(default)]
    rail: Rail,
    #[serde(default)]
    account: Account,
    /// When the customer cancels.
    #[serde(default)]
    pub cancel: Option<Cancel>,
    /// What people decide, by review state.
    #[serde(default)]
    pub decisions: BTreeMap<String, Ruling>,
    /// Statuses of the one final event that are right.
    pub ends: Vec<String>,
    /// Transfers in the bank's ledger.
    pub transfers: usize,
}

/// When a customer cancels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// Right after the request.
    AtOnce,
    /// On an event with this status.
    Event(String),
    /// On a review task of this state.
    Task(String),
}

/// What is decided on a review task, and by how many different people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruling {
    /// The decision.
    pub decide: String,
    /// How many different people take it.
    #[serde(default = "one")]
    pub people: usize,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    personas: Vec<Persona>,
}

impl Persona {
    /// What its payouts are like.
    #[must_use]
    pub fn wish(&self) -> Wish {
        Wish {
            originator: self.originator.clone(),
            beneficiary: self.beneficiary.clone(),
            amount_minor: self.amount_minor,
            rail: self.rail,
            account: self.account,
        }
    }

    /// Whether it ends by itself, without people or a customer's change of mind.
    #[must_use]
    pub fn needs_nobody(&self) -> bool {
        self.cancel.is_none() && self.decisions.is_empty()
    }
}

/// All personas, in the order of the file.
///
/// # Errors
/// `Broken` where the file is not as this program expects it.
pub fn cast() -> Result<Vec<Persona>, Failure> {
    let text = include_str!("../../deploy/demo/personas.yaml");
    let file: Result<File, _> = serde_saphyr::from_str(text);
    let broken = |error| Failure::Broken(format!("deploy/demo/personas.yaml: {error}"));
    file.map(|file| file.personas).map_err(broken)
}
