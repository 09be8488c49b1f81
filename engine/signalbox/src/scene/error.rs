//! What can go wrong while a scene is set up or watched. Each variant carries what a person needs to act.

use std::io;

use signalbox_bus::{BusError, RegistryError};
use signalbox_schemas::EncodeError;
use signalbox_store::StoreError;

use crate::local::StackError;

/// Why a scene did not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// Kafka, the registry or Postgres did not start: the text says what to do.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// Kafka does not do what it was asked.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The registry does not do what it was asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Postgres does not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of ours does not fit the contract: a bug here.
    #[error("a record does not fit the contract: {0}")]
    Encode(#[from] EncodeError),
    /// The contract or data compiled into this program cannot be used: a bug here.
    #[error("{0}")]
    Data(String),
    /// A process of ours ended or did not answer in time: read its log.
    #[error("{name} {what}; its log ends with\n{log_tail}")]
    Child {
        /// The process.
        name: String,
        /// What it did, as a phrase after its name.
        what: String,
        /// The last lines that it logged.
        log_tail: String,
    },
    /// The system does not keep a promise: the text says which, and by which payouts it shows.
    #[error("{0}")]
    Broken(String),
    /// The sandbox's own routes do not answer.
    #[error("the sandbox does not answer: {0}")]
    Sandbox(#[from] reqwest::Error),
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl SceneError {
    /// Wraps an I/O error with what was being done, for `map_err`.
    pub(crate) fn while_doing(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
