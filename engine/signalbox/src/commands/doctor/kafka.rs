//! Kafka: reachable, the cluster that the database remembers, every topic as topics.yaml wants it and readable, and its
//! clock beside the database's, by the last anchor: the broker writes its own time on these.

use signalbox_bus::{KafkaLaneBus, LaneBus, TopicAdmin, TopicChange};
use signalbox_schemas::topics::WantedTopic;
use signalbox_schemas::{LaneId, TopicName};

use super::finding::Finding;
use crate::commands::audit::anchors::Shelf;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;

const AREA: &str = "kafka";
/// Clocks further apart than this mislead readers of logs. What is measured holds the time that publishing took.
const SKEW_MS_MAX: i64 = 5_000;

/// Asks and judges.
pub(super) async fn look(config: &Config, replicas: Option<i32>) -> Vec<Finding> {
    // That it is not configured has been told.
    let Ok(kafka) = config.kafka() else { return Vec::new() };
    let reached = async {
        let mut bus = KafkaLaneBus::connect(kafka, "signalbox-doctor")?;
        let cluster = bus.cluster_id().await?;
        Ok::<_, CliError>((bus, cluster))
    };
    let (mut bus, cluster) = match reached.await {
        Ok(reached) => reached,
        Err(error) => {
            let advice = "start the brokers, correct kafka.brokers or kafka.properties, or open the network to every advertised listener";
            return vec![Finding::fail(AREA, error.to_string(), advice.to_owned())];
        }
    };
    let mut findings = vec![of_cluster(&cluster, remembered(config).await.as_deref())];
    let lanes = lanes(config).await;
    match topics(config, &mut bus, lanes, replicas).await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            let advice = "let this user describe topics and their configuration".to_owned();
            findings.push(Finding::fail(AREA, error.to_string(), advice));
        }
    }
    findings.push(match clock(config, lanes).await {
        Ok(Some(skew_ms)) => of_clock(skew_ms),
        Ok(None) => {
            Finding::ok(AREA, "its clock is not known: no anchor was published yet".to_owned())
        }
        Err(error) => {
            let advice = "mend what is named and ask again".to_owned();
            Finding::warn(AREA, format!("its clock is not known: {error}"), advice)
        }
    });
    findings
}

/// Lanes of this installation. That the database does not know has been told; then those of a new one.
async fn lanes(config: &Config) -> u16 {
    let new = || wiring::contract().map_or(1, |contract| contract.topics().lanes);
    wiring::lanes(config).await.unwrap_or_else(|_| new())
}

/// Cluster id as engines remember it.
async fn remembered(config: &Config) -> Option<String> {
    wiring::reader(config).ok()?.server().await.ok()?.installation.kafka_cluster
}

fn of_cluster(cluster: &str, remembered: Option<&str>) -> Finding {
    match remembered {
        Some(other) if other != cluster => {
            let advice = "correct kafka.brokers; if the cluster was made anew, read \"A lane is stopped\" in docs/operations.md";
            let found = format!("this is cluster {cluster}, the database remembers {other}");
            Finding::fail(AREA, found, advice.to_owned())
        }
        Some(_) => Finding::ok(AREA, format!("cluster {cluster}, as the database remembers")),
        None => Finding::ok(AREA, format!("cluster {cluster}")),
    }
}

async fn topics(
    config: &Config,
    bus: &mut KafkaLaneBus,
    lanes: u16,
    replicas: Option<i32>,
) -> Result<Vec<Finding>, CliError> {
    let wanted = wiring::contract()?.topics().wanted(lanes, replicas);
    let changes = TopicAdmin::connect(config.kafka()?)?.plan(&wanted).await?;
    let mut findings: Vec<Finding> = changes.iter().map(of_change).collect();
    let is_missing = |topic: &&WantedTopic| {
        changes
            .iter()
            .any(|change| matches!(change, TopicChange::Create(new) if new.name == topic.name))
    };
    let mut readable = 0_u32;
    for topic in wanted.iter().filter(|topic| !is_missing(topic)) {
        match bus.range(&TopicName::from(topic.name.as_str()), 0).await {
            Ok(_) => readable += 1,
            Err(error) => {
                let advice = "let this user read the topic".to_owned();
                findings.push(Finding::fail(AREA, format!("{}: {error}", topic.name), advice));
            }
        }
    }
    findings.push(Finding::ok(AREA, format!("{readable} of {} topics can be read", wanted.len())));
    Ok(findings)
}

fn of_change(change: &TopicChange) -> Finding {
    match change {
        TopicChange::Create(topic) => {
            let found = format!("topic {} is missing", topic.name);
            Finding::fail(AREA, found, "run `signalbox topics apply`".to_owned())
        }
        TopicChange::Widen { topic, from, to } => {
            let found = format!("topic {topic} has {from} partitions, {to} lanes need one each");
            Finding::fail(AREA, found, "run `signalbox topics apply`".to_owned())
        }
        TopicChange::TooWide { topic, from, to } => {
            let found = format!("topic {topic} has {from} partitions, {to} lanes read it");
            let advice = format!(
                "records in the further partitions are read by nobody; `signalbox lane grow --to {from}` gives each a lane, see \"Growing\" in docs/operations.md"
            );
            Finding::fail(AREA, found, advice)
        }
        TopicChange::Configure { topic, key, from, to } => {
            let found = format!("topic {topic} has {key} = {from}, topics.yaml wants {to}");
            Finding::warn(AREA, found, "run `signalbox topics apply`".to_owned())
        }
    }
}

/// How far the brokers' clock is ahead of the database's in milliseconds, by the newest anchor.
async fn clock(config: &Config, lanes: u16) -> Result<Option<i64>, CliError> {
    let mut shelf = Shelf::open(config).await?;
    let mut newest = None;
    for lane in 0..lanes {
        newest = newest
            .max(shelf.last(LaneId(lane)).await?.map(|(anchor, broker_ms)| (anchor.at, broker_ms)));
    }
    Ok(newest.map(|(at, broker_ms)| broker_ms - at.0 / 1_000))
}

fn of_clock(skew_ms: i64) -> Finding {
    let found = format!("its clock was {skew_ms} ms ahead of the database's at the last anchor");
    if skew_ms.abs() <= SKEW_MS_MAX {
        return Finding::ok(AREA, found);
    }
    let advice = "let brokers and database take their time from the same source (chrony), or find out why publishing is slow";
    Finding::warn(AREA, found, advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn another_cluster_than_before_is_told() {
        let rows = [(None, Level::Ok), (Some("a"), Level::Ok), (Some("b"), Level::Fail)];
        for (remembered, level) in rows {
            assert_eq!(of_cluster("a", remembered).level, level, "{remembered:?}");
        }
    }

    #[test]
    fn every_difference_of_a_topic_comes_with_what_to_do() {
        let topic = || "t".to_owned();
        let (key, from, to) = ("retention.ms".to_owned(), "1".to_owned(), "2".to_owned());
        let rows = [
            (TopicChange::Widen { topic: topic(), from: 1, to: 8 }, Level::Fail),
            (TopicChange::TooWide { topic: topic(), from: 9, to: 8 }, Level::Fail),
            (TopicChange::Configure { topic: topic(), key, from, to }, Level::Warn),
        ];
        for (change, level) in rows {
            let finding = of_change(&change);
            assert!(finding.level == level && finding.advice.is_some(), "{finding}");
        }
    }

    #[test]
    fn clocks_may_differ_a_little() {
        assert_eq!(of_clock(40).level, Level::Ok);
        assert_eq!(of_clock(-60_000).level, Level::Warn);
    }
}
