//! Does: leases lanes, reads their inputs, lets `flow` decide, commits a tick in one transaction, publishes in sequence.
//! It knows no vendor and no HTTP. Read `Worker` first, then `decide`, which is the tick without I/O.

mod anchors;
mod claim;
mod decide;
mod health;
mod intake;
mod keys;
mod lane;
mod library;
mod metrics;
mod migrating;
mod options;
mod outbox;
mod preview;
mod reconcile;
mod traces;
mod worker;

pub use anchors::{ANCHORS, Anchoring, LaneHeads};
pub use health::WorkerHealth;
pub use library::{JourneyLibrary, LibraryError};
pub use metrics::{LAG as LAG_METRIC, describe as describe_metrics};
pub use options::WorkerOptions;
pub use outbox::decode_records;
pub use preview::{Preview, PreviewError, Sample, preview};
pub use reconcile::{
    Known, LaneGap, Missing, MissingEnding, MissingWrite, Permits, ReconcileError, missing, settle,
};
pub use worker::{Worker, WorkerError};
