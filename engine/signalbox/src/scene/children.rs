//! The product's own processes as children: started, watched, stopped or killed.
//! They cannot outlive us. It restarts nothing by itself and does not know what the children do.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::error::SceneError;
use crate::starter;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Lines of its log that an error about a child repeats.
const TAIL_LINES: usize = 15;

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Name in messages and of the log file.
    pub name: String,
    /// Its executable.
    pub file: PathBuf,
    /// Arguments after the program's name.
    pub arguments: Vec<OsString>,
    /// Settings, on top of what we inherited.
    pub environment: Vec<(String, String)>,
    /// Standard output and error are appended here.
    pub log: PathBuf,
}

/// One running process of the product; killed on drop.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// `System` where the process cannot be started.
    pub fn spawn(program: &Program) -> Result<Self, SceneError> {
        let failed =
            |source| SceneError::System { doing: format!("starting {}", program.name), source };
        let log =
            OpenOptions::new().create(true).append(true).open(&program.log).map_err(failed)?;
        // The kernel kills the child when its parent dies, however that happens.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL").arg("--").arg(&program.file).args(&program.arguments);
        command.envs(program.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: Ctrl-C at the terminal reaches us alone, and we stop the children in order.
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        let process = starter::start(command).map_err(failed)?;
        Ok(Self { name: program.name.clone(), process, log: program.log.clone() })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the child has written its ready file, and returns what is in it.
    ///
    /// # Errors
    /// `Child` where it ends before, or takes longer than `within`.
    pub async fn ready(&mut self, file: &Path, within: Duration) -> Result<String, SceneError> {
        let deadline = Instant::now() + within;
        loop {
            if let Ok(content) = fs::read_to_string(file)
                && !content.is_empty()
            {
                return Ok(content);
            }
            if let Some(status) = self.look()? {
                return Err(self.failed(format!("ended while starting ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("was not ready within {} s", within.as_secs())));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until the child has ended by itself, and well.
    ///
    /// # Errors
    /// `Child` where it ends badly or takes longer than `within`.
    pub async fn finish(mut self, within: Duration) -> Result<(), SceneError> {
        let deadline = Instant::now() + within;
        loop {
            match self.look()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(format!("ended badly ({status})"))),
                None if Instant::now() > deadline => {
                    return Err(self.failed(format!("took longer than {} s", within.as_secs())));
                }
                None => sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// An error if the child has ended although nobody told it to.
    ///
    /// # Errors
    /// `Child` with the end of its log.
    pub fn must_run(&mut self) -> Result<(), SceneError> {
        match self.look()? {
            None => Ok(()),
            Some(status) => Err(self.failed(format!("ended by itself ({status})"))),
        }
    }

    /// Sends a signal, such as STOP and CONT.
    pub fn signal(&self, signal: Signal) {
        // A failure means that it has ended, which whoever waits for it finds out.
        let _ = kill_process(Pid::from_child(&self.process), signal);
    }

    /// SIGKILL, as a crash would; returns when the process is gone.
    pub fn kill(mut self) {
        self.kill_now();
    }

    /// Asks it to end, and kills it if it has not after `grace`. Says whether it ended by itself.
    ///
    /// # Errors
    /// `System` where the process cannot be waited for.
    pub async fn stop(mut self, grace: Duration) -> Result<bool, SceneError> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if self.look()?.is_some() {
                return Ok(true);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(false)
    }

    fn look(&mut self) -> Result<Option<std::process::ExitStatus>, SceneError> {
        let name = &self.name;
        let looked = self.process.try_wait();
        looked
            .map_err(|source| SceneError::System { doing: format!("looking after {name}"), source })
    }

    fn failed(&self, what: String) -> SceneError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        let log_tail = tail.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
        SceneError::Child { name: self.name.clone(), what, log_tail }
    }

    fn kill_now(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    /// Blocks for the moment that a kill takes.
    fn drop(&mut self) {
        self.kill_now();
    }
}
