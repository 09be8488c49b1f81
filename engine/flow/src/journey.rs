//! A journey as `step` and the checker use it: parsed, typed, every name resolved.
//! It does nothing by itself and keeps no flow's state.

use serde_json::Value;
use signalbox_schemas::{Effect, JourneyName, Lifts, RecordName, StepName, TopicName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::act::Act;
use crate::expression::Expression;
use crate::flow::{CallState, FlowData};
use crate::invariant::Invariant;
use crate::recognition::Recognise;

/// A journey: parsed, type-checked, compiled. Share it in an `Arc`.
#[derive(Debug)]
pub struct Journey {
    pub(crate) name: JourneyName,
    pub(crate) version: u32,
    pub(crate) starts_with: RecordName,
    pub(crate) aggregate: String,
    /// Field of the command that starts it, which says whose personal data the flow holds.
    pub(crate) subject: String,
    pub(crate) commands: Vec<(String, RecordName)>,
    pub(crate) reacts_to: Vec<RecordName>,
    pub(crate) events: TopicName,
    pub(crate) event: RecordName,
    pub(crate) every_event: Vec<(String, Expression)>,
    pub(crate) deadline: Deadline,
    pub(crate) first: StepName,
    /// States and endings.
    pub(crate) states: BTreeMap<StepName, State>,
    pub(crate) calls: BTreeMap<StepName, Call>,
    pub(crate) compensation: BTreeMap<StepName, String>,
    /// Lengths of time by name, overrides included.
    pub(crate) parameters: BTreeMap<String, Duration>,
    pub(crate) invariants: Vec<Invariant>,
    /// Sentences of the bank, which hold in every journey.
    pub(crate) bank: Vec<Invariant>,
    /// How many people an operator's act takes, where it is more than usual.
    pub(crate) operators: BTreeMap<Act, u32>,
    /// How commands of older majors become those that it takes.
    pub(crate) lifts: Lifts,
    pub(crate) source: String,
}

/// When a journey gives up, where to, and who is told where it cannot.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) after: Duration,
    pub(crate) go: StepName,
    pub(crate) queue: String,
}

/// One state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kind: Kind,
    pub(crate) on_command: BTreeMap<String, Interrupt>,
    pub(crate) escalate: Option<Escalate>,
    /// Who may decide, and what: in every review, and in a call that people may settle.
    pub(crate) panel: Option<Panel>,
}

/// What a state does. A `call`, a `compensate` and an `all` are the same thing with one or more branches.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Asks capabilities and waits for every answer.
    Ask(Ask),
    /// Goes on by the first guard that holds.
    Choose { branches: Vec<(Expression, StepName)>, otherwise: StepName },
    /// Waits for people.
    Review,
    /// Waits for a time.
    Wait(Wait),
    /// Publishes an event and goes on.
    Emit { event: Event, go: StepName },
    /// The journey is over; one last event.
    End { event: Event },
}

/// What is told of a flow on its way, and what becomes of its customer by it.
#[derive(Debug)]
pub(crate) struct Event {
    /// Fields beside those of every event.
    pub(crate) fields: Vec<(String, Expression)>,
    /// Whether later flows recognise the customer; none where it says nothing of it.
    pub(crate) recognise: Option<Recognise>,
}

/// Asking one or several capabilities.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Steps that are asked at once.
    pub(crate) steps: Vec<StepName>,
    /// How long each answer is waited for; the checker insists on it.
    pub(crate) within: Option<Duration>,
    /// What each combination of answers leads to, in the file's order.
    pub(crate) arms: Vec<Arm>,
    /// Waits between rounds of polling; the last repeats. Empty where it does not poll.
    pub(crate) every: Vec<Duration>,
    /// When polling ends, and where it goes then.
    pub(crate) until: Option<(Duration, StepName)>,
}

