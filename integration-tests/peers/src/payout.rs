//! The payout that every peer carries out: one document, four steps, a vendor that answers at once in the process.
//! The same fields as the command of `signalbox bench`, as JSON. No peer checks them; neither is that measured.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a payout goes through, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Identity,
    Sanctions,
    Fraud,
    Payment,
}

impl Step {
    pub(crate) const ALL: [Self; 4] = [Self::Identity, Self::Sanctions, Self::Fraud, Self::Payment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Sanctions => "sanctions",
            Self::Fraud => "fraud",
            Self::Payment => "payment",
        }
    }

    /// The answer without which a payout does not go on.
    fn good(self) -> &'static str {
        match self {
            Self::Identity => "pass",
            Self::Sanctions => "clear",
            Self::Fraud => "approve",
            Self::Payment => "accepted",
        }
    }
}

/// What a vendor said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) step: String,
    pub(crate) outcome: String,
    /// The key under which it was asked: the same for every repeat.
    pub(crate) key: String,
}

impl Answer {
    pub(crate) fn is_good(&self, step: Step) -> bool {
        self.outcome == step.good()
    }
}

/// Asks the vendor of a step, who answers at once.
pub(crate) fn ask_vendor(step: Step, payout_id: &str) -> Answer {
    let text = |text: &str| text.to_owned();
    Answer {
        step: text(step.name()),
        outcome: text(step.good()),
        key: format!("{payout_id}/{}", step.name()),
    }
}

/// What is told when a payout has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) payout_id: String,
    pub(crate) status: String,
}

impl Ending {
    pub(crate) fn completed(payout_id: &str) -> Self {
        Self { payout_id: payout_id.to_owned(), status: "completed".to_owned() }
    }
}

/// Business id of a payout of this run.
pub(crate) fn id(number: usize) -> String {
    format!("bench-{number:06}")
}

/// The number that an id was made of.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("bench-")?.parse().ok()
}

/// The command that asks for it.
pub(crate) fn command(number: usize) -> Value {
    let id = id(number);
    json!({
        "payout_id": id,
        "tenant": "default",
        "customer_id": format!("c-{id}"),
        "amount": {"minor_units": 12_500 + number, "currency": "USD", "exponent": 2},
        "originator": person("Ada", "Alder", "Springfield", "IL", "62701"),
        "beneficiary": {
            "party": person("Ben", "Birch", "Portland", "OR", "97201"),
            "account": {"scheme": "aba", "iban": null, "routing_number": "021000021",
                        "account_number": format!("4{number:09}"), "bic": null},
        },
        "rail": "ach",
        "remittance": {"structured_reference": null, "unstructured": format!("Invoice {number}")},
        "segment": "personal",
        "requested_at": 1_700_000_000_000_000_i64,
    })
}

fn person(given: &str, family: &str, town: &str, region: &str, post_code: &str) -> Value {
    json!({
        "kind": "person",
        "name": format!("{given} {family}"),
        "given_name": given,
        "family_name": family,
        "birth_date": 9_000,
        "address": {"street": "Station Road", "building": "17", "post_code": post_code,
                    "town": town, "region": region, "country": "US"},
    })
}

#[cfg(test)]
mod tests {
    use super::{Step, ask_vendor, command, id, number};

    #[test]
    fn an_id_leads_back_to_its_number() {
        assert_eq!(number(&id(42)), Some(42));
        assert_eq!(number("other-42"), None);
        assert_eq!(command(42)["payout_id"], "bench-000042");
    }

    #[test]
    fn a_repeat_asks_under_the_same_key() {
        for step in Step::ALL {
            let answer = ask_vendor(step, "p");
            assert!(answer.is_good(step));
            assert_eq!(answer, ask_vendor(step, "p"));
        }
    }
}
