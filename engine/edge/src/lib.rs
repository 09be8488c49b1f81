//! HTTP around the engine. For now the admin side alone: liveness, readiness and metrics.
//!
//! It deliberately knows no lane, no vendor and no database: what "ready" means is told to it by a [`Probe`]. It has no
//! authentication, so the admin address belongs on a private interface.

mod admin;
mod error;
mod exposition;
mod probe;
mod traces;

pub use admin::AdminServer;
pub use error::EdgeError;
pub use exposition::Metrics;
pub use probe::{Probe, Readiness};
pub use traces::Traces;
