//! The three parts as one thing: started together, broken one by one, stopped together.

use std::path::{Path, PathBuf};

use super::error::StackError;
use super::install::{default_cache, install};
use super::kafka::Kafka;
use super::postgres::{Postgres, PostgresBackup, PostgresStandby, account, base_directory};
use super::progress::Progress;
use super::registry::Registry;
use super::scratch::Scratch;

/// How to start a [`LocalStack`].
#[derive(Debug, Clone, Default)]
pub struct StackOptions {
    /// Leave the directory with data and logs behind when the stack ends.
    pub keep: bool,
    /// Where resolved parts are kept between starts. By default `.local/` of the checkout that
    /// the working directory is in.
    pub cache: Option<PathBuf>,
    /// Who is told what is happening.
    pub progress: Progress,
    /// Ports under which Kafka is advertised to clients that come by further listeners, one each. Whatever stands there
    /// leads to the address at the same place of [`LocalStack::kafka_doors`].
    pub kafka_doors: Vec<u16>,
    /// Settings of Kafka over those that are usual here.
    pub kafka_settings: Vec<(String, String)>,
    /// Kafka and Postgres each get a file system of this size of their own, in memory: it can be filled up. Takes the
    /// privilege to mount, in a mount namespace that ends with this process.
    pub disk_bytes: Option<u64>,
}

/// A running Kafka, registry and Postgres, on loopback, with data of their own.
///
/// They end and their directory goes when this is dropped or stopped; dropping blocks for some
/// tens of milliseconds. When the process is killed the kernel ends the children, and the next
/// start removes the directory.
///
/// A part's address stays the same over its restarts. Stopping or killing a part that is down, and
/// starting one that runs, does nothing.
#[derive(Debug)]
pub struct LocalStack {
    // The parts come before the directory: fields are dropped in this order.
    kafka: Kafka,
    registry: Registry,
    postgres: Postgres,
    scratch: Scratch,
}

