//! The figures of a benchmark, for people and as one line of JSON. Floating point is fine here: nothing is decided.

use std::time::Duration;

use serde_json::{Value, json};

use super::bound::Bound;
use super::load::Steady;
use super::meter::{Batches, CpuSplit};
use crate::scene::{Console, Quantiles};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) steady: Steady,
    pub(crate) latency: Quantiles,
    pub(crate) batches: Batches,
    pub(crate) bound: Bound,
}

/// Of one flow.
pub(crate) struct PerFlow {
    pub(crate) cpu: CpuSplit,
    pub(crate) wal_bytes: f64,
    pub(crate) topic_bytes: f64,
    pub(crate) records: f64,
    pub(crate) transitions: f64,
}

impl Steady {
    pub(crate) fn flows_per_second(&self) -> f64 {
        count(self.flows) / self.to.at.duration_since(self.from.at).as_secs_f64()
    }

    pub(crate) fn per_flow(&self) -> PerFlow {
        let flows = u32::try_from(self.flows).unwrap_or(u32::MAX).max(1);
        let cpu = |of: fn(&CpuSplit) -> Duration| {
            of(&self.to.cpu).saturating_sub(of(&self.from.cpu)) / flows
        };
        let each = |from: i64, to: i64| float(to - from) / f64::from(flows);
        let topic_bytes = i64::try_from(self.to.topic_bytes.saturating_sub(self.from.topic_bytes))
            .unwrap_or(i64::MAX);
        PerFlow {
            cpu: CpuSplit {
                engine: cpu(|split| split.engine),
                adapters: cpu(|split| split.adapters),
                kafka: cpu(|split| split.kafka),
                postgres: cpu(|split| split.postgres),
                load: cpu(|split| split.load),
            },
            wal_bytes: each(self.from.wal_bytes, self.to.wal_bytes),
            topic_bytes: each(0, topic_bytes),
            records: each(self.from.records, self.to.records),
            transitions: each(self.from.transitions, self.to.transitions),
        }
    }
}

impl Report {
    /// For people.
    pub(crate) fn print(&self, console: Console) {
        let per_flow = self.steady.per_flow();
        let seconds = self.steady.to.at.duration_since(self.steady.from.at).as_secs_f64();
        let row = |name: &str, value: String| console.print(&format!("  {name:<34} {value}"));
        console.print(&format!("\nsignalbox bench on {}", machine()));
        row(
            "flows per second",
            format!(
                "{:.0} ({} flows in {seconds:.1} s)",
                self.steady.flows_per_second(),
                self.steady.flows
            ),
        );
        let of = |per_cent| format!("{:.1} ms", millis(self.latency.at(per_cent)));
        row(
            "time of one flow at a low rate",
            format!("p50 {}, p99 {} ({} flows)", of(50), of(99), self.latency.count()),
        );
        let cpu = &per_flow.cpu;
        row("CPU per flow, engine", format!("{:.3} ms", millis(cpu.engine)));
        row("CPU per flow, adapters", format!("{:.3} ms", millis(cpu.adapters)));
        row("CPU per flow, Kafka", format!("{:.3} ms", millis(cpu.kafka)));
        row("CPU per flow, Postgres", format!("{:.3} ms", millis(cpu.postgres)));
        row("CPU per flow, load (not the product)", format!("{:.3} ms", millis(cpu.load)));
        row(
            "bytes written per flow",
            format!("{:.0} WAL + {:.0} topics", per_flow.wal_bytes, per_flow.topic_bytes),
        );
        row(
            "records, transitions, permits",
            format!("{:.1}, {:.1}, 1 per flow", per_flow.records, per_flow.transitions),
        );
        row(
            "batches of the product",
            format!(
                "{:.0} inputs per tick, {:.0} permits",
                self.batches.tick, self.batches.permits
            ),
        );
        let micros = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6);
        row(
            "alone: a record in Kafka",
            format!("{} ({:.0} bytes)", micros(self.bound.per_record), self.bound.record_bytes),
        );
        row("alone: a transition in Postgres", micros(self.bound.per_transition));
        row("alone: a permit in Postgres", micros(self.bound.per_permit));
        row(
            "bound of this machine",
            format!("{:.0} flows per second on {} cores", self.bound.flows_per_second, cores()),
        );
        row("share of the bound", format!("{:.1} %", self.ratio() * 100.0));
        if cfg!(debug_assertions) {
            console
                .print("  This is a debug build; build with --release before believing a figure.");
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let cpu = self.steady.per_flow().cpu;
        json!({
            "flows_per_s": rounded(self.steady.flows_per_second(), 1),
            "p50_ms": rounded(millis(self.latency.at(50)), 2),
            "p99_ms": rounded(millis(self.latency.at(99)), 2),
            "cpu_ms_per_flow": {
                "engine": rounded(millis(cpu.engine), 4),
                "adapters": rounded(millis(cpu.adapters), 4),
                "kafka": rounded(millis(cpu.kafka), 4),
                "postgres": rounded(millis(cpu.postgres), 4),
            },
            "bound_flows_per_s": rounded(self.bound.flows_per_second, 1),
            "ratio_to_bound": rounded(self.ratio(), 4),
        })
    }

    fn ratio(&self) -> f64 {
        self.steady.flows_per_second() / self.bound.flows_per_second
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A count for a division; exact below 2^32, which no run reaches.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// A difference of counters, in parts so that it stays exact beyond 2^32.
pub(crate) fn float(number: i64) -> f64 {
    const PART: i64 = 1 << 31;
    let part = |number: i64| f64::from(i32::try_from(number).unwrap_or(i32::MAX));
    part(number / PART) * f64::from(1_u32 << 31) + part(number % PART)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn rounded(number: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places);
    (number * factor).round() / factor
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, name)| name.trim());
    format!("{} cores, {model}", cores())
}

#[cfg(test)]
mod tests {
    use super::{float, rounded};

    #[test]
    fn counters_become_floats_without_loss() {
        for (number, expected) in [(0, 0.0), (7, 7.0), (5_000_000_000, 5e9), (-3, -3.0)] {
            assert!((float(number) - expected).abs() < 1e-6, "{number}");
        }
        assert!((rounded(1.23456, 2) - 1.23).abs() < 1e-9);
    }
}
