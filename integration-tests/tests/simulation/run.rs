//! Runs of stories: under many seeds, on several threads, and what is told of a run that fails: its seed, the smallest
//! plan that still fails in the same place, as a line that can be given back, and everything that happened in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::check::Standstills;
use super::chronicle::Chronicle;
use super::plan::Plan;
use super::stories::{STORIES, Story};

/// Seeds tried for a smaller plan: with fewer faults chance goes other ways.
const SEEDS_PER_PLAN: u64 = 12;

/// What broke in a run.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// Where it was noticed.
    pub(crate) place: String,
    /// What was noticed.
    pub(crate) what: String,
    /// Everything that happened, where it was kept.
    pub(crate) log: Vec<String>,
}

/// A run that fails, and can be made again.
pub(crate) struct Failure {
    story: &'static str,
    seed: u64,
    pub(crate) plan: Plan,
    pub(crate) broken: Broken,
}

impl Failure {
    /// What brings it back.
    pub(crate) fn line(&self) -> String {
        format!("story={} seed={} {}", self.story, self.seed, self.plan)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.broken.log {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "broken at {}: {}", self.broken.place, self.broken.what)?;
        write!(f, "replay it with SIMULATION_REPLAY='{}'", self.line())
    }
}

thread_local! {
    /// What this thread panicked with while it ran a story.
    static CAUGHT: RefCell<Option<Option<Broken>>> = const { RefCell::new(None) };
}

/// One run; what it saw or what broke.
pub(crate) fn once(
    story: &Story,
    seed: u64,
    plan: Plan,
    chronicle: &Chronicle,
) -> Result<Standstills, Broken> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let mine = CAUGHT.with_borrow_mut(|caught| {
                let Some(slot) = caught else { return false };
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let what = info.payload_as_str().unwrap_or("a panic without words").to_owned();
                slot.get_or_insert(Broken { place, what, log: Vec::new() });
                true
            });
            if !mine {
                others(info);
            }
        }));
    });
    CAUGHT.set(Some(None));
    let ran = panic::catch_unwind(AssertUnwindSafe(|| (story.run)(seed, plan, chronicle)));
    let caught = CAUGHT.take().flatten();
    ran.map_err(|_| Broken { log: chronicle.lines(), ..caught.unwrap() })
}

/// Seeds of a story or of all of them, on as many threads as there are processors. What was seen by story, or the first
/// seed that fails, with a log of it.
pub(crate) fn many(
    first: u64,
    count: u64,
    story_of: impl Fn(u64) -> &'static Story + Sync,
) -> Result<BTreeMap<&'static str, (u64, Standstills)>, Box<Failure>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let work = || {
        let mut seen: BTreeMap<&'static str, (u64, Standstills)> = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failed.load(Ordering::Relaxed) {
                return Ok(seen);
            }
            let story = story_of(seed);
            match once(story, seed, story.plan, &Chronicle::default()) {
                Ok(standstills) => {
                    let (runs, sum) = seen.entry(story.name).or_default();
                    *runs += 1;
                    sum.add(standstills);
                }
                Err(broken) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err((story, seed, broken));
                }
            }
        }
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: BTreeMap<&'static str, (u64, Standstills)> = BTreeMap::new();
    let mut failures = Vec::new();
    for end in ended {
        match end {
            Ok(seen) => seen.into_iter().for_each(|(name, (runs, standstills))| {
                let (all_runs, sum) = all.entry(name).or_default();
                *all_runs += runs;
                sum.add(standstills);
            }),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.into_iter().min_by_key(|(_, seed, _)| *seed) {
        None => Ok(all),
        Some((story, seed, broken)) => {
            // One line, for whoever looks for a seed alone.
            let what = broken.what.lines().next().unwrap_or_default();
            eprintln!("found: seed {seed}, {}: {what}", story.name);
            Err(Box::new(shrunk(story, seed, broken)))
        }
    }
}

/// The smallest plan that is found to fail in the same place, with a log. `SIMULATION_SHRINK=no` leaves it as it is.
fn shrunk(story: &Story, seed: u64, broken: Broken) -> Failure {
    let (mut seed, mut plan) = (seed, story.plan);
    if std::env::var("SIMULATION_SHRINK").is_ok_and(|wanted| wanted == "no") {
        return Failure { story: story.name, seed, plan, broken };
    }
    let same = |seed: u64, plan: Plan, chronicle: &Chronicle| {
        once(story, seed, plan, chronicle).err().filter(|other| other.place == broken.place)
    };
    let fails = |plan: Plan, from: u64| {
        (from..from + SEEDS_PER_PLAN)
            .find(|seed| same(*seed, plan, &Chronicle::default()).is_some())
    };
    while let Some((smaller, by)) =
        plan.smaller().into_iter().find_map(|plan| Some((plan, fails(plan, seed)?)))
    {
        (plan, seed) = (smaller, by);
    }
    let told = same(seed, plan, &Chronicle::kept());
    let broken = told.unwrap_or(Broken {
        what: format!("{} (not again: the run does not depend on its seed alone)", broken.what),
        ..broken
    });
    Failure { story: story.name, seed, plan, broken }
}

/// A run of one of these stories that a line describes, with everything that happened in it.
pub(crate) fn replay(
    line: &str,
    stories: &[Story],
) -> Result<(Standstills, Vec<String>), Box<Failure>> {
    let mut seed = None;
    let mut name = None;
    let mut plan = Vec::new();
    for word in line.split_whitespace() {
        match word.split_once('=') {
            Some(("story", value)) => name = Some(value),
            Some(("seed", value)) => seed = value.parse().ok(),
            _ => plan.push(word),
        }
    }
    let named = stories.iter().find(|story| Some(story.name) == name);
    let story = named.unwrap_or_else(|| panic!("no story {name:?}"));
    let seed = seed.expect("a line names its seed");
    let plan = plan.join(" ").parse().unwrap();
    let chronicle = Chronicle::kept();
    match once(story, seed, plan, &chronicle) {
        Ok(seen) => Ok((seen, chronicle.lines())),
        Err(broken) => Err(Box::new(Failure { story: story.name, seed, plan, broken })),
    }
}

/// A story by the name of its test.
pub(crate) fn story_named(name: &str) -> &'static Story {
    STORIES.iter().find(|story| story.name == name).unwrap_or_else(|| panic!("no story {name}"))
}
