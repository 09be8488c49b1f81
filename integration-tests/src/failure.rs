//! Why a test or a run of chaos fails: a promise that does not hold, or surroundings that do not work.

use signalbox::scene::SceneError;
use signalbox_bus::BusError;
use signalbox_store::StoreError;

/// Why it fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A promise of the product does not hold; the text says which and where.
    #[error("{0}")]
    Broken(String),
    /// Something that was waited for did not come.
    #[error("after {seconds} s there was still not {what}; seen meanwhile: {seen}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What there was instead.
        seen: String,
    },
    /// The program under test is missing or older than its sources: build it first.
    #[error("{0}; run `make test`, which builds it")]
    Program(String),
    /// Servers or processes cannot be started or reached.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// Kafka, asked by the test itself.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Postgres, asked by the test itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Postgres, tampered with by the test itself.
    #[error("Postgres: {0}")]
    Sql(#[from] sqlx::Error),
    /// The sandbox's control routes.
    #[error("the sandbox does not answer: {0}")]
    Bank(#[from] reqwest::Error),
    /// The machine.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Failure {
    /// Wraps an I/O error with what was being done, for `map_err`.
    pub fn while_doing(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
