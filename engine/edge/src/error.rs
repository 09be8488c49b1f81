//! What can go wrong around the engine. Each is the operator's to correct.

use std::io;
use std::net::SocketAddr;

/// The admin server, the metrics or the traces could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {address} for health and metrics: {source}; choose another admin_listen, port 0 takes any"
    )]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The server failed while it ran.
    #[error("the admin server failed: {0}")]
    Server(#[source] io::Error),
    /// Spans cannot be exported.
    #[error(
        "traces.otlp cannot be used: {0}; name the base URL of a collector, such as http://localhost:4318"
    )]
    Traces(String),
    /// The recorder of metrics cannot be installed.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
}
