//! What a record is to its lane, before any flow is asked: a start, a command, an outcome, somebody else's, or dead.
//! It decodes and checks keys; it applies nothing.

use serde_json::Value;
use signalbox_bus::{Codec, Death, Inbound, Undecoded};
use signalbox_flow::{Act, Journey};
use signalbox_schemas::{
    AggregateId, AttemptId, Command, FlowId, JourneyName, LaneId, Majors, MigrationId, RecordName,
    SubjectId, Tenant, TenantKey, TopicName, headers, home_lane, topics::Role,
};
use signalbox_store::TimerRow;
use std::sync::Arc;
use tracing::Span;

use crate::library::JourneyLibrary;
use crate::migrating::Errand;
use crate::traces;

/// The record by which people decide reviews; it names its journey itself.
const REVIEW_DECISION: &str = "signalbox.review.ReviewDecision";
/// The record by which operators act; it names its journey, too.
const OPERATOR_ACT: &str = "signalbox.operator.OperatorAct";
/// The acts of operators that are about a lane: it begins a migration, or stops it.
const MIGRATE: &str = "migrate";
const STOP_MIGRATION: &str = "stop_migration";

/// One thing for a lane to apply.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) lane: LaneId,
    pub(crate) input: WorkInput,
    /// Where it came from, if it was forwarded.
    pub(crate) peer: Option<Peer>,
    pub(crate) body: Body,
    /// Ends when the last copy of the work is dropped: after its commit.
    pub(crate) span: Span,
    /// Why the store refused what would follow from it: then nothing does.
    pub(crate) refused: Option<Death>,
}

/// A forward's place among those of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Lane that forwarded.
    pub(crate) source: LaneId,
    /// The forward's sequence in that lane.
    pub(crate) seq: i64,
    /// The lane's sequence before it on the way to this home; 0 where this is its first.
    pub(crate) prev: i64,
}

/// Where it came from.
#[derive(Clone)]
pub(crate) enum WorkInput {
    Record(Arc<Inbound>),
    Timer(TimerRow),
    Errand(Errand),
}

/// What it is.
#[derive(Clone)]
pub(crate) enum Body {
    Start(Box<StartWork>),
    Command {
        journey: Arc<Journey>,
        flow: FlowId,
        aggregate: AggregateId,
        tenant: Tenant,
        record: RecordName,
        value: Arc<Value>,
    },
    Act {
        journey: Arc<Journey>,
        flow: FlowId,
        aggregate: AggregateId,
        tenant: Tenant,
        act: Act,
        record: RecordName,
        value: Arc<Value>,
    },
    Outcome {
        flow: FlowId,
        attempt: AttemptId,
        capability: String,
        value: Arc<Value>,
    },
    Timer,
    /// The lane begins a migration.
    Begin {
        migration: MigrationId,
        value: Arc<Value>,
    },
    /// The lane moves no more flows of a migration.
    Stop {
        migration: MigrationId,
        value: Arc<Value>,
    },
    /// One flow of a migration, or its end.
    Migrate,
    Forward {
        home: LaneId,
    },
    Dead(Death),
}

/// A command that may start a flow.
#[derive(Clone)]
pub(crate) struct StartWork {
    pub(crate) journey: Arc<Journey>,
    pub(crate) flow: FlowId,
    pub(crate) aggregate: AggregateId,
    pub(crate) tenant: Tenant,
    /// Whose personal data it brings.
    pub(crate) subject: SubjectId,
    pub(crate) key: String,
    /// Over its content as the journey reads it: equal whichever major it came by.
    pub(crate) hash: [u8; 32],
    /// Over its content as the older majors that it was: by these it may have been kept.
    pub(crate) older_hashes: Vec<[u8; 32]>,
    /// As it was sent.
    pub(crate) record: RecordName,
    pub(crate) sent: Arc<Value>,
    /// As the journey reads it.
    pub(crate) value: Arc<Value>,
}

/// The schema id of a record is not known yet: learn it, then classify again. Not the record's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownSchema(pub(crate) u32);

/// What classification needs to know.
pub(crate) struct Desk<'a> {
    pub(crate) codec: &'a Codec,
    pub(crate) library: &'a JourneyLibrary,
    pub(crate) key: &'a TenantKey,
    pub(crate) lanes: u16,
    pub(crate) forwards: &'a TopicName,
    /// Ids of which the registry says that they do not exist.
    pub(crate) missing_schemas: &'a [u32],
}

