//! The compatibility gate: every record on a topic against every released version of it, at the level that the topic
//! promises. It says which field breaks which rule and who is hurt. It asks no registry; a registry that holds other
//! versions is compared by `signalbox schemas check`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

use crate::compatibility::{Difference, Rule, fields, unreadable};
use crate::consumers::{Consumers, is_within};
use crate::contract::{Contract, ContractError, RELEASED};
use crate::ids::RecordName;
use crate::record::RecordSchema;
use crate::topics::{Compatibility, Topic};

/// Every released version of every record, oldest first.
pub struct History {
    releases: BTreeMap<String, Vec<Release>>,
}

/// A version of a record that others may hold data or code of. It is never changed again.
pub struct Release {
    /// 1 for the first.
    pub version: u32,
    /// The record as it was.
    pub record: RecordSchema,
}

/// Who cannot read what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The new schema cannot read what was written with the released one.
    Backward,
    /// The released schema cannot read what is written with the new one.
    Forward,
    /// Both can be read, and a consumer finds nothing where it looks.
    Silent,
}

/// One change that the gate refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaking {
    /// Full name of the record.
    pub record: String,
    /// Topic whose promise is broken; empty where the record left all of them.
    pub topic: String,
    /// What the topic promises.
    pub promise: Compatibility,
    /// Released version that is broken.
    pub version: u32,
    /// Who cannot read what.
    pub direction: Direction,
    /// Field, rule and words.
    pub difference: Difference,
    /// Consumers that break, those first that say that they read the field.
    pub consumers: Vec<Broken>,
}

/// A consumer that a change breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Name in topics.yaml and consumers.yaml.
    pub name: String,
    /// Where its team is reached, if it is registered.
    pub contact: Option<String>,
    /// Whether it says that it reads this field.
    pub reads_field: bool,
}

impl History {
    /// What has been released of the contract that this program was built with.
    pub fn builtin() -> Result<Self, ContractError> {
        Self::load(RELEASED)
    }

    /// Loads releases: full name, version, self-contained schema.
    pub fn load(files: &[(&str, u32, &str)]) -> Result<Self, ContractError> {
        let mut releases: BTreeMap<String, Vec<Release>> = BTreeMap::new();
        for (name, version, text) in files {
            let record = RecordSchema::compile(RecordName::new(*name), (*text).to_owned())
                .map_err(|error| ContractError::Schema(format!("{name} {version}"), error))?;
            releases
                .entry((*name).to_owned())
                .or_default()
                .push(Release { version: *version, record });
        }
        releases.values_mut().for_each(|versions| versions.sort_by_key(|release| release.version));
        Ok(Self { releases })
    }

    /// Released versions of a record, oldest first.
    pub fn of(&self, record: &str) -> &[Release] {
        self.releases.get(record).map(Vec::as_slice).unwrap_or_default()
    }

    /// Records on topics that differ from their last release, each with the version that it would be.
    pub fn unreleased<'c>(&self, contract: &'c Contract) -> Vec<(u32, &'c RecordSchema)> {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        let on_topics = contract.records().filter(|record| is_on_a_topic(contract, record));
        on_topics
            .filter_map(|record| match self.of(record.name().as_str()).last() {
                None => Some((1, record)),
                Some(last) if parsed(last.record.text()) == parsed(record.text()) => None,
                Some(last) => Some((last.version + 1, record)),
            })
            .collect()
    }
}

/// Every breaking change of the contract against what was released.
pub fn breaking(contract: &Contract, history: &History, consumers: &Consumers) -> Vec<Breaking> {
    let mut found = Vec::new();
    for (topic, spec) in &contract.topics().topics {
        for name in &spec.schemas.value {
            let Some(current) = contract.record(name) else { continue };
            let held = Held { topic, spec, name, current, consumers };
            for release in history.of(name) {
                found.extend(held.against(release));
            }
        }
    }
    for (name, releases) in &history.releases {
        let gone = contract.record(name).is_none_or(|record| !is_on_a_topic(contract, record));
        if let (true, Some(last)) = (gone, releases.last()) {
            found.push(removed(name, last, consumers));
        }
    }
    found
}

/// A record where a topic holds it.
struct Held<'a> {
    topic: &'a str,
    spec: &'a Topic,
    name: &'a str,
    current: &'a RecordSchema,
    consumers: &'a Consumers,
}

