//! How a worker behaves. Every limit has a number.

use signalbox_schemas::TenantKey;
use std::time::Duration;

/// Settings of one worker.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Lanes of the installation when this program started. Keys are shared out among so many; where there are more by
    /// now, the worker ends.
    pub lanes: u16,
    /// Unique among workers that are alive; a worker that restarts under its id takes its lanes back at once.
    pub worker_id: String,
    /// How long a lane stays with a silent owner.
    pub lease: Duration,
    /// Most records in one tick.
    pub tick_records_max: usize,
    /// Records with which a tick takes no further lane: the others have their turns in the next ticks.
    pub tick_records_enough: usize,
    /// How long a tick waits for its first record.
    pub tick_wait: Duration,
    /// Most records committed and not acknowledged by Kafka before the worker stops reading.
    pub unpublished_max: usize,
    /// Most flows kept in memory.
    pub cached_flows_max: usize,
    /// Most keys of subjects kept in memory.
    pub cached_keys_max: usize,
    /// Bytes of the largest record that Kafka takes (`max.message.bytes` of the topics).
    pub record_bytes_max: usize,
    /// A command older than this is refused as `too_old`: its key may have been forgotten.
    pub dedupe_horizon: Duration,
    /// How long a lane may stand still while there is something to read before it is assigned anew.
    pub stall_after: Duration,
    /// Most flows of a migration that one tick moves, so that other work goes on.
    pub migrated_flows_max: usize,
    /// Secret from which ids are derived.
    pub tenant_key: TenantKey,
}

impl WorkerOptions {
    /// Settings for production.
    pub fn new(worker_id: impl Into<String>, lanes: u16, tenant_key: TenantKey) -> Self {
        Self {
            lanes,
            worker_id: worker_id.into(),
            lease: Duration::from_secs(5),
            tick_records_max: 2_000,
            tick_records_enough: 500,
            tick_wait: Duration::from_millis(20),
            unpublished_max: 20_000,
            cached_flows_max: 200_000,
            cached_keys_max: 50_000,
            record_bytes_max: 1_048_576,
            dedupe_horizon: Duration::from_hours(30 * 24),
            stall_after: Duration::from_secs(30),
            migrated_flows_max: 100,
            tenant_key,
        }
    }
}
