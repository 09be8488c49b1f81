//! Measuring: quantiles of times, CPU time of process trees, bytes of topics on disk.
//! Linux only, as the local stack is. It judges no figure.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Clock ticks per second in /proc; the kernel's USER_HZ, 100 on every Linux platform that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time.
pub type Cpu = Duration;

/// Times, to be asked for their quantiles.
#[derive(Debug, Clone, Default)]
pub struct Quantiles {
    times: Vec<Duration>,
}

impl Quantiles {
    /// Adds one time.
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The time within which `per_cent` of all lie (nearest rank); zero where there are none.
    #[must_use]
    pub fn at(&self, per_cent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

/// CPU time that a process and everything that it started have used, ended children included.
#[must_use]
pub fn cpu_of_tree(root: u32) -> Cpu {
    let processes: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    let mut children: HashMap<u32, Vec<&Stat>> = HashMap::new();
    for process in &processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut ticks = 0;
    let mut waiting: Vec<&Stat> = processes.iter().filter(|process| process.pid == root).collect();
    while let Some(process) = waiting.pop() {
        ticks += process.ticks;
        waiting.extend(children.get(&process.pid).into_iter().flatten());
    }
    from_ticks(ticks)
}

/// CPU time of this process alone, without anything that it started.
#[must_use]
pub fn own_cpu() -> Cpu {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text));
    from_ticks(stat.map_or(0, |stat| stat.own_ticks))
}

/// Resident memory of a process, in bytes; none where it does not run.
#[must_use]
pub fn memory(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most resident memory that a process has ever had, in bytes; none where it does not run.
#[must_use]
pub fn peak_memory(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn from_ticks(ticks: u64) -> Cpu {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// Bytes of all records in the log segments of a Kafka data directory. Internal topics and metadata are left out.
#[must_use]
pub fn topic_bytes(data: &Path) -> u64 {
    let is_topic = |name: &str| !name.starts_with("__") && name.rsplit_once('-').is_some();
    let directories = fs::read_dir(data).into_iter().flatten().flatten();
    let topics = directories.filter(|entry| entry.file_name().to_str().is_some_and(is_topic));
    let files = topics.flat_map(|topic| fs::read_dir(topic.path()).into_iter().flatten().flatten());
    let segments =
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    segments.filter_map(|segment| Some(segment.metadata().ok()?.len())).sum()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// Own user and system time.
    own_ticks: u64,
    /// The same, and that of children that were waited for.
    ticks: u64,
}

/// Reads `/proc/PID/stat`. The second field is the name in brackets and may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Counted from the state, which is field 3 of proc(5): parent 4, utime 14 to cstime 17.
    let parent = fields.get(1)?.parse().ok()?;
    let sum = |range: Range<usize>| -> Option<u64> {
        fields.get(range)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
    };
    Some(Stat { pid: pid.parse().ok()?, parent, own_ticks: sum(11..13)?, ticks: sum(11..15)? })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Quantiles, Stat, cpu_of_tree, memory, own_cpu, parse_stat, peak_memory};

    #[test]
    fn a_process_holds_at_most_what_it_has_ever_held() {
        let own = std::process::id();
        assert!(memory(own) > Some(1 << 20) && memory(own) <= peak_memory(own));
        assert_eq!(memory(u32::MAX), None);
    }

    #[test]
    fn quantiles_are_times_that_occurred() {
        let mut times = Quantiles::default();
        assert_eq!(times.at(50), Duration::ZERO);
        for milliseconds in (1..=100).rev() {
            times.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(times.at(50), Duration::from_millis(50));
        assert_eq!(times.at(99), Duration::from_millis(99));
        assert_eq!(times.at(100), Duration::from_millis(100));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 9 9 9 9 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(line), Some(Stat { pid: 42, parent: 7, own_ticks: 120, ticks: 127 }));
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
