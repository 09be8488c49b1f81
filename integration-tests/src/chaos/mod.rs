//! Chaos on real parts: every fault that this machine lets us make, one after the other and sometimes two at once, in an
//! order drawn from a seed, while payouts and applications go on. Then everything has to come to rest, and the checker,
//! which shares no code with the product, judges what topics, the bank and the audit trail hold.

mod deck;
mod disk;
mod fault;
mod link;
mod load;
mod log_tail;
mod outage;
mod poison;
mod rest;
mod site;
mod summary;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use signalbox::scene::Console;
use signalbox_checker::{Evidence, Fault as Blow, Report, Sources, gather, judge};
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use deck::Deck;
use fault::{Fault, Hand};
use load::Load;
use outage::{Outage, Standing};
use site::{Means, Site};
use summary::{Seen, Told};

pub use poison::answer_to_nothing;

/// How long every lane may take to publish again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// Cases that have ended before the first fault.
const WARM: usize = 10;
const LOOK: Duration = Duration::from_millis(50);

/// What is to be endured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Payouts that are asked for at least; faults go on until then.
    pub payouts: usize,
    /// Faults that are put in at least; payouts go on until then.
    pub faults: usize,
    /// Seed of every choice.
    pub seed: u64,
    /// Cases published per second.
    pub rate: u32,
    /// Only faults whose names hold this word; all where it is empty.
    pub only: String,
    /// How long Kafka, Postgres and the registry are away when they are killed; some seconds where it is not said.
    pub away: Option<Duration>,
    /// Disks may be mounted: this process has a mount namespace of its own.
    pub disks: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            payouts: 1_500,
            faults: 12,
            seed: 1,
            rate: 15,
            only: String::new(),
            away: None,
            disks: false,
        }
    }
}

/// Runs, judges and prints. What explains a failure is kept beside the program.
///
/// # Errors
/// `Broken` where a promise does not hold or the run was too tame; see [`Failure`] for the rest.
pub async fn run(program: PathBuf, plan: Plan) -> Result<(), Failure> {
    let console = Console::start();
    let mut site = Site::start(program, Means::find(plan.disks), plan.seed, console).await?;
    let outcome = endure(&mut site, plan, console).await;
    if outcome.is_err() {
        let kept = site.on.keep_logs("chaos-logs")?;
        console.say(&format!("logs of this run: {}", kept.display()));
    }
    site.clear();
    site.on.stop().await?;
    outcome
}

async fn endure(site: &mut Site, plan: Plan, console: Console) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut load = Load::start(&site.on, plan.seed, plan.rate, console)?;
    let mut told = Told { plan, ..Told::default() };
    warm(site, &load).await?;
    strike(site, &load, &mut told, console).await?;
    site.clear();
    load.stop().await?;
    (told.cases, told.payouts) = (load.cases().len(), load.payouts());
    console.say(&format!("{} cases are published; waiting for the last endings", told.cases));
    rest::until_all_ended(site, &load, console).await?;
    let evidence = evidence(site).await?;
    let report = judge(&evidence, &told.blows);
    let seen = Seen::count(&site.on, &report)?;
    told.took = begun.elapsed();
    summary::print(console, &told, &report, &seen);
    keep(&evidence, &report, site, console)?;
    verdict(&report, &seen, told.is_whole())
}

/// Faults find cases at every stage of their way.
async fn warm(site: &mut Site, load: &Load) -> Result<(), Failure> {
    let deadline = Instant::now() + RECOVERED_WITHIN;
    loop {
        let cases = load.cases();
        let ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        if site.on.witness.ask(|seen| seen.ended(ids.iter().copied())) >= WARM {
            return Ok(());
        }
        site.on.must_run()?;
        if Instant::now() > deadline {
            let what = format!("an ending of {WARM} cases");
            let seen = format!("{} cases published", ids.len());
            return Err(Failure::Late { what, seconds: RECOVERED_WITHIN.as_secs(), seen });
        }
        sleep(LOOK).await;
    }
}

