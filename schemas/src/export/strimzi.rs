//! `KafkaTopic` resources for Strimzi's topic operator, dead-letter topics included.
//! Where an operator keeps topics, `signalbox topics apply` is not needed; `topics plan` still tells what differs.

use serde_json::{Map, Value, json};

use super::{ExportError, plain, yaml};
use crate::contract::Contract;

/// `v1` since Strimzi 0.49; `v1beta2` is gone from 1.0.0 on.
const API_VERSION: &str = "kafka.strimzi.io/v1";

/// Where the topics are to be.
#[derive(Debug, Clone)]
pub struct StrimziOptions {
    /// Name of the `Kafka` resource.
    pub cluster: String,
    /// Lanes of the installation.
    pub lanes: u16,
    /// Replicas, where the cluster is smaller than topics.yaml supposes.
    pub replicas: Option<i32>,
}

/// Every topic as a `KafkaTopic`.
pub fn strimzi(contract: &Contract, options: &StrimziOptions) -> Result<String, ExportError> {
    let wanted = contract.topics().wanted(options.lanes, options.replicas);
    let resources: Vec<Value> = wanted
        .iter()
        .map(|topic| {
            let config: Map<String, Value> =
                topic.config.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
            json!({
                "apiVersion": API_VERSION,
                "kind": "KafkaTopic",
                "metadata": {
                    "name": topic.name,
                    "labels": {"strimzi.io/cluster": options.cluster},
                },
                "spec": {
                    "topicName": topic.name,
                    "partitions": topic.partitions,
                    "replicas": topic.replicas,
                    "config": config,
                },
            })
        })
        .collect();
    yaml(&resources)
}
