//! What can go wrong on the bus, by what the caller does next.

/// Trouble with Kafka.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Brokers are away or slow: wait and try again.
    #[error("kafka is not reachable: {0}")]
    Unreachable(String),
    /// A record was not delivered; what was sent after it may be missing too. Resume from what the log holds.
    #[error("a record was not delivered: {0}")]
    Undelivered(String),
    /// The position asked for is not in the log: stop the lane and page.
    #[error("{topic}-{partition}: offset {offset} is outside of the log")]
    OutOfRange {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset asked for.
        offset: i64,
    },
    /// The configuration is wrong: fix it and start again.
    #[error("kafka refuses the configuration: {0}")]
    Config(String),
    /// The client has stopped: build a new one.
    #[error("the kafka client has stopped")]
    Stopped,
}

impl From<rdkafka::error::KafkaError> for BusError {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        match error {
            rdkafka::error::KafkaError::ClientConfig(_, reason, name, value) => {
                Self::Config(format!("{name}={value}: {reason}"))
            }
            other => Self::Unreachable(other.to_string()),
        }
    }
}
