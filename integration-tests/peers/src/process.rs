//! Child processes that end with this one, free ports, and the CPU time of process trees. Linux only.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Clock ticks per second in /proc on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts a program that the kernel ends when we die, and that is killed when the answer is dropped.
pub(crate) fn start(program: &str, set_up: impl FnOnce(&mut Command)) -> Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).arg(program);
    set_up(&mut command);
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("starting {program} through setpriv (util-linux)"))
}

/// Starts another role of this program and waits for the line that it prints when it is ready.
pub(crate) async fn start_role(set_up: impl FnOnce(&mut Command)) -> Result<(Child, String)> {
    let own = std::env::current_exe().context("finding this program's file")?;
    let mut child = start(&own.display().to_string(), |command| {
        set_up(command);
        command.stdout(Stdio::piped());
    })?;
    let out = child.stdout.take().context("a role of this program has no output")?;
    let mut lines = BufReader::new(out).lines();
    let line = tokio::time::timeout(READY_WITHIN, lines.next_line()).await;
    match line.context("a role of this program is not ready in time")?? {
        Some(line) => Ok((child, line)),
        None => bail!("a role of this program ended before it was ready; see what it said above"),
    }
}

/// Process id of a child that runs.
pub(crate) fn pid(child: &Child) -> Result<u32> {
    child.id().context("a process that is measured has ended")
}

/// Ports on loopback that nobody listens on at this moment, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// CPU time that a process and everything that it started have used, ended children included.
pub(crate) fn cpu_of_tree(root: u32) -> Duration {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut used: HashMap<u32, u64> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let stat = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        if let (Some(pid), Some(stat)) = (pid, stat.as_deref().and_then(parse_stat)) {
            children.entry(stat.parent).or_default().push(pid);
            used.insert(pid, stat.ticks);
        }
    }
    let (mut ticks, mut waiting) = (0, vec![root]);
    while let Some(pid) = waiting.pop() {
        ticks += used.get(&pid).copied().unwrap_or_default();
        waiting.extend(children.get(&pid).into_iter().flatten());
    }
    from_ticks(ticks)
}

/// CPU time of this process alone, without anything that it started.
pub(crate) fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    from_ticks(stat.as_deref().and_then(parse_stat).map_or(0, |stat| stat.own_ticks))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Own user and system time.
    own_ticks: u64,
    /// The same, and that of children that were waited for.
    ticks: u64,
}

/// Reads `/proc/PID/stat`. The second field is the name in brackets and may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Counted from the state, which is field 3 of proc(5): parent 4, utime 14 to cstime 17.
    let sum = |range: Range<usize>| -> Option<u64> {
        fields.get(range)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
    };
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: sum(11..13)?,
        ticks: sum(11..15)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Stat, cpu_of_tree, own_cpu, parse_stat};
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_may_have_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 9 9 9 9 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, own_ticks: 120, ticks: 127 }));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn work_shows_up_as_cpu_time() {
        let (before, own_before) = (cpu_of_tree(std::process::id()), own_cpu());
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_of_tree(std::process::id()) > before);
        assert!(own_cpu() > own_before);
    }
}
