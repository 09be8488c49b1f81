//! A server that is away for long: what waited meanwhile, how quickly it was worked off afterwards, and the memory of the
//! services before, at the server's return, and when nothing waited any more. It judges nothing; the checker does.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::load::Load;
use super::site::{SERVICES, Site};
use crate::failure::Failure;

/// How long what has waited may take for each second of the outage, and at least.
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_secs(120);
/// How long a case takes where nothing waits, settlement and returns included: what came within that time is open anyway.
const LASTS: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

/// How things stand at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    at: Instant,
    cases: usize,
    ended: usize,
    /// Resident memory of each service that runs, in MiB.
    memory: Vec<(&'static str, u64)>,
}

impl Standing {
    /// Looks.
    pub(crate) fn of(site: &Site, load: &Load) -> Self {
        let cases = load.cases();
        let ended =
            site.on.witness.ask(|seen| seen.ended(cases.iter().map(|case| case.id.as_str())));
        let memory = SERVICES
            .into_iter()
            .filter_map(|name| Some((name, site.on.memory_of(name)? >> 20)))
            .collect();
        Self { at: Instant::now(), cases: cases.len(), ended, memory }
    }

    /// Cases that are open where nothing waits, at the pace at which they have come since.
    fn usual_since(&self, before: &Self) -> usize {
        let seconds = usize::try_from((self.at - before.at).as_secs()).unwrap_or(usize::MAX);
        let lasts = usize::try_from(LASTS.as_secs()).unwrap_or(usize::MAX);
        (self.cases - before.cases) * lasts / seconds.max(1)
    }

    fn open(&self) -> usize {
        self.cases.saturating_sub(self.ended)
    }
}

/// An outage from its beginning until nothing of it was left.
#[derive(Debug)]
pub(crate) struct Outage {
    what: String,
    before: Standing,
    back: Standing,
    drained: Standing,
}

impl Outage {
    /// Waits until no more cases are open than come while one lasts.
    ///
    /// # Errors
    /// `Late` where they take three times the outage, `Broken` where a service has ended.
    pub(crate) async fn endured(
        what: String,
        before: Standing,
        back: Standing,
        site: &mut Site,
        load: &Load,
    ) -> Result<Self, Failure> {
        let patience = PATIENCE_MIN.max((back.at - before.at) * PATIENCE);
        loop {
            let drained = Standing::of(site, load);
            if drained.open() <= drained.usual_since(&before) {
                return Ok(Self { what, before, back, drained });
            }
            site.on.must_run()?;
            if back.at.elapsed() > patience {
                let what = format!("an end of what had waited after {what}");
                let seen = format!("{} cases are open", drained.open());
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            sleep(LOOK).await;
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |from: &Standing, to: &Standing| (to.at - from.at).as_secs_f64().max(0.001);
        let took = seconds(&self.back, &self.drained);
        let per_second =
            |from: usize, to: usize| f64::from(u32::try_from(to - from).unwrap_or(u32::MAX)) / took;
        let ended = per_second(self.back.ended, self.drained.ended);
        let came = per_second(self.back.cases, self.drained.cases);
        write!(
            f,
            "{}, away for {:.0} s: {} cases had come, {} were open; drained in {took:.0} s, {ended:.1} endings a second while \
             {came:.1} cases a second came, {:.1} times as many; MiB",
            self.what,
            seconds(&self.before, &self.back),
            self.back.cases - self.before.cases,
            self.back.open(),
            ended / came.max(0.001),
        )?;
        let now = |standing: &Standing, name| {
            let found = standing.memory.iter().find(|(known, _)| *known == name);
            found.map_or("-".to_owned(), |(_, memory)| memory.to_string())
        };
        for name in SERVICES {
            let times = [&self.before, &self.back, &self.drained].map(|at| now(at, name));
            write!(f, " {name} {}", times.join(" > "))?;
        }
        Ok(())
    }
}
