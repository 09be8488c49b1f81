//! The contract that every service shares: records, topics, ids, money, canonical outcomes and error classes.
//! It knows no Kafka client, no SQL and no vendor; the build refuses a contract that contradicts itself.

mod capability;
mod compatibility;
mod consumers;
mod contract;
mod gate;
mod identifiers;
mod ids;
mod layout;
mod lift;
mod lifting;
mod money;
mod partition;
mod record;
mod rules;
mod time;
mod types;

/// The contract in the words of other tools.
pub mod export;
/// Names of the headers that Signalbox reads and writes.
pub mod headers;
/// `topics.yaml`, parsed.
pub mod topics;

pub use capability::{
    AmlRequest, Capability, Effect, ErrorClass, FraudRequest, InquireRequest, KycRequest,
    OutcomeRecord, RecallRequest, RecogniseRequest, SendRequest, shapes,
};
pub use compatibility::{Difference, Rule, fields, unreadable};
pub use consumers::{Consumer, Consumers, ConsumersError};
pub use contract::{Contract, ContractError};
pub use gate::{Breaking, Broken, Direction, History, Release, breaking};
pub use identifiers::{account_problems, is_aba, is_bic, is_iban};
pub use ids::{
    AggregateId, Attempt, AttemptId, EnvelopeId, FlowId, JourneyName, KeyId, LaneId, LaneSeq,
    Likeness, MigrationId, RecordName, StepName, SubjectId, Tenant, TenantKey, TopicName,
};
pub use layout::EncodeError;
pub use lift::{LiftDoc, LiftDocError, lift_faults, lifted_to};
pub use lifting::{Command, Lifts, Majors};
pub use money::{Money, MoneyError};
pub use partition::{home_lane, murmur2};
pub use record::{DecodeError, RecordSchema, confluent_envelope, split_confluent};
pub use rules::{faults, full_name, unclear_subjects, vague_deprecations};
pub use time::Micros;
pub use types::{Field, Type};
