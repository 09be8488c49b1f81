//! Rows as plain data, as the worker and the adapters hand them over. No row knows how it is stored.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use signalbox_schemas::{
    AggregateId, AttemptId, FlowId, JourneyName, LaneId, Likeness, Micros, RecordName, StepName,
    SubjectId, Tenant, TopicName,
};

/// A flow as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRow {
    /// Identity.
    pub id: FlowId,
    /// Tenant.
    pub tenant: Tenant,
    /// Business id.
    pub aggregate: AggregateId,
    /// Whose personal data it holds.
    pub subject: SubjectId,
    /// Lane where it lives.
    pub lane: LaneId,
    /// Journey.
    pub journey: JourneyName,
    /// Version of the journey.
    pub version: u32,
    /// State it is in.
    pub state: StepName,
    /// True where it reached an ending.
    pub ended: bool,
    /// Raised by one with every step.
    pub rev: i64,
    /// When it started.
    pub started_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
    /// Why it takes no inputs, if it takes none.
    pub standing: Option<Standing>,
    /// What it has learnt.
    pub data: JsonText,
}

/// JSON as it is stored: written by every step, taken apart only by who looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// A value as text.
    ///
    /// # Errors
    /// The value has no JSON, such as a map whose keys are no text: a bug.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Takes text that a store gave.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as what it was.
    ///
    /// # Errors
    /// It was something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text as a value to look into; null where it is no JSON.
    pub fn value(&self) -> Value {
        self.read().unwrap_or_default()
    }
}

/// Why a flow stands still. Where it is both, a person must look at the parking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An operator paused it.
    Paused,
    /// An input could not be applied.
    Parked,
}

impl Standing {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Parked => "parked",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Paused, Self::Parked].into_iter().find(|known| known.as_str() == word)
    }
}

/// An input that waits for its flow to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRow {
    /// The flow.
    pub flow: FlowId,
    /// Position in the flow's order.
    pub seq: i64,
    /// Lane of the flow.
    pub lane: LaneId,
    /// The input as the worker encoded and sealed it.
    pub record: Vec<u8>,
}

/// One person's agreement to a matter of several people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssentRow {
    /// The flow.
    pub flow: FlowId,
    /// What is agreed to.
    pub matter: String,
    /// Which time it is asked.
    pub occasion: i64,
    /// Which of the people it is, from 1.
    pub seat: u32,
    /// How many it takes.
    pub people: u32,
    /// Who.
    pub actor: String,
}

/// Whether later flows recognise a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecognitionRow {
    /// The customer.
    pub subject: SubjectId,
    /// As whom; none where nobody recognises them any more.
    pub known: Option<Known>,
    /// The flow that found it out.
    pub flow: FlowId,
    /// When. An older finding never replaces a younger one.
    pub at: Micros,
}

/// As whom a customer is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whose likeness they have.
    pub likeness: Likeness,
    /// Whether they are watched closely.
    pub watched: bool,
}

/// A flow to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowWrite {
    /// Its new content.
    pub row: FlowRow,
    /// The revision that must be there; none where the flow is new.
    pub expected_rev: Option<i64>,
}

/// A flow with the command that started it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedFlow {
    /// The flow.
    pub row: FlowRow,
    /// Record of the command.
    pub record: RecordName,
    /// Content of the command, sealed.
    pub command: Vec<u8>,
    /// Hash over the command's canonical content.
    pub hash: [u8; 32],
}

/// A command that started a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRow {
    /// Tenant.
    pub tenant: Tenant,
    /// The caller's idempotency key.
    pub key: String,
    /// Hash over canonical content.
    pub hash: [u8; 32],
    /// The flow it started.
    pub flow: FlowId,
    /// Its record.
    pub record: RecordName,
    /// Its content, sealed.
    pub content: Vec<u8>,
    /// When it was accepted.
    pub accepted_at: Micros,
}

/// How far an attempt at a write effect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Its request is published; nothing was sent.
    Planned,
    /// Its permit was taken: from now on it may have been sent.
    Sending,
    /// The lane gave it up before its permit was taken: it is never sent.
    Abandoned,
}

impl Disposition {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sending => "sending",
            Self::Abandoned => "abandoned",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Planned, Self::Sending, Self::Abandoned]
            .into_iter()
            .find(|known| known.as_str() == word)
    }
}

/// An attempt at a write effect, as the lane plans it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// Identity, idempotency key and our reference.
    pub id: AttemptId,
    /// Lane to which its outcome goes.
    pub lane: LaneId,
    /// Flow that asks.
    pub flow: FlowId,
    /// Step that asks.
    pub step: StepName,
    /// Group.
    pub group: u32,
    /// Capability.
    pub capability: String,
    /// When it was planned.
    pub planned_at: Micros,
}