/// One call of a capability.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) state: StepName,
    pub(crate) capability: String,
    pub(crate) effect: Effect,
    pub(crate) request: RecordName,
    pub(crate) outcomes: Vec<String>,
    pub(crate) with: Vec<(String, Expression)>,
    /// The write that is asked about or undone: its attempt goes into `subject_attempt`.
    pub(crate) subject: Option<StepName>,
    /// The write over which the outcomes of this inquiry rule.
    pub(crate) about: Option<StepName>,
    /// For a write: outcomes that prove that it happened (true) or did not (false).
    pub(crate) proves: BTreeMap<String, bool>,
    /// Where an answer leads that comes after the journey went on.
    pub(crate) later: BTreeMap<String, StepName>,
}

/// One line of `on`.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) when: Matcher,
    pub(crate) action: Action,
}

/// Which answers an arm is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matcher {
    /// Every branch answered with one of these words.
    Every(Vec<String>),
    /// Some branch answered with one of these words.
    Any(Vec<String>),
}

/// What is done.
#[derive(Debug)]
pub(crate) struct Action {
    /// The ruling that is recorded first.
    pub(crate) rules: Option<String>,
    /// Ask again instead, while there are tries left.
    pub(crate) retry: Option<Retry>,
    pub(crate) next: Next,
}

/// Asking again.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) at_most: u32,
    /// At least this long; longer where the answer asks for it.
    pub(crate) after: Duration,
}

/// Where an action leads.
#[derive(Debug)]
pub(crate) enum Next {
    /// To a state, from its beginning.
    Go(StepName),
    /// To the next round of polling.
    Again,
    /// Back to the answers of a state, seen with the ruling; nothing is asked twice.
    Join(StepName),
}

/// What a command does in a state. What is not listed is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Leave, where a write can still be abandoned or none is planned.
    Go {
        /// Where to.
        target: StepName,
        /// Whether it is remembered where the write may already be sent; else it is refused then.
        too_late_remember: bool,
    },
    /// Remember it; it is obeyed on entering a state that can.
    Remember,
}

/// When people are called, and whom.
#[derive(Debug)]
pub(crate) struct Escalate {
    pub(crate) after: Duration,
    pub(crate) queue: String,
}

/// People who decide.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) queue: String,
    /// How many different people must agree to let money go on.
    pub(crate) people: u32,
    /// A compliance hold: left only by release or uphold.
    pub(crate) hold: bool,
    /// Steps and outcomes ruled on; no outcomes: whatever it is.
    pub(crate) about: Vec<StepName>,
    pub(crate) outcomes: Vec<String>,
    pub(crate) arms: BTreeMap<String, Action>,
}

/// Waiting for a time.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) after: Duration,
    pub(crate) go: StepName,
    /// A step whose answers count here as they did where it was asked.
    pub(crate) answers_of: Option<StepName>,
    /// Visits allowed in the life of a flow, and where the next one leads.
    pub(crate) at_most: Option<(u32, StepName)>,
}

/// What is known about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteStatus {
    /// Planned; whether it was sent is not known here, abandoning it will tell.
    Planned,
    /// Proven to be beyond abandoning; whether it happened is not known.
    Sending,
    /// The answer is that nobody knows.
    InDoubt,
    /// It happened.
    Executed,
    /// It did not happen and cannot any more.
    NotExecuted,
}

impl Journey {
    /// How many people an operator's act takes. Setting an input aside takes two whatever the journey says: it is the
    /// one act that takes something away from a flow.
    pub(crate) fn people_for(&self, act: Act) -> usize {
        let usual = if act == Act::SetAside { 2 } else { 1 };
        let asked = self.operators.get(&act).copied().unwrap_or(usual).max(usual);
        usize::try_from(asked).unwrap_or(usize::MAX)
    }

    /// Its name.
    pub fn name(&self) -> &JourneyName {
        &self.name
    }

    /// Its version; a flow keeps the version with which it started.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Record of the command that starts it.
    pub fn starts_with(&self) -> &RecordName {
        &self.starts_with
    }

    /// A command that may start it, or has, as the record that it starts with; nothing where its record is neither that
    /// nor an older major of it.
    pub fn starting_command(&self, record: &RecordName, command: &Value) -> Option<Value> {
        self.lifts.as_record(record, command, &self.starts_with)
    }

