//! The heavy scenario: a stream of payouts through vendors with seconds of latency while engines are killed and frozen
//! again and again; then the books are closed. `make torture` runs it; it is no part of `make test`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use signalbox::cast::{Persona, Ruling, cast};
use signalbox::scene::{Console, EngineName, Quantiles};
use tokio::time::Instant;

use crate::books::{Expectation, Verified, verify};
use crate::failure::Failure;
use crate::installation::{Installation, Vendors};
use crate::people::People;
use crate::stream::Stream;

const ENGINES: [EngineName; 2] = [EngineName("engine-1"), EngineName("engine-2")];
const ADAPTER: &str = "adapter-1";
const VENDORS: Vendors = Vendors {
    arguments: &[
        "--settle-after",
        "2s",
        "--return-after",
        "1s",
        "--slow-for",
        "1s",
        "--hang-for",
        "5s",
    ],
    waits: &[("check_time", "60s"), ("send_time", "120s"), ("return_window", "5s")],
};
/// The first persona of the file plays three payouts of four, the others share the rest.
const PLAIN_PER_CENT: usize = 75;
/// How long a change of lanes may take: a lease and a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what people must decide may take after everything is published: the waits between two checks included.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(20);

/// What is to be endured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Payouts.
    pub payouts: usize,
    /// Payouts published per second.
    pub rate: u32,
    /// Engines killed with kill -9.
    pub kills: usize,
    /// Engines stopped past their lease.
    pub freezes: usize,
    /// Fewest payouts that must be under way at any fault.
    pub under_way_min: usize,
    /// Extra time of every answer of every vendor, in milliseconds: least and most.
    pub latency_ms: (u32, u32),
}

/// The scenario that is promised.
pub const FULL: Plan = Plan {
    payouts: 2_000,
    rate: 25,
    kills: 10,
    freezes: 3,
    under_way_min: 100,
    latency_ms: (500, 2_500),
};

/// One fault, for the table.
#[derive(Debug, Clone)]
struct Blow {
    what: String,
    under_way: usize,
    after: Duration,
}

/// Runs the scenario, proves what must hold, and prints a table.
///
/// # Errors
/// `Broken` or `Late` where a promise does not hold; see [`Failure`] for the rest.
pub async fn run(program: PathBuf, plan: Plan) -> Result<(), Failure> {
    let console = Console::start();
    let mut on = Installation::start(program, VENDORS, "torture").await?;
    let outcome = endure(&mut on, plan, console).await;
    if outcome.is_err() {
        let kept = on.keep_logs("torture-logs")?;
        console.say(&format!("logs of this run: {}", kept.display()));
    }
    on.stop().await?;
    outcome
}

async fn endure(on: &mut Installation, plan: Plan, console: Console) -> Result<(), Failure> {
    let (latency_min_ms, latency_max_ms) = plan.latency_ms;
    let faults = json!({"latency_min_ms": latency_min_ms, "latency_max_ms": latency_max_ms, "answer_lost": 0.01, "unavailable": 0.01});
    on.bank.faults(&faults).await?;
    on.start_adapter(ADAPTER).await?;
    for engine in ENGINES {
        on.start_engine(engine).await?;
    }
    let plain = |persona: &Persona| persona.needs_nobody() && persona.wish().is_some();
    let cast: Vec<Persona> = cast()?.into_iter().filter(plain).collect();
    let roles = programme(cast.len(), plan.payouts);
    let (mut expected, mut personas) = (Vec::new(), BTreeMap::new());
    let mut people = People::default();
    for role in &roles {
        let Some(persona) = cast.get(*role) else { continue };
        let Some(wish) = persona.wish() else { continue };
        let payout = on.payout(wish);
        personas.insert(payout.id.clone(), persona.name.clone());
        if persona.transfers == 0 {
            people.play(&payout.id, &ruled_out(persona));
        }
        expected.push(Expectation {
            payout,
            ends: persona.ends.clone(),
            transfers: persona.transfers,
        });
    }
    let begun = Instant::now();
    let stream = Stream::start(
        on.commands.clone(),
        expected.iter().map(|one| one.payout.clone()).collect(),
        plan.rate,
    );
    let blows = strike(on, plan, &stream, console).await?;
    let published_at =
        stream.end().await?.into_iter().map(|(payout, at)| (payout.id, at)).collect();
    console.say("everything is published; waiting for the last endings");
    people.act(on, PATIENCE_WITH_PEOPLE).await?;
    let verified = verify(on, &expected).await?;
    print(
        console,
        on,
        &Told { plan, blows, personas, published_at, verified, took: begun.elapsed() },
    );
    Ok(())
}

