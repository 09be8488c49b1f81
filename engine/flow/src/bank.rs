//! The bank's own sentences, which hold in every journey: what no journey may do, whoever writes it.
//! They are written as the invariants of one journey are; the checker and `step` judge them in the same way.

use schemars::JsonSchema;
use serde::Deserialize;
use signalbox_schemas::Contract;

use crate::error::{JourneyError, did_you_mean, mistake};
use crate::invariant::{Invariant, RECOGNITION};
use crate::journey::Journey;

/// Sentences that hold in every journey of the bank. The default has none.
#[derive(Debug, Clone, Default)]
pub struct BankInvariants(Vec<Invariant>);

/// The invariants that hold in every journey of the bank.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BankDoc {
    /// Sentences, as in a journey: `X only after [every] Y in [word, word] [else Z in [word]]`,
    /// `never two X in flight`, `no end while X is in_doubt`.
    invariants: Vec<String>,
}

impl BankInvariants {
    /// Reads the file. A journey may rule with words of its own (`as: released`), so a word that no outcome has is not a
    /// mistake here: a word that no journey knows makes a sentence stricter, never weaker.
    ///
    /// # Errors
    /// Where it is not readable, a sentence is none, or a capability is not in the contract.
    pub fn parse(yaml: &str, contract: &Contract) -> Result<Self, JourneyError> {
        let doc: BankDoc = serde_saphyr::from_str(yaml)?;
        let sentence = |(index, text): (usize, &String)| {
            let place = format!("invariants[{index}]");
            let parsed = Invariant::parse(text).or_else(|problem| mistake(&place, problem))?;
            let unknown = |name: &&str| *name != RECOGNITION && contract.capability(name).is_none();
            if let Some(unknown) = parsed.capabilities().into_iter().find(unknown) {
                let known = contract.capabilities().map(|capability| capability.name.as_str());
                let hint = did_you_mean(unknown, known);
                return mistake(
                    place,
                    format!("there is no capability {unknown} in the contract.{hint}"),
                );
            }
            Ok(parsed)
        };
        let parsed: Result<_, JourneyError> =
            doc.invariants.iter().enumerate().map(sentence).collect();
        parsed.map(Self).map_err(|error| error.located(yaml))
    }
}

impl Journey {
    /// The journey under the bank's sentences: the checker refuses it where they do not hold, and a flow does not call
    /// what they forbid. A sentence about a capability that the journey does not call says nothing about it.
    #[must_use]
    pub fn under(mut self, bank: &BankInvariants) -> Self {
        let called = |about: &str| {
            (about == RECOGNITION && self.makes_customers_known())
                || self.calls.values().any(|call| call.capability == about)
        };
        self.bank = bank.0.iter().filter(|sentence| called(sentence.about())).cloned().collect();
        self
    }

    /// The bank's sentences that hold in it, as they were written.
    pub fn bank_sentences(&self) -> impl Iterator<Item = String> {
        self.bank.iter().map(Invariant::to_string)
    }
}
