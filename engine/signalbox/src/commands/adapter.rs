//! `signalbox adapter`: wires the policy, the vendors' settings, Kafka and the attempts, and watches over the start. How
//! vendors are called is the adapters' own business, and no vendor is named here.

use clap::Args;
use serde_json::Value;
use signalbox_adapters::{AdapterBus, AdapterOptions, Policy};
use signalbox_bus::Codec;
use signalbox_edge::{Probe, Readiness};
use signalbox_store::{PgAttempts, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

use super::service::{Admin, ServiceArgs, patiently};
use super::wiring;
use crate::config::{AdapterConfig, Config};
use crate::error::CliError;
use crate::shutdown;

/// Connections for permits and results.
const CONNECTIONS: u32 = 8;
/// Most requests of one capability under way at once; vendors have tighter limits of their own in the policy.
const UNDER_WAY_MAX: usize = 2_000;
/// A permit older than this is not used: the lane may have given the attempt up for lost by then.
const PERMIT_AGE_MS_MAX: u64 = 5_000;
/// How long a stop waits for calls under way; what is cut off is asked about again.
const DRAIN_MS_MAX: u64 = 10_000;
/// How long the database may take to answer before it counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs kafka.brokers, registry.url, postgres.url, privacy.envelope_key and the settings of the vendors in the policy. Run as many as you like:
they share the partitions. With adapter.vendor_base every vendor is a simulated one, see `signalbox sandbox`.

Examples:
  signalbox adapter --all
  signalbox adapter --capability payout.send --capability payout.inquire --capability payout.recall")]
pub(crate) struct AdapterArgs {
    /// Capability to serve; give it again for more
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    capability: Vec<String>,
    /// Serve every capability of the contract
    #[arg(long, conflicts_with = "capability")]
    all: bool,
    /// Name of this adapter among running ones, stable over restarts, over the configuration
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What the adapter says about itself.
struct AdapterProbe {
    reader: Reader,
    serving: AtomicBool,
}

impl Probe for AdapterProbe {
    async fn check(&self) -> Readiness {
        if !self.serving.load(Ordering::Relaxed) {
            return Readiness {
                ready: false,
                lines: vec!["starting: database and schema ids".to_owned()],
            };
        }
        let problem = match tokio::time::timeout(DATABASE_PATIENCE, self.reader.now()).await {
            Ok(Ok(_)) => return Readiness { ready: true, lines: vec!["serving".to_owned()] },
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer within a second".to_owned(),
        };
        Readiness { ready: false, lines: vec![format!("database: {problem}")] }
    }
}

/// Runs until it is told to stop.
pub(crate) async fn run(args: &AdapterArgs, config: &Config) -> Result<(), CliError> {
    let mut stopping = shutdown::on_signal()?;
    tracing::info!(config = %config.redacted(), "an adapter starts");
    config.kafka()?;
    config.registry()?;
    let options = options(args, config)?;
    let probe =
        Arc::new(AdapterProbe { reader: wiring::reader(config)?, serving: AtomicBool::new(false) });
    let admin =
        Admin::start(&args.service, config.adapter.admin_listen, Arc::clone(&probe)).await?;
    let outcome = work(options, config, &probe, &mut stopping).await;
    admin.end().await;
    outcome
}

async fn work(
    options: AdapterOptions,
    config: &Config,
    probe: &AdapterProbe,
    stopping: &mut watch::Receiver<bool>,
) -> Result<(), CliError> {
    let prepare = async || -> Result<Codec, CliError> {
        probe.reader.require_known_schema().await?;
        wiring::remembering_codec(config, &probe.reader).await
    };
    let Some(codec) = patiently("database and schema ids", stopping, prepare).await? else {
        return Ok(());
    };
    let bus = AdapterBus { kafka: config.kafka()?.clone(), codec: Arc::new(codec) };
    let attempts = PgAttempts::connect(config.postgres()?, CONNECTIONS)?;
    let member = options.member.clone();
    tracing::info!(member, capabilities = ?options.capabilities, "an adapter runs");
    probe.serving.store(true, Ordering::Relaxed);
    signalbox_adapters::run(options, bus, attempts, stopping.clone()).await?;
    tracing::info!(member, "an adapter has stopped in order");
    Ok(())
}

fn options(args: &AdapterArgs, config: &Config) -> Result<AdapterOptions, CliError> {
    let keys = config.key_provider()?;
    let config = &config.adapter;
    let (policy, settings) = policy(config)?;
    Ok(AdapterOptions {
        vendors: signalbox_adapters::VENDORS,
        policy,
        settings,
        keys,
        capabilities: if args.all {
            wiring::contract()?.capabilities().map(|capability| capability.name.clone()).collect()
        } else {
            args.capability.clone()
        },
        member: args.id.clone().or_else(|| config.id.clone()).unwrap_or_else(wiring::process_name),
        under_way_max: UNDER_WAY_MAX,
        permit_age_ms_max: PERMIT_AGE_MS_MAX,
        drain_ms_max: DRAIN_MS_MAX,
    })
}

/// The policy with every vendor where this installation reaches it, and the vendors' own settings.
pub(super) fn policy(
    config: &AdapterConfig,
) -> Result<(Policy, BTreeMap<String, Value>), CliError> {
    let file = config.policy.display();
    let wrong =
        |error: signalbox_adapters::PolicyError| CliError::Input(format!("{file}: {error}"));
    let mut policy = Policy::parse(&wiring::read(&config.policy)?).map_err(wrong)?;
    let mut settings: BTreeMap<String, Value> = config.vendors.clone();
    if let Some(base) = &config.vendor_base {
        let reached_by_url = policy.vendors.iter().filter(|(_, terms)| !terms.base_url.is_empty());
        for vendor in reached_by_url.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let url = format!("{}/{vendor}", base.trim_end_matches('/'));
            policy.override_base_url(&vendor, &url).map_err(wrong)?;
        }
    }
    for (vendor, own) in &mut settings {
        // The address is the runtime's matter; what is left is the vendor's own.
        if let Some(Value::String(url)) = own.as_object_mut().and_then(|own| own.remove("base_url"))
        {
            policy.override_base_url(vendor, &url).map_err(wrong)?;
        }
    }
    Ok((policy, settings))
}
