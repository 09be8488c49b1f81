//! `signalbox topics export`: prints the contract for other tools. It needs no server and changes nothing.

use clap::{Args, Subcommand};
use signalbox_schemas::export::{
    AclOptions, AsyncApiOptions, ExportError, KedaOptions, StrimziOptions, acls, asyncapi, catalog,
    keda, strimzi,
};
use signalbox_schemas::{Consumers, History};

use super::super::wiring;
use crate::error::CliError;
use crate::output;

/// For which tool.
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// KafkaTopic resources for Strimzi's topic operator
    #[command(
        after_help = "Needs no server.\n\nExample:\n  signalbox topics export strimzi --cluster bank | kubectl apply -f -"
    )]
    Strimzi(StrimziArgs),
    /// An AsyncAPI 3.1 document with Kafka bindings, as JSON
    #[command(
        after_help = "Needs no server.\n\nExample:\n  signalbox topics export asyncapi --brokers kafka.bank:9092 > asyncapi.json"
    )]
    Asyncapi(AsyncapiArgs),
    /// KEDA ScaledObjects for engines and adapters
    #[command(
        after_help = "Needs no server. Engines scale by the metric that they serve, adapters by the lag of their groups, both up to the number of lanes.\n\nExample:\n  signalbox topics export keda --brokers kafka:9092 | kubectl apply -f -"
    )]
    Keda(KedaArgs),
    /// A script of kafka-acls.sh calls: what each principal may do, and nothing else
    #[command(
        after_help = "Needs no server. Principals are the producers and consumers of topics.yaml, and deployer and operator.\n\nExample:\n  signalbox topics export acls --principal User:CN= > acls.sh"
    )]
    Acls(AclsArgs),
    /// The catalog page docs/catalog.md
    #[command(
        after_help = "Needs no server. `make catalog` does this.\n\nExample:\n  signalbox topics export catalog > docs/catalog.md"
    )]
    Catalog,
}

/// Where the topics are to be.
#[derive(Debug, Args)]
pub(crate) struct StrimziArgs {
    /// Name of the Kafka resource
    #[arg(long, value_name = "NAME", default_value = "signalbox")]
    cluster: String,
    /// Lanes of the installation, where it has others than topics.yaml gives a new one
    #[arg(long, value_name = "N")]
    lanes: Option<u16>,
    /// Replicas of each topic, where the cluster is smaller than topics.yaml supposes
    #[arg(long, value_name = "N")]
    replicas: Option<i32>,
}

/// Where the topics are.
#[derive(Debug, Args)]
pub(crate) struct AsyncapiArgs {
    /// host:port of the brokers
    #[arg(long, value_name = "ADDRESS", default_value = "kafka:9092")]
    brokers: String,
    /// Confluent API of the schema registry
    #[arg(long, value_name = "URL", default_value = "http://registry:8080/apis/ccompat/v7")]
    registry: String,
    /// Lanes of the installation, where it has others than topics.yaml gives a new one
    #[arg(long, value_name = "N")]
    lanes: Option<u16>,
}

/// What the cluster calls things.
#[derive(Debug, Args)]
pub(crate) struct KedaArgs {
    /// host:port of the brokers, as KEDA reaches them
    #[arg(long, value_name = "ADDRESS", default_value = "kafka:9092")]
    brokers: String,
    /// Prometheus that scrapes the engines
    #[arg(long, value_name = "URL", default_value = "http://prometheus:9090")]
    prometheus: String,
    /// Deployment of the engines
    #[arg(long, value_name = "NAME", default_value = "signalbox-engine")]
    engine: String,
    /// Deployment of the adapters
    #[arg(long, value_name = "NAME", default_value = "signalbox-adapter")]
    adapter: String,
    /// Lanes of the installation, where it has others than topics.yaml gives a new one
    #[arg(long, value_name = "N")]
    lanes: Option<u16>,
    /// Records waiting for one engine before another is started
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    engine_lag: u32,
    /// Requests waiting on a topic for one adapter before another is started
    #[arg(long, value_name = "N", default_value_t = 500)]
    adapter_lag: u32,
}

/// How the cluster names who connects.
#[derive(Debug, Args)]
pub(crate) struct AclsArgs {
    /// What stands before each name
    #[arg(long, value_name = "PREFIX", default_value = "User:")]
    principal: String,
}

/// Prints the export.
pub(crate) fn run(command: &ExportCommand) -> Result<(), CliError> {
    let contract = wiring::contract()?;
    let consumers = Consumers::builtin()?;
    let of = |lanes: Option<u16>| lanes.unwrap_or(contract.topics().lanes);
    let text = match command {
        ExportCommand::Strimzi(StrimziArgs { cluster, lanes, replicas }) => {
            let (cluster, lanes) = (cluster.clone(), of(*lanes));
            strimzi(contract, &StrimziOptions { cluster, lanes, replicas: *replicas })
        }
        ExportCommand::Asyncapi(AsyncapiArgs { brokers, registry, lanes }) => asyncapi(
            contract,
            &consumers,
            &AsyncApiOptions {
                brokers: brokers.clone(),
                registry: registry.clone(),
                lanes: of(*lanes),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        ),
        ExportCommand::Keda(args) => keda(contract, &keda_options(args, of(args.lanes))),
        ExportCommand::Acls(AclsArgs { principal }) => {
            Ok(acls(contract, &consumers, &AclOptions { principal: principal.clone() }))
        }
        ExportCommand::Catalog => Ok(catalog(contract, &consumers, &History::builtin()?)),
    };
    let text = text.map_err(|error: ExportError| CliError::Input(error.to_string()))?;
    output::line(text.trim_end())
}

fn keda_options(args: &KedaArgs, lanes: u16) -> KedaOptions {
    KedaOptions {
        brokers: args.brokers.clone(),
        prometheus: args.prometheus.clone(),
        lag_metric: signalbox_worker::LAG_METRIC.to_owned(),
        group_of: signalbox_adapters::group_of,
        engine: args.engine.clone(),
        adapter: args.adapter.clone(),
        lanes,
        engine_lag: args.engine_lag,
        adapter_lag: args.adapter_lag,
    }
}