/// One fault after the other until there were as many faults and payouts as wanted.
async fn strike(
    site: &mut Site,
    load: &Load,
    told: &mut Told,
    console: Console,
) -> Result<(), Failure> {
    let mut random = Rng::with_seed(told.plan.seed);
    let wanted = |fault: &&Fault| fault.name().contains(&told.plan.only);
    let possible = |fault: &&Fault| fault.not_done(site).is_none();
    let telling: Vec<Fault> = Fault::TELLING.iter().filter(wanted).copied().collect();
    let others: Vec<Fault> =
        Fault::OTHERS.iter().filter(wanted).filter(possible).copied().collect();
    if telling.is_empty() && others.is_empty() {
        let only = &told.plan.only;
        return Err(Failure::Broken(format!("no fault that can be done here is called {only:?}")));
    }
    let mut deck = Deck::new(telling, others, told.plan.seed);
    let undone = Fault::OTHERS.iter().filter_map(|f| Some((f.name(), f.not_done(site)?)));
    told.not_done = undone.collect();
    while told.blows.len() < told.plan.faults || load.payouts() < told.plan.payouts {
        let fault = deck.next();
        let also = deck.companion(fault);
        let number = told.blows.len() + 1;
        let with = also.map_or("", |_| ", while a link is bad");
        console.say(&format!("fault {number}: {}{with}", fault.name()));
        let spoiled = also.map(|spoil| spoil.begin(site)).transpose()?;
        let is_long = told.plan.away.is_some() && fault.is_outage();
        let before = is_long.then(|| Standing::of(site, load));
        let (random, away) = (&mut random, told.plan.away);
        let mut hand = Hand { site, load, random, away, hit: BTreeSet::new(), console };
        let blow = hand.strike(fault).await?;
        let back = is_long.then(|| Standing::of(site, load));
        told.payments_held |= fault == Fault::HoldPayment;
        if let Some(spoiled) = spoiled {
            spoiled.end(site)?;
            told.together += 1;
        }
        recover(site, &blow, told, console).await?;
        if let (Some(before), Some(back)) = (before, back) {
            let what = blow.what.clone();
            told.outages.push(Outage::endured(what, before, back, site, load).await?);
        }
        told.blows.push(blow);
        sleep(Duration::from_millis(random.u64(200..1_200))).await;
    }
    if told.payments_held {
        // What is held arrives while everybody still works.
        sleep(fault::HELD).await;
    }
    Ok(())
}

/// Until every lane has published again; what ended by itself meanwhile is started again, and told.
async fn recover(
    site: &mut Site,
    blow: &Blow,
    told: &mut Told,
    console: Console,
) -> Result<(), Failure> {
    let lanes = usize::from(site.on.reader.lane_count().await?);
    let mark = site.on.witness.ask(|seen| seen.published.len());
    let deadline = Instant::now() + RECOVERED_WITHIN;
    loop {
        for (name, words) in site.restart_ended().await? {
            console.say(&format!("    {name} has ended by itself: {words}"));
            told.ended.push(format!("{name}, after {}", blow.what));
        }
        let again = site.on.witness.ask(|seen| {
            let since = seen.published.get(mark..).unwrap_or_default();
            let lanes: BTreeSet<u16> = since.iter().map(|sighting| sighting.stream.lane).collect();
            lanes.len()
        });
        if again >= lanes {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("work of every lane after {}", blow.what);
            let seen = format!("{again} of {lanes} lanes have published");
            return Err(Failure::Late { what, seconds: RECOVERED_WITHIN.as_secs(), seen });
        }
        sleep(LOOK).await;
    }
}

/// Everything that the run has left, gathered from outside.
async fn evidence(site: &mut Site) -> Result<Evidence, Failure> {
    let export = site.on.directory().join("export.jsonl");
    let file = export.display().to_string();
    site.on.succeed(&["audit", "export", "--out", &file]).await?;
    let settings = site.on.settings();
    let sources = Sources {
        brokers: settings.brokers.clone(),
        registry: settings.registry.clone(),
        sandbox: format!("http://{}/_sandbox", site.on.sandbox_address()),
        export,
        journeys: site.on.checkout().join("journeys"),
    };
    gather(&sources).await.map_err(|error| Failure::Broken(format!("the checker: {error}")))
}

/// What the checker found wrong can be judged again from what it saw.
fn keep(
    evidence: &Evidence,
    report: &Report,
    site: &Site,
    console: Console,
) -> Result<(), Failure> {
    if report.findings.is_empty() && std::env::var_os("SIGNALBOX_KEEP_EVIDENCE").is_none() {
        return Ok(());
    }
    let path = site.on.program().with_file_name("chaos-evidence.json");
    evidence.keep(&path).map_err(|error| Failure::Broken(error.to_string()))?;
    console.say(&format!("evidence of this run: {}", path.display()));
    Ok(())
}

fn verdict(report: &Report, seen: &Seen, must_see_all: bool) -> Result<(), Failure> {
    if !report.findings.is_empty() {
        return Err(Failure::Broken(format!("{} promises do not hold", report.findings.len())));
    }
    let missing = seen.missing();
    if must_see_all && !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Failure::Broken(format!("too tame: never seen: {missing}; give it more time")));
    }
    Ok(())
}
