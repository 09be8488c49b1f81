//! `signalbox-peers`: the work of `signalbox bench` on parts that are not ours, measured in the same way, each as one
//! line of JSON. `deploy/peers/bench.py` runs it and puts the lines beside our own.
//!
//! It judges nothing and shares no code with the product: what it measures must not lean on what it is compared with.

mod handwritten;
mod load;
mod payout;
mod process;
mod report;
mod restate;

use clap::{Args, Parser, Subcommand};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "signalbox-peers", about = "Measures peers of Signalbox on the same work")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure Restate, with a server and a service of its own
    Restate(restate::Measured),
    /// The service that Restate calls; `restate` starts it
    #[command(hide = true)]
    RestateService,
    /// Measure a consumer written by hand, on a Kafka and a Postgres that run
    Handwritten(handwritten::Measured),
    /// That consumer; `handwritten` starts it
    #[command(hide = true)]
    HandwrittenConsumer(handwritten::Settings),
}

/// How much is asked for, as `signalbox bench` has it.
#[derive(Debug, Clone, Args)]
struct Wanted {
    /// Flows of the throughput run
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    flows: usize,
    /// Flows under way at once in the throughput run
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    in_flight: usize,
    /// Flows per second of the latency run
    #[arg(long, value_name = "N", default_value_t = 30)]
    rate_latency: u32,
    /// Seconds of the latency run
    #[arg(long, value_name = "N", default_value_t = 20)]
    latency_seconds: u32,
}

// The main thread starts the children: the kernel ends them when the thread that started them ends.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Restate(wanted) => restate::measure(&wanted).await,
        Command::RestateService => restate::serve().await,
        Command::Handwritten(wanted) => handwritten::measure(&wanted).await,
        Command::HandwrittenConsumer(settings) => handwritten::consume(&settings).await,
    }
}
