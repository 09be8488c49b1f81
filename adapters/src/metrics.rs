//! Names of every metric that adapters emit, and the only place that emits them.
//! Labels are bounded: capabilities, vendors, operations and classes come from data of ours, never from a reply.

use metrics::{counter, gauge, histogram};
use std::time::Duration;

/// Vendor calls by capability, vendor, operation and class (`ok` or an error class).
pub const VENDOR_CALLS: &str = "signalbox_vendor_calls_total";
/// Seconds from the first byte sent to the last byte read, by capability, vendor and operation.
pub const VENDOR_CALL_SECONDS: &str = "signalbox_vendor_call_duration_seconds";
/// Requests that hold one of a vendor's places, by vendor.
pub const IN_FLIGHT: &str = "signalbox_adapter_in_flight";
/// Requests answered `unavailable` because the vendor had no place in time, by vendor.
pub const VENDOR_FULL: &str = "signalbox_adapter_vendor_full_total";
/// Outcomes published, by capability and outcome.
pub const OUTCOMES: &str = "signalbox_adapter_outcomes_total";
/// Seconds from a request's arrival at the adapter to the acknowledged outcome, by capability.
pub const REQUEST_SECONDS: &str = "signalbox_adapter_request_duration_seconds";
/// Requests dropped without an answer, by capability and reason.
pub const DROPPED: &str = "signalbox_adapter_dropped_total";
/// Permits asked for, by result.
pub const PERMITS: &str = "signalbox_permits_total";
/// Permits asked for in one statement.
pub const PERMIT_BATCH: &str = "signalbox_permit_batch_size";
/// Sends of a write after its first, by vendor.
pub const RESENDS: &str = "signalbox_adapter_resends_total";
/// Attempts that no table holds: a restored database. Pages.
pub const ATTEMPTS_MISSING: &str = "signalbox_attempts_missing_total";
/// Codes that no table knows, by table. Alerts.
pub const UNKNOWN_CODES: &str = "signalbox_unknown_codes_total";
/// Requests that went to a dead-letter topic, by topic and code.
pub const DEAD_LETTERS: &str = "signalbox_adapter_dead_letters_total";
/// Failures of Kafka, Postgres or the registry that were waited out, by part.
pub const DISTURBANCES: &str = "signalbox_adapter_disturbances_total";

/// One vendor call, as metrics see it.
pub(crate) struct Call<'a> {
    pub(crate) capability: &'a str,
    pub(crate) vendor: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) class: &'static str,
    pub(crate) took: Duration,
}

pub(crate) fn vendor_call(call: &Call<'_>) {
    let (capability, vendor) = (call.capability.to_owned(), call.vendor.to_owned());
    let operation = call.operation.to_owned();
    counter!(VENDOR_CALLS, "capability" => capability.clone(), "vendor" => vendor.clone(),
        "operation" => operation.clone(), "class" => call.class)
    .increment(1);
    histogram!(VENDOR_CALL_SECONDS, "capability" => capability, "vendor" => vendor, "operation" => operation)
        .record(call.took.as_secs_f64());
}

pub(crate) fn in_flight(vendor: &str, change: f64) {
    gauge!(IN_FLIGHT, "vendor" => vendor.to_owned()).increment(change);
}

pub(crate) fn vendor_full(vendor: &str) {
    counter!(VENDOR_FULL, "vendor" => vendor.to_owned()).increment(1);
}

pub(crate) fn outcome(capability: &str, outcome: &'static str, took: Duration) {
    counter!(OUTCOMES, "capability" => capability.to_owned(), "outcome" => outcome).increment(1);
    histogram!(REQUEST_SECONDS, "capability" => capability.to_owned()).record(took.as_secs_f64());
}

pub(crate) fn dropped(capability: &str, reason: &'static str) {
    counter!(DROPPED, "capability" => capability.to_owned(), "reason" => reason).increment(1);
}

pub(crate) fn permit(result: &'static str) {
    counter!(PERMITS, "result" => result).increment(1);
}

pub(crate) fn permit_batch(size: usize) {
    histogram!(PERMIT_BATCH).record(f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
}

pub(crate) fn resend(vendor: &str) {
    counter!(RESENDS, "vendor" => vendor.to_owned()).increment(1);
}

pub(crate) fn attempt_missing() {
    counter!(ATTEMPTS_MISSING).increment(1);
}

pub(crate) fn unknown_code(table: &'static str) {
    counter!(UNKNOWN_CODES, "table" => table).increment(1);
}

pub(crate) fn dead_letter(topic: &str, code: &'static str) {
    counter!(DEAD_LETTERS, "topic" => topic.to_owned(), "code" => code).increment(1);
}

pub(crate) fn disturbance(part: &'static str) {
    counter!(DISTURBANCES, "part" => part).increment(1);
}
