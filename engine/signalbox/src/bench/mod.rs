//! `signalbox bench`: how many flows a second, how fast one is, what each costs, and how far that is from the bound
//! that Kafka and Postgres set on this machine. It asserts no time: a figure is a figure.
//!
//! Engine and adapter are processes of their own with durable defaults. The load comes from this process, on the same
//! machine, and takes its share of the cores; the table says how much.

mod bound;
mod load;
mod meter;
mod numbers;
mod report;
mod stored;
mod trouble;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::scene::{Console, EngineName, Scene, SceneError, Started, contract};
use load::{Besides, Load, Throughput, to_usize};
use meter::{Batches, Meter};
use trouble::SilentVendor;

const JOURNEY: &str = include_str!("../../../../deploy/bench/journey.yaml");
const ROUTING: &str = include_str!("../../../../deploy/bench/routing.yaml");

/// Share of the flows that warms everything up: the broker's compiler takes that long to come to rest.
const WARM_UP_PER_CENT: u32 = 40;

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Four durable steps per flow (identity, sanctions, fraud, one payment with its permit), vendors that answer at once
inside the adapter process. Throughput is measured with a bounded number of flows under way, warm-up and run-down left
out; latency at a steady rate afterwards. The bound is what the same machine could do if only Kafka and Postgres worked.

Build it with --release before believing a figure.")]
pub struct BenchArgs {
    /// Flows of the throughput run
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    flows: u32,
    /// Flows of the throughput run that come first and do not count: they warm everything up and fill the tables
    /// [default: 40 % of the flows]
    #[arg(long, value_name = "N")]
    warm_up: Option<u32>,
    /// Flows under way at once in the throughput run. As many as there are flows make a backlog that is worked off
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Records that nobody can read, for a thousand commands of the throughput run: each is dead-lettered
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    poison: u32,
    /// The first command once more, so often for a thousand commands of the throughput run: a client that repeats itself
    /// makes one key hot
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    repeats: u32,
    /// Flows that are scored for fraud by a vendor who takes connections and never answers, for a thousand commands of the
    /// throughput run; all others are not scored. They are counted by nobody. Compare with 0
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000))]
    hung: Option<u32>,
    /// Flows that are stored before the run, led to their end long ago: how the cost grows with the tables. A million take
    /// 10 GB of disk
    #[arg(long, value_name = "N", default_value_t = 0)]
    stored: u32,
    /// Bytes of text that each payout carries along to the bank: how the cost grows with the size of records
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    text: Option<u32>,
    /// Lanes [default: as many as topics.yaml names]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    lanes: Option<u16>,
    /// Flows per second of the latency run
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rate_latency: u32,
    /// Seconds of the latency run
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..))]
    latency_seconds: u32,
    /// Print the figures as one line of JSON at the end
    #[arg(long)]
    json: bool,
    /// Leave the directory with data and logs behind
    #[arg(long)]
    keep: bool,
}

