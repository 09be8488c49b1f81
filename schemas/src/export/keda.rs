//! KEDA `ScaledObject`s: how many engines and adapters run, by what waits for them.
//!
//! Adapters are a consumer group and scale by its lag. Engines keep their offsets in Postgres with the state, so the
//! broker knows no lag of theirs: they scale by the metric that they serve. Neither gains from more processes than
//! there are lanes. Deployments are not made here.

use serde_json::{Value, json};

use super::{ExportError, yaml};
use crate::contract::Contract;
use crate::topics::Role;

/// What the cluster calls things.
#[derive(Debug, Clone)]
pub struct KedaOptions {
    /// `host:port` of the brokers, as KEDA reaches them.
    pub brokers: String,
    /// Address of the Prometheus that scrapes engines.
    pub prometheus: String,
    /// Metric of engines that counts records not yet read, per lane.
    pub lag_metric: String,
    /// Consumer group of the adapters of a capability.
    pub group_of: fn(&str) -> String,
    /// Name of the engines' deployment.
    pub engine: String,
    /// Name of the adapters' deployment.
    pub adapter: String,
    /// Lanes of the installation.
    pub lanes: u16,
    /// Records that one engine may have waiting before another is started.
    pub engine_lag: u32,
    /// Requests that one adapter may have waiting on a topic before another is started.
    pub adapter_lag: u32,
}

/// A `ScaledObject` for engines and one for adapters.
pub fn keda(contract: &Contract, options: &KedaOptions) -> Result<String, ExportError> {
    let engine = json!([{
        "type": "prometheus",
        "metadata": {
            "serverAddress": options.prometheus,
            "query": format!("sum({})", options.lag_metric),
            "threshold": options.engine_lag.to_string(),
            // Engines that are all away serve no metric; that is no reason to keep one only.
            "ignoreNullValues": "false",
        },
    }]);
    let adapter: Vec<Value> = contract
        .topics()
        .of_role(Role::Request)
        .map(|(topic, spec)| {
            let capability =
                spec.schemas.value.first().and_then(|record| record.strip_suffix(".Request"));
            json!({
                "type": "kafka",
                "metadata": {
                    "bootstrapServers": options.brokers,
                    "consumerGroup": (options.group_of)(capability.unwrap_or_default()),
                    "topic": topic,
                    "lagThreshold": options.adapter_lag.to_string(),
                    "offsetResetPolicy": "earliest",
                },
            })
        })
        .collect();
    yaml(&[
        scaled(&options.engine, options.lanes, &engine),
        scaled(&options.adapter, options.lanes, &Value::Array(adapter)),
    ])
}

/// At least two, so that one may die; at most one per lane.
fn scaled(deployment: &str, lanes: u16, triggers: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": deployment},
        "spec": {
            "scaleTargetRef": {"name": deployment},
            "minReplicaCount": lanes.min(2),
            "maxReplicaCount": lanes,
            "cooldownPeriod": 300,
            "triggers": triggers,
        },
    })
}
