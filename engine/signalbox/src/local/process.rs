//! Child processes that cannot outlive us: started, watched, ended.
//!
//! Every child is started through `setpriv --pdeathsig`, so the kernel signals it when its parent
//! dies, however that happens; see `starter`.
//!
//! This file knows nothing about what the children are; it restarts nothing by itself.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};

use super::error::{StackError, tail, tells_of_taken_port};
use super::progress::Progress;
use crate::starter;

/// How often a child is looked at while it is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// A part that does not answer after this time counts as failed. It takes seconds on a quiet
/// machine; the rest is for two stacks starting beside a build.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A step that takes longer than this says so, and again after each further such time.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a child that ends in an orderly way may take before it is killed.
const ORDERLY_END_WITHIN: Duration = Duration::from_secs(3);
/// How long the death of a killed child's own children is waited for.
const ORPHANS_GONE_WITHIN: Duration = Duration::from_secs(5);

/// An account of the machine that a child runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How a child ends when we are done with it or are dead ourselves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// At once. For what leaves nothing behind that matters.
    Killed,
    /// By the signals with which Postgres frees its shared memory; killed it would leak that.
    Orderly,
}

impl Ending {
    fn on_parent_death(self) -> &'static str {
        match self {
            Self::Killed => "KILL",
            Self::Orderly => "INT",
        }
    }
}

/// What to start and how.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// Name of the part in errors.
    pub(crate) part: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Working directory; `account` must be able to enter it.
    pub(crate) directory: PathBuf,
    /// The account to switch to; `None` stays what we are.
    pub(crate) account: Option<Account>,
    pub(crate) ending: Ending,
    /// Standard output and standard error are appended here.
    pub(crate) log: PathBuf,
}

/// How a part shows that it serves.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It accepts connections on this port of 127.0.0.1.
    Connection(u16),
    /// It answers a GET of this address with success.
    Get(String),
}

/// A child in its own process group; killed on drop.
#[derive(Debug)]
pub(crate) struct Running {
    part: &'static str,
    ending: Ending,
    child: Child,
    reaped: bool,
    log: PathBuf,
    log_start: u64,
}

