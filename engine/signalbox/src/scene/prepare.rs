//! Makes fresh servers ready for the product: tables, topics with one replica, schemas.
//! The same steps as the commands `migrate`, `topics apply` and `schemas register`, for servers that are ours alone.

use signalbox_bus::{KafkaConfig, Registry, RegistryConfig, TopicAdmin};
use signalbox_schemas::{Contract, TopicName};
use signalbox_store::Reader;

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

/// The registry of the settings.
pub(crate) fn registry(settings: &Settings) -> Result<Registry, SceneError> {
    Ok(Registry::new(&RegistryConfig { url: settings.registry.clone() })?)
}

/// Creates tables, topics and subjects. Doing it again changes nothing.
pub(crate) async fn prepare(settings: &Settings) -> Result<(), SceneError> {
    let contract = contract()?;
    let topics = contract.topics();
    Reader::connect(&settings.postgres)?.migrate(topics.lanes).await?;
    let admin = TopicAdmin::connect(&kafka(settings))?;
    let changes = admin.plan(&topics.wanted(Some(1))).await?;
    admin.apply(&changes, false).await?;
    let registry = registry(settings)?;
    for (name, topic) in &topics.topics {
        for (subject, record) in contract.subjects(&TopicName::from(name.as_str())) {
            registry.register(&subject, record.text(), &topic.schemas.compatibility).await?;
        }
    }
    Ok(())
}
