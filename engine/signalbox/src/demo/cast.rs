//! The cast of the demo: personas as data, and how often each plays. It knows neither Kafka nor the sandbox.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::payouts::{Account, Rail, Wish};
use crate::scene::SceneError;

/// One sort of payout.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Persona {
    /// As the summary names it.
    pub(crate) name: String,
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
    /// When the customer cancels.
    #[serde(default)]
    pub(crate) cancel: Option<Cancel>,
    /// What people decide, by review state.
    #[serde(default)]
    pub(crate) decisions: BTreeMap<String, Ruling>,
    /// Right endings.
    pub(crate) ends: Vec<String>,
    /// Effects at the bank.
    pub(crate) transfers: usize,
}

/// When a customer cancels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cancel {
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
pub(crate) struct Ruling {
    pub(crate) decide: String,
    #[serde(default = "one")]
    pub(crate) people: usize,
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
    pub(crate) fn wish(&self) -> Wish {
        Wish {
            originator: self.originator.clone(),
            beneficiary: self.beneficiary.clone(),
            amount_minor: self.amount_minor,
            rail: self.rail,
            account: self.account,
        }
    }
}

/// The cast that is built in.
pub(crate) fn cast() -> Result<Vec<Persona>, SceneError> {
    let text = include_str!("../../../../deploy/demo/personas.yaml");
    let file: Result<File, _> = serde_saphyr::from_str(text);
    file.map(|file| file.personas)
        .map_err(|error| SceneError::Data(format!("deploy/demo/personas.yaml: {error}")))
}

/// Indices into the cast, `payouts` of them or as many as there are personas: each as often as its share says and at
/// least once, shuffled by the seed.
pub(crate) fn programme(cast: &[Persona], payouts: usize, seed: u64) -> Vec<usize> {
    let shares: usize = cast.iter().map(|persona| persona.share).sum();
    let mut order = Vec::with_capacity(payouts);
    for (index, persona) in cast.iter().enumerate() {
        let times = (persona.share * payouts / shares.max(1)).max(1);
        order.extend(std::iter::repeat_n(index, times));
    }
    // What rounding left over goes to the first persona, the plainest.
    order.extend(std::iter::repeat_n(0, payouts.saturating_sub(order.len())));
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{cast, programme};

    #[test]
    fn every_persona_plays_and_the_wished_number_is_reached() {
        let cast = cast().unwrap();
        let order = programme(&cast, 1_200, 7);
        assert!(order.len() >= 1_200 && order.len() < 1_250, "{}", order.len());
        assert!((0..cast.len()).all(|index| order.contains(&index)));
        assert!(programme(&cast, 10, 7).len() >= cast.len());
        assert_eq!(order, programme(&cast, 1_200, 7));
    }

    #[test]
    fn names_of_personas_are_unique_and_endings_are_statuses_of_the_contract() {
        let contract = signalbox_schemas::Contract::builtin().unwrap();
        let text = contract.record("payments.payout.PayoutEvent").unwrap().text().to_owned();
        let cast = cast().unwrap();
        for (index, persona) in cast.iter().enumerate() {
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
            for _ in 0..50 {
                let payout = payouts.next(&persona.wish(), signalbox_schemas::Micros(0));
                let name =
                    payout.command.pointer("/beneficiary/party/name").unwrap().as_str().unwrap();
                assert!(name.len() <= ACH_NAME_MAX, "{name}");
            }
        }
    }

    #[test]
    fn personas_decide_in_states_that_the_journey_has() {
        let journey = include_str!("../../../../journeys/payout.yaml");
        for persona in cast().unwrap() {
            for step in persona.decisions.keys() {
                assert!(journey.contains(&format!("\n  {step}:\n")), "{step}");
            }
        }
    }
}
