//! Topics of a cluster compared with the contract, and brought closer to it: creates, widens, configures.
//! It never deletes and never shrinks.

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::types::RDKafkaErrorCode;
use signalbox_schemas::topics::WantedTopic;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::config::KafkaConfig;
use crate::error::BusError;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// One difference between a cluster and the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// The topic is missing.
    Create(WantedTopic),
    /// The topic has too few partitions.
    Widen {
        /// Topic.
        topic: String,
        /// Partitions now.
        from: u16,
        /// Partitions wanted.
        to: u16,
    },
    /// The topic has more partitions than wanted; left alone.
    TooWide {
        /// Topic.
        topic: String,
        /// Partitions now.
        from: u16,
        /// Partitions wanted.
        to: u16,
    },
    /// A setting differs.
    Configure {
        /// Topic.
        topic: String,
        /// Setting.
        key: String,
        /// Value now.
        from: String,
        /// Value wanted.
        to: String,
    },
}

impl fmt::Display for TopicChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(wanted) => {
                write!(
                    f,
                    "create    {} ({} partitions, {} replicas)",
                    wanted.name, wanted.partitions, wanted.replicas
                )
            }
            Self::Widen { topic, from, to } => {
                write!(f, "widen     {topic} from {from} to {to} partitions")
            }
            Self::TooWide { topic, from, to } => {
                write!(f, "keep      {topic} has {from} partitions, {to} wanted; never shrunk")
            }
            Self::Configure { topic, key, from, to } => {
                write!(f, "configure {topic} {key} = {to} (now {from})")
            }
        }
    }
}

/// Admin connection to a cluster.
pub struct TopicAdmin {
    client: AdminClient<DefaultClientContext>,
}

impl TopicAdmin {
    /// Connects.
    pub fn connect(config: &KafkaConfig) -> Result<Self, BusError> {
        Ok(Self { client: AdminClient::from_config(&config.client("signalbox-topics")?)? })
    }

    /// What differs, in the order of names. Changes nothing.
    pub async fn plan(&self, wanted: &[WantedTopic]) -> Result<Vec<TopicChange>, BusError> {
        let existing = self.partitions()?;
        let mut changes = Vec::new();
        for topic in wanted {
            match existing.get(&topic.name) {
                None => changes.push(TopicChange::Create(topic.clone())),
                Some(&from) => {
                    let (name, to) = (topic.name.clone(), topic.partitions);
                    match from.cmp(&to) {
                        Ordering::Less => {
                            changes.push(TopicChange::Widen { topic: name, from, to })
                        }
                        Ordering::Greater => {
                            changes.push(TopicChange::TooWide { topic: name, from, to })
                        }
                        Ordering::Equal => {}
                    }
                    changes.extend(self.configuration(topic).await?);
                }
            }
        }
        Ok(changes)
    }

    /// Carries out changes. Widening a topic moves no flow: where keys live is the installation's number of lanes.
    pub async fn apply(&self, changes: &[TopicChange]) -> Result<(), BusError> {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let created: Vec<&WantedTopic> = changes
            .iter()
            .filter_map(
                |change| if let TopicChange::Create(topic) = change { Some(topic) } else { None },
            )
            .collect();
        let new: Vec<NewTopic<'_>> = created.iter().map(|topic| new_topic(topic)).collect();
        if !new.is_empty() {
            succeed(self.client.create_topics(&new, &options).await?)?;
        }
        let mut settings: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for change in changes {
            match change {
                TopicChange::Widen { topic, to, .. } => self.widen(topic, *to, &options).await?,
                TopicChange::Configure { topic, key, to, .. } => {
                    settings.entry(topic).or_default().insert(key, to);
                }
                TopicChange::Create(_) | TopicChange::TooWide { .. } => {}
            }
        }
        for (topic, changed) in settings {
            self.configure(topic, &changed, &options).await?;
        }
        Ok(())
    }