    /// Records of commands that it takes while it runs. Review decisions reach every journey and are not listed.
    pub fn reacts_to(&self) -> &[RecordName] {
        &self.reacts_to
    }

    /// Topic of its events.
    pub fn events_topic(&self) -> &TopicName {
        &self.events
    }

    /// Field of its commands that carries the business id.
    pub fn aggregate_field(&self) -> &str {
        &self.aggregate
    }

    /// Field of the command that starts it, which says whose personal data the flow holds.
    pub fn subject_field(&self) -> &str {
        &self.subject
    }

    /// The file with overrides written in: what is pinned, and what `parse` reads again without overrides.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The state or ending of a name.
    pub(crate) fn state(&self, name: &StepName) -> Option<&State> {
        self.states.get(name)
    }

    /// What it calls a command: by its record, or by a newer major that says the same.
    pub(crate) fn command_named(&self, record: &RecordName) -> Option<&str> {
        let exact = self.commands.iter().find(|(_, known)| known == record);
        let newer = || self.commands.iter().find(|(_, known)| self.lifts.reach(record, known));
        exact.or_else(newer).map(|(name, _)| name.as_str())
    }

    /// Whether some way of it lets later flows recognise the customer.
    pub(crate) fn makes_customers_known(&self) -> bool {
        self.states.values().any(State::makes_customers_known)
    }

    /// What is known about a write step that was called.
    pub(crate) fn write_status(&self, step: &StepName, call: &CallState) -> WriteStatus {
        let word = call.ruling.as_deref().or(call.outcome.as_deref());
        let proof = match word {
            Some("executed") => Some(true),
            Some("not_executed") => Some(false),
            Some(word) => self.calls.get(step).and_then(|call| call.proves.get(word)).copied(),
            None => None,
        };
        match (proof, word) {
            (Some(true), _) => WriteStatus::Executed,
            (Some(false), _) => WriteStatus::NotExecuted,
            (None, _) if call.abandoned => WriteStatus::NotExecuted,
            (None, Some("in_doubt")) => WriteStatus::InDoubt,
            (None, _) if call.sending => WriteStatus::Sending,
            (None, _) => WriteStatus::Planned,
        }
    }

    /// Writes that were called, with what is known about them.
    pub(crate) fn writes<'a>(
        &'a self,
        data: &'a FlowData,
    ) -> impl Iterator<Item = (&'a StepName, WriteStatus)> {
        data.calls.iter().filter_map(|(step, state)| match self.calls.get(step)?.effect {
            Effect::Write => Some((step, self.write_status(step, state))),
            Effect::Read => None,
        })
    }
}

impl Journey {
    /// States to which a flow can go from one by answers, decisions, commands and times, itself included.
    pub(crate) fn reachable(&self, from: &StepName) -> BTreeSet<StepName> {
        let mut reached = BTreeSet::from([from.clone()]);
        let mut open = vec![from.clone()];
        while let Some(state) = open.pop().and_then(|name| self.state(&name)) {
            for target in state.targets() {
                if reached.insert(target.clone()) {
                    open.push(target.clone());
                }
            }
        }
        reached
    }
}

impl State {
    /// What it tells, where it tells anything.
    pub(crate) fn event(&self) -> Option<&Event> {
        match &self.kind {
            Kind::Emit { event, .. } | Kind::End { event } => Some(event),
            Kind::Ask(_) | Kind::Choose { .. } | Kind::Review | Kind::Wait(_) => None,
        }
    }

    /// Whether later flows recognise the customer of a flow that comes here.
    pub(crate) fn makes_customers_known(&self) -> bool {
        let recognise = self.event().and_then(|event| event.recognise.as_ref());
        recognise.is_some_and(Recognise::makes_known)
    }

    /// Whether it is a compliance hold.
    pub(crate) fn is_hold(&self) -> bool {
        self.panel.as_ref().is_some_and(|panel| panel.hold)
    }

