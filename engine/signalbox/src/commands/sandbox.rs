//! `signalbox sandbox`: simulated vendors over real HTTP. Not for production: nobody is really checked or paid.

use clap::Args;
use serde_json::json;
use signalbox_sandbox::{Latency, SandboxOptions, Vendor, personas};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{service, wiring};
use crate::error::CliError;
use crate::{output, shutdown};

/// Arguments; what is not given is as the sandbox has it by default.
#[derive(Debug, Args)]
#[command(after_help = "\
Names and amounts choose what happens: a beneficiary called \"Ann Hit\" is on a sanctions list. All of them:
  signalbox sandbox --personas

Example:
  signalbox sandbox --listen 127.0.0.1:7070 --settle-after 5s --latency-max 2s
  SIGNALBOX__ADAPTER__VENDOR_BASE=http://127.0.0.1:7070 signalbox adapter --all")]
pub(crate) struct SandboxArgs {
    /// Where vendors are served; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// From a transfer's creation to its settlement
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    settle_after: Option<Duration>,
    /// From settlement to the return, where a transfer comes back
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    return_after: Option<Duration>,
    /// Least extra time of every answer
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    latency_min: Option<Duration>,
    /// Most extra time of every answer
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    latency_max: Option<Duration>,
    /// How late a slow answer comes
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    slow_for: Option<Duration>,
    /// How long a request hangs that is never answered
    #[arg(long, value_name = "DURATION", value_parser = wiring::duration)]
    hang_for: Option<Duration>,
    /// Polls of an identity check before it shows its result
    #[arg(long, value_name = "N")]
    decide_after_polls: Option<u32>,
    /// Start value of every random choice
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where effects are kept, so that a restarted sandbox knows them
    #[arg(long, value_name = "FILE")]
    ledger_file: Option<PathBuf>,
    /// File that is written when vendors are served, as {"address":"HOST:PORT","vendors":{..},"control":".."}
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print what names and amounts do, and end
    #[arg(long)]
    personas: bool,
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: &SandboxArgs) -> Result<(), CliError> {
    if args.personas {
        return personas().iter().try_for_each(output::json);
    }
    let mut stopping = shutdown::on_signal()?;
    let sandbox = signalbox_sandbox::serve(options(args)).await?;
    let vendors: serde_json::Map<_, _> = Vendor::ALL
        .iter()
        .map(|vendor| (vendor.prefix().to_owned(), sandbox.url(*vendor).into()))
        .collect();
    let served =
        json!({"address": sandbox.address, "vendors": vendors, "control": sandbox.control_url()});
    tracing::info!(address = %sandbox.address, %served, "vendors are simulated");
    if let Some(file) = &args.ready_file {
        service::tell_ready(file, &served)?;
    }
    shutdown::requested(&mut stopping).await;
    Ok(sandbox.stop().await?)
}

fn options(args: &SandboxArgs) -> SandboxOptions {
    let usual = SandboxOptions::default();
    SandboxOptions {
        listen: args.listen,
        settle_after: args.settle_after.unwrap_or(usual.settle_after),
        return_after: args.return_after.unwrap_or(usual.return_after),
        latency: Latency {
            min: args.latency_min.unwrap_or(usual.latency.min),
            max: args.latency_max.unwrap_or(usual.latency.max),
        },
        slow_for: args.slow_for.unwrap_or(usual.slow_for),
        hang_for: args.hang_for.unwrap_or(usual.hang_for),
        decide_after_polls: args.decide_after_polls.unwrap_or(usual.decide_after_polls),
        seed: args.seed.unwrap_or(usual.seed),
        ledger_file: args.ledger_file.clone(),
        effects_max: usual.effects_max,
    }
}
