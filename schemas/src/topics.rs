//! `topics.yaml` parsed: the one source of what topics exist, who owns them and what they hold.
//! It does not talk to a cluster; comparing with one and creating topics is the bus's work.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Version of the file format; 1.
    pub version: u32,
    /// Lanes of a new installation. What an installation has it keeps in its database: more lanes are a planned
    /// operation (`signalbox lane grow`), never the side effect of a changed file.
    pub lanes: u16,
    /// What a topic has where it says nothing of its own.
    pub defaults: Defaults,
    /// What every derived dead-letter topic has.
    pub dlq: DlqDefaults,
    /// Topics by name.
    pub topics: BTreeMap<String, Topic>,
}

/// Replicas and configuration for topics that set none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Replication factor.
    pub replicas: i32,
    /// Kafka topic configuration.
    pub config: BTreeMap<String, ConfigValue>,
}

/// Configuration of derived dead-letter topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DlqDefaults {
    /// Kafka topic configuration.
    pub config: BTreeMap<String, ConfigValue>,
}

/// One topic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Team that answers for it, in docs and alerts.
    pub owner: String,
    /// What its records are to the engine.
    pub role: Role,
    /// Field of the record that is the record's key.
    pub key: String,
    /// Co-partition group; `lanes` for every topic the engine reads or writes.
    pub group: String,
    /// Which records it holds.
    pub schemas: TopicSchemas,
    /// Records of it that nobody should begin to use, by name.
    #[serde(default)]
    pub deprecated: BTreeMap<String, Deprecation>,
    /// Topic configuration over the defaults.
    pub config: BTreeMap<String, ConfigValue>,
    /// True where a dead-letter topic is derived.
    pub dlq: bool,
    /// True where records carry personal data.
    pub pii: bool,
    /// Services that write it.
    pub producers: Vec<String>,
    /// Services that read it.
    pub consumers: Vec<String>,
}

/// A record that is on its way out. It is taken and published as ever; what becomes of that is decided by people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deprecation {
    /// Since when its users are asked to move.
    pub since: Day,
    /// Last day on which it can be counted on.
    pub until: Day,
    /// Record that is to be used instead.
    #[serde(rename = "use")]
    pub instead: String,
}

/// A day, written as YYYY-MM-DD, so that days are in order as texts are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Day(String);

/// What records of a topic are to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read by lanes: starts a flow or addresses one by its business id.
    Command,
    /// Written by lanes, read by adapters.
    Request,
    /// Written by adapters, read by lanes.
    Outcome,
    /// Written by lanes for other services.
    Event,
    /// Written by adapters for reporting.
    Record,
    /// Written and read by lanes: records that arrived at another lane than their own.
    Forward,
}

/// Records of a topic and how their schemas are registered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSchemas {
    /// Full names of the records.
    pub value: Vec<String>,
    /// How the subject is named.
    pub strategy: Strategy,
    /// What evolution of the records promises, as the registry calls it.
    pub compatibility: Compatibility,
}

/// What a new version of a record promises about every earlier one: replays read old records, so it is always
/// transitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Nothing: the topic carries records of other topics.
    None,
    /// The new version reads what all earlier ones wrote.
    BackwardTransitive,
    /// That, and every earlier version reads what the new one writes.
    FullTransitive,
}

impl Compatibility {
    /// The word of the Confluent API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether a new reader must understand earlier records.
    pub fn is_backward(self) -> bool {
        self != Self::None
    }

    /// Whether an earlier reader must understand new records.
    pub fn is_forward(self) -> bool {
        self == Self::FullTransitive
    }
}

impl std::fmt::Display for Compatibility {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a subject is named after its topic and record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// `<topic>-value`: one record type.
    Topic,
    /// `<topic>-<record>`: several record types share one order.
    TopicRecord,
    /// Carries records of other topics as they are; registers nothing.
    AnyCommand,
}

/// A configuration value as YAML writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// Numbers, such as retention.ms.
    Number(i64),
    /// Switches.
    Switch(bool),
    /// Words, such as delete.
    Text(String),
}

impl std::fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The file cannot be read as topics.
#[derive(Debug, thiserror::Error)]
#[error("topics.yaml: {0}")]
pub struct TopicsError(String);

/// A topic as a cluster should have it, dead-letter topics included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTopic {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u16,
    /// Replication factor.
    pub replicas: i32,
    /// Configuration, defaults merged in.
    pub config: BTreeMap<String, String>,
}

impl Day {
    /// The day of an instant in RFC 3339, or a day alone.
    pub fn of(text: &str) -> Option<Self> {
        let day = text.get(..10)?;
        let number = |part: std::ops::Range<usize>| day.get(part)?.parse::<u8>().ok();
        let year = day.get(..4)?.parse::<u16>().ok();
        let dashes = day.get(4..5) == Some("-") && day.get(7..8) == Some("-");
        let is_day = (1..=12).contains(&number(5..7)?) && (1..=31).contains(&number(8..10)?);
        (year.is_some() && dashes && is_day).then(|| Self(day.to_owned()))
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let day = Self::of(&text).filter(|day| day.0 == text);
        day.ok_or_else(|| format!("{text} is no day; write YYYY-MM-DD"))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Deprecation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { since, until, instead } = self;
        write!(f, "deprecated since {since}, to be counted on until {until}; use {instead}")
    }
}

