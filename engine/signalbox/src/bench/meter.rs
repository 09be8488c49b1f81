//! Reads what the parts have used so far: CPU time per process tree, bytes written, records, transitions.
//! The difference of two readings is the cost of what happened between them.

use std::path::PathBuf;
use std::time::Instant;

use signalbox_bus::{KafkaLaneBus, LaneBus};
use signalbox_schemas::TopicName;
use signalbox_store::Reader;

use crate::scene::{
    Cpu, Scene, SceneError, Started, contract, cpu_of_tree, kafka, own_cpu, peak_memory,
    topic_bytes,
};

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
    /// Most memory that the engine and the adapters have held, in bytes.
    pub(crate) memory: [u64; 2],
    /// Inputs handled in ticks, and ticks.
    ticks: Totals,
    /// Permits asked for, and statements that asked.
    permits: Totals,
}

/// Sum and count of a metric.
#[derive(Debug, Clone, Copy)]
struct Totals {
    sum: f64,
    count: f64,
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
    http: reqwest::Client,
}

impl Meter {
    pub(crate) fn new(
        scene: &Scene,
        engine: &Started,
        adapter: &Started,
        lanes: u16,
    ) -> Result<Self, SceneError> {
        let pids = scene.stack().pids();
        let pid =
            |part: &str| pids.iter().find(|(name, _)| *name == part).map_or(0, |(_, pid)| *pid);
        let topics = contract()?.topics();
        Ok(Self {
            engine: engine.child.pid(),
            adapters: adapter.child.pid(),
            kafka: pid("kafka"),
            postgres: pid("postgres"),
            data: kafka_data(scene),
            reader: Reader::connect(&scene.settings().postgres)?,
            prober: KafkaLaneBus::connect(&kafka(scene.settings()), "signalbox-bench-meter")?,
            topics: topics
                .wanted(lanes, Some(1))
                .into_iter()
                .map(|topic| (TopicName::from(topic.name), topic.partitions))
                .collect(),
            engine_admin: engine.address.clone(),
            adapter_admin: adapter.address.clone(),
            http: reqwest::Client::builder().no_proxy().build()?,
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
        let (engine, adapter) =
            (self.metrics(&self.engine_admin).await?, self.metrics(&self.adapter_admin).await?);
        Ok(Reading {
            at,
            cpu,
            wal_bytes: self.reader.wal_bytes().await?,
            topic_bytes: topic_bytes(&self.data),
            records,
            transitions: lanes.iter().map(|lane| lane.journal_seq).sum(),
            memory: [self.engine, self.adapters].map(|pid| peak_memory(pid).unwrap_or_default()),
            ticks: totals(&engine, "signalbox_tick_records"),
            permits: totals(&adapter, "signalbox_permit_batch_size"),
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

    async fn metrics(&self, address: &str) -> Result<String, SceneError> {
        let answer = self.http.get(format!("http://{address}/metrics")).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }
}

impl Batches {
    /// Means between two readings, by the product's own metrics; 1 where nothing was counted.
    pub(crate) fn between(from: &Reading, to: &Reading) -> Self {
        let mean = |from: Totals, to: Totals| {
            let count = to.count - from.count;
            if count > 0.0 { (to.sum - from.sum) / count } else { 1.0 }
        };
        Self { tick: mean(from.ticks, to.ticks), permits: mean(from.permits, to.permits) }
    }
}

/// Where the local stack's Kafka keeps its log segments.
fn kafka_data(scene: &Scene) -> PathBuf {
    scene.stack().directory().join("kafka").join("data")
}

/// Sum and count of a histogram or summary in Prometheus' text format, over all its labels.
fn totals(text: &str, metric: &str) -> Totals {
    let total = |suffix: &str| {
        let name = format!("{metric}{suffix}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        let own = lines.filter(|rest| rest.starts_with([' ', '{']));
        own.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    Totals { sum: total("_sum"), count: total("_count") }
}

#[cfg(test)]
mod tests {
    use super::totals;

    #[test]
    fn a_metric_is_summed_over_all_its_labels() {
        let text = "# TYPE x summary\nx{quantile=\"0.5\"} 4\nx_sum 30\nx_count 3\nx_sum{a=\"b\"} 10\nx_count{a=\"b\"} 1\nx_summary 9\n";
        let found = totals(text, "x");
        assert!((found.sum - 40.0).abs() < 1e-9 && (found.count - 4.0).abs() < 1e-9);
        assert!(totals(text, "y").count.abs() < 1e-9);
    }
}
