//! The one table of personas: a word in a party's name, or an exact amount, chooses what vendors do.
//! It only says what shall happen; the vendor files say how that looks on their wire.

use serde::{Deserialize, Serialize};

/// A simulated vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// Identity checks.
    Onfido,
    /// Sanctions screening.
    Yente,
    /// Fraud scores.
    Seon,
    /// Payouts on US rails.
    Increase,
}

impl Vendor {
    /// All vendors, in the order in which a payout meets them.
    pub const ALL: [Self; 4] = [Self::Onfido, Self::Yente, Self::Seon, Self::Increase];

    /// First path segment of the vendor's API on the sandbox's listener.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Onfido => "onfido",
            Self::Yente => "yente",
            Self::Seon => "seon",
            Self::Increase => "increase",
        }
    }

    /// Word put before a transport persona to confine it to this vendor, as in `Payoutdown`.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Onfido => "kyc",
            Self::Yente => "aml",
            Self::Seon => "fraud",
            Self::Increase => "payout",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Persona {
    /// Word in a name that chooses this persona; case does not matter.
    pub marker: &'static str,
    /// Exact amount in minor units that chooses it too, at the payout vendor only.
    pub amount_minor: Option<i64>,
    /// What it does, per vendor; a vendor that is not listed treats it as `Clear`.
    pub does: &'static [(Vendor, &'static str)],
    #[serde(skip)]
    act: Act,
}

/// How an identity check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Identity {
    #[default]
    Approved,
    SoftFailOnce,
    SoftFail,
    HardFail,
    StepUp,
    Review,
    Abandoned,
    Error,
}

/// What screening finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Screening {
    #[default]
    Clear,
    Hit,
    Ambiguous,
    Pep,
}

/// What the fraud score says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fraud {
    #[default]
    Approve,
    Review,
    Decline,
}

/// What becomes of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Payout {
    #[default]
    Settles,
    Rejected,
    BadAccount,
    Blocked,
    Returned,
    NeedsAttention,
}

/// What happens to a request on its way, whatever its business answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Slow,
    Flaky,
    Down,
    Lost,
    LostForever,
    Vanish,
    VanishForever,
    Garbage,
}

impl Transport {
    /// Whether it also befalls a request whose effect already exists.
    pub(crate) fn outlasts_effect(self) -> bool {
        match self {
            Self::LostForever | Self::Garbage | Self::Slow => true,
            Self::Flaky | Self::Down | Self::Lost | Self::Vanish | Self::VanishForever => false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Clear,
    Identity(Identity),
    Screening(Screening),
    Fraud(Fraud),
    Payout(Payout),
    Transport(Transport),
}

/// Everything that the markers in one request ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Script {
    pub(crate) identity: Identity,
    pub(crate) screening: Screening,
    pub(crate) fraud: Fraud,
    pub(crate) payout: Payout,
    pub(crate) transport: Option<Transport>,
}

/// Every persona, for documentation and tests.
#[must_use]
pub fn personas() -> &'static [Persona] {
    TABLE
}

/// Reads a party's name, and at the payout vendor the amount, as stage directions.
///
/// A name may hold several markers; of two that direct the same thing the first wins.
pub(crate) fn script(vendor: Vendor, name: &str, amount_minor: Option<i64>) -> Script {
    let mut script = Script::default();
    let by_name = name
        .split(|c: char| !c.is_alphanumeric())
        .filter_map(|word| by_marker(vendor, &word.to_ascii_lowercase()));
    let by_amount =
        amount_minor.and_then(|amount| TABLE.iter().find(|row| row.amount_minor == Some(amount)));
    for persona in by_name.chain(by_amount) {
        script.direct(persona.act);
    }
    script
}

impl Script {
    fn direct(&mut self, act: Act) {
        match act {
            Act::Clear => {}
            Act::Identity(end) => first(&mut self.identity, end),
            Act::Screening(end) => first(&mut self.screening, end),
            Act::Fraud(end) => first(&mut self.fraud, end),
            Act::Payout(end) => first(&mut self.payout, end),
            Act::Transport(way) => self.transport = self.transport.or(Some(way)),
        }
    }
}

fn first<T: Default + PartialEq>(slot: &mut T, end: T) {
    if *slot == T::default() {
        *slot = end;
    }
}