impl LocalStack {
    /// Installs what is missing, starts all parts and returns when each answers: some ten seconds
    /// on two cores, and a minute or more the first time, for the downloads.
    ///
    /// # Errors
    /// See [`StackError`]; whatever had been started is ended again.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        let progress = &options.progress;
        let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
        let installed = install(&cache, progress).await?;
        let account = account()?;
        let scratch = Scratch::create(&base_directory(account), options.keep)?;
        progress.say("starting PostgreSQL, Kafka and the registry");
        let (postgres, kafka, registry) = tokio::try_join!(
            Postgres::create(&installed.postgres_bin, account, &scratch, &options),
            Kafka::create(&installed.java_parts, &scratch, &options),
            Registry::create(&installed.java_parts, &scratch),
        )?;
        let stack = Self { kafka, registry, postgres, scratch };
        progress.say(&format!(
            "Kafka on {}, registry on {}",
            stack.bootstrap(),
            stack.registry_url()
        ));
        Ok(stack)
    }

    /// Kafka's address for clients, as `127.0.0.1:PORT`; plaintext, no authentication.
    pub fn bootstrap(&self) -> &str {
        self.kafka.bootstrap()
    }

    /// Where Kafka's further listeners are, in the order of their advertised ports.
    pub fn kafka_doors(&self) -> Vec<String> {
        self.kafka.doors()
    }

    /// The registry's address: the root of its Confluent-compatible interface, without a slash at
    /// the end.
    pub fn registry_url(&self) -> &str {
        self.registry.url()
    }

    /// Where the parts keep their data and, under `logs/`, their logs.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Creates an empty database and returns its address, `postgres://ROLE@127.0.0.1:PORT/NAME`.
    /// The role is a superuser without a password.
    ///
    /// # Errors
    /// `DatabaseName` for a name that would need quoting; `PartFailed` when the database exists
    /// already or Postgres is down.
    pub async fn create_database(&self, name: &str) -> Result<String, StackError> {
        self.postgres.create_database(name).await
    }

    /// Has Postgres's own client run a script on a database.
    ///
    /// # Errors
    /// `PartFailed` with what the client wrote where a statement fails or Postgres is down.
    pub async fn run_script(
        &self,
        database: &str,
        script: PathBuf,
        progress: &Progress,
    ) -> Result<(), StackError> {
        self.postgres.run_script(database, script, progress).await
    }

    /// The parts that run and their process ids, for the accounting of CPU time. Postgres's is the
    /// postmaster: its work is done in child processes.
    pub fn pids(&self) -> Vec<(&'static str, u32)> {
        let parts = [
            ("kafka", self.kafka.pid()),
            ("registry", self.registry.pid()),
            ("postgres", self.postgres.pid()),
        ];
        parts.into_iter().filter_map(|(name, pid)| Some((name, pid?))).collect()
    }

    /// Kills Kafka as a crash would; returns when it is gone.
    pub async fn kill_kafka(&mut self) {
        self.kafka.kill().await;
    }

    /// Shuts Kafka down in order; kills it if that takes longer than 30 s.
    ///
    /// # Errors
    /// `System` when the process cannot be waited for.
    pub async fn stop_kafka(&mut self) -> Result<(), StackError> {
        self.kafka.stop().await
    }

    /// Starts Kafka again on its address and data, and waits until it serves. After a kill that
    /// takes some ten seconds: the controller lets the dead broker's session run out first.
    ///
    /// # Errors
    /// `PartFailed` when it ends or does not answer within two minutes.
    pub async fn start_kafka(&mut self) -> Result<(), StackError> {
        self.kafka.start().await
    }

    /// Kills the registry as a crash would; what was registered is lost.
    pub async fn kill_registry(&mut self) {
        self.registry.kill().await;
    }

    /// Shuts the registry down in order; what was registered is lost all the same.
    ///
    /// # Errors
    /// `System` when the process cannot be waited for.
    pub async fn stop_registry(&mut self) -> Result<(), StackError> {
        self.registry.stop().await
    }

    /// Starts the registry again on its address, **empty**: register the schemas anew. Their ids
    /// may differ from those of before.
    ///
    /// # Errors
    /// `PartFailed` when it ends or does not answer within two minutes.
    pub async fn start_registry(&mut self) -> Result<(), StackError> {
        self.registry.start().await
    }

    /// Kills Postgres with all its sessions as a crash would; returns when they are gone.
    pub async fn kill_postgres(&mut self) {
        self.postgres.kill().await;
    }

    /// Shuts Postgres down in order, ending its sessions; kills it if that takes longer than 30 s.
    ///
    /// # Errors
    /// `System` when the process cannot be waited for.
    pub async fn stop_postgres(&mut self) -> Result<(), StackError> {
        self.postgres.stop().await
    }

    /// Starts Postgres again on its address and data, crash recovery included.
    ///
    /// # Errors
    /// `PartFailed` when it ends or does not answer within two minutes.
    pub async fn start_postgres(&mut self) -> Result<(), StackError> {
        self.postgres.start().await
    }

    /// A copy of Postgres's data as they are now.
    ///
    /// # Errors
    /// `PartFailed` when Postgres is down or the copy fails.
    pub async fn back_up_postgres(&self) -> Result<PostgresBackup, StackError> {
        self.postgres.back_up().await
    }

    /// Kills Postgres and starts it on an earlier copy of its data: everything since is forgotten.
    ///
    /// # Errors
    /// As `start_postgres`; `System` when the data cannot be replaced.
    pub async fn restore_postgres(&mut self, backup: PostgresBackup) -> Result<(), StackError> {
        self.postgres.kill().await;
        self.postgres.put_back(backup)?;
        self.postgres.start().await
    }

    /// Starts a synchronous standby of Postgres.
    ///
    /// # Errors
    /// `PartFailed` when it cannot be made or does not follow.
    pub async fn follow_postgres(&self) -> Result<PostgresStandby, StackError> {
        self.postgres.follow().await
    }

    /// Kills Postgres and has its standby take its place and address.
    ///
    /// # Errors
    /// `PartFailed` when the standby is not promoted.
    pub async fn fail_over_postgres(&mut self, to: PostgresStandby) -> Result<(), StackError> {
        self.postgres.fail_over(to).await
    }

    /// Where Kafka keeps its logs, a folder for each partition.
    pub fn kafka_logs(&self) -> PathBuf {
        self.kafka.data()
    }

    /// Ends all parts. Where the data is kept they are shut down in order, so that they can be
    /// started on it again; else they are ended at once. Failures do not matter any more: dropping
    /// kills what is left.
    pub async fn stop(mut self) {
        if self.scratch.is_kept() {
            let _ = tokio::join!(self.kafka.stop(), self.registry.stop(), self.postgres.stop());
        }
    }
}