/// An attempt as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// As planned.
    pub plan: NewAttempt,
    /// How far it has come.
    pub disposition: Disposition,
    /// Vendor to which it goes, once the permit was taken.
    pub vendor: Option<String>,
    /// How often sending began.
    pub sends: u32,
    /// The exact request as sent, sealed.
    pub request: Option<Vec<u8>>,
    /// When the permit was taken.
    pub first_sent_at: Option<Micros>,
    /// The outcome, once known.
    pub result: Option<Value>,
    /// A final outcome that contradicts the first.
    pub contradiction: Option<Value>,
}

/// The row's rules, as the twin in memory has them; in Postgres each is one statement (`tables/attempt.rs`).
impl AttemptRow {
    /// Raises `sends` from an expected value, before a resend. False where somebody else did, where it is not being sent, or
    /// where its outcome is known for good.
    pub fn raise(&mut self, expected: u32) -> bool {
        let settled = self.result.as_ref().is_some_and(is_final);
        let may = self.sends == expected && self.disposition == Disposition::Sending && !settled;
        self.sends += u32::from(may);
        may
    }

    /// Takes note of a result: over nothing or over `in_doubt`; another final outcome is kept beside the first. False where
    /// it was sent again since, so that the result says nothing any more.
    pub fn note(&mut self, given: &StoredResult) -> bool {
        if given.sends.is_some_and(|sends| sends != self.sends) {
            return false;
        }
        match &self.result {
            Some(first) if is_final(first) => {
                if is_final(&given.result) && word(first) != word(&given.result) {
                    self.contradiction = Some(given.result.clone());
                }
            }
            Some(_) | None => self.result = Some(given.result.clone()),
        }
        true
    }

    /// People have ruled on it: nobody sends it any more.
    pub fn rule(&mut self, ruling: &StoredResult) {
        if self.disposition == Disposition::Planned {
            self.disposition = Disposition::Abandoned;
        }
        self.note(ruling);
    }
}

fn word(result: &Value) -> Option<&str> {
    result.get("outcome").and_then(Value::as_str)
}

fn is_final(result: &Value) -> bool {
    word(result) != Some("in_doubt")
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerRow {
    /// Not before this instant.
    pub due_at: Micros,
    /// Flow to wake.
    pub flow: FlowId,
    /// Its name.
    pub name: String,
    /// Lane of the flow.
    pub lane: LaneId,
}

/// How far a lane has read an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRow {
    /// Lane.
    pub lane: LaneId,
    /// Topic.
    pub topic: TopicName,
    /// Offset that is next.
    pub next_offset: i64,
    /// Offset of the last record consumed.
    pub last_offset: Option<i64>,
    /// Hash of that record.
    pub last_record_hash: Option<[u8; 32]>,
}

/// How far a lane has written an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Lane.
    pub lane: LaneId,
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// The lane's last sequence there.
    pub last_seq: i64,
    /// Offset of the lane's last record known to be there; -1 for none.
    pub last_acked_offset: i64,
}

/// How far a lane has taken forwards of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRow {
    /// Lane that takes.
    pub lane: LaneId,
    /// Lane that forwarded.
    pub source: LaneId,
    /// Last sequence of the source that was taken.
    pub last_seq: i64,
}

/// What must be true of a lane for a write to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFence {
    /// Lane.
    pub lane: LaneId,
    /// Epoch of the claim.
    pub epoch: i64,
    /// Revision as last read or written.
    pub rev: i64,
}

/// The lane row after a write. `rev` becomes the fence's plus one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneMove {
    /// What must be true before.
    pub fence: LaneFence,
    /// Last sequence given out.
    pub out_seq: i64,
    /// Everything up to it is acknowledged on every output.
    pub pub_seq: i64,
    /// Journal rows up to it need not be published again.
    pub pub_journal_seq: i64,
    /// Last journal row.
    pub journal_seq: i64,
    /// Hash of the last journal row.
    pub journal_head: Vec<u8>,
}

/// What an adapter is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitRequest {
    /// The attempt.
    pub attempt: AttemptId,
    /// Vendor to which it goes.
    pub vendor: String,
    /// The exact bytes, sealed; a resend uses these.
    pub request: Vec<u8>,
}

/// A result to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// The attempt.
    pub attempt: AttemptId,
    /// The outcome record as JSON; its `outcome` decides whether a later one may replace it.
    pub result: Value,
    /// `sends` on which it rests, where it proves something about no more than them, as a refusal does. Once there are more
    /// it is not kept. None where it stands by itself.
    pub sends: Option<u32>,
}

/// A final event that was published and forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEnding {
    /// The flow.
    pub flow: FlowId,
    /// Its lane.
    pub lane: LaneId,
    /// Status that was told.
    pub status: String,
    /// Reason that was told.
    pub reason: Option<String>,
}

/// What a lane must know of a time that its database forgot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Endings that stand, of flows that have not ended.
    pub endings: Vec<PublishedEnding>,
    /// Writes that may have been sent, of flows that have not ended: flow, step and group.
    pub writes: Vec<(FlowId, StepName, u32)>,
    /// Up to which offset inputs had been read.
    pub read_before: Vec<(TopicName, i64)>,
}
