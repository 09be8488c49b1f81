//! Kafka's access control: who may write and read which topic, as calls of Kafka's own `kafka-acls.sh`.
//! Principals are the names of topics.yaml. It grants and never revokes; what was granted by hand stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::consumers::Consumers;
use crate::contract::Contract;
use crate::topics::{Role, Topic, dlq_of};

/// How the cluster names who connects.
#[derive(Debug, Clone)]
pub struct AclOptions {
    /// What stands before a name, such as `User:` or `User:CN=`.
    pub principal: String,
}

/// Who brings topics and schemas up to date: `signalbox topics plan|apply`.
const DEPLOYER: &str = "deployer";
/// Who reads dead letters and produces corrected ones again.
const OPERATOR: &str = "operator";

const HEAD: &str = r#"#!/bin/sh
# Who may do what on Kafka. Generated from topics.yaml by `signalbox topics export acls`; running it again changes nothing.
#
#   BOOTSTRAP=kafka:9093 COMMAND_CONFIG=admin.properties sh acls.sh
set -eu
allow() {
    kafka-acls.sh --bootstrap-server "${BOOTSTRAP:?names the brokers}" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
        --add --force --allow-principal "$@"
}
"#;

/// A shell script with one call per principal and resource.
pub fn acls(contract: &Contract, consumers: &Consumers, options: &AclOptions) -> String {
    let mut text = HEAD.to_owned();
    for (name, needs) in needs(contract, consumers) {
        let _ = writeln!(text, "\n# {name}");
        for need in needs {
            let operations: String = need
                .operations
                .iter()
                .map(|operation| format!(" --operation {operation}"))
                .collect();
            let _ =
                writeln!(text, "allow '{}{name}'{operations} {}", options.principal, need.resource);
        }
    }
    text
}

/// Operations on one resource.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    resource: String,
    operations: Vec<&'static str>,
}

type Needs = std::collections::BTreeMap<String, BTreeSet<Need>>;

fn needs(contract: &Contract, consumers: &Consumers) -> Needs {
    let mut needs = Needs::new();
    let mut need = |who: &str, resource: String, operations: &[&'static str]| {
        let need = Need { resource, operations: operations.to_vec() };
        needs.entry(who.to_owned()).or_default().insert(need);
    };
    for (name, topic) in &contract.topics().topics {
        for who in &topic.producers {
            // Lanes read what they published: a new owner finds the end of the sequence in the logs.
            need(who, on(name), if is_lane(who) { &["Read", "Write"] } else { &["Write"] });
        }
        for who in topic.consumers.iter().filter(|who| !topic.producers.contains(who)) {
            need(who, on(name), &["Read"]);
        }
        if topic.dlq {
            for who in dead_letter_writers(topic, consumers) {
                let operations: &[_] = if is_lane(who) { &["Read", "Write"] } else { &["Write"] };
                need(who, on(&dlq_of(name)), operations);
            }
            need(OPERATOR, on(&dlq_of(name)), &["Read"]);
            need(OPERATOR, on(name), &["Write"]);
        }
    }
    for (name, consumer) in &consumers.consumers {
        let prefix = if consumer.ours { format!("signalbox.{name}") } else { format!("{name}.") };
        let group = format!("--group '{prefix}' --resource-pattern-type prefixed");
        need(name, group, &["Read"]);
    }
    need(OPERATOR, "--group 'operator.' --resource-pattern-type prefixed".to_owned(), &["Read"]);
    need(DEPLOYER, "--cluster".to_owned(), &["Describe"]);
    for wanted in contract.topics().wanted(contract.topics().lanes, None) {
        need(
            DEPLOYER,
            on(&wanted.name),
            &["Create", "Describe", "Alter", "DescribeConfigs", "AlterConfigs"],
        );
    }
    needs
}

/// Whoever reads a topic for Signalbox sets aside what it cannot read.
fn dead_letter_writers<'t>(
    topic: &'t Topic,
    consumers: &'t Consumers,
) -> impl Iterator<Item = &'t str> {
    let is_ours = |who: &&String| consumers.consumers.get(*who).is_some_and(|known| known.ours);
    let reads = matches!(topic.role, Role::Command | Role::Request | Role::Outcome | Role::Forward);
    topic.consumers.iter().filter(is_ours).filter(move |_| reads).map(String::as_str)
}

fn is_lane(who: &str) -> bool {
    who == "engine"
}

fn on(topic: &str) -> String {
    format!("--topic '{topic}'")
}
