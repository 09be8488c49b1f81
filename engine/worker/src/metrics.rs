//! Every metric of the worker: its name, described once, and the functions that record it.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use signalbox_schemas::{LaneId, RecordName};
use std::time::Duration;

const TICK_RECORDS: &str = "signalbox_tick_records";
const COMMIT: &str = "signalbox_commit_duration_seconds";
const PUBLISH: &str = "signalbox_publish_duration_seconds";
const UNPUBLISHED: &str = "signalbox_unpublished_records";
/// Records not yet read, per lane: what a scaler asks for.
pub const LAG: &str = "signalbox_lane_lag_records";
const TIMER_LAG: &str = "signalbox_timer_lag_seconds";
const COMMANDS: &str = "signalbox_commands_total";
const REPEATS: &str = "signalbox_dedupe_hits_total";
const DEAD: &str = "signalbox_dead_letters_total";
const PARKED: &str = "signalbox_flows_parked_total";
const HELD: &str = "signalbox_inputs_held_total";
const ACTS: &str = "signalbox_operator_acts_total";
const MIGRATED: &str = "signalbox_flows_migrated_total";
const NOT_MIGRATED: &str = "signalbox_flows_not_migrated_total";
const CONFLICTS: &str = "signalbox_idempotency_conflicts_total";
const STARTED: &str = "signalbox_flows_started_total";
const ENDED: &str = "signalbox_flows_ended_total";
const LANES: &str = "signalbox_lanes_owned";
const GAP: &str = "signalbox_lane_gap_seconds";
const CLAIM: &str = "signalbox_lane_claim_duration_seconds";
const FENCED: &str = "signalbox_fenced_commits_total";
const RESUMED: &str = "signalbox_resumes_total";
const REPUBLISHED: &str = "signalbox_republished_records_total";
const LOST_TAILS: &str = "signalbox_lost_tails_total";
const ERASED_AND_MISSING: &str = "signalbox_erased_and_missing_records_total";
const STALLS: &str = "signalbox_lane_stalls_total";
const STOPPED: &str = "signalbox_lanes_stopped_total";
const ANCHORED: &str = "signalbox_anchors_total";
const ANCHOR_FAILURES: &str = "signalbox_anchor_failures_total";

/// Registers descriptions with the installed recorder.
pub fn describe() {
    describe_histogram!(TICK_RECORDS, "Records and timers handled in one tick");
    describe_histogram!(COMMIT, metrics::Unit::Seconds, "Duration of a tick's transaction");
    describe_histogram!(
        PUBLISH,
        metrics::Unit::Seconds,
        "From commit until the broker acknowledged everything of the tick"
    );
    describe_gauge!(
        UNPUBLISHED,
        "Records committed and not yet acknowledged by the broker, per lane"
    );
    describe_gauge!(LAG, "Records on the lane's inputs that it has not read");
    describe_histogram!(TIMER_LAG, metrics::Unit::Seconds, "How late timers fire");
    describe_counter!(
        COMMANDS,
        "Commands read, by record and so by major, and whether that is deprecated or overdue"
    );
    describe_counter!(REPEATS, "Inputs that had been applied before, by kind");
    describe_counter!(DEAD, "Records sent to a dead-letter topic, by topic and code");
    describe_counter!(PARKED, "Flows parked because an input could not be applied, by code");
    describe_counter!(HELD, "Inputs that wait because their flow is paused or parked");
    describe_counter!(ACTS, "Acts of operators that arrived, by act");
    describe_counter!(MIGRATED, "Flows moved to another version of their journey, by journey");
    describe_counter!(NOT_MIGRATED, "Flows that a migration left as they were, by reason");
    describe_counter!(
        CONFLICTS,
        "Commands refused because their key was used with another content"
    );
    describe_counter!(STARTED, "Flows started, by journey");
    describe_counter!(ENDED, "Flows ended, by journey and state");
    describe_gauge!(LANES, "Lanes that this worker owns");
    describe_histogram!(
        GAP,
        metrics::Unit::Seconds,
        "How long nobody read a lane that one worker handed over to another"
    );
    describe_histogram!(
        CLAIM,
        metrics::Unit::Seconds,
        "From the claim of a lane until it was checked, resumed and read"
    );
    describe_counter!(FENCED, "Commits refused because the lane belongs to another worker");
    describe_counter!(
        RESUMED,
        "Times that a producer was replaced and outputs were resumed from their logs"
    );
    describe_counter!(REPUBLISHED, "Records published again from the journal");
    describe_counter!(
        LOST_TAILS,
        "Outputs whose log was found to end before a record that the brokers had acknowledged"
    );
    describe_counter!(
        ERASED_AND_MISSING,
        "Journal rows that Kafka may have lost and that cannot be published again, their subject being erased"
    );
    describe_counter!(STALLS, "Times that a lane stood still while there was something to read");
    describe_counter!(STOPPED, "Lanes stopped because a cross-check failed: a person must act");
    describe_counter!(ANCHORED, "Lane heads signed and published, by lane");
    describe_counter!(ANCHOR_FAILURES, "Rounds in which lane heads could not be anchored");
}