impl Work {
    /// The flow that it concerns.
    pub(crate) fn flow(&self) -> Option<FlowId> {
        match &self.body {
            Body::Start(start) => Some(start.flow),
            Body::Command { flow, .. } | Body::Act { flow, .. } | Body::Outcome { flow, .. } => {
                Some(*flow)
            }
            Body::Timer => match &self.input {
                WorkInput::Timer(timer) => Some(timer.flow),
                WorkInput::Record(_) | WorkInput::Errand(_) => None,
            },
            Body::Migrate => match &self.input {
                WorkInput::Errand(errand) => errand.flow,
                WorkInput::Record(_) | WorkInput::Timer(_) => None,
            },
            Body::Begin { .. } | Body::Stop { .. } | Body::Forward { .. } | Body::Dead(_) => None,
        }
    }

    /// The record by which a service asks for something, as it was sent.
    pub(crate) fn command(&self) -> Option<&RecordName> {
        match &self.body {
            Body::Start(start) => Some(&start.record),
            Body::Command { record, .. } | Body::Act { record, .. } => Some(record),
            Body::Outcome { .. }
            | Body::Timer
            | Body::Begin { .. }
            | Body::Stop { .. }
            | Body::Migrate
            | Body::Forward { .. }
            | Body::Dead(_) => None,
        }
    }

    /// A header of its record.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match &self.input {
            WorkInput::Record(record) => record.headers.text(name),
            WorkInput::Timer(_) | WorkInput::Errand(_) => None,
        }
    }

    /// A timer as work.
    pub(crate) fn timer(timer: TimerRow) -> Self {
        let (lane, input) = (timer.lane, WorkInput::Timer(timer));
        Self { lane, input, peer: None, body: Body::Timer, span: Span::none(), refused: None }
    }

    /// Something to do for a migration as work.
    pub(crate) fn errand(errand: Errand) -> Self {
        let (lane, input) = (errand.job.lane, WorkInput::Errand(errand));
        Self { lane, input, peer: None, body: Body::Migrate, span: Span::none(), refused: None }
    }

    /// The same work, of which nothing may follow.
    pub(crate) fn refused(&self, death: Death) -> Self {
        Self { refused: Some(death), ..self.clone() }
    }

    /// Who acts, where an operator does.
    pub(crate) fn operator(&self) -> Option<&str> {
        match &self.body {
            Body::Act { value, .. } | Body::Begin { value, .. } | Body::Stop { value, .. } => {
                value.get("actor").and_then(Value::as_str)
            }
            Body::Start(_)
            | Body::Command { .. }
            | Body::Outcome { .. }
            | Body::Timer
            | Body::Migrate
            | Body::Forward { .. }
            | Body::Dead(_) => None,
        }
    }

    /// The flow to whose standing still it puts an end, if it does: what waits for that flow is needed, too.
    pub(crate) fn lets_go_on(&self) -> Option<FlowId> {
        match &self.body {
            Body::Act { flow, act: Act::Resume | Act::Release | Act::SetAside, .. } => Some(*flow),
            Body::Act { .. }
            | Body::Start(_)
            | Body::Command { .. }
            | Body::Outcome { .. }
            | Body::Timer
            | Body::Begin { .. }
            | Body::Stop { .. }
            | Body::Migrate
            | Body::Forward { .. }
            | Body::Dead(_) => None,
        }
    }
}

impl StartWork {
    /// Whether this is the hash of its content in any major.
    pub(crate) fn has_hash(&self, hash: &[u8; 32]) -> bool {
        self.hash == *hash || self.older_hashes.contains(hash)
    }
}

