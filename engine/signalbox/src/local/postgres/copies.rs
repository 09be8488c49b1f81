//! Copies of the local Postgres: a backup that is put back, and a standby that takes its place. Made with Postgres's own
//! tools, as an operator would; what a restore or a failover means for the product is not known here.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::{Cluster, Postgres, ROLE, STOP_GRACE};
use crate::local::error::StackError;
use crate::local::ports::free_port;
use crate::local::process::{Answer, Running};
use crate::local::progress::Progress;

/// What a server says that follows another one.
const FOLLOWING_LINE: &str = "database system is ready to accept read-only connections";
/// The file of settings that a server reads last.
const SETTINGS: &str = "postgresql.auto.conf";

/// A copy of the data as it was at one time: same system identifier, same timeline.
#[derive(Debug)]
pub struct PostgresBackup {
    data: PathBuf,
}

/// A server that has everything that the primary has committed, before the primary says so.
#[derive(Debug)]
pub struct PostgresStandby {
    cluster: Cluster,
    running: Running,
}

impl Postgres {
    /// A copy of the data as it is now. The server goes on meanwhile.
    pub(crate) async fn back_up(&self) -> Result<PostgresBackup, StackError> {
        let data = self.cluster.directory.join(format!("backup-{:08x}", fastrand::u32(..)));
        self.copy(&data, &[]).await?;
        Ok(PostgresBackup { data })
    }

    /// Puts a copy in the place of the data. The server must be down.
    pub(crate) fn put_back(&self, backup: PostgresBackup) -> Result<(), StackError> {
        let swap = || StackError::while_doing("putting a backup of Postgres back");
        fs::remove_dir_all(&self.cluster.data).map_err(swap())?;
        fs::rename(backup.data, &self.cluster.data).map_err(swap())
    }

    /// Starts a standby, and has every commit wait for it from now on.
    pub(crate) async fn follow(&self) -> Result<PostgresStandby, StackError> {
        let data = self.cluster.directory.join("standby");
        self.copy(&data, &["-R"]).await?;
        let log = self.cluster.log.with_file_name("postgres-standby.log");
        let cluster = Cluster { data: data.clone(), log, ..self.cluster.clone() };
        let port = free_port(&[self.port])?;
        let arguments = vec!["-D".into(), data.into(), "-p".into(), port.to_string().into()];
        let mut running = Running::spawn(&cluster.recipe("postgres", arguments))?;
        running.ready(FOLLOWING_LINE, &Answer::Connection(port)).await?;
        self.wait_for_standby()?;
        Ok(PostgresStandby { cluster, running })
    }

    /// The primary dies with all its sessions, the standby is promoted and takes its place and address.
    pub(crate) async fn fail_over(&mut self, standby: PostgresStandby) -> Result<(), StackError> {
        self.kill().await;
        let PostgresStandby { cluster, running } = standby;
        let arguments = vec!["promote".into(), "-D".into(), cluster.data.clone().into()];
        Running::spawn(&cluster.recipe("pg_ctl", arguments))?.finish(&Progress::default()).await?;
        // It listens on a port of its own until it has the address of the one it replaces.
        running.stop(Signal::INT, STOP_GRACE).await?;
        self.cluster = cluster;
        self.start().await
    }

    async fn copy(&self, data: &Path, also: &[&str]) -> Result<(), StackError> {
        let port = self.port.to_string();
        let words = ["-h", "127.0.0.1", "-p", &port, "-U", ROLE, "-w", "-c", "fast", "--no-sync"];
        let words = words.iter().chain(also).copied();
        let mut arguments: Vec<OsString> = words.map(Into::into).collect();
        arguments.extend(["-D".into(), data.into()]);
        let recipe = self.cluster.recipe("pg_basebackup", arguments);
        Running::spawn(&recipe)?.finish(&Progress::default()).await
    }

    /// From now on a commit is told only when the standby has it on disk.
    fn wait_for_standby(&self) -> Result<(), StackError> {
        let setting = || StackError::while_doing("having Postgres wait for its standby");
        let file = self.cluster.data.join(SETTINGS);
        let opened = fs::OpenOptions::new().append(true).open(file);
        opened
            .and_then(|mut file| writeln!(file, "synchronous_standby_names = '*'"))
            .map_err(setting())?;
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It reads its settings again.
            kill_process(pid, Signal::HUP).map_err(|error| setting()(error.into()))?;
        }
        Ok(())
    }
}