/// All faults, evenly over the stream: every fourth or so freezes an engine, the others kill one.
async fn strike(
    on: &mut Installation,
    plan: Plan,
    stream: &Stream,
    console: Console,
) -> Result<Vec<Blow>, Failure> {
    let count = plan.kills + plan.freezes;
    let mut blows = Vec::new();
    let begun = Instant::now();
    let mut freezes = 0;
    for number in 1..=count {
        let due = plan.payouts * number / (count + 1);
        until_published(on, stream, due).await?;
        let victim = ENGINES.get(number % ENGINES.len()).copied().unwrap_or(EngineName("engine-1"));
        on.until_lanes(PATIENCE, victim, |held| held > 0).await?;
        let under_way = stream.under_way(on);
        if under_way < plan.under_way_min {
            let least = plan.under_way_min;
            let told = format!(
                "only {under_way} payouts were under way at fault {number}, fewer than {least}"
            );
            return Err(Failure::Broken(told));
        }
        let freeze = freezes < plan.freezes * number / count;
        let what = if freeze {
            freezes += 1;
            freeze_past_lease(on, victim).await?
        } else {
            on.kill_engine(victim)?;
            on.start_engine(victim).await?;
            format!("kill -9 {}", victim.0)
        };
        console
            .say(&format!("fault {number} of {count}: {what} with {under_way} payouts under way"));
        blows.push(Blow { what, under_way, after: begun.elapsed() });
    }
    Ok(blows)
}

/// Stops an engine until others hold all its lanes, then lets it go on.
async fn freeze_past_lease(on: &mut Installation, victim: EngineName) -> Result<String, Failure> {
    let held = on.lanes_of(victim).await?.len();
    on.signal_engine(victim, Signal::STOP)?;
    on.until_lanes(PATIENCE, victim, |held| held == 0).await?;
    on.signal_engine(victim, Signal::CONT)?;
    Ok(format!("{} stopped past its lease of {held} lanes", victim.0))
}

async fn until_published(
    on: &mut Installation,
    stream: &Stream,
    due: usize,
) -> Result<(), Failure> {
    while stream.published() < due {
        on.must_run()?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The persona, and two people who rule a payment out that the bank has no record of: where an answer was lost, the
/// refusal of the same order afterwards is no proof, and no timer ends the doubt.
fn ruled_out(persona: &Persona) -> Persona {
    let ruling = Ruling { decide: "not_executed".to_owned(), people: 2 };
    let mut persona = persona.clone();
    persona.decisions.insert("settle_doubt".to_owned(), ruling);
    persona
}

/// Places in the cast: mostly the plain first one, the others in turn.
fn programme(cast: usize, payouts: usize) -> Vec<usize> {
    let mut others = (1..cast.max(2)).cycle();
    let mut roles: Vec<usize> = Vec::with_capacity(payouts);
    for number in 0..payouts {
        let plain = number * PLAIN_PER_CENT / 100 < (number + 1) * PLAIN_PER_CENT / 100;
        roles.push(if plain { 0 } else { others.next().unwrap_or_default() });
    }
    roles
}

struct Told {
    plan: Plan,
    blows: Vec<Blow>,
    personas: BTreeMap<String, String>,
    published_at: BTreeMap<String, Instant>,
    verified: Verified,
    took: Duration,
}

fn print(console: Console, on: &Installation, told: &Told) {
    let mut times = Quantiles::default();
    let mut rows: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let (duplicates, records) = on.witness.ask(|seen| {
        for (id, persona) in &told.personas {
            let Some(ending) = seen.courses.get(id).and_then(|course| course.endings.first())
            else {
                continue;
            };
            *rows.entry((persona.as_str(), ending.status.clone())).or_default() += 1;
            if let Some(from) = told.published_at.get(id) {
                times.add(ending.at.saturating_duration_since(*from));
            }
        }
        (seen.duplicates(), seen.tally.values().map(|tally| tally.applied).sum::<u64>())
    });
    console.print(&format!("\n  {:<28} {:<16} {:>7}", "persona", "ending", "payouts"));
    for ((persona, ending), count) in rows {
        console.print(&format!("  {persona:<28} {ending:<16} {count:>7}"));
    }
    console.print(&format!("\n  {:<52} {:>9} {:>9}", "fault", "under way", "at"));
    for blow in &told.blows {
        let Blow { what, under_way, after } = blow;
        console.print(&format!("  {what:<52} {under_way:>9} {:>7.1} s", after.as_secs_f64()));
    }
    let least = told.blows.iter().map(|blow| blow.under_way).min().unwrap_or_default();
    console.print(&format!("\n  {}", told.verified));
    console.print(&format!(
        "  {records} records without a gap, {duplicates} repeats, each recognised"
    ));
    console.print(&format!(
        "  {} kills, {} freezes past the lease, never fewer than {least} payouts under way",
        told.plan.kills, told.plan.freezes
    ));
    console.print(&format!(
        "  from command to ending p50 {:.1} s, p99 {:.1} s; {:.0} s in all",
        times.at(50).as_secs_f64(),
        times.at(99).as_secs_f64(),
        told.took.as_secs_f64()
    ));
}
