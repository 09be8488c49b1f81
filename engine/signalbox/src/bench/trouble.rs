//! What goes wrong on purpose in a benchmark: a vendor that takes connections and never answers, and who is led to it.
//! The journey is that of the benchmark with what is other about it.

use std::net::{Ipv4Addr, TcpListener};

use crate::scene::SceneError;

/// Routes by which such a vendor scores for fraud. Where it is the adapter is told as of a sandbox.
pub(crate) const ROUTING: &str = include_str!("../../../../deploy/bench/silent.yaml");

/// The customer segment that is scored for fraud, where one is told from the others.
pub(crate) const SCORED: &str = "company";

/// A vendor that lives as long as this: the kernel takes its connections, and nobody reads what comes by them.
pub(crate) struct SilentVendor {
    /// Where it is, as host:port.
    pub(crate) address: String,
    _listener: TcpListener,
}

impl SilentVendor {
    pub(crate) fn open() -> Result<Self, SceneError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(SceneError::while_doing("opening a port for a vendor"))?;
        let address = listener.local_addr();
        let address = address.map_err(SceneError::while_doing("finding the port of a vendor"))?;
        Ok(Self { address: address.to_string(), _listener: listener })
    }
}

/// The journey, in which one segment alone is scored for fraud.
pub(crate) fn journey(usual: &str) -> String {
    let choice = format!(
        "  is_it_scored:\n    choose:\n      - when: command.segment == '{SCORED}'\n        go: score_fraud\n      \
         - otherwise: send\n\n  score_fraud:\n"
    );
    usual
        .replace("clear: score_fraud", "clear: is_it_scored")
        .replace("released: score_fraud", "released: is_it_scored")
        .replace("  score_fraud:\n", &choice)
        .replace(" and fraud.score = approve", "")
}
