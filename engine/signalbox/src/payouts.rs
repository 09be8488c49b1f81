//! Makes payout commands for the demo, the benchmark and tests: invented people, valid accounts, chosen personas.
//! The same seed makes the same payouts. It publishes nothing and knows no vendor; what a marker in a name does is
//! told by the sandbox (docs/sandbox.md).

use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::Micros;

const GIVEN: [&str; 16] = [
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo", "Mia",
    "Nils", "Ola", "Pia",
];
const FAMILY: [&str; 12] = [
    "Alder", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Juniper", "Larch", "Maple", "Oak", "Pine",
    "Rowan",
];
const TOWNS: [(&str, &str, &str); 4] = [
    ("Springfield", "IL", "62701"),
    ("Portland", "OR", "97201"),
    ("Albany", "NY", "12207"),
    ("Austin", "TX", "73301"),
];
/// Amounts of payouts without a wish, in cents: below every amount that chooses a persona.
const AMOUNT_MINOR: std::ops::Range<i64> = 1_000..500_000;

/// The newest major of the command that asks for a payout.
pub const REQUEST_PAYOUT: &str = "payments.payout.v2.RequestPayout";

/// How a payout is to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rail {
    /// ACH: settles later, can be cancelled for a while, can come back.
    #[default]
    Ach,
    /// Real-time payment.
    Rtp,
}

/// What sort of account is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// US account with a valid routing number.
    #[default]
    Aba,
    /// US account whose routing number fails its checksum.
    BrokenAba,
    /// Valid IBAN.
    Iban,
    /// IBAN that fails its checksum.
    BrokenIban,
}

/// What a payout should be like; the rest is invented.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// Marker in the originator's name.
    pub originator: Option<String>,
    /// Marker in the beneficiary's name.
    pub beneficiary: Option<String>,
    /// Amount in cents.
    pub amount_minor: Option<i64>,
    /// Rail.
    pub rail: Rail,
    /// Account.
    pub account: Account,
}

/// One payout, ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Payout {
    /// Business id, and key of the record.
    pub id: String,
    /// Account number or IBAN; no other payout of the run has it, so it finds the payout in a vendor's ledger.
    pub account: String,
    /// Content of the newest major of `RequestPayout`.
    pub command: Value,
}

/// An endless source of payouts.
#[derive(Debug)]
pub struct Payouts {
    run: String,
    random: fastrand::Rng,
    made: u64,
}

impl Payouts {
    /// A source whose ids begin with `run`, which should be new for every run against the same installation.
    #[must_use]
    pub fn new(run: &str, seed: u64) -> Self {
        Self { run: run.to_owned(), random: fastrand::Rng::with_seed(seed), made: 0 }
    }

    /// The next payout, decided on at `now`.
    pub fn next(&mut self, wish: &Wish, now: Micros) -> Payout {
        self.made += 1;
        let number = self.made;
        let id = format!("{}-{number:06}", self.run);
        let (account, account_number) = self.account(wish.account, number);
        let amount = wish.amount_minor.unwrap_or_else(|| self.random.i64(AMOUNT_MINOR));
        let rail = match wish.rail {
            Rail::Ach => "ach",
            Rail::Rtp => "rtp",
        };
        let command = json!({
            "payout_id": id,
            "tenant": "default",
            "customer_id": format!("c-{id}"),
            "amount": {"minor_units": amount, "currency": "USD", "exponent": 2},
            "originator": person(&mut self.random, wish.originator.as_deref()),
            "beneficiary": {"party": person(&mut self.random, wish.beneficiary.as_deref()), "account": account},
            "rail": rail,
            "remittance": {"structured_reference": null, "unstructured": format!("Invoice {number}")},
            "segment": "personal",
            "requested_at": now.0,
        });
        Payout { id, account: account_number, command }
    }

    fn account(&mut self, kind: Account, number: u64) -> (Value, String) {
        match kind {
            Account::Aba | Account::BrokenAba => {
                let account_number = format!("4{number:09}");
                let routing = routing_number(&mut self.random, kind == Account::Aba);
                let account = json!({"scheme": "aba", "iban": null, "routing_number": routing,
                                     "account_number": account_number, "bic": null});
                (account, account_number)
            }
            Account::Iban | Account::BrokenIban => {
                let iban = german_iban(number, kind == Account::Iban);
                let account = json!({"scheme": "iban", "iban": iban, "routing_number": null,
                                     "account_number": null, "bic": null});
                (account, iban)
            }
        }
    }
}

