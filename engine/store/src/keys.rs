//! Keys of subjects as rows, and the order to destroy some. The store keeps keys wrapped and cannot use them.

use signalbox_schemas::{
    AggregateId, EnvelopeId, FlowId, JourneyName, KeyId, LaneId, Micros, SubjectId,
};
use std::time::Duration;

/// A key for a subject that may have none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whose.
    pub subject: SubjectId,
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
}

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Which one.
    pub id: KeyId,
    /// The key, wrapped; none once it is destroyed.
    pub wrapped: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Micros,
    /// When it was destroyed.
    pub erased_at: Option<Micros>,
}

/// A key that was wrapped anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrappedKey {
    /// Which one.
    pub id: KeyId,
    /// As it was read.
    pub before: Vec<u8>,
    /// The same key, wrapped by another envelope key.
    pub after: Vec<u8>,
}

/// Who has keys wrapped anew, and under what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapOrder {
    /// The envelope key that wraps them from now on.
    pub envelope: EnvelopeId,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Whom to erase, and who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureOrder {
    /// Whose keys are destroyed.
    pub subjects: Vec<SubjectId>,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// For how long no flow of theirs must have changed.
    pub settled_for: Duration,
}

/// What stands in the way of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// A flow still runs; it may have to send its money's order again.
    Running {
        /// The flow.
        flow: FlowId,
        /// Its business id.
        aggregate: AggregateId,
        /// Its journey.
        journey: JourneyName,
    },
    /// A flow changed a moment ago: its last answers may still be on their way.
    JustChanged {
        /// Its business id.
        aggregate: AggregateId,
        /// When.
        at: Micros,
    },
    /// Kafka has not acknowledged what a row publishes.
    Unpublished {
        /// The row's lane.
        lane: LaneId,
        /// The row's position.
        seq: i64,
    },
}

/// What became of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// These keys are destroyed; none where there were none.
    Done {
        /// The keys.
        keys: Vec<KeyId>,
        /// When.
        at: Micros,
    },
    /// Nothing was changed.
    Refused(Vec<Hindrance>),
}
