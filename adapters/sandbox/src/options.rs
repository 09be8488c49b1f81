//! What a sandbox can be told at start. Faults that change while it runs are set over HTTP instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Extra time added to every vendor answer, drawn evenly between the two bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Least extra time.
    pub min: Duration,
    /// Most extra time; a value below `min` counts as `min`.
    pub max: Duration,
}

/// Settings of one sandbox process.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Address to listen on; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Sandbox time from the creation of a transfer to its settlement.
    pub settle_after: Duration,
    /// Sandbox time from settlement to the return, for personas whose transfers come back.
    pub return_after: Duration,
    /// Extra time per vendor answer, half of it before the effect and half after.
    pub latency: Latency,
    /// How long the persona `Slow` holds back an answer.
    pub slow_for: Duration,
    /// How long a request hangs before its connection is closed without an answer.
    pub hang_for: Duration,
    /// Number of polls of an identity check before it shows its result; 0 counts as 1.
    pub decide_after_polls: u32,
    /// Start value of every random choice: same seed, same requests in order, same choices.
    pub seed: u64,
    /// Where effects are kept as JSON lines, so that a killed sandbox finds them again.
    pub ledger_file: Option<PathBuf>,
    /// Most transfers kept (about 1 KB of memory each); a transfer beyond it is refused with 503.
    pub effects_max: usize,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            settle_after: Duration::from_secs(2),
            return_after: Duration::from_secs(3),
            latency: Latency::default(),
            slow_for: Duration::from_secs(3),
            hang_for: Duration::from_secs(60),
            decide_after_polls: 1,
            seed: 1,
            ledger_file: None,
            effects_max: 2_000_000,
        }
    }
}