impl Topics {
    /// Every deprecated record with its topic.
    pub fn deprecated(&self) -> impl Iterator<Item = (&str, &str, &Deprecation)> {
        self.topics.iter().flat_map(|(topic, spec)| {
            let told = spec.deprecated.iter();
            told.map(move |(record, notice)| (topic.as_str(), record.as_str(), notice))
        })
    }

    /// Deprecated records whose last day has passed.
    pub fn overdue(&self, today: &Day) -> impl Iterator<Item = (&str, &str, &Deprecation)> {
        self.deprecated().filter(move |(_, _, notice)| notice.until < *today)
    }

    /// What a topic says of a record that is on its way out.
    pub fn deprecation(&self, record: &str) -> Option<&Deprecation> {
        self.topics.values().find_map(|topic| topic.deprecated.get(record))
    }

    /// Reads the file; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, TopicsError> {
        serde_saphyr::from_str(text).map_err(|error| TopicsError(error.to_string()))
    }

    /// Topics of a role, in name order.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics
            .iter()
            .filter(move |(_, topic)| topic.role == role)
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// Topics that lanes consume, in name order.
    pub fn lane_inputs(&self) -> Vec<String> {
        let reads = |role| matches!(role, Role::Command | Role::Outcome | Role::Forward);
        self.topics
            .iter()
            .filter(|(_, topic)| reads(topic.role))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Topics that lanes publish to, dead letters of what they read among them. A lane publishes to its own partition, and
    /// to that of any other lane where this says so.
    pub fn lane_outputs(&self) -> Vec<(String, bool)> {
        let of_topic = |(name, topic): (&String, &Topic)| {
            let own = match topic.role {
                Role::Request | Role::Event => Some((name.clone(), false)),
                Role::Forward => Some((name.clone(), true)),
                Role::Command | Role::Outcome | Role::Record => None,
            };
            let is_read = matches!(topic.role, Role::Command | Role::Outcome | Role::Forward);
            own.into_iter().chain((is_read && topic.dlq).then(|| (dlq_of(name), false)))
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    /// Every topic that the cluster of an installation with so many lanes should have. `replicas` overrides the file
    /// where the cluster is smaller, as on a laptop.
    pub fn wanted(&self, lanes: u16, replicas: Option<i32>) -> Vec<WantedTopic> {
        let size = (lanes, replicas);
        let mut wanted = Vec::new();
        for (name, topic) in &self.topics {
            wanted.push(self.want(name.clone(), &[&self.defaults.config, &topic.config], size));
            if topic.dlq {
                let layers = [&self.defaults.config, &self.dlq.config];
                wanted.push(self.want(dlq_of(name), &layers, size));
            }
        }
        wanted
    }

    fn want(
        &self,
        name: String,
        layers: &[&BTreeMap<String, ConfigValue>],
        (partitions, replicas): (u16, Option<i32>),
    ) -> WantedTopic {
        let replicas = replicas.unwrap_or(self.defaults.replicas);
        let mut config: BTreeMap<String, String> = layers
            .iter()
            .flat_map(|layer| layer.iter())
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect();
        // More in-sync replicas than replicas would refuse every write.
        if let Some(in_sync) = config.get_mut("min.insync.replicas")
            && in_sync.parse::<i32>().is_ok_and(|wanted| wanted > replicas)
        {
            *in_sync = replicas.to_string();
        }
        // A dead letter is its source plus the headers that say why it died.
        if name.ends_with(DLQ_SUFFIX)
            && let Some(limit) = config.get_mut("max.message.bytes")
            && let Ok(bytes) = limit.parse::<u64>()
        {
            *limit = (bytes + DLQ_HEADROOM_BYTES).to_string();
        }
        WantedTopic { name, partitions, replicas, config }
    }
}

/// Ending of a dead-letter topic's name.
pub const DLQ_SUFFIX: &str = ".dlq";
/// Bytes that a dead letter may be larger than its source's limit.
pub const DLQ_HEADROOM_BYTES: u64 = 65_536;

/// The dead-letter topic of a topic.
pub fn dlq_of(topic: &str) -> String {
    format!("{topic}{DLQ_SUFFIX}")
}

/// The subject under which a topic's record is registered.
pub fn subject(topic: &str, schemas: &TopicSchemas, record: &str) -> String {
    match schemas.strategy {
        Strategy::Topic => format!("{topic}-value"),
        Strategy::TopicRecord | Strategy::AnyCommand => format!("{topic}-{record}"),
    }
}