pub(crate) fn tick(records: usize, commit: Duration) {
    histogram!(TICK_RECORDS).record(u32::try_from(records).map_or(f64::MAX, f64::from));
    histogram!(COMMIT).record(commit.as_secs_f64());
}

pub(crate) fn published(after: Duration) {
    histogram!(PUBLISH).record(after.as_secs_f64());
}

pub(crate) fn unpublished(lane: LaneId, records: usize) {
    gauge!(UNPUBLISHED, "lane" => lane.to_string())
        .set(u32::try_from(records).map_or(f64::MAX, f64::from));
}

pub(crate) fn lag(lane: LaneId, records: i64) {
    gauge!(LAG, "lane" => lane.to_string())
        .set(u32::try_from(records.max(0)).map_or(f64::MAX, f64::from));
}

pub(crate) fn timer_lag(late: Duration) {
    histogram!(TIMER_LAG).record(late.as_secs_f64());
}

pub(crate) fn command(record: &RecordName, deprecated: &'static str) {
    counter!(COMMANDS, "record" => record.to_string(), "deprecated" => deprecated).increment(1);
}

pub(crate) fn repeat(kind: &'static str) {
    counter!(REPEATS, "kind" => kind).increment(1);
}

pub(crate) fn dead_letter(topic: &str, code: &'static str) {
    counter!(DEAD, "topic" => topic.to_owned(), "code" => code).increment(1);
}

pub(crate) fn parked(code: &'static str) {
    counter!(PARKED, "code" => code).increment(1);
}

pub(crate) fn held() {
    counter!(HELD).increment(1);
}

pub(crate) fn act(act: &'static str) {
    counter!(ACTS, "act" => act).increment(1);
}

pub(crate) fn migrated(journey: &str) {
    counter!(MIGRATED, "journey" => journey.to_owned()).increment(1);
}

pub(crate) fn not_migrated(reason: &'static str) {
    counter!(NOT_MIGRATED, "reason" => reason).increment(1);
}

pub(crate) fn idempotency_conflict() {
    counter!(CONFLICTS).increment(1);
}

pub(crate) fn started(journey: &str) {
    counter!(STARTED, "journey" => journey.to_owned()).increment(1);
}

pub(crate) fn ended(journey: &str, state: &str) {
    counter!(ENDED, "journey" => journey.to_owned(), "state" => state.to_owned()).increment(1);
}

pub(crate) fn lanes(owned: usize) {
    gauge!(LANES).set(u32::try_from(owned).map_or(f64::MAX, f64::from));
}

/// A lane is served from now on; the gap is known where its last owner gave it back.
pub(crate) fn claimed(took: Duration, gap: Option<Duration>) {
    histogram!(CLAIM).record(took.as_secs_f64());
    if let Some(gap) = gap {
        histogram!(GAP).record(gap.as_secs_f64());
    }
}

pub(crate) fn fenced(lanes: usize) {
    counter!(FENCED).increment(u64::try_from(lanes).unwrap_or(u64::MAX));
}

pub(crate) fn resumed() {
    counter!(RESUMED).increment(1);
}

pub(crate) fn republished(records: usize) {
    counter!(REPUBLISHED).increment(u64::try_from(records).unwrap_or(u64::MAX));
}

pub(crate) fn lost_tail() {
    counter!(LOST_TAILS).increment(1);
}

pub(crate) fn erased_and_missing() {
    counter!(ERASED_AND_MISSING).increment(1);
}

pub(crate) fn stalled(lane: LaneId) {
    counter!(STALLS, "lane" => lane.to_string()).increment(1);
}

pub(crate) fn stopped(lane: LaneId) {
    counter!(STOPPED, "lane" => lane.to_string()).increment(1);
}

pub(crate) fn anchored(lane: LaneId) {
    counter!(ANCHORED, "lane" => lane.to_string()).increment(1);
}

pub(crate) fn anchor_failed() {
    counter!(ANCHOR_FAILURES).increment(1);
}