/// A person whose family name is the marker: short enough for the name field of every rail.
pub(crate) fn person(random: &mut fastrand::Rng, marker: Option<&str>) -> Value {
    let given = pick(random, &GIVEN).unwrap_or_default();
    let family = marker.map_or_else(|| pick(random, &FAMILY).unwrap_or_default(), str::to_owned);
    let (town, region, post_code) = pick_triple(random);
    json!({
        "kind": "person",
        "name": format!("{given} {family}"),
        "given_name": given,
        "family_name": family,
        "birth_date": random.i32(0..12_000),
        "address": {
            "street": "Station Road", "building": random.u32(1..200).to_string(),
            "post_code": post_code, "town": town, "region": region, "country": "US",
        },
    })
}

fn pick(random: &mut fastrand::Rng, words: &[&str]) -> Option<String> {
    words.get(random.usize(..words.len())).map(|word| (*word).to_owned())
}

fn pick_triple(random: &mut fastrand::Rng) -> (&'static str, &'static str, &'static str) {
    TOWNS.get(random.usize(..TOWNS.len())).copied().unwrap_or_default()
}

/// Nine digits of the first Federal Reserve district, with the checksum of the American Bankers Association.
fn routing_number(random: &mut fastrand::Rng, valid: bool) -> String {
    let body = format!("0110{:04}", random.u32(0..10_000));
    let weighted = body.bytes().zip([3_u32, 7, 1].into_iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let check = (10 - sum % 10) % 10;
    let check = if valid { check } else { (check + 1) % 10 };
    format!("{body}{check}")
}

/// A German IBAN with the checksum of ISO 7064.
fn german_iban(number: u64, valid: bool) -> String {
    const BANK: u64 = 10_010_010;
    /// "DE00" moved to the end, letters as numbers.
    const COUNTRY: &str = "131400";
    let account = format!("{BANK:08}{number:010}");
    let digits = format!("{account}{COUNTRY}");
    let rest = digits.bytes().fold(0_u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    let check = 98 - rest;
    // Two neighbouring checksums are never both right.
    let check = if valid { check } else { check % 97 + 1 };
    format!("DE{check:02}{account}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use signalbox_schemas::{Contract, Micros, account_problems};

    use super::{Account, Payouts, REQUEST_PAYOUT, Rail, Wish};

    const NOW: Micros = Micros(1_700_000_000_000_000);

    #[test]
    fn every_payout_fits_the_contract() {
        let schema = Contract::builtin().unwrap().record(REQUEST_PAYOUT).unwrap();
        let mut payouts = Payouts::new("t", 1);
        for account in [Account::Aba, Account::Iban, Account::BrokenAba, Account::BrokenIban] {
            for rail in [Rail::Ach, Rail::Rtp] {
                let payout = payouts.next(&Wish { account, rail, ..Wish::default() }, NOW);
                schema.encode(&payout.command).unwrap();
            }
        }
    }

    #[test]
    fn accounts_are_valid_unless_a_broken_one_was_wished_for() {
        let mut payouts = Payouts::new("t", 2);
        for (account, is_valid) in [
            (Account::Aba, true),
            (Account::Iban, true),
            (Account::BrokenAba, false),
            (Account::BrokenIban, false),
        ] {
            for _ in 0..200 {
                let payout = payouts.next(&Wish { account, ..Wish::default() }, NOW);
                let problems =
                    account_problems(&payout.command["beneficiary"]["account"], "account");
                assert_eq!(problems.is_empty(), is_valid, "{}: {problems:?}", payout.command);
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_payouts_and_no_account_twice() {
        let make = |seed| {
            let mut payouts = Payouts::new("t", seed);
            (0..100).map(|_| payouts.next(&Wish::default(), NOW)).collect::<Vec<_>>()
        };
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
        let mut accounts: Vec<String> = make(3).into_iter().map(|payout| payout.account).collect();
        accounts.sort();
        accounts.dedup();
        assert_eq!(accounts.len(), 100);
    }

    #[test]
    fn a_marker_stands_in_the_name_that_vendors_read() {
        let mut payouts = Payouts::new("t", 5);
        let wish = Wish {
            originator: Some("Hardfail".to_owned()),
            beneficiary: Some("Vanishforever".to_owned()),
            ..Wish::default()
        };
        let payout = payouts.next(&wish, NOW);
        assert_eq!(payout.command["originator"]["family_name"], "Hardfail");
        let name = payout.command["beneficiary"]["party"]["name"].as_str().unwrap();
        assert!(name.ends_with(" Vanishforever"), "{name}");
    }
}
