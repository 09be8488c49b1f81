//! PostgreSQL of the local stack: a private cluster made by `initdb`, with durable settings.
//!
//! Postgres refuses to run as root. As root we run it as another account, which must be able to
//! enter its directory: see [`base_directory`]. No SQL is spoken here: databases are created and
//! scripts are run by Postgres's own tools.

mod copies;

pub use copies::{PostgresBackup, PostgresStandby};

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use super::disk;
use super::error::StackError;
use super::ports::{PORT_TRIES_MAX, free_port};
use super::process::{Account, Answer, Ending, Recipe, Running};
use super::progress::Progress;
use super::scratch::Scratch;
use super::stack::StackOptions;

/// The role that owns everything; there is no password on loopback.
const ROLE: &str = "signalbox";
const READY_LINE: &str = "database system is ready to accept connections";
const STOP_GRACE: Duration = Duration::from_secs(30);
/// Longest identifier that Postgres keeps whole, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// One Postgres cluster; its port and data stay the same over restarts.
#[derive(Debug)]
pub(crate) struct Postgres {
    cluster: Cluster,
    port: u16,
    running: Option<Running>,
}

impl Postgres {
    /// Makes a cluster with the server programs in `bin` and starts it.
    pub(crate) async fn create(
        bin: &Path,
        account: Option<Account>,
        scratch: &Scratch,
        options: &StackOptions,
    ) -> Result<Self, StackError> {
        let cluster = Cluster::init(bin, account, scratch, options).await?;
        let mut tries = 0;
        loop {
            let port = free_port(&[])?;
            let mut postgres = Self { cluster: cluster.clone(), port, running: None };
            tries += 1;
            match postgres.start().await {
                Err(StackError::PortTaken { .. }) if tries < PORT_TRIES_MAX => {}
                started => return started.map(|()| postgres),
            }
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// Starts the server unless it runs, and waits until it takes connections; after a kill that
    /// includes its crash recovery.
    pub(crate) async fn start(&mut self) -> Result<(), StackError> {
        if self.running.is_none() {
            let data = self.cluster.data.clone().into();
            let port = self.port.to_string().into();
            let arguments = vec!["-D".into(), data, "-p".into(), port];
            let mut running = Running::spawn(&self.cluster.recipe("postgres", arguments))?;
            running.ready(READY_LINE, &Answer::Connection(self.port)).await?;
            self.running = Some(running);
        }
        Ok(())
    }

    /// Postgres's "fast" shutdown: sessions are ended, everything is written.
    pub(crate) async fn stop(&mut self) -> Result<(), StackError> {
        match self.running.take() {
            Some(running) => running.stop(Signal::INT, STOP_GRACE).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Creates an empty database and returns its address.
    pub(crate) async fn create_database(&self, name: &str) -> Result<String, StackError> {
        if !needs_no_quoting(name) {
            return Err(StackError::DatabaseName { name: name.to_owned() });
        }
        let port = self.port.to_string();
        // From template0, because nobody can be connected to that and be in the way.
        let words = ["-h", "127.0.0.1", "-p", &port, "-U", ROLE, "-w", "-T", "template0", name];
        let recipe = self.cluster.recipe("createdb", words.map(OsString::from).into());
        Running::spawn(&recipe)?.finish(&Progress::default()).await?;
        Ok(format!("postgres://{ROLE}@127.0.0.1:{port}/{name}"))
    }

    /// Has `psql` run a script on a database.
    pub(crate) async fn run_script(
        &self,
        database: &str,
        script: PathBuf,
        progress: &Progress,
    ) -> Result<(), StackError> {
        let mut arguments: Vec<OsString> =
            [database, "-w", "-X", "-q", "-f"].map(Into::into).into();
        arguments.push(script.into());
        Running::spawn(&self.cluster.recipe("psql", arguments))?.finish(progress).await
    }
}

/// A data directory and the programs and account that go with it.
#[derive(Debug, Clone)]
struct Cluster {
    bin: PathBuf,
    account: Option<Account>,
    directory: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

impl Cluster {
    async fn init(
        bin: &Path,
        account: Option<Account>,
        scratch: &Scratch,
        options: &StackOptions,
    ) -> Result<Self, StackError> {
        let StackOptions { progress, .. } = options;
        let directory = scratch.path().join("postgres");
        let creating = || StackError::while_doing("creating the directory for Postgres");
        fs::create_dir(&directory).map_err(creating())?;
        disk::make_small(&directory, options.disk_bytes)?;
        if let Some(Account { uid, gid }) = account {
            chown(&directory, Some(uid), Some(gid)).map_err(creating())?;
        }
        let data = directory.join("data");
        let log = scratch.log("postgres");
        let cluster = Self { bin: bin.to_owned(), account, directory, data, log };
        let words = ["-A", "trust", "-U", ROLE, "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        let mut arguments: Vec<OsString> = words.map(OsString::from).into();
        arguments.push(cluster.data.clone().into());
        Running::spawn(&cluster.recipe("initdb", arguments))?.finish(progress).await?;
        let settings = settings(cluster.supports_lz4(progress).await?);
        // The server reads this file last, so it overrides what initdb wrote.
        fs::write(cluster.data.join("postgresql.auto.conf"), settings)
            .map_err(StackError::while_doing("writing Postgres's settings"))?;
        Ok(cluster)
    }

    /// Whether this build of the server has lz4, which is a compile-time option: it refuses the
    /// setting if not.
    async fn supports_lz4(&self, progress: &Progress) -> Result<bool, StackError> {
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.data.clone().into()];
        arguments.extend(["-c", "wal_compression=lz4", "-C", "wal_compression"].map(Into::into));
        let probe = Running::spawn(&self.recipe("postgres", arguments))?;
        match probe.finish(progress).await {
            Ok(()) => Ok(true),
            Err(StackError::PartFailed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn recipe(&self, program: &'static str, arguments: Vec<OsString>) -> Recipe {
        Recipe {
            part: program,
            program: self.bin.join(program),
            arguments,
            directory: self.directory.clone(),
            account: self.account,
            ending: Ending::Orderly,
            log: self.log.clone(),
        }
    }
}

/// The account to run Postgres as: our own, or as root that of the Debian package, or `nobody`.
pub(crate) fn account() -> Result<Option<Account>, StackError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")
        .map_err(StackError::while_doing("looking for an account to run Postgres as"))?;
    let found = ["postgres", "nobody"].iter().find_map(|name| account_in(&accounts, name));
    found.map(Some).ok_or_else(|| StackError::ProgramsMissing {
        detail: "  Postgres does not run as root, and there is neither an account `postgres` nor \
                 `nobody`: run this as an ordinary user"
            .to_owned(),
    })
}

/// The directory for temporary files that `account` can enter: the one of the environment, or
/// else the system's.
pub(crate) fn base_directory(account: Option<Account>) -> PathBuf {
    let wanted = std::env::temp_dir();
    let Some(Account { uid, gid }) = account else {
        return wanted;
    };
    let can_enter = |directory: &Path| {
        let mut test = Command::new("setpriv");
        test.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        test.args(["--", "test", "-x"]).arg(directory).stdin(Stdio::null());
        test.status().is_ok_and(|status| status.success())
    };
    if can_enter(&wanted) { wanted } else { PathBuf::from("/tmp") }
}

fn account_in(accounts: &str, name: &str) -> Option<Account> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        is_it.then_some(Account { uid, gid })
    })
}

fn needs_no_quoting(name: &str) -> bool {
    let rest_is_plain =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && rest_is_plain
        && name.len() <= NAME_BYTES_MAX
}

/// Durable, as in production; the rest is room for a machine that the whole stack shares.
fn settings(lz4: bool) -> String {
    let wal_compression = if lz4 { "lz4" } else { "on" };
    format!(
        "listen_addresses = '127.0.0.1'\n\
         unix_socket_directories = ''\n\
         fsync = on\n\
         synchronous_commit = on\n\
         full_page_writes = on\n\
         max_connections = 100\n\
         shared_buffers = 256MB\n\
         max_wal_size = 4GB\n\
         wal_compression = {wal_compression}\n\
         logging_collector = off\n\
         log_checkpoints = off\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{Account, account_in, needs_no_quoting, settings};

    #[test]
    fn the_server_keeps_its_promises_and_listens_on_loopback_only() {
        for lz4 in [true, false] {
            let settings = settings(lz4);
            for line in ["fsync = on", "synchronous_commit = on", "listen_addresses = '127.0.0.1'"]
            {
                assert!(settings.lines().any(|given| given == line), "{line}");
            }
        }
        assert!(settings(true).contains("wal_compression = lz4\n"));
        assert!(settings(false).contains("wal_compression = on\n"));
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\n\
                        a broken line\n\
                        postgresx:x:7:8::/:/bin/sh\n\
                        postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account_in(accounts, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account_in(accounts, "nobody"), None);
    }

    #[test]
    fn a_database_name_that_needs_quoting_is_refused() {
        for (name, plain) in [
            ("signalbox", true),
            ("run_2", true),
            ("", false),
            ("2nd", false),
            ("-h", false),
            ("Upper", false),
            ("a/b", false),
            ("a?host=elsewhere", false),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(needs_no_quoting(name), plain, "{name:?}");
        }
    }
}