impl Running {
    /// Starts a child; its log goes on after what earlier ones wrote.
    pub(crate) fn spawn(recipe: &Recipe) -> Result<Self, StackError> {
        let failed =
            |source| StackError::System { doing: format!("starting {}", recipe.part), source };
        let log = OpenOptions::new().create(true).append(true).open(&recipe.log).map_err(failed)?;
        let log_start = log.metadata().map_err(failed)?.len();
        let mut command = command(recipe);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        let child = starter::start(command).map_err(failed)?;
        Ok(Self {
            part: recipe.part,
            ending: recipe.ending,
            child,
            reaped: false,
            log: recipe.log.clone(),
            log_start,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the child has logged `line` and gives its answer. The line is what tells our
    /// child from a stranger that took the port before it.
    pub(crate) async fn ready(&mut self, line: &str, answer: &Answer) -> Result<(), StackError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.look()? {
                return Err(self.failed(format!("ended while starting ({status})")));
            }
            if self.log_of_this_start().contains(line) && answers(answer).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seconds = READY_WITHIN.as_secs();
                return Err(self.failed(format!("did not answer within {seconds} s")));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until the child has ended by itself and well, saying now and then what it is at.
    pub(crate) async fn finish(mut self, progress: &Progress) -> Result<(), StackError> {
        let begun = Instant::now();
        let mut next_report = begun + REPORT_INTERVAL;
        loop {
            if let Some(status) = self.look()? {
                let bad = || self.failed(format!("ended badly ({status})"));
                return status.success().then_some(()).ok_or_else(bad);
            }
            if Instant::now() > next_report {
                next_report += REPORT_INTERVAL;
                let log = self.log_of_this_start();
                let last = log.lines().rev().find(|line| !line.trim().is_empty());
                let seconds = begun.elapsed().as_secs();
                progress.say(&format!("{}: {seconds} s, {}", self.part, last.unwrap_or("working")));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks the child to end by `signal`, and kills it when it has not ended after `grace`.
    pub(crate) async fn stop(mut self, signal: Signal, grace: Duration) -> Result<(), StackError> {
        // A failure means that it has ended already, which the look below finds out.
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let deadline = Instant::now() + grace;
        while self.look()?.is_none() && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// SIGKILL to the child and its own children, as a crash would; returns when all are gone.
    pub(crate) async fn kill(mut self) {
        let orphans = children_of(self.child.id());
        self.kill_now();
        for orphan in &orphans {
            let _ = kill_process(*orphan, Signal::KILL);
        }
        let deadline = Instant::now() + ORPHANS_GONE_WITHIN;
        while orphans.iter().any(|orphan| is_alive(*orphan)) && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
    }

    fn look(&mut self) -> Result<Option<ExitStatus>, StackError> {
        let part = self.part;
        let status = self.child.try_wait().map_err(|source| StackError::System {
            doing: format!("looking after {part}"),
            source,
        })?;
        self.reaped |= status.is_some();
        Ok(status)
    }

    fn failed(&self, what: String) -> StackError {
        let part = self.part;
        let log = self.log_of_this_start();
        let log_tail = tail(&log);
        if tells_of_taken_port(&log) {
            return StackError::PortTaken { part, log_tail };
        }
        StackError::PartFailed { part, what, log_tail }
    }

    fn log_of_this_start(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(self.log_start))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Kills and reaps the child's process group. The group's number is ours only until the child
    /// is reaped: after that it may belong to somebody else.
    fn kill_now(&mut self) {
        if !self.reaped {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
            self.reaped = true;
        }
    }
}

impl Drop for Running {
    /// Blocks until the child is gone: milliseconds for a kill, some tens of them for Postgres.
    fn drop(&mut self) {
        if matches!(self.ending, Ending::Orderly) && !self.reaped {
            let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
            let deadline = Instant::now() + ORDERLY_END_WITHIN;
            while matches!(self.look(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(LOOK_INTERVAL);
            }
        }
        self.kill_now();
    }
}

/// The command line, behind `setpriv`. It sets the death signal after the account, which is the
/// order that works: the kernel forgets the signal when a process changes its user.
fn command(recipe: &Recipe) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(account) = recipe.account {
        command.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid));
        command.arg("--clear-groups");
    }
    command.arg(format!("--pdeathsig={}", recipe.ending.on_parent_death()));
    command.arg("--").arg(&recipe.program).args(&recipe.arguments);
    command.current_dir(&recipe.directory).stdin(Stdio::null()).process_group(0);
    // It is for librdkafka, and cost Postgres 6 % of its time.
    command.env_remove(crate::zeroed::VARIABLE);
    command
}

async fn answers(answer: &Answer) -> bool {
    match answer {
        Answer::Connection(port) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            tokio::net::TcpStream::connect(address).await.is_ok()
        }
        Answer::Get(address) => {
            // A proxy of the environment has no business on loopback.
            let client = reqwest::Client::builder().no_proxy().timeout(REPORT_INTERVAL).build();
            let Ok(client) = client else { return false };
            client.get(address).send().await.is_ok_and(|reply| reply.status().is_success())
        }
    }
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| stat_of(*pid).is_some_and(|stat| stat.parent == parent))
        .filter_map(Pid::from_raw)
        .collect()
}

fn is_alive(pid: Pid) -> bool {
    stat_of(pid.as_raw_nonzero().get()).is_some_and(|stat| stat.state != 'Z')
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
}

fn stat_of(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `pid (name) state parent ...`. The name may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::path::Path;
    use std::time::Duration;

    use rustix::process::{Pid, Signal};

    use super::{Account, Ending, Recipe, Running, Stat, command, is_alive, parse_stat};
    use crate::local::error::StackError;
    use crate::local::progress::Progress;

    fn shell(directory: &Path, script: &str) -> Recipe {
        Recipe {
            part: "a shell",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: directory.to_owned(),
            account: None,
            ending: Ending::Killed,
            log: directory.join("shell.log"),
        }
    }

    fn alive(running: &Running) -> bool {
        is_alive(Pid::from_child(&running.child))
    }

    #[test]
    fn a_part_allocates_as_it_does_elsewhere() {
        let command = command(&shell(Path::new("/"), "true"));
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(removed, [("MALLOC_PERTURB_".as_ref(), None)]);
    }

    #[test]
    fn the_death_signal_is_set_along_with_the_account() {
        let mut recipe = shell(Path::new("/"), "true");
        recipe.account = Some(Account { uid: 101, gid: 104 });
        recipe.ending = Ending::Orderly;
        let command = command(&recipe);
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        let expected = "--reuid=101 --regid=104 --clear-groups --pdeathsig=INT -- /bin/sh -c true";
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn a_process_name_may_look_like_anything() {
        for (stat, expected) in [
            ("12 (java) S 7 12 12", Some(Stat { state: 'S', parent: 7 })),
            ("12 (a) R (b) Z 9 12 12", Some(Stat { state: 'Z', parent: 9 })),
            ("12 (java", None),
            ("12 (java) S", None),
        ] {
            assert_eq!(parse_stat(stat), expected, "{stat}");
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_badly_is_reported_with_its_own_words() {
        let directory = tempfile::tempdir().unwrap();
        let spawn = |script| Running::spawn(&shell(directory.path(), script)).unwrap();
        spawn("echo an earlier run").finish(&Progress::default()).await.unwrap();
        let Err(StackError::PartFailed { log_tail, .. }) =
            spawn("echo no such luck >&2; exit 3").finish(&Progress::default()).await
        else {
            panic!("a bad end must be an error");
        };
        assert_eq!(log_tail, "  no such luck");
    }

    #[tokio::test]
    async fn dropping_a_child_ends_it() {
        let directory = tempfile::tempdir().unwrap();
        for ending in [Ending::Killed, Ending::Orderly] {
            let recipe = Recipe { ending, ..shell(directory.path(), "exec sleep 100") };
            let running = Running::spawn(&recipe).unwrap();
            let pid = Pid::from_child(&running.child);
            assert!(alive(&running));
            drop(running);
            assert!(!is_alive(pid));
        }
    }

    #[tokio::test]
    async fn a_kill_takes_the_children_of_the_child_along() {
        let directory = tempfile::tempdir().unwrap();
        // The child's own child is in another session, as those of Postgres are.
        let script = "setsid sleep 100 & echo $! ; wait";
        let running = Running::spawn(&shell(directory.path(), script)).unwrap();
        let grandchild = loop {
            let pid = running.log_of_this_start().trim().parse().ok().and_then(Pid::from_raw);
            match pid {
                Some(pid) => break pid,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(is_alive(grandchild));
        running.kill().await;
        assert!(!is_alive(grandchild));
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_signal_is_killed_after_its_grace() {
        let directory = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo deaf; while true; do sleep 0.1; done";
        let running = Running::spawn(&shell(directory.path(), script)).unwrap();
        let pid = Pid::from_child(&running.child);
        while !running.log_of_this_start().contains("deaf") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.stop(Signal::TERM, Duration::from_millis(50)).await.unwrap();
        assert!(!is_alive(pid));
    }
}