impl Desk<'_> {
    /// Says what a record is to a lane. One that has waited for its flow may have been read by another lane than that in which
    /// the flow lives by now.
    pub(crate) fn classify(
        &self,
        record: &Arc<Inbound>,
        lane: LaneId,
    ) -> Result<Work, UnknownSchema> {
        let forwarded = record.topic == *self.forwards;
        let topic = if forwarded {
            record.headers.text(headers::FORWARD_TOPIC).map(TopicName::from)
        } else {
            Some(record.topic.clone())
        };
        let peer = if forwarded { peer(record) } else { None };
        let body = match topic {
            None => Body::Dead(Death::undecodable(format!(
                "a forwarded record needs the header {}",
                headers::FORWARD_TOPIC
            ))),
            Some(_) if forwarded && peer.is_none() => Body::Dead(Death::undecodable(
                "a forwarded record needs lane, lane_seq and prev_seq headers".to_owned(),
            )),
            Some(topic) => self.body(&topic, lane, record)?,
        };
        let (input, span) = (WorkInput::Record(Arc::clone(record)), traces::begin(record));
        Ok(Work { lane, input, peer, body, span, refused: None })
    }

    fn body(
        &self,
        topic: &TopicName,
        lane: LaneId,
        record: &Inbound,
    ) -> Result<Body, UnknownSchema> {
        let role = self.codec.contract().topics().topics.get(topic.as_str()).map(|spec| spec.role);
        // Commands come from foreign producers, and outcomes from adapters that were asked before lanes were added.
        if matches!(role, Some(Role::Command | Role::Outcome))
            && let Some(home) = record.key.as_deref().map(|key| home_lane(key, self.lanes))
            && home != lane
        {
            return Ok(Body::Forward { home });
        }
        let (name, value) = match self.codec.decode(record.payload.as_deref()) {
            Ok(decoded) => decoded,
            Err(Undecoded::UnknownId(id)) if !self.missing_schemas.contains(&id) => {
                return Err(UnknownSchema(id));
            }
            Err(Undecoded::UnknownId(id)) => {
                return Ok(Body::Dead(Death::undecodable(Undecoded::NoSuchId(id).to_string())));
            }
            Err(error) => return Ok(Body::Dead(Death::undecodable(error.to_string()))),
        };
        let misplaced = format!("record {name} does not belong to topic {topic}");
        if !self.codec.belongs(topic, &name) {
            return Ok(Body::Dead(Death::unprocessable("misplaced", misplaced)));
        }
        if contains_nul(&value) {
            return Ok(Body::Dead(Death::unprocessable(
                "nul",
                "text must not contain the character NUL".to_owned(),
            )));
        }
        Ok(match role {
            Some(Role::Command) => self.command(record, name, value),
            Some(Role::Outcome) => outcome(record, &name, value),
            _ => Body::Dead(Death::unprocessable("misplaced", misplaced)),
        })
    }

    fn command(&self, record: &Inbound, name: RecordName, value: Value) -> Body {
        let sent = Command { record: name.clone(), value };
        let majors = match self.codec.contract().lifts().until(sent, |name| self.takes(name)) {
            Ok(Some(majors)) => majors,
            Ok(None) => {
                return dead("no_journey", format!("no journey starts with or reacts to {name}"));
            }
            Err(error) => return dead("unliftable", error.to_string()),
        };
        // The newest decides whom it is for. What it is about is the same in every major; the build sees to that.
        let newest = majors.newest();
        let text = |field: &str| newest.value.get(field).and_then(Value::as_str).map(str::to_owned);
        let Some((journey, field)) = self.addressee(newest) else {
            return dead(
                "no_journey",
                "the record names a journey that does not exist here".to_owned(),
            );
        };
        let Some(aggregate) = text(&field).filter(|id| !id.is_empty() && id.len() <= 64) else {
            return dead("bad_aggregate", format!("{field} must have 1 to 64 bytes"));
        };
        if record.key_text() != Some(aggregate.as_str()) {
            return dead("key_mismatch", format!("the record's key must be its {field}"));
        }
        let tenant = Tenant::from(text("tenant").unwrap_or_else(|| "default".to_owned()));
        let aggregate = AggregateId::from(aggregate);
        let flow = self.key.flow_id(&tenant, journey.name(), &aggregate);
        let addressed = Addressed { journey, flow, aggregate, tenant };
        if name.as_str() == OPERATOR_ACT {
            return act(addressed, majors.sent);
        }
        if *addressed.journey.starts_with() == newest.record {
            return self.start(record, addressed, majors);
        }
        // The version that the flow follows may take an older major than the newest version does.
        let Addressed { journey, flow, aggregate, tenant } = addressed;
        let Command { record, value } = majors.sent;
        Body::Command { journey, flow, aggregate, tenant, record, value: Arc::new(value) }
    }

    /// Whether a record of commands is for anybody as it is.
    fn takes(&self, name: &RecordName) -> bool {
        matches!(name.as_str(), REVIEW_DECISION | OPERATOR_ACT)
            || self.library.starting(name).is_some()
            || self.library.reacting(name).is_some()
    }

    /// Whom a command is for, and the field that says about which flow it is.
    fn addressee(&self, command: &Command) -> Option<(Arc<Journey>, String)> {
        if matches!(command.record.as_str(), REVIEW_DECISION | OPERATOR_ACT) {
            let named = command.value.get("journey").and_then(Value::as_str).unwrap_or_default();
            let journey = self.library.newest(&JourneyName::from(named))?;
            return Some((Arc::clone(journey), "aggregate_id".to_owned()));
        }
        let starts = self.library.starting(&command.record);
        let journey = starts.or_else(|| self.library.reacting(&command.record))?;
        Some((Arc::clone(journey), journey.aggregate_field().to_owned()))
    }

    /// A command that may start a flow, in every major from the one that was sent to the one that the journey reads.
    fn start(&self, record: &Inbound, about: Addressed, majors: Majors) -> Body {
        let key = record.headers.text(headers::IDEMPOTENCY_KEY);
        let key = key.unwrap_or(about.aggregate.as_str()).to_owned();
        if key.is_empty() || key.len() > 255 || key.contains('\0') {
            return dead(
                "bad_idempotency_key",
                "an idempotency key has 1 to 255 bytes without NUL".to_owned(),
            );
        }
        let hash = majors.newest().content_hash();
        let older = [&majors.sent].into_iter().chain(&majors.newer).map(Command::content_hash);
        let older_hashes = older.take(majors.newer.len()).collect();
        let Majors { sent: Command { record, value }, mut newer } = majors;
        let sent = Arc::new(value);
        let newest = newer.pop().map(|newest| Arc::new(newest.value));
        let value = newest.unwrap_or_else(|| Arc::clone(&sent));
        let Addressed { journey, flow, aggregate, tenant } = about;
        let customer = value.get(journey.subject_field()).and_then(Value::as_str);
        let subject = self.key.subject_id(&tenant, customer.unwrap_or_default());
        Body::Start(Box::new(StartWork {
            journey,
            flow,
            aggregate,
            tenant,
            subject,
            key,
            hash,
            older_hashes,
            record,
            sent,
            value,
        }))
    }
}

