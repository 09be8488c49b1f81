//! Reads what the parts have used so far: CPU time per process tree, bytes written, records, transitions.
//! The difference of two readings is the cost of what happened between them.

use std::path::PathBuf;
use std::time::Instant;

use signalbox_bus::{KafkaLaneBus, LaneBus};
use signalbox_schemas::TopicName;
use signalbox_store::Reader;

use crate::scene::{Cpu, Scene, SceneError, Started, contract, cpu_of_tree, kafka, own_cpu, topic_bytes};

/// Process trees that are told apart.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuSplit {
    pub(crate) engine: Cpu,
    pub(crate) adapters: Cpu,
    pub(crate) kafka: Cpu,
    pub(crate) postgres: Cpu,
    /// This process: it makes the load and reads the endings.
    pub(crate) load: Cpu,
}

/// What had been used at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) cpu: CpuSplit,
    pub(crate) wal_bytes: i64,
    pub(crate) topic_bytes: u64,
    pub(crate) records: i64,
    pub(crate) transitions: i64,
}

/// Mean batch sizes of the product while it was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batches {
    /// Records and timers per tick.
    pub(crate) tick: f64,
    /// Permits per statement.
    pub(crate) permits: f64,
}

/// Reads everything.
pub(crate) struct Meter {
    engine: u32,
    adapters: u32,
    kafka: u32,
    postgres: u32,
    data: PathBuf,
    reader: Reader,
    prober: KafkaLaneBus,
    topics: Vec<(TopicName, u16)>,
    engine_admin: String,
    adapter_admin: String,
}

impl Meter {
    pub(crate) fn new(scene: &Scene, engine: &Started, adapter: &Started) -> Result<Self, SceneError> {
        let pids = scene.stack().pids();
        let pid = |part: &str| pids.iter().find(|(name, _)| *name == part).map_or(0, |(_, pid)| *pid);
        let topics = contract()?.topics();
        Ok(Self {
            engine: engine.child.pid(),
            adapters: adapter.child.pid(),
            kafka: pid("kafka"),
            postgres: pid("postgres"),
            data: kafka_data(scene),
            reader: Reader::connect(&scene.settings().postgres)?,
            prober: KafkaLaneBus::connect(&kafka(scene.settings()), "signalbox-bench-meter")?,
            topics: topics.wanted(Some(1)).into_iter().map(|topic| (TopicName::from(topic.name), topic.partitions)).collect(),
            engine_admin: engine.address.clone(),
            adapter_admin: adapter.address.clone(),
        })
    }

    pub(crate) async fn read(&mut self) -> Result<Reading, SceneError> {
        let (at, cpu) = (Instant::now(), self.cpu());
        let mut records = 0;
        for (topic, partitions) in &self.topics {
            for partition in 0..i32::from(*partitions) {
                records += self.prober.range(topic, partition).await?.end;
            }
        }
        let lanes = self.reader.lanes().await?;
        Ok(Reading {
            at,
            cpu,
            wal_bytes: self.reader.wal_bytes().await?,
            topic_bytes: topic_bytes(&self.data),
            records,
            transitions: lanes.iter().map(|lane| lane.journal_seq).sum(),
        })
    }

    fn cpu(&self) -> CpuSplit {
        CpuSplit {
            engine: cpu_of_tree(self.engine),
            adapters: cpu_of_tree(self.adapters),
            kafka: cpu_of_tree(self.kafka),
            postgres: cpu_of_tree(self.postgres),
            load: own_cpu(),
        }
    }

    /// What the product's own metrics say about its batches.
    pub(crate) async fn batches(&self) -> Result<Batches, SceneError> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let get = async |address: &str| {
            let answer = http.get(format!("http://{address}/metrics")).send().await?;
            answer.error_for_status()?.text().await
        };
        let (engine, adapter) = (get(&self.engine_admin).await?, get(&self.adapter_admin).await?);
        Ok(Batches {
            tick: mean(&engine, "signalbox_tick_records").unwrap_or(1.0),
            permits: mean(&adapter, "signalbox_permit_batch_size").unwrap_or(1.0),
        })
    }
}

/// Where the local stack's Kafka keeps its log segments.
fn kafka_data(scene: &Scene) -> PathBuf {
    scene.stack().directory().join("kafka").join("data")
}

/// Mean of a histogram or summary in Prometheus' text format, over all its labels.
fn mean(text: &str, metric: &str) -> Option<f64> {
    let total = |suffix: &str| {
        let name = format!("{metric}{suffix}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        let values = lines.filter(|rest| rest.starts_with([' ', '{'])).filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum::<f64>()
    };
    let count = total("_count");
    (count > 0.0).then(|| total("_sum") / count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::mean;

    #[test]
    fn the_mean_of_a_metric_is_over_all_its_labels() {
        let text = "# TYPE x summary\nx{quantile=\"0.5\"} 4\nx_sum 30\nx_count 3\nx_sum{a=\"b\"} 10\nx_count{a=\"b\"} 1\nx_summary 9\n";
        assert!((mean(text, "x").unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(mean(text, "y"), None);
    }
}
