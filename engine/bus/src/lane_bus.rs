//! What a worker needs of Kafka, as one trait with two implementations: Kafka itself and a twin in memory.

use signalbox_schemas::{Micros, TopicName};
use std::time::Duration;

use crate::error::BusError;
use crate::record::{Inbound, Outbound};

/// A place in a log from which to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// Next offset to read.
    pub offset: i64,
}

/// First offset that a log still holds, and the offset that its next record will get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// First offset held.
    pub start: i64,
    /// Offset of the next record.
    pub end: i64,
}

/// A stretch of a log, from `from` up to but not including `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last.
    pub end: i64,
}

/// The broker has taken a record (all in-sync replicas).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: i32,
    /// Offset it got; -1 where the broker recognised a resend and did not say.
    pub offset: i64,
    /// Lane that published it.
    pub lane: u16,
    /// The lane's sequence.
    pub lane_seq: i64,
}

/// Kafka as a worker sees it. Every method may be called from one task only.
pub trait LaneBus: Send {
    /// Identity of the cluster.
    fn cluster_id(&mut self) -> impl Future<Output = Result<String, BusError>> + Send;

    /// Starts to read these partitions from these offsets, besides what is read already. Records of an earlier
    /// assignment of the same partition are not delivered any more.
    fn assign(&mut self, positions: Vec<Position>) -> Result<(), BusError>;

    /// Stops to read these partitions; what was fetched of them is dropped.
    fn unassign(&mut self, partitions: &[(TopicName, i32)]) -> Result<(), BusError>;

    /// Up to `max` records in partition order, as soon as there is one, or none after `wait`.
    fn poll(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Inbound>, BusError>> + Send;

    /// Queues a record; order per partition is kept. An error means that the producer must be reset.
    fn publish(&mut self, lane: u16, lane_seq: i64, record: &Outbound) -> Result<(), BusError>;

    /// What was acknowledged since the last call. An error means that something was not delivered.
    fn take_acks(&mut self) -> Result<Vec<Ack>, BusError>;

    /// Waits until an acknowledgement is there to be taken, or `wait` is over.
    fn acks_ready(&mut self, wait: Duration) -> impl Future<Output = ()> + Send;

    /// Drops everything queued and begins with a new producer.
    fn reset_producer(&mut self) -> impl Future<Output = Result<(), BusError>> + Send;

    /// What logs hold, in the order asked. All are asked for at once, and none twice: brokers refuse that.
    fn ranges(
        &mut self,
        logs: &[(TopicName, i32)],
    ) -> impl Future<Output = Result<Vec<LogRange>, BusError>> + Send;

    /// Reads stretches of logs, in the order asked, all at once. Offsets may be sparse.
    fn read_all(
        &mut self,
        stretches: &[Stretch],
    ) -> impl Future<Output = Result<Vec<Vec<Inbound>>, BusError>> + Send;

    /// What one log holds.
    fn range(
        &mut self,
        topic: &TopicName,
        partition: i32,
    ) -> impl Future<Output = Result<LogRange, BusError>> + Send {
        let log = [(topic.clone(), partition)];
        async move {
            let told = self.ranges(&log).await?.pop();
            told.ok_or_else(|| BusError::Unreachable("the range of a log is not told".to_owned()))
        }
    }

    /// Offset of the first record that was written at or after an instant; the log's end where there is none.
    fn offset_since(
        &mut self,
        topic: &TopicName,
        partition: i32,
        since: Micros,
    ) -> impl Future<Output = Result<i64, BusError>> + Send;

    /// Reads a stretch of one log, from `from` up to but not including `end`.
    fn read(
        &mut self,
        topic: &TopicName,
        partition: i32,
        from: i64,
        end: i64,
    ) -> impl Future<Output = Result<Vec<Inbound>, BusError>> + Send {
        let stretch = [Stretch { topic: topic.clone(), partition, from, end }];
        async move { Ok(self.read_all(&stretch).await?.pop().unwrap_or_default()) }
    }
}
