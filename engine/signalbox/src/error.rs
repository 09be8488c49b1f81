//! What ends a command, by what its caller does next. Messages say what went wrong, where, and what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong: correct it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was given on the command line or in a file is wrong: correct it.
    #[error("{0}")]
    Input(String),
    /// A check was carried out and says no; its findings are printed already.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard output is gone or full.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The system refuses something that every command needs.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] signalbox_bus::BusError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] signalbox_bus::RegistryError),
    /// Postgres.
    #[error(transparent)]
    Store(#[from] signalbox_store::StoreError),
    /// The contract that this program was built with: a bug.
    #[error("the contract of this program is broken: {0}")]
    Contract(#[from] &'static signalbox_schemas::ContractError),
    /// What was released of it, as this program was built with it: a bug.
    #[error("the released schemas of this program are broken: {0}")]
    Released(#[from] signalbox_schemas::ContractError),
    /// The consumers that this program was built with: a bug.
    #[error(transparent)]
    Consumers(#[from] signalbox_schemas::ConsumersError),
    /// Keys of customers.
    #[error(transparent)]
    Keys(#[from] signalbox_vault::ProviderError),
    /// What is stored sealed.
    #[error("what is stored cannot be read: {0}")]
    Sealed(#[from] signalbox_vault::OpenError),
    /// Flows cannot be looked at.
    #[error(transparent)]
    Preview(#[from] signalbox_worker::PreviewError),
    /// What a database has forgotten.
    #[error(transparent)]
    Reconcile(#[from] signalbox_worker::ReconcileError),
    /// Health and metrics.
    #[error(transparent)]
    Edge(#[from] signalbox_edge::EdgeError),
    /// The worker of an engine.
    #[error(transparent)]
    Worker(#[from] signalbox_worker::WorkerError),
    /// The adapters.
    #[error(transparent)]
    Adapter(#[from] signalbox_adapters::AdapterError),
    /// The simulated vendors.
    #[error(transparent)]
    Sandbox(#[from] signalbox_sandbox::SandboxError),
    /// A local installation of our own.
    #[error(transparent)]
    Scene(#[from] crate::scene::SceneError),
}

impl CliError {
    /// 1: a check says no. 2: something given is wrong. 3: the surroundings fail. 0: nobody reads the output any more.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_) => 1,
            Self::Config(_) | Self::Input(_) | Self::File { .. } => 2,
            _ => 3,
        })
    }

    /// Whether somebody must be told; a closed pipe is no news.
    pub(crate) fn is_news(&self) -> bool {
        !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