    /// Whether a flow can be found waiting in it.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.kind, Kind::Ask(_) | Kind::Review | Kind::Wait(_))
    }

    /// Every state or ending that it names as a way on.
    fn targets(&self) -> Vec<&StepName> {
        let decided = self.panel.iter().flat_map(|panel| panel.arms.values());
        let mut targets: Vec<&StepName> = decided.filter_map(Action::target).collect();
        targets.extend(self.on_command.values().filter_map(|interrupt| match interrupt {
            Interrupt::Go { target, .. } => Some(target),
            Interrupt::Remember => None,
        }));
        match &self.kind {
            Kind::Ask(ask) => {
                targets.extend(ask.arms.iter().filter_map(|arm| arm.action.target()));
                targets.extend(ask.until.iter().map(|(_, target)| target));
            }
            Kind::Choose { branches, otherwise } => {
                targets.extend(branches.iter().map(|(_, target)| target));
                targets.push(otherwise);
            }
            Kind::Wait(wait) => {
                targets.push(&wait.go);
                targets.extend(wait.at_most.iter().map(|(_, target)| target));
            }
            Kind::Emit { go, .. } => targets.push(go),
            Kind::Review | Kind::End { .. } => {}
        }
        targets
    }

    /// Every ruling that it may put over an outcome.
    pub(crate) fn rulings(&self) -> Vec<&String> {
        let decided = self.panel.iter().flat_map(|panel| panel.arms.values());
        let asked = match &self.kind {
            Kind::Ask(ask) => ask.arms.iter().map(|arm| &arm.action).collect(),
            Kind::Choose { .. }
            | Kind::Review
            | Kind::Wait(_)
            | Kind::Emit { .. }
            | Kind::End { .. } => Vec::new(),
        };
        decided.chain(asked).filter_map(|action| action.rules.as_ref()).collect()
    }
}

impl Action {
    fn target(&self) -> Option<&StepName> {
        match &self.next {
            Next::Go(target) | Next::Join(target) => Some(target),
            Next::Again => None,
        }
    }
}

impl WriteStatus {
    /// Whether it may have happened without anybody knowing, or may still happen.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Sending | Self::InDoubt)
    }
}

impl Matcher {
    /// Whether the answers' words fit.
    pub(crate) fn fits(&self, words: &[&str]) -> bool {
        let among = |listed: &[String], word: &str| listed.iter().any(|listed| listed == word);
        match self {
            Self::Every(listed) => words.iter().all(|word| among(listed, word)),
            Self::Any(listed) => words.iter().any(|word| among(listed, word)),
        }
    }

    /// The words it names.
    pub(crate) fn words(&self) -> &[String] {
        match self {
            Self::Every(words) | Self::Any(words) => words,
        }
    }
}

impl CallState {
    /// The word that counts: a person's ruling, else the outcome.
    pub(crate) fn word(&self) -> Option<&str> {
        self.ruling.as_deref().or(self.outcome.as_deref())
    }
}

impl Ask {
    /// The first arm for these words. `late` falls back to `unavailable`.
    pub(crate) fn arm(&self, words: &[&str]) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.when.fits(words))
    }

    /// What an answer that did not come in time counts as.
    pub(crate) fn late_word(&self) -> &'static str {
        let named = self.arms.iter().any(|arm| arm.when.words().iter().any(|word| word == "late"));
        if named { "late" } else { "unavailable" }
    }
}

impl Panel {
    /// How many different people a decision needs: one where it stops money, else as many as the panel asks for.
    pub(crate) fn needed(&self, decision: &str) -> usize {
        match decision {
            "decline" | "uphold" => 1,
            _ => usize::try_from(self.people).unwrap_or(usize::MAX),
        }
    }
}

/// Fields of a template, filled from facts; what is unknown is null.
pub(crate) fn fill(
    fields: &[(String, Expression)],
    facts: crate::expression::Facts<'_>,
    into: &mut serde_json::Map<String, Value>,
) {
    for (name, expression) in fields {
        let value = expression.value(facts).map_or(Value::Null, std::borrow::Cow::into_owned);
        into.insert(name.clone(), value);
    }
}
