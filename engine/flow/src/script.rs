//! A scenario as people write it: a command, then what happens step by step, and what must come of it.
//! It only reads; `play` lets it happen.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use signalbox_schemas::Contract;

use crate::document::{Ordered, WordOr};
use crate::error::{JourneyError, mistake};
use crate::journey::Journey;

/// What happens to one flow of a journey, and what must come of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptDoc {
    /// Name of the journey.
    pub(crate) journey: String,
    /// Why it can only be played where time is simulated, if so: it is not played on real servers.
    #[serde(default)]
    pub(crate) only_simulated: Option<String>,
    /// The command that starts the flow.
    pub(crate) command: CommandDoc,
    /// What happens, in order.
    pub(crate) steps: Vec<StepDoc>,
    /// What must hold at the end.
    #[serde(default)]
    pub(crate) expect: ExpectDoc,
}

/// The command that starts the flow: a whole record in a file beside this one, and fields that differ from it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandDoc {
    /// File of a command, relative to this one.
    #[serde(default)]
    pub(crate) like: Option<String>,
    /// Fields by path, such as `amount.minor_units: 0`.
    #[serde(default)]
    pub(crate) with: Ordered<Value>,
}

/// One thing that happens: exactly one of `answers`, `command`, `decide`, `timer`, `wait`, `sent`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepDoc {
    /// Capabilities answer, one after the other: a step (`state` or `state/branch`) and its outcome.
    pub(crate) answers: Option<Ordered<AnswerDoc>>,
    /// A command comes, by its name in the journey.
    pub(crate) command: Option<String>,
    /// A person decides: `approve`, `decline`, `release`, `uphold`, `executed` or `not_executed`.
    pub(crate) decide: Option<String>,
    /// Who decides, or who sends the command.
    pub(crate) by: Option<String>,
    /// Time passes until this timer of the flow is due, and every timer that is due before fires as well: `within`, `retry`, `round`, `until`, `escalate`, `wait`, `deadline`.
    pub(crate) timer: Option<String>,
    /// So much time passes; every timer that is due meanwhile fires. A parameter of the journey or `200ms`, `10s`, `5d`.
    pub(crate) wait: Option<String>,
    /// An adapter takes the permit of this write: from now on it may be sent, and cannot be taken back.
    pub(crate) sent: Option<String>,
    /// What must hold after it.
    pub(crate) expect: ExpectDoc,
}

/// An answer of a capability.
#[derive(Debug, Default, Clone)]
pub(crate) struct AnswerDoc {
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) attempt: Option<u32>,
}

/// An answer with more than its outcome.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongAnswer {
    /// The canonical outcome.
    outcome: String,
    /// The canonical reason.
    #[serde(default)]
    reason: Option<String>,
    /// How long the vendor asks to wait before the next try.
    #[serde(default)]
    retry_after: Option<String>,
    /// Which try is answered, counted from 1; without it the latest.
    #[serde(default)]
    attempt: Option<u32>,
}

/// What must hold. After a step the lists are about this step alone, at the end about everything that happened.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpectDoc {
    /// The state in which the flow waits.
    pub(crate) state: Option<String>,
    /// The ending that the flow has reached.
    pub(crate) ending: Option<String>,
    /// Statuses of the published events, all of them, in order.
    pub(crate) events: Option<Vec<String>>,
    /// Steps or capabilities that are asked.
    pub(crate) asks: Vec<String>,
    /// Steps or capabilities that are not asked.
    pub(crate) never_asks: Vec<String>,
    /// Whom later flows recognise by then: `customer`, `watched` (the customer, who is watched closely) or `nobody`.
    pub(crate) recognised: Option<String>,
    /// Review tasks that are published, as `<state> opened`, `<state> confirmed`, `<state> escalated`, `<state> closed`.
    pub(crate) tasks: Vec<String>,
    /// Nothing changes, because of this; a part of the reason is enough. `known` where it is no news.
    pub(crate) refused: Option<String>,
}

impl<'de> Deserialize<'de> for AnswerDoc {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            word: |outcome| Self { outcome, ..Self::default() },
            long: |long: LongAnswer| Self {
                outcome: long.outcome,
                reason: long.reason,
                retry_after: long.retry_after,
                attempt: long.attempt,
            },
        })
    }
}

/// A scenario, read: it fits the contract, and can be played on the journey that it names.
#[derive(Debug)]
pub struct Scenario {
    pub(crate) doc: ScriptDoc,
    pub(crate) command: Value,
    yaml: String,
}

impl Scenario {
    /// Reads a scenario. `read` gives the text of a file named relative to it, or says why it cannot.
    ///
    /// # Errors
    /// With the place in the file, where it is not readable.
    pub fn parse(
        yaml: &str,
        read: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Self, JourneyError> {
        let doc: ScriptDoc = serde_saphyr::from_str(yaml)?;
        let command = || {
            let mut command = match &doc.command.like {
                None => Value::Object(Map::new()),
                Some(file) => {
                    let text = read(file).or_else(|problem| mistake("command.like", problem))?;
                    serde_saphyr::from_str(&text)
                        .or_else(|error| mistake("command.like", format!("{file}: {error}")))?
                }
            };
            for (path, value) in doc.command.with.iter() {
                if !put(&mut command, path, value) {
                    let problem = format!("the command has no part that holds {path}");
                    return mistake(format!("command.with.{path}"), problem);
                }
            }
            Ok(command)
        };
        let command = command().map_err(|error: JourneyError| error.located(yaml))?;
        Ok(Self { doc, command, yaml: yaml.to_owned() })
    }

    /// Name of the journey that it is played on.
    pub fn journey(&self) -> &str {
        &self.doc.journey
    }

    /// Its first comment: the rule that it shows.
    pub fn title(&self) -> &str {
        let first = self.yaml.lines().next().unwrap_or_default();
        first.strip_prefix('#').map(str::trim).unwrap_or_default()
    }

    /// The mistake with its position in the scenario's file.
    pub(crate) fn locate(&self, error: JourneyError) -> JourneyError {
        error.located(&self.yaml)
    }

    /// The command that starts its flow.
    pub fn command(&self) -> &Value {
        &self.command
    }

    /// Why it can only be played where time is simulated; none where real servers can play it.
    pub fn only_simulated(&self) -> Option<&str> {
        self.doc.only_simulated.as_deref()
    }

    /// It is about this journey, and its starting command fits its record.
    pub(crate) fn fits(&self, journey: &Journey, contract: &Contract) -> Result<(), JourneyError> {
        if self.journey() != journey.name().as_str() {
            return mistake(
                "journey",
                format!("it is played on {}; name that one", journey.name()),
            );
        }
        let record = journey.starts_with();
        let Some(schema) = contract.record(record.as_str()) else {
            return mistake("command", format!("there is no record {record} in the contract"));
        };
        match schema.encode(&self.command) {
            Ok(_) => Ok(()),
            Err(error) => mistake("command", format!("it is no {record}: {error}")),
        }
    }
}

/// Puts a value at a path of fields. False where something on the way is not a record.
fn put(target: &mut Value, path: &str, value: &Value) -> bool {
    let Some(fields) = target.as_object_mut() else { return false };
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value.clone());
            true
        }
        Some((field, rest)) => fields.get_mut(field).is_some_and(|inner| put(inner, rest, value)),
    }
}