fn by_marker(vendor: Vendor, word: &str) -> Option<&'static Persona> {
    let plain = TABLE.iter().find(|row| row.marker.eq_ignore_ascii_case(word));
    if let Some(persona) = plain {
        return persona.does.iter().any(|(at, _)| *at == vendor).then_some(persona);
    }
    let scoped = word.strip_prefix(vendor.scope())?;
    TABLE
        .iter()
        .filter(|row| matches!(row.act, Act::Transport(_)))
        .find(|row| row.marker.eq_ignore_ascii_case(scoped))
}

const fn row(
    marker: &'static str,
    amount_minor: Option<i64>,
    act: Act,
    does: &'static [(Vendor, &'static str)],
) -> Persona {
    Persona { marker, amount_minor, does, act }
}

const SLOW: &str = "the answer comes late, after the effect";
const FLAKY: &str = "503 without effect twice per request key, then works";
const DOWN: &str = "503 without effect, always";
const GARBAGE: &str = "200 with an unparsable body, after the effect";

const TABLE: &[Persona] = &[
    row(
        "Clear",
        None,
        Act::Clear,
        &[
            (Vendor::Onfido, "approved"),
            (Vendor::Yente, "no candidates"),
            (Vendor::Seon, "APPROVE"),
            (Vendor::Increase, "settles (ACH) or completes (RTP)"),
        ],
    ),
    row(
        "Softfail",
        None,
        Act::Identity(Identity::SoftFailOnce),
        &[(
            Vendor::Onfido,
            "every odd check of a customer: declined with retry allowed; every even one: approved",
        )],
    ),
    row(
        "Softfailalways",
        None,
        Act::Identity(Identity::SoftFail),
        &[(Vendor::Onfido, "declined with retry allowed, always")],
    ),
    row(
        "Hardfail",
        None,
        Act::Identity(Identity::HardFail),
        &[(Vendor::Onfido, "declined, no retry")],
    ),
    row(
        "Stepup",
        None,
        Act::Identity(Identity::StepUp),
        &[(Vendor::Onfido, "awaiting_input: the customer must do something")],
    ),
    row("Kycreview", None, Act::Identity(Identity::Review), &[(Vendor::Onfido, "review")]),
    row("Abandoned", None, Act::Identity(Identity::Abandoned), &[(Vendor::Onfido, "abandoned")]),
    row(
        "Kycerror",
        None,
        Act::Identity(Identity::Error),
        &[(Vendor::Onfido, "error: the workflow itself failed")],
    ),
    row(
        "Hit",
        None,
        Act::Screening(Screening::Hit),
        &[(Vendor::Yente, "one candidate with topic sanction, score 0.97, match")],
    ),
    row(
        "Ambiguous",
        None,
        Act::Screening(Screening::Ambiguous),
        &[(Vendor::Yente, "one candidate below the threshold, score 0.62, no match")],
    ),
    row(
        "Pep",
        None,
        Act::Screening(Screening::Pep),
        &[(Vendor::Yente, "one candidate with topic role.pep, score 0.81, match")],
    ),
    row("Fraudreview", None, Act::Fraud(Fraud::Review), &[(Vendor::Seon, "REVIEW")]),
    row("Frauddecline", None, Act::Fraud(Fraud::Decline), &[(Vendor::Seon, "DECLINE")]),
    row(
        "Rejected",
        Some(990_101),
        Act::Payout(Payout::Rejected),
        &[(Vendor::Increase, "rejected; RTP says account_closed")],
    ),
    row(
        "Badaccount",
        Some(990_102),
        Act::Payout(Payout::BadAccount),
        &[(
            Vendor::Increase,
            "ACH: 400 that names account_number, no effect; RTP: invalid_creditor_account_number",
        )],
    ),
    row(
        "Blocked",
        Some(990_103),
        Act::Payout(Payout::Blocked),
        &[(
            Vendor::Increase,
            "ACH: returned R16 (OFAC) before settlement; RTP: rejected, narrative RR04",
        )],
    ),
    row(
        "Returned",
        Some(990_104),
        Act::Payout(Payout::Returned),
        &[(
            Vendor::Increase,
            "ACH: settles, later returned R03; RTP: completes (that API has no later return)",
        )],
    ),
    row(
        "Attention",
        Some(990_105),
        Act::Payout(Payout::NeedsAttention),
        &[(Vendor::Increase, "requires_attention, and stays there")],
    ),
    row(
        "Lost",
        Some(990_111),
        Act::Transport(Transport::Lost),
        &[(
            Vendor::Increase,
            "the first answer is lost after the effect; the same key again is a replay",
        )],
    ),
    row(
        "Lostforever",
        Some(990_112),
        Act::Transport(Transport::LostForever),
        &[(
            Vendor::Increase,
            "every answer to the creation is lost after the effect; a list by key finds it",
        )],
    ),
    row(
        "Vanish",
        Some(990_113),
        Act::Transport(Transport::Vanish),
        &[(Vendor::Increase, "the first request of a key hangs without effect; the next works")],
    ),
    row(
        "Vanishforever",
        Some(990_114),
        Act::Transport(Transport::VanishForever),
        &[(Vendor::Increase, "every request hangs without effect")],
    ),
    row(
        "Slow",
        Some(990_115),
        Act::Transport(Transport::Slow),
        &[
            (Vendor::Onfido, SLOW),
            (Vendor::Yente, SLOW),
            (Vendor::Seon, SLOW),
            (Vendor::Increase, SLOW),
        ],
    ),
    row(
        "Flaky",
        Some(990_116),
        Act::Transport(Transport::Flaky),
        &[
            (Vendor::Onfido, FLAKY),
            (Vendor::Yente, FLAKY),
            (Vendor::Seon, FLAKY),
            (Vendor::Increase, FLAKY),
        ],
    ),
    row(
        "Down",
        Some(990_117),
        Act::Transport(Transport::Down),
        &[
            (Vendor::Onfido, DOWN),
            (Vendor::Yente, DOWN),
            (Vendor::Seon, DOWN),
            (Vendor::Increase, DOWN),
        ],
    ),
    row(
        "Garbage",
        Some(990_118),
        Act::Transport(Transport::Garbage),
        &[
            (Vendor::Onfido, GARBAGE),
            (Vendor::Yente, GARBAGE),
            (Vendor::Seon, GARBAGE),
            (Vendor::Increase, GARBAGE),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::{Identity, Payout, Screening, Script, Transport, Vendor, personas, script};

    #[test]
    fn a_name_without_a_marker_is_clear_everywhere() {
        for vendor in Vendor::ALL {
            assert_eq!(script(vendor, "Ann Miller", Some(100)), Script::default());
        }
    }

    #[test]
    fn a_name_may_hold_several_markers() {
        let party = script(Vendor::Yente, "Ann SLOW-Hit", None);
        assert_eq!(party.screening, Screening::Hit);
        assert_eq!(party.transport, Some(Transport::Slow));
    }

    #[test]
    fn a_marker_acts_only_at_its_vendor() {
        assert_eq!(script(Vendor::Onfido, "Ann Hit", None), Script::default());
        assert_eq!(script(Vendor::Yente, "Bob Lost", None), Script::default());
        assert_eq!(script(Vendor::Onfido, "Ann Hardfail", None).identity, Identity::HardFail);
    }

    #[test]
    fn a_scope_confines_a_transport_persona_to_one_vendor() {
        let name = "Bob Payoutdown";
        assert_eq!(script(Vendor::Increase, name, None).transport, Some(Transport::Down));
        assert_eq!(script(Vendor::Yente, name, None).transport, None);
        assert_eq!(script(Vendor::Seon, "Ann Fraudlost", None).transport, Some(Transport::Lost));
    }

    #[test]
    fn an_amount_directs_a_payout() {
        let payout = script(Vendor::Increase, "Bob Miller", Some(990_104));
        assert_eq!(payout.payout, Payout::Returned);
    }

    #[test]
    fn markers_and_amounts_are_unique() {
        for (index, one) in personas().iter().enumerate() {
            for other in personas().iter().skip(index + 1) {
                assert!(!one.marker.eq_ignore_ascii_case(other.marker), "{}", one.marker);
                assert!(one.amount_minor.is_none() || one.amount_minor != other.amount_minor);
            }
        }
    }
}
