//! Sentences that must hold on every path of a journey, with a small grammar.
//! The same judgement runs in the checker over every path and in `step` before each call, as a last defence.

use signalbox_schemas::StepName;

use crate::flow::FlowData;
use crate::journey::{Journey, WriteStatus};

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
}

/// How a sentence may be written, for messages.
const GRAMMAR: &str = "write `X only after [every] Y in [word, word] and [every] Z = word`, \
                       `never two X in flight` or `no end while X is in_doubt`, where X, Y, Z are capabilities";

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
        let waits_for = waits_for.iter().map(|condition| condition.capability.as_str());
        waits_for.chain([self.about()]).collect()
    }

    /// Why `capability` must not be called with what the flow knows now.
    pub(crate) fn forbids(
        &self,
        journey: &Journey,
        data: &FlowData,
        capability: &str,
    ) -> Option<String> {
        match self {
            Self::OnlyAfter { text, capability: guarded, conditions } if guarded == capability => {
                let broken =
                    conditions.iter().find_map(|condition| condition.broken(journey, data))?;
                Some(format!("{capability} is called, but {broken}; the invariant is: {text}"))
            }
            Self::OnlyAfter { .. } | Self::NeverTwo { .. } | Self::NoEndInDoubt { .. } => None,
        }
    }
}

impl Condition {
    fn broken(&self, journey: &Journey, data: &FlowData) -> Option<String> {
        let steps = journey.calls.iter().filter(|(_, call)| call.capability == self.capability);
        let word = |step: &StepName| data.calls.get(step).and_then(|call| call.word());
        let satisfied = |step: &StepName| {
            word(step).is_some_and(|word| self.words.iter().any(|each| each == word))
        };
        let bad: Vec<&StepName> =
            steps.map(|(step, _)| step).filter(|step| !satisfied(step)).collect();
        let all = journey.calls.values().filter(|call| call.capability == self.capability).count();
        let holds = if self.every { bad.is_empty() && all > 0 } else { bad.len() < all };
        if holds {
            return None;
        }
        if all == 0 {
            return Some(format!("no state of the journey calls {}", self.capability));
        }
        let found = |step: &&StepName| match (word(step), data.calls.contains_key(*step)) {
            (Some(word), _) => format!("{step} is {word}"),
            (None, true) => format!("{step} has no answer"),
            (None, false) => format!("{step} was never asked"),
        };
        Some(bad.iter().map(found).collect::<Vec<_>>().join(" and "))
    }
}

/// Why a write must not be called: another of its capability may be under way, or has happened.
pub(crate) fn second_write(journey: &Journey, data: &FlowData, capability: &str) -> Option<String> {
    let same =
        |step: &StepName| journey.calls.get(step).is_some_and(|call| call.capability == capability);
    let other = journey
        .writes(data)
        .find(|(step, status)| same(step) && *status != WriteStatus::NotExecuted);
    other.map(|(step, status)| {
        let what = match status {
            WriteStatus::Executed => "has happened",
            WriteStatus::Planned
            | WriteStatus::Sending
            | WriteStatus::InDoubt
            | WriteStatus::NotExecuted => "may still be in flight",
        };
        format!("{capability} is called while the one of {step} {what}; two would be paid twice")
    })
}

/// Why a journey must not end: a write of which nobody knows whether it happened.
pub(crate) fn end_in_doubt(journey: &Journey, data: &FlowData) -> Option<String> {
    let open = journey.writes(data).find(|(_, status)| status.is_open());
    open.map(|(step, _)| {
        format!("it ends while nobody knows whether {step} happened; settle it by inquiry or by people first")
    })
}

fn condition(text: &str) -> Option<Condition> {
    let text = text.trim();
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
