//! What goes wrong on purpose in a benchmark: a vendor that takes connections and never answers, and who is led to it.
//! The journey is that of the benchmark with what is other about it.

use std::net::{Ipv4Addr, TcpListener};

use crate::scene::SceneError;

const ROUTING: &str = include_str!("../../../../deploy/bench/silent.yaml");
/// Where the vendor is in that file.
const NOWHERE: &str = "silent.invalid";

/// The customer segment that is scored for fraud, where one is told from the others.
pub(crate) const SCORED: &str = "company";

/// A vendor that lives as long as this: the kernel takes its connections, and nobody reads what comes by them.
pub(crate) fn silent_vendor() -> Result<TcpListener, SceneError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(SceneError::while_doing("opening a port for a vendor"))
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

/// The routes, by which such a vendor scores.
pub(crate) fn routes(vendor: &TcpListener) -> Result<String, SceneError> {
    let address = vendor.local_addr();
    let address = address.map_err(SceneError::while_doing("finding the port of a vendor"))?;
    Ok(ROUTING.replace(NOWHERE, &address.to_string()))
}
