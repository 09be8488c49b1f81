//! The personas of deploy/demo/personas.yaml: who asks for what, what they say later, what people decide, how it must
//! end, and how often each plays. Read by the demo and, as expectations, by tests. It plays nothing and knows no Kafka.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::applications::Newcomer;
use crate::payouts::{Account, Rail, Wish};
use crate::scene::{SceneError, Word};

/// One sort of case.
#[derive(Debug, Clone)]
pub struct Persona {
    /// As summaries name it.
    pub name: String,
    share: usize,
    /// What is asked for.
    pub asks: Asks,
    /// What the customer says later, and when.
    pub says: Option<(Word, Moment)>,
    /// What people decide, by review state.
    pub decisions: BTreeMap<String, Ruling>,
    /// Statuses of the one final event that are right.
    pub ends: Vec<String>,
    /// Transfers in the bank's ledger.
    pub transfers: usize,
}

/// What a persona asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// A payout.
    Payout(Wish),
    /// To become a customer.
    Onboarding(Newcomer),
}

/// When a customer says something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
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
    personas: Vec<Payer>,
    newcomers: Vec<NewcomerRow>,
}

/// A row that asks for a payout.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payer {
    name: String,
    share: usize,
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
    #[serde(default)]
    cancel: Option<Moment>,
    #[serde(default)]
    decisions: BTreeMap<String, Ruling>,
    ends: Vec<String>,
    transfers: usize,
}

/// A row that asks to become a customer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewcomerRow {
    name: String,
    share: usize,
    #[serde(default)]
    customer: Option<String>,
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    exposed: bool,
    #[serde(default)]
    says: Option<Says>,
    #[serde(default)]
    decisions: BTreeMap<String, Ruling>,
    ends: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    word: Word,
    when: Moment,
}

impl From<Payer> for Persona {
    fn from(row: Payer) -> Self {
        let wish = Wish {
            originator: row.originator,
            beneficiary: row.beneficiary,
            amount_minor: row.amount_minor,
            rail: row.rail,
            account: row.account,
        };
        Self {
            name: row.name,
            share: row.share,
            asks: Asks::Payout(wish),
            says: row.cancel.map(|when| (Word::Cancel, when)),
            decisions: row.decisions,
            ends: row.ends,
            transfers: row.transfers,
        }
    }
}

impl From<NewcomerRow> for Persona {
    fn from(row: NewcomerRow) -> Self {
        let like = Newcomer { marker: row.customer, silent: row.silent, exposed: row.exposed };
        Self {
            name: row.name,
            share: row.share,
            asks: Asks::Onboarding(like),
            says: row.says.map(|says| (says.word, says.when)),
            decisions: row.decisions,
            ends: row.ends,
            transfers: 0,
        }
    }
}

impl Persona {
    /// Whether it ends by itself, without people or a customer's second word.
    #[must_use]
    pub fn needs_nobody(&self) -> bool {
        self.says.is_none() && self.decisions.is_empty()
    }

    /// What its payouts are like, where it asks for any.
    #[must_use]
    pub fn wish(&self) -> Option<&Wish> {
        match &self.asks {
            Asks::Payout(wish) => Some(wish),
            Asks::Onboarding(_) => None,
        }
    }

    /// What the customer is like, where it asks to become one.
    #[must_use]
    pub fn newcomer(&self) -> Option<&Newcomer> {
        match &self.asks {
            Asks::Payout(_) => None,
            Asks::Onboarding(newcomer) => Some(newcomer),
        }
    }
}

/// All personas, in the order of the file.
///
/// # Errors
/// `Data` where the file is not as this program expects it.
pub fn cast() -> Result<Vec<Persona>, SceneError> {
    let text = include_str!("../../../deploy/demo/personas.yaml");
    let file: File = serde_saphyr::from_str(text)
        .map_err(|error| SceneError::Data(format!("deploy/demo/personas.yaml: {error}")))?;
    let payers = file.personas.into_iter().map(Persona::from);
    Ok(payers.chain(file.newcomers.into_iter().map(Persona::from)).collect())
}

/// Indices into the cast, `flows` of them or as many as there are personas: each as often as its share says and at
/// least once, shuffled by the seed.
pub(crate) fn programme(cast: &[Persona], flows: usize, seed: u64) -> Vec<usize> {
    let shares: usize = cast.iter().map(|persona| persona.share).sum();
    let mut order = Vec::with_capacity(flows);
    for (index, persona) in cast.iter().enumerate() {
        let times = (persona.share * flows / shares.max(1)).max(1);
        order.extend(std::iter::repeat_n(index, times));
    }
    // What rounding left over goes to the first persona, the plainest.
    order.extend(std::iter::repeat_n(0, flows.saturating_sub(order.len())));
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Asks, cast, programme};

    #[test]
    fn every_persona_plays_and_the_wished_number_is_reached() {
        let cast = cast().unwrap();
        let order = programme(&cast, 1_400, 7);
        assert!(order.len() >= 1_400 && order.len() < 1_450, "{}", order.len());
        assert!((0..cast.len()).all(|index| order.contains(&index)));
        assert!(programme(&cast, 10, 7).len() >= cast.len());
        assert_eq!(order, programme(&cast, 1_400, 7));
    }

    #[test]
    fn names_of_personas_are_unique_and_endings_are_statuses_of_the_contract() {
        let contract = signalbox_schemas::Contract::builtin().unwrap();
        let cast = cast().unwrap();
        for (index, persona) in cast.iter().enumerate() {
            let event = match persona.asks {
                Asks::Payout(_) => "payments.payout.PayoutEvent",
                Asks::Onboarding(_) => "onboarding.application.OnboardingEvent",
            };
            let text = contract.record(event).unwrap().text();
            assert!(
                cast.iter().skip(index + 1).all(|other| other.name != persona.name),
                "{}",
                persona.name
            );
            assert!(!persona.ends.is_empty());
            for end in &persona.ends {
                assert!(text.contains(&format!("\"{end}\"")), "{end}");
            }
        }
    }

    #[test]
    fn markers_survive_the_shortest_name_field_of_a_rail() {
        const ACH_NAME_MAX: usize = 22;
        let mut payouts = crate::payouts::Payouts::new("t", 1);
        for persona in cast().unwrap() {
            for wish in std::iter::repeat_n(persona.wish(), 50).flatten() {
                let payout = payouts.next(wish, signalbox_schemas::Micros(0));
                let name =
                    payout.command.pointer("/beneficiary/party/name").unwrap().as_str().unwrap();
                assert!(name.len() <= ACH_NAME_MAX, "{name}");
            }
        }
    }

    #[test]
    fn personas_decide_in_states_that_the_journey_has() {
        for persona in cast().unwrap() {
            let journey = match persona.asks {
                Asks::Payout(_) => include_str!("../../../journeys/payout.yaml"),
                Asks::Onboarding(_) => include_str!("../../../journeys/onboarding.yaml"),
            };
            for step in persona.decisions.keys() {
                assert!(journey.contains(&format!("\n  {step}:\n")), "{step}");
            }
        }
    }
}
