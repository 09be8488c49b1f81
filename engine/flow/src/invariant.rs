//! Sentences that must hold on every path of a journey, with a small grammar.
//! Whether they hold for a flow is judged in `judgement`; here they are only read, and written as they were read.

use std::fmt;

/// A sentence, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// `payout.send only after kyc.check in [pass, approved] and every aml.screen = clear`.
    OnlyAfter {
        /// The sentence as written.
        text: String,
        /// The capability that waits.
        capability: String,
        /// What it waits for.
        conditions: Vec<Condition>,
    },
    /// `never two payout.send in flight`. It always holds, written or not.
    NeverTwo {
        /// The capability.
        capability: String,
    },
    /// `no end while payout.send is in_doubt`. It always holds, written or not.
    NoEndInDoubt {
        /// The capability.
        capability: String,
    },
}

/// What must have been learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Whether every call of the capability must have it, or one is enough.
    pub(crate) every: bool,
    /// The capability.
    pub(crate) capability: String,
    /// Words that will do.
    pub(crate) words: Vec<String>,
    /// What will do where the capability was never asked. What was asked must hold.
    pub(crate) otherwise: Option<Box<Condition>>,
}

/// What a sentence calls it that later flows recognise the customer.
pub(crate) const RECOGNITION: &str = "recognition";

/// How a sentence may be written, for messages.
const GRAMMAR: &str = "write `X only after [every] Y in [word, word] and [every] Z = word`, \
                       each with `else W in [word]` for where Y was never asked, \
                       `never two X in flight` or `no end while X is in_doubt`, where X, Y, Z, W are \
                       capabilities, and X may be `recognition`";

impl Invariant {
    /// Parses a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["never", "two", capability, "in", "flight"] => {
                Ok(Self::NeverTwo { capability: (*capability).to_owned() })
            }
            ["no", "end", "while", capability, "is", "in_doubt"] => {
                Ok(Self::NoEndInDoubt { capability: (*capability).to_owned() })
            }
            [capability, "only", "after", rest @ ..] => {
                let rest = rest.join(" ");
                let conditions = rest.split(" and ").map(condition).collect::<Option<Vec<_>>>();
                let conditions =
                    conditions.ok_or_else(|| format!("`{text}` is not an invariant; {GRAMMAR}"))?;
                Ok(Self::OnlyAfter {
                    text: text.to_owned(),
                    capability: (*capability).to_owned(),
                    conditions,
                })
            }
            _ => Err(format!("`{text}` is not an invariant; {GRAMMAR}")),
        }
    }

    /// The capability that it guards.
    pub(crate) fn about(&self) -> &str {
        match self {
            Self::OnlyAfter { capability, .. }
            | Self::NeverTwo { capability }
            | Self::NoEndInDoubt { capability } => capability,
        }
    }

    /// Every capability that it names.
    pub(crate) fn capabilities(&self) -> Vec<&str> {
        let waits_for = match self {
            Self::OnlyAfter { conditions, .. } => conditions.as_slice(),
            Self::NeverTwo { .. } | Self::NoEndInDoubt { .. } => &[],
        };
        let waits_for = waits_for.iter().flat_map(Condition::alternatives);
        waits_for.map(|condition| condition.capability.as_str()).chain([self.about()]).collect()
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyAfter { text, .. } => f.write_str(text),
            Self::NeverTwo { capability } => write!(f, "never two {capability} in flight"),
            Self::NoEndInDoubt { capability } => write!(f, "no end while {capability} is in_doubt"),
        }
    }
}

impl Condition {
    /// It, and what will do in its place.
    pub(crate) fn alternatives(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |condition| condition.otherwise.as_deref())
    }
}

fn condition(text: &str) -> Option<Condition> {
    let (text, otherwise) = match text.split_once(" else ") {
        Some((text, rest)) => (text.trim(), Some(Box::new(condition(rest)?))),
        None => (text.trim(), None),
    };
    let (every, text) = match text.strip_prefix("every ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (capability, words) = match text.split_once(" in ") {
        Some((capability, list)) => (capability, list.trim().strip_prefix('[')?.strip_suffix(']')?),
        None => text.split_once(" = ")?,
    };
    let words: Vec<String> = words.split(',').map(|word| word.trim().to_owned()).collect();
    let is_word = |word: &String| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    words.iter().all(is_word).then(|| Condition {
        every,
        capability: capability.trim().to_owned(),
        words,
        otherwise,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn invariants_are_sentences() {
        let text =
            "payout.send only after kyc.check in [pass, approved] and every aml.screen = clear";
        let parsed = Invariant::parse(text).unwrap();
        let condition = |every, capability: &str, words: &[&str]| Condition {
            every,
            capability: capability.to_owned(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            otherwise: None,
        };
        let conditions = vec![
            condition(false, "kyc.check", &["pass", "approved"]),
            condition(true, "aml.screen", &["clear"]),
        ];
        let capability = "payout.send".to_owned();
        assert_eq!(
            parsed,
            Invariant::OnlyAfter {
                text: text.to_owned(),
                capability: capability.clone(),
                conditions
            }
        );
        assert_eq!(
            Invariant::parse("never two payout.send in flight"),
            Ok(Invariant::NeverTwo { capability: capability.clone() })
        );
        assert_eq!(
            Invariant::parse("no end while payout.send is in_doubt"),
            Ok(Invariant::NoEndInDoubt { capability })
        );
        for text in ["never two x in flight", "no end while x is in_doubt", "x only after y = good"]
        {
            assert_eq!(Invariant::parse(text).unwrap().to_string(), text);
        }
        let text = "x only after y = good else z in [fine]";
        let Invariant::OnlyAfter { conditions, .. } = Invariant::parse(text).unwrap() else {
            unreachable!("{text}")
        };
        let otherwise = Some(Box::new(condition(false, "z", &["fine"])));
        assert_eq!(conditions, [Condition { otherwise, ..condition(false, "y", &["good"]) }]);
        for nonsense in [
            "",
            "be careful",
            "payout.send only after",
            "payout.send only after kyc.check",
            "x only after y in [a",
        ] {
            assert!(Invariant::parse(nonsense).unwrap_err().contains("only after"), "{nonsense}");
        }
    }
}