/// Whom a command is for.
struct Addressed {
    journey: Arc<Journey>,
    flow: FlowId,
    aggregate: AggregateId,
    tenant: Tenant,
}

/// An act of operators; it has one major.
fn act(about: Addressed, sent: Command) -> Body {
    let Command { record, value } = sent;
    let value = Arc::new(value);
    let wanted = value.get("act").and_then(Value::as_str).unwrap_or_default();
    if matches!(wanted, MIGRATE | STOP_MIGRATION) {
        let named = value.get("migration").and_then(Value::as_str);
        return match named.and_then(|id| id.parse().ok()) {
            Some(migration) if wanted == MIGRATE => Body::Begin { migration, value },
            Some(migration) => Body::Stop { migration, value },
            None => dead("no_migration", "the act names no migration".to_owned()),
        };
    }
    let Some(act) = Act::parse(wanted) else {
        return dead("unknown_act", "there is no such act of operators".to_owned());
    };
    let Addressed { journey, flow, aggregate, tenant } = about;
    Body::Act { journey, flow, aggregate, tenant, act, record, value }
}

fn dead(code: &'static str, message: String) -> Body {
    Body::Dead(Death::unprocessable(code, message))
}

/// Where a forward came from.
fn peer(record: &Inbound) -> Option<Peer> {
    let source = u16::try_from(record.number(headers::LANE)?).ok()?;
    let seq = record.number(headers::LANE_SEQ)?;
    Some(Peer { source: LaneId(source), seq, prev: record.number(headers::PREV_SEQ)? })
}

fn outcome(record: &Inbound, name: &RecordName, value: Value) -> Body {
    let id = |pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse().ok())
    };
    let capability = name.as_str().strip_suffix(".Outcome");
    let (Some(capability), Some(flow), Some(attempt)) =
        (capability, id("/ref/flow_id"), id("/ref/attempt_id"))
    else {
        return Body::Dead(Death::unprocessable(
            "no_reference",
            format!("{name} needs ref.flow_id and ref.attempt_id"),
        ));
    };
    if record.key_text() != value.pointer("/ref/aggregate_id").and_then(Value::as_str) {
        return Body::Dead(Death::unprocessable(
            "key_mismatch",
            "the record's key must be its ref.aggregate_id".to_owned(),
        ));
    }
    let capability = capability.to_owned();
    Body::Outcome {
        flow: FlowId(flow),
        attempt: AttemptId(attempt),
        capability,
        value: Arc::new(value),
    }
}

/// Postgres refuses NUL in text and jsonb.
fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(fields) => {
            fields.iter().any(|(key, item)| key.contains('\0') || contains_nul(item))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