impl BenchArgs {
    fn throughput(&self) -> Throughput {
        let part = self.flows / 100 * WARM_UP_PER_CENT;
        Throughput {
            flows: to_usize(self.flows),
            warm_up: to_usize(self.warm_up.unwrap_or(part)),
            in_flight: to_usize(self.in_flight),
            besides: Besides {
                poison: to_usize(self.poison),
                repeats: to_usize(self.repeats),
                hung: to_usize(self.hung.unwrap_or(0)),
            },
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// See [`SceneError`]; `Broken` where flows stop ending.
pub async fn run(args: &BenchArgs) -> Result<(), SceneError> {
    let console = Console::start();
    let scene = Scene::start(console, args.keep).await?;
    let lanes = args.lanes.unwrap_or(contract()?.topics().lanes);
    scene.prepare_for(lanes).await?;
    let silent = args.hung.map(|_| SilentVendor::open()).transpose()?;
    let settings = settings(&scene, silent.is_some())?;
    let vendor = silent.as_ref().map(|vendor| vendor.address.as_str());
    let adapter = scene.adapter(vendor, &settings).await?;
    let engine = scene.engine(EngineName("engine"), &settings).await?;
    let mut meter = Meter::new(&scene, &engine, &adapter, lanes)?;
    let mut load = Load::connect(&scene, console, args.text).await?;

    let stored = stored::fill(&scene, console, &mut load, &mut meter, args.stored).await?;
    console.say(&format!("throughput: {} flows, at most {} under way", args.flows, args.in_flight));
    let steady = load.throughput(args.throughput(), &mut meter).await?;
    console.say(&format!(
        "latency: {} flows a second for {} s",
        args.rate_latency, args.latency_seconds
    ));
    let latency = load.latency(args.rate_latency, args.latency_seconds).await?;
    let batches = Batches::between(&steady.from, &steady.to);
    let sample = bound::Sample::take(&scene, &steady, &batches, load.last_flow()).await?;
    drop(load);
    stop(console, vec![engine, adapter]).await?;

    console.say("the bound: Kafka, transitions and permits, each alone");
    let bound = bound::measure(&scene, &sample).await?;
    let report = report::Report { stored, steady, latency, batches, bound };
    report.print(console);
    scene.stop(Vec::new()).await?;
    if args.json {
        console.print(&report.json().to_string());
    }
    Ok(())
}

/// Services out of the way, so that what is measured next is measured alone.
async fn stop(console: Console, services: Vec<Started>) -> Result<(), SceneError> {
    console.say("stopping engine and adapter");
    for service in services {
        let _ended_by_itself = service.child.stop(std::time::Duration::from_secs(15)).await?;
    }
    Ok(())
}

/// Where files of this run are kept.
fn directory(scene: &Scene) -> PathBuf {
    scene.stack().directory().join("bench")
}

fn write(file: &Path, text: &str) -> Result<(), SceneError> {
    std::fs::write(file, text)
        .map_err(SceneError::while_doing(format!("writing {}", file.display())))
}

/// The benchmark's own journey and routes, as files of this run.
fn settings(scene: &Scene, vendor_hangs: bool) -> Result<Vec<(String, String)>, SceneError> {
    let (journey, routes) = match vendor_hangs {
        false => (JOURNEY.to_owned(), ROUTING),
        true => (trouble::journey(JOURNEY), trouble::ROUTING),
    };
    let directory = directory(scene);
    let journeys = directory.join("journeys");
    let routing = directory.join("routing.yaml");
    std::fs::create_dir_all(&journeys)
        .map_err(SceneError::while_doing(format!("creating {}", journeys.display())))?;
    write(&journeys.join("benchmark.yaml"), &journey)?;
    write(&routing, routes)?;
    Ok(vec![
        ("SIGNALBOX__JOURNEYS__PATH".to_owned(), journeys.display().to_string()),
        ("SIGNALBOX__ADAPTER__POLICY".to_owned(), routing.display().to_string()),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use signalbox_flow::Journey;
    use signalbox_schemas::Contract;

    #[test]
    fn the_measured_journeys_are_some_that_the_checker_accepts() {
        let contract = Contract::builtin().unwrap();
        let in_trouble = super::trouble::journey(super::JOURNEY);
        assert!(in_trouble.contains("is_it_scored"), "{in_trouble}");
        for text in [super::JOURNEY, &in_trouble] {
            let journey = Journey::parse(text, contract, &BTreeMap::new()).unwrap();
            assert_eq!(signalbox_flow::check(&journey, contract), []);
        }
    }

    #[test]
    fn the_routes_lead_to_vendors_that_there_are() {
        for (text, leads_outside) in [(super::ROUTING, false), (super::trouble::ROUTING, true)] {
            let policy = signalbox_adapters::Policy::parse(text).unwrap();
            let route = signalbox_adapters::route(&policy, "fraud.score", &[]).unwrap();
            let scores = policy.vendors.get(&route.vendor).unwrap();
            // A vendor with a URL is looked for where the silent one is.
            assert_eq!(!scores.base_url.is_empty(), leads_outside, "{text}");
        }
    }
}
