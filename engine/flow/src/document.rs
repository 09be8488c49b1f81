//! The shape of a journey file, as people write it. Unknown keys are refused with their line.
//! It does not know what the words mean; `compile` does.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::fmt;
use std::marker::PhantomData;

/// A whole journey.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JourneyDoc {
    pub(crate) journey: String,
    pub(crate) version: u32,
    pub(crate) starts_with: String,
    pub(crate) aggregate: String,
    #[serde(default)]
    pub(crate) commands: Ordered<String>,
    pub(crate) events: String,
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) every_event: Ordered<Value>,
    #[serde(default)]
    #[schemars(with = "Ordered<String>")]
    pub(crate) parameters: Ordered<Spanned<String>>,
    pub(crate) deadline: DeadlineDoc,
    pub(crate) states: Ordered<StateDoc>,
    #[serde(default)]
    pub(crate) compensation: Ordered<String>,
    pub(crate) endings: Ordered<Ordered<Value>>,
    #[serde(default)]
    pub(crate) invariants: Vec<String>,
    /// How many people an operator's act takes, by its word.
    #[serde(default)]
    pub(crate) operators: Ordered<u32>,
}

/// The deadline of the whole journey.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadlineDoc {
    pub(crate) after: String,
    pub(crate) go: String,
    pub(crate) queue: String,
}

/// A state of any kind; `compile` refuses keys that do not belong to its kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StateDoc {
    pub(crate) call: Option<String>,
    pub(crate) all: Option<Ordered<BranchDoc>>,
    pub(crate) compensate: Option<String>,
    pub(crate) choose: Option<Vec<ChoiceDoc>>,
    pub(crate) review: Option<String>,
    pub(crate) wait: Option<String>,
    pub(crate) emit: Option<Ordered<Value>>,
    pub(crate) with: Option<Ordered<Value>>,
    pub(crate) of: Option<String>,
    pub(crate) about: Option<AboutDoc>,
    pub(crate) within: Option<String>,
    pub(crate) every: Option<Vec<String>>,
    pub(crate) until: Option<UntilDoc>,
    pub(crate) escalate: Option<EscalateDoc>,
    pub(crate) escalate_after: Option<String>,
    pub(crate) decide: Option<DecideDoc>,
    pub(crate) people: Option<u32>,
    pub(crate) hold: Option<bool>,
    pub(crate) on: Option<Ordered<ArmDoc>>,
    pub(crate) on_command: Option<Ordered<InterruptDoc>>,
    pub(crate) later: Option<Ordered<String>>,
    pub(crate) go: Option<String>,
    pub(crate) answers_of: Option<String>,
    pub(crate) at_most: Option<u32>,
    pub(crate) then: Option<String>,
}

/// One branch of an `all`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BranchDoc {
    pub(crate) call: String,
    #[serde(default)]
    pub(crate) with: Ordered<Value>,
}

/// One line of a `choose`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChoiceDoc {
    #[serde(default)]
    pub(crate) when: Option<String>,
    #[serde(default)]
    pub(crate) go: Option<String>,
    #[serde(default)]
    pub(crate) otherwise: Option<String>,
}

/// When to stop polling, and where to go then.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UntilDoc {
    pub(crate) after: String,
    pub(crate) go: String,
}

/// When to call for people, and whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EscalateDoc {
    pub(crate) after: String,
    pub(crate) queue: String,
}

/// How people may settle a write.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecideDoc {
    pub(crate) people: u32,
    pub(crate) executed: ArmDoc,
    pub(crate) not_executed: ArmDoc,
}

/// What happens on an outcome or a decision: a state's name, or more.
#[derive(Debug, Clone, Default)]
pub(crate) struct ArmDoc {
    pub(crate) rules: Option<String>,
    pub(crate) retry: Option<RetryDoc>,
    pub(crate) then: Option<String>,
    pub(crate) go: Option<String>,
    pub(crate) join: Option<String>,
}

/// How often to ask again, and after how long.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryDoc {
    pub(crate) at_most: u32,
    pub(crate) after: String,
}

/// What a command does in a state.
#[derive(Debug, Clone, Default)]
pub(crate) struct InterruptDoc {
    pub(crate) go: String,
    pub(crate) too_late: Option<String>,
}

/// What a review or an inquiry is about: a step, or a step and the outcomes that are ruled on.
#[derive(Debug, Clone)]
pub(crate) struct AboutDoc {
    pub(crate) step: String,
    pub(crate) outcomes: Vec<String>,
}

/// A mapping that keeps the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<T>(pub(crate) Vec<(String, T)>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongArm {
    #[serde(default, rename = "as")]
    rules: Option<String>,
    #[serde(default)]
    retry: Option<RetryDoc>,
    #[serde(default)]
    then: Option<String>,
    #[serde(default)]
    go: Option<String>,
    #[serde(default)]
    join: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongInterrupt {
    go: String,
    #[serde(default)]
    too_late: Option<String>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// Names and values in the file's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads a value that is a word, or a mapping `L` for more.
pub(crate) struct WordOr<T, L> {
    pub(crate) word: fn(String) -> T,
    pub(crate) long: fn(L) -> T,
}

impl<'de, T, L: Deserialize<'de>> Visitor<'de> for WordOr<T, L> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a mapping")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<T, E> {
        Ok((self.word)(word.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        L::deserialize(MapAccessDeserializer::new(map)).map(self.long)
    }
}

impl<'de> Deserialize<'de> for ArmDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            word: |go| Self { go: Some(go), ..Self::default() },
            long: |long: LongArm| Self {
                rules: long.rules,
                retry: long.retry,
                then: long.then,
                go: long.go,
                join: long.join,
            },
        })
    }
}

impl<'de> Deserialize<'de> for InterruptDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            word: |go| Self { go, too_late: None },
            long: |long: LongInterrupt| Self { go: long.go, too_late: long.too_late },
        })
    }
}

impl<'de> Deserialize<'de> for AboutDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            word: |step| Self { step, outcomes: Vec::new() },
            // A mapping with more or less than one step is noticed by the empty name.
            long: |long: Ordered<Vec<String>>| match <[(String, Vec<String>); 1]>::try_from(long.0)
            {
                Ok([(step, outcomes)]) => Self { step, outcomes },
                Err(_) => Self { step: String::new(), outcomes: Vec::new() },
            },
        })
    }
}

impl StateDoc {
    /// The keys that this state gives.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        let given = [
            ("call", self.call.is_some()),
            ("all", self.all.is_some()),
            ("compensate", self.compensate.is_some()),
            ("choose", self.choose.is_some()),
            ("review", self.review.is_some()),
            ("wait", self.wait.is_some()),
            ("emit", self.emit.is_some()),
            ("with", self.with.is_some()),
            ("of", self.of.is_some()),
            ("about", self.about.is_some()),
            ("within", self.within.is_some()),
            ("every", self.every.is_some()),
            ("until", self.until.is_some()),
            ("escalate", self.escalate.is_some()),
            ("escalate_after", self.escalate_after.is_some()),
            ("decide", self.decide.is_some()),
            ("people", self.people.is_some()),
            ("hold", self.hold.is_some()),
            ("on", self.on.is_some()),
            ("on_command", self.on_command.is_some()),
            ("later", self.later.is_some()),
            ("go", self.go.is_some()),
            ("answers_of", self.answers_of.is_some()),
            ("at_most", self.at_most.is_some()),
            ("then", self.then.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}
