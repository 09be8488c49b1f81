//! Kafka in and out: the codec with its registry, the lane's bus, the adapters' consumer and publisher, topics.
//! It knows nothing of journeys and nothing of SQL. `rdkafka` is used in this package and nowhere else.

mod codec;
mod config;
mod dead_letter;
mod error;
mod group;
mod kafka;
mod lane_bus;
mod memory;
mod publisher;
mod record;
mod registry;
mod topic_admin;
mod trace;

pub use codec::{Codec, KnownSchema, Undecoded};
pub use config::{KafkaConfig, RegistryConfig};
pub use dead_letter::{Death, dead_letter};
pub use error::BusError;
pub use group::GroupConsumer;
pub use kafka::KafkaLaneBus;
pub use lane_bus::{Ack, LaneBus, LogRange, Position, Stretch};
pub use memory::{MemoryBroker, MemoryLaneBus, MemoryRegistry};
pub use publisher::Publisher;
pub use record::{Headers, Inbound, Outbound};
pub use registry::{Registry, RegistryError, SubjectCheck};
pub use topic_admin::{TopicAdmin, TopicChange};
pub use trace::{TRACE_TARGET, follow};
