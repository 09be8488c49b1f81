//! Header names: CloudEvents' Kafka binding in binary mode, its correlation extension, W3C trace context, the lane's
//! own sequence, and Kafka Connect's dead-letter names. Values are UTF-8 strings. A repeated header: the last counts.

/// CloudEvents attribute, always `1.0`.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// CloudEvents attribute: identity of the event, the same for every copy of it.
pub const CE_ID: &str = "ce_id";
/// CloudEvents attribute: URI-reference of the producer.
pub const CE_SOURCE: &str = "ce_source";
/// CloudEvents attribute: full name of the record.
pub const CE_TYPE: &str = "ce_type";
/// CloudEvents attribute: RFC 3339 instant.
pub const CE_TIME: &str = "ce_time";
/// CloudEvents attribute: what the event is about.
pub const CE_SUBJECT: &str = "ce_subject";
/// CloudEvents correlation extension: one business flow.
pub const CE_CORRELATION: &str = "ce_correlationid";
/// CloudEvents correlation extension: `ce_id` of the causing event.
pub const CE_CAUSATION: &str = "ce_causationid";
/// Media type of the value (`datacontenttype` in the Kafka binding).
pub const CONTENT_TYPE: &str = "content-type";
/// Media type of Avro.
pub const AVRO: &str = "application/avro";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The caller's idempotency key, where it differs from the business id.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Lane that published the record.
pub const LANE: &str = "lane";
/// Epoch of the lane's owner when it published; not part of the content.
pub const LANE_EPOCH: &str = "lane_epoch";
/// The record's position among all that the lane published.
pub const LANE_SEQ: &str = "lane_seq";
/// The lane's previous position on this topic and partition; 0 where there is none.
pub const PREV_SEQ: &str = "prev_seq";
/// Revision of the flow that published the record.
pub const FLOW_REV: &str = "flow_rev";

/// Topic on which a forwarded record first arrived.
pub const FORWARD_TOPIC: &str = "forward_topic";

/// Kafka Connect: topic of the dead record.
pub const DLQ_TOPIC: &str = "__connect.errors.topic";
/// Kafka Connect: partition of the dead record.
pub const DLQ_PARTITION: &str = "__connect.errors.partition";
/// Kafka Connect: offset of the dead record.
pub const DLQ_OFFSET: &str = "__connect.errors.offset";
/// Kafka Connect: stage that failed.
pub const DLQ_STAGE: &str = "__connect.errors.stage";
/// Kafka Connect: class of the failure.
pub const DLQ_EXCEPTION: &str = "__connect.errors.exception.class.name";
/// Kafka Connect: message of the failure, without personal data.
pub const DLQ_MESSAGE: &str = "__connect.errors.exception.message";
/// Canonical error class of the failure.
pub const DLQ_CLASS: &str = "dlq.error.class";
/// Stable code of the failure.
pub const DLQ_CODE: &str = "dlq.error.code";
/// Instant of the failure, RFC 3339.
pub const DLQ_FAILED_AT: &str = "dlq.first-failed-at";
/// Who consumed the record when it failed.
pub const DLQ_GROUP: &str = "dlq.consumer-group";
/// Identity of the dead letter: topic, partition, offset.
pub const DLQ_RECORD: &str = "dlq.record-id";
