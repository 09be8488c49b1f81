//! The process's metrics as Prometheus text. Names and labels are the business of the crates that emit them.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

use crate::error::EdgeError;

/// Bounds for everything in seconds: from a quick commit to a vendor at its deadline.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Bounds for everything counted per batch.
const BATCH: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0];
/// How often samples are moved from the recorder's buffers into buckets; without it they would grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// Handle to the recorder of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process. Call it once, before anything is measured.
    ///
    /// # Errors
    /// [`EdgeError::Metrics`] where a recorder is installed already.
    pub fn install() -> Result<Self, EdgeError> {
        let refused =
            |error: metrics_exporter_prometheus::BuildError| EdgeError::Metrics(error.to_string());
        let bounds: [(&str, &[f64]); 3] =
            [("_seconds", &SECONDS), ("_size", &BATCH), ("_records", &BATCH)];
        let mut builder = PrometheusBuilder::new();
        for (suffix, bounds) in bounds {
            let suffix = Matcher::Suffix(suffix.to_owned());
            builder = builder.set_buckets_for_metric(suffix, bounds).map_err(refused)?;
        }
        let recorder = builder.install_recorder().map_err(refused)?;
        Ok(Self { recorder })
    }

    /// Everything measured so far, in the Prometheus text format.
    pub fn render(&self) -> String {
        self.recorder.render()
    }

    /// Keeps the recorder's buffers small. Never returns.
    pub(crate) async fn keep_up(&self) {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            self.recorder.run_upkeep();
        }
    }
}