impl Held<'_> {
    fn against(&self, release: &Release) -> Vec<Breaking> {
        let mut found = Vec::new();
        let (old, new) = (&release.record, self.current);
        let promise = self.spec.schemas.compatibility;
        let mut tell = |direction, differences: Vec<Difference>| {
            for difference in differences {
                found.push(self.breaking(release, direction, difference));
            }
        };
        if promise.is_backward() {
            tell(Direction::Backward, unreadable(old, new));
        }
        if promise.is_forward() {
            tell(Direction::Forward, unreadable(new, old));
        }
        let known = fields(new);
        for path in fields(old) {
            let told = found.iter().any(|told| is_within(&path, &told.difference.path));
            if told || known.contains(&path) {
                continue;
            }
            let silent = Difference {
                path,
                rule: Rule::FieldInUse,
                detail: "the field is gone and a default takes its place".to_owned(),
            };
            let silent = self.breaking(release, Direction::Silent, silent);
            found.extend(Some(silent).filter(|told| !told.consumers.is_empty()));
        }
        found
    }

    fn breaking(
        &self,
        release: &Release,
        direction: Direction,
        difference: Difference,
    ) -> Breaking {
        let mut broken: Vec<Broken> = self
            .spec
            .consumers
            .iter()
            .map(|name| Broken {
                name: name.clone(),
                contact: self.consumers.consumers.get(name).map(|known| known.contact.clone()),
                reads_field: self.consumers.reads(name, self.topic, self.name, &difference.path),
            })
            .filter(|consumer| direction != Direction::Silent || consumer.reads_field)
            .collect();
        broken.sort_by_key(|consumer| !consumer.reads_field);
        Breaking {
            record: self.name.to_owned(),
            topic: self.topic.to_owned(),
            promise: self.spec.schemas.compatibility,
            version: release.version,
            direction,
            difference,
            consumers: broken,
        }
    }
}

fn is_on_a_topic(contract: &Contract, record: &RecordSchema) -> bool {
    let name = record.name().as_str();
    contract
        .topics()
        .topics
        .values()
        .any(|topic| topic.schemas.value.iter().any(|held| held == name))
}

/// A record that no topic holds any longer breaks whoever says that it reads it.
fn removed(name: &str, last: &Release, consumers: &Consumers) -> Breaking {
    let readers = consumers
        .consumers
        .iter()
        .filter(|(_, consumer)| consumer.reads.values().any(|records| records.contains_key(name)));
    Breaking {
        record: name.to_owned(),
        topic: String::new(),
        promise: Compatibility::FullTransitive,
        version: last.version,
        direction: Direction::Forward,
        difference: Difference {
            path: String::new(),
            rule: Rule::RecordRemoved,
            detail: "it was released and no topic holds it any longer".to_owned(),
        },
        consumers: readers
            .map(|(name, consumer)| Broken {
                name: name.clone(),
                contact: Some(consumer.contact.clone()),
                reads_field: true,
            })
            .collect(),
    }
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { path, rule, detail } = &self.difference;
        let field = if path.is_empty() { "the record itself" } else { path };
        writeln!(f, "{}: {field}: {rule}: {detail}", self.record)?;
        if !self.topic.is_empty() {
            writeln!(
                f,
                "  promised:  {} on {}, broken against release {}",
                self.promise, self.topic, self.version
            )?;
        }
        let who: Vec<String> = self.consumers.iter().map(Broken::to_string).collect();
        let who =
            if who.is_empty() { "nobody that is registered".to_owned() } else { who.join(", ") };
        match self.direction {
            Direction::Backward => {
                writeln!(
                    f,
                    "  breaks:    {who}: with the new schema they cannot read earlier records"
                )
            }
            Direction::Forward => {
                writeln!(
                    f,
                    "  breaks:    {who}: with the schema they have they cannot read new records"
                )
            }
            Direction::Silent => {
                writeln!(f, "  breaks:    {who}: they would read the default for ever")
            }
        }?;
        write!(f, "  instead:   {}", remedy(*rule))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match (&self.contact, self.reads_field) {
            (Some(contact), true) => write!(f, " (reads this field; {contact})"),
            (Some(contact), false) => write!(f, " ({contact})"),
            (None, _) => Ok(()),
        }
    }
}

fn remedy(rule: Rule) -> &'static str {
    match rule {
        Rule::ReaderFieldMissingDefaultValue => {
            "give a field a default when it is added, and never remove one that had none"
        }
        Rule::NameMismatch => "keep the name; an alias helps our readers, not others'",
        Rule::TypeMismatch | Rule::LogicalTypeMismatch | Rule::MissingUnionBranch => {
            "add a field with another name and a default, and fill both until nobody reads the old one"
        }
        Rule::MissingEnumSymbols => "keep the symbol, or give the enum a default",
        Rule::FieldInUse => {
            "agree with the consumer, have it stop reading the field in consumers.yaml, then remove it"
        }
        Rule::RecordRemoved => {
            "keep the record, or move to a new major version of the topic with both published"
        }
    }
}
