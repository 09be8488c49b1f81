//! Makes fresh servers ready for the product: tables, topics with one replica, schemas.
//! The same steps as the commands `migrate`, `topics apply` and `schemas register`, for servers that are ours alone.

use std::time::Duration;

use signalbox_bus::{KafkaConfig, KafkaLaneBus, LaneBus, Registry, RegistryConfig, TopicAdmin};
use signalbox_schemas::topics::WantedTopic;
use signalbox_schemas::{Contract, TopicName};
use signalbox_store::Reader;
use tokio::time::{Instant, sleep};

use super::error::SceneError;
use super::settings::Settings;

/// The contract that is built in.
pub(crate) fn contract() -> Result<&'static Contract, SceneError> {
    Contract::builtin().map_err(|error| SceneError::Data(format!("the contract: {error}")))
}

/// How the brokers of the settings are reached.
pub(crate) fn kafka(settings: &Settings) -> KafkaConfig {
    KafkaConfig { brokers: settings.brokers.clone(), properties: std::collections::BTreeMap::new() }
}

/// Topics with as many partitions as a client that connects now sees.
pub(crate) fn partitions<'t>(
    settings: &Settings,
    topics: &[&'t str],
) -> Result<Vec<(&'t str, u16)>, SceneError> {
    let known = TopicAdmin::connect(&kafka(settings))?.partitions()?;
    let of = |topic: &&'t str| {
        let found = known.get(*topic).map(|partitions| (*topic, *partitions));
        found.ok_or_else(|| SceneError::Data(format!("there is no topic {topic}")))
    };
    topics.iter().map(of).collect()
}

/// The registry of the settings.
pub(crate) fn registry(settings: &Settings) -> Result<Registry, SceneError> {
    Ok(Registry::new(&RegistryConfig { url: settings.registry.clone() })?)
}

/// Longest time until every partition of a new topic has a leader that every client knows.
const LEADERS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Creates tables, of a new installation for so many lanes. Doing it again changes nothing.
pub(crate) async fn tables(settings: &Settings, lanes: u16) -> Result<(), SceneError> {
    Reader::connect(&settings.postgres)?.migrate(lanes).await?;
    Ok(())
}

/// Creates topics and subjects. Doing it again changes nothing.
pub(crate) async fn topics_and_subjects(settings: &Settings) -> Result<(), SceneError> {
    let contract = contract()?;
    let topics = contract.topics();
    let lanes = Reader::connect(&settings.postgres)?.lane_count().await?;
    let wanted = topics.wanted(lanes, Some(1));
    let admin = TopicAdmin::connect(&kafka(settings))?;
    let changes = admin.plan(&wanted).await?;
    admin.apply(&changes).await?;
    leaders(settings, &wanted).await?;
    let registry = registry(settings)?;
    for (name, topic) in &topics.topics {
        for (subject, record) in contract.subjects(&TopicName::from(name.as_str())) {
            let promise = topic.schemas.compatibility.as_str();
            registry.register(&subject, record.text(), promise).await?;
        }
    }
    Ok(())
}

/// A topic is created before its partitions are led; whoever comes too early is turned away for seconds.
async fn leaders(settings: &Settings, wanted: &[WantedTopic]) -> Result<(), SceneError> {
    let mut bus = KafkaLaneBus::connect(&kafka(settings), "signalbox-prepare")?;
    let deadline = Instant::now() + LEADERS_WITHIN;
    for topic in wanted {
        let name = TopicName::from(topic.name.as_str());
        for partition in 0..i32::from(topic.partitions) {
            while let Err(error) = bus.range(&name, partition).await {
                if Instant::now() > deadline {
                    return Err(error.into());
                }
                sleep(LOOK_INTERVAL).await;
            }
        }
    }
    Ok(())
}
