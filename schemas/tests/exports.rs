//! What is exported for other tools: valid by the rules that those tools publish, and complete by topics.yaml.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use signalbox_schemas::export::{
    AclOptions, AsyncApiOptions, KedaOptions, StrimziOptions, acls, asyncapi, catalog, keda,
    strimzi,
};
use signalbox_schemas::topics::Role;
use signalbox_schemas::{Consumers, Contract, History};
use std::collections::BTreeSet;

fn contract() -> &'static Contract {
    Contract::builtin().unwrap()
}

fn documents(yaml: &str) -> Vec<Value> {
    let texts = yaml.split("---\n").filter(|text| !text.is_empty());
    texts.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

fn described() -> Value {
    let options = AsyncApiOptions {
        brokers: "kafka:9092".to_owned(),
        registry: "http://registry:8080".to_owned(),
        lanes: 8,
        version: "0.1.0".to_owned(),
    };
    let text = asyncapi(contract(), &Consumers::builtin().unwrap(), &options).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_asyncapi_document_is_valid_by_its_published_schema() {
    let published: Value =
        serde_json::from_str(include_str!("published/asyncapi-3.1.0.json")).unwrap();
    let validator = jsonschema::validator_for(&published).unwrap();
    let found: Vec<String> = validator
        .iter_errors(&described())
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The validator must be able to say no, in the bindings too.
    for (at, wrong) in [
        ("/asyncapi", json!("3.1")),
        ("/channels/payments.payout.events.v1/bindings/kafka/partitions", json!("8")),
        ("/operations/send.payments.payout.events.v1/action", json!("publish")),
    ] {
        let mut broken = described();
        *broken.pointer_mut(at).unwrap() = wrong;
        assert!(!validator.is_valid(&broken), "{at} may be anything");
    }
}

#[test]
fn the_asyncapi_document_has_every_topic_and_record_from_signalbox_s_side() {
    let document = described();
    for (name, topic) in &contract().topics().topics {
        let channel = &document["channels"][name];
        assert_eq!(channel["address"], json!(name));
        for record in &topic.schemas.value {
            assert_eq!(
                channel["messages"][record]["payload"]["schema"]["type"], "record",
                "{record}"
            );
        }
    }
    let operations = document["operations"].as_object().unwrap();
    for (operation, expected) in [
        ("receive.payments.payout.commands.v1", true),
        ("send.payments.payout.commands.v1", false),
        ("send.payments.payout.events.v1", true),
        ("receive.payments.payout.events.v1", false),
        ("send.kyc.check.requests.v1", true),
        ("receive.kyc.check.requests.v1", true),
    ] {
        assert_eq!(operations.contains_key(operation), expected, "{operation}");
    }
}

#[test]
fn strimzi_gets_every_topic_and_dead_letter_topic_as_the_cluster_should_have_it() {
    let options = StrimziOptions { cluster: "bank".to_owned(), lanes: 12, replicas: None };
    let resources = documents(&strimzi(contract(), &options).unwrap());
    let wanted = contract().topics().wanted(12, None);
    assert_eq!(resources.len(), wanted.len());
    for (resource, wanted) in resources.iter().zip(&wanted) {
        assert_eq!(resource["apiVersion"], "kafka.strimzi.io/v1");
        assert_eq!(resource["kind"], "KafkaTopic");
        assert_eq!(resource["metadata"]["name"], json!(wanted.name));
        assert_eq!(resource["metadata"]["labels"]["strimzi.io/cluster"], "bank");
        assert_eq!(resource["spec"]["topicName"], json!(wanted.name));
        assert_eq!(resource["spec"]["partitions"], json!(wanted.partitions));
        assert_eq!(resource["spec"]["replicas"], json!(wanted.replicas));
        for (key, value) in &wanted.config {
            let given = &resource["spec"]["config"][key];
            let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
            assert_eq!(&given, value, "{key} of {}", wanted.name);
        }
    }
}

#[test]
fn keda_scales_adapters_by_group_lag_and_engines_by_their_own_metric_up_to_the_lanes() {
    let options = KedaOptions {
        brokers: "kafka:9092".to_owned(),
        prometheus: "http://prometheus:9090".to_owned(),
        lag_metric: "lag".to_owned(),
        group_of: |capability| format!("group.{capability}"),
        engine: "engine".to_owned(),
        adapter: "adapter".to_owned(),
        lanes: 12,
        engine_lag: 1_000,
        adapter_lag: 100,
    };
    let objects = documents(&keda(contract(), &options).unwrap());
    for object in &objects {
        assert_eq!(object["apiVersion"], "keda.sh/v1alpha1");
        assert_eq!(object["kind"], "ScaledObject");
        assert_eq!(object["spec"]["maxReplicaCount"], 12);
        // KEDA takes texts alone, numbers included.
        for trigger in object["spec"]["triggers"].as_array().unwrap() {
            assert!(trigger["metadata"].as_object().unwrap().values().all(Value::is_string));
        }
    }
    assert_eq!(objects[0]["spec"]["triggers"][0]["metadata"]["query"], "sum(lag)");
    let adapters = objects[1]["spec"]["triggers"].as_array().unwrap();
    let scaled: Vec<&str> =
        adapters.iter().map(|trigger| trigger["metadata"]["topic"].as_str().unwrap()).collect();
    let requests: Vec<&str> =
        contract().topics().of_role(Role::Request).map(|(name, _)| name).collect();
    assert_eq!(scaled, requests);
    let kyc =
        adapters.iter().find(|trigger| trigger["metadata"]["topic"] == "kyc.check.requests.v1");
    assert_eq!(kyc.unwrap()["metadata"]["consumerGroup"], "group.kyc.check");
}

#[test]
fn acls_let_each_principal_do_its_part_and_nothing_else() {
    let options = AclOptions { principal: "User:".to_owned() };
    let script = acls(contract(), &Consumers::builtin().unwrap(), &options);
    let granted: BTreeSet<&str> =
        script.lines().filter_map(|line| line.strip_prefix("allow ")).collect();
    let has = |wanted: &str| granted.iter().any(|line| *line == wanted);
    for wanted in [
        "'User:service' --operation Write --topic 'payments.payout.commands.v1'",
        "'User:engine' --operation Read --topic 'payments.payout.commands.v1'",
        "'User:engine' --operation Read --operation Write --topic 'payments.payout.events.v1'",
        "'User:engine' --operation Read --operation Write --topic 'payments.payout.commands.v1.dlq'",
        "'User:adapter' --operation Read --topic 'kyc.check.requests.v1'",
        "'User:adapter' --operation Write --topic 'kyc.check.outcomes.v1'",
        "'User:ledger' --operation Read --topic 'payments.payout.events.v1'",
        "'User:ledger' --operation Read --group 'ledger.' --resource-pattern-type prefixed",
    ] {
        assert!(has(wanted), "not granted: {wanted}\n{script}");
    }
    // Readers of events write nothing and read nothing else; nobody but services starts payouts, but operators again.
    let of = |who: &str| {
        granted.iter().filter(|line| line.starts_with(&format!("'User:{who}'"))).count()
    };
    assert_eq!(of("ledger"), 2);
    let payers: Vec<&&str> = granted
        .iter()
        .filter(|line| line.contains("Write") && line.ends_with("'payments.payout.commands.v1'"))
        .collect();
    assert_eq!(payers.len(), 2, "{payers:?}");
}

#[test]
fn the_catalog_page_is_current() {
    let page = catalog(contract(), &Consumers::builtin().unwrap(), &History::builtin().unwrap());
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/catalog.md"));
    assert!(
        kept.unwrap_or_default() == page,
        "docs/catalog.md is not what the contract says; run `make catalog`"
    );
}

#[test]
fn the_catalog_marks_personal_data_and_says_who_reads_which_field() {
    let page = catalog(contract(), &Consumers::builtin().unwrap(), &History::builtin().unwrap());
    for line in [
        "| `beneficiary.party.name` |",
        "| `problems[].field` |",
        "ledger reads `payout_id`, ",
        "Owner payments. Key `payout_id`. 8 partitions in a new installation. Kept 30 days. Compatibility FULL_TRANSITIVE.",
    ] {
        assert!(page.contains(line), "{line} is missing");
    }
    let reference = page.lines().find(|line| line.starts_with("| `reference` |")).unwrap();
    assert!(reference.ends_with("**personal data** |"), "{reference}");
}

#[test]
fn whoever_reads_of_a_deprecated_record_is_told_until_when_and_what_to_use() {
    let page = catalog(contract(), &Consumers::builtin().unwrap(), &History::builtin().unwrap());
    let document = described();
    for (topic, record, notice) in contract().topics().deprecated() {
        let (_, described) = page.split_once(&format!("### `{record}`")).unwrap();
        let told = described.lines().find(|line| line.starts_with("**Deprecated**")).unwrap();
        assert!(
            told.contains(&notice.until.to_string()) && told.contains(&notice.instead),
            "{told}"
        );
        let tags = &document["channels"][topic]["messages"][record]["tags"];
        assert_eq!(tags[0]["name"], "deprecated", "{record}");
        assert!(tags[0]["description"].as_str().unwrap().contains(&notice.instead), "{tags}");
        let instead = &document["channels"][topic]["messages"][&notice.instead];
        assert!(instead["name"].is_string() && instead["tags"].is_null(), "{instead}");
    }
}