    /// The controller refuses what was done already: by another process, or by this request, sent again after its answer
    /// was lost. Brokers learn of what was done a moment later, and whoever asks next must see it.
    async fn widen(&self, topic: &str, to: u16, options: &AdminOptions) -> Result<(), BusError> {
        let wider = NewPartitions::new(topic, usize::from(to));
        for result in self.client.create_partitions(&[wider], options).await? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
                Err((topic, code)) => return Err(BusError::Config(format!("{topic}: {code}"))),
            }
        }
        self.until_wide(topic, to).await
    }

    async fn until_wide(&self, topic: &str, to: u16) -> Result<(), BusError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.partitions()?.get(topic).copied().unwrap_or_default();
            match now.cmp(&to) {
                Ordering::Equal => return Ok(()),
                Ordering::Less if Instant::now() < deadline => sleep(LOOK).await,
                Ordering::Less | Ordering::Greater => {
                    let told = format!("{topic} cannot be widened from {now} to {to} partitions");
                    return Err(BusError::Config(told));
                }
            }
        }
    }

    /// How many partitions each topic has that this user may see.
    pub fn partitions(&self) -> Result<BTreeMap<String, u16>, BusError> {
        let metadata = self.client.inner().fetch_metadata(None, PATIENCE)?;
        let count = |topic: &rdkafka::metadata::MetadataTopic| {
            u16::try_from(topic.partitions().len()).unwrap_or(u16::MAX)
        };
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic))).collect())
    }

    async fn configuration(&self, topic: &WantedTopic) -> Result<Vec<TopicChange>, BusError> {
        let now = self.describe(&topic.name).await?;
        let differs = |(key, to): (&String, &String)| {
            let from = now.get(key).map(|(value, _)| value.clone()).unwrap_or_default();
            (from != *to).then(|| TopicChange::Configure {
                topic: topic.name.clone(),
                key: key.clone(),
                from,
                to: to.clone(),
            })
        };
        Ok(topic.config.iter().filter_map(differs).collect())
    }

    /// Settings with whether each is the topic's own.
    async fn describe(&self, topic: &str) -> Result<BTreeMap<String, (String, bool)>, BusError> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let described =
            self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
        let mut settings = BTreeMap::new();
        for resource in described {
            let resource =
                resource.map_err(|code| BusError::Unreachable(format!("{topic}: {code}")))?;
            for entry in resource.entries {
                let own = matches!(entry.source, rdkafka::admin::ConfigSource::DynamicTopic);
                settings.insert(entry.name, (entry.value.unwrap_or_default(), own));
            }
        }
        Ok(settings)
    }

    /// The request replaces the topic's whole configuration, so what is set already is read and sent again.
    async fn configure(
        &self,
        topic: &str,
        changed: &BTreeMap<&str, &str>,
        options: &AdminOptions,
    ) -> Result<(), BusError> {
        let now = self.describe(topic).await?;
        let mut merged: BTreeMap<&str, &str> = now
            .iter()
            .filter(|(_, (_, own))| *own)
            .map(|(key, (value, _))| (key.as_str(), value.as_str()))
            .collect();
        merged.extend(changed.iter());
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in merged {
            config = config.set(key, value);
        }
        for outcome in self.client.alter_configs([&config], options).await? {
            outcome.map_err(|(_, code)| BusError::Config(format!("{topic}: {code}")))?;
        }
        Ok(())
    }
}

fn new_topic(topic: &WantedTopic) -> NewTopic<'_> {
    let new = NewTopic::new(
        &topic.name,
        i32::from(topic.partitions),
        TopicReplication::Fixed(topic.replicas),
    );
    topic.config.iter().fold(new, |new, (key, value)| new.set(key, value))
}

/// Another process may have created the same topic in between; that is what was wanted.
fn succeed(results: Vec<rdkafka::admin::TopicResult>) -> Result<(), BusError> {
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(BusError::Config(format!("{topic}: {code}"))),
        }
    }
    Ok(())
}
