//! The figures of a benchmark, for people and as one line of JSON. Floating point is fine here: nothing is decided.

use std::time::Duration;

use serde_json::{Value, json};

use super::bound::Bound;
use super::load::Steady;
use super::meter::{Batches, CpuSplit, Reading};
use super::numbers::{cores, count, float, rounded};
use super::stored::Stored;
use crate::scene::{Console, Quantiles};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) stored: Option<Stored>,
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
        if let Some(stored) = self.stored {
            let gigabytes = float(stored.bytes) / 1e9;
            row("stored before", format!("{} flows, {gigabytes:.1} GB", stored.flows));
        }
        row(
            "flows per second",
            format!(
                "{:.0} ({} flows in {seconds:.1} s, with {} before them)",
                self.steady.flows_per_second(),
                self.steady.flows,
                self.steady.before
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
        let memory = |at: &Reading| at.memory.map(|bytes| bytes >> 20);
        let ([engine, adapters], [engine_then, adapters_then]) =
            (memory(&self.steady.from), memory(&self.steady.to));
        row(
            "memory at most, engine, adapters",
            format!("{engine} to {engine_then}, {adapters} to {adapters_then} MiB"),
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
            "flows_before": self.steady.before,
            "stored": self.stored.map(|stored| json!({"flows": stored.flows, "bytes": stored.bytes})),
            "flows_per_s": rounded(self.steady.flows_per_second(), 1),
            "p50_ms": rounded(millis(self.latency.at(50)), 2),
            "p99_ms": rounded(millis(self.latency.at(99)), 2),
            "cpu_ms_per_flow": {
                "engine": rounded(millis(cpu.engine), 4),
                "adapters": rounded(millis(cpu.adapters), 4),
                "kafka": rounded(millis(cpu.kafka), 4),
                "postgres": rounded(millis(cpu.postgres), 4),
                "load": rounded(millis(cpu.load), 4),
            },
            "memory_bytes": {"engine": self.steady.to.memory[0], "adapters": self.steady.to.memory[1]},
            "inputs_per_tick": rounded(self.batches.tick, 1),
            "permits_per_statement": rounded(self.batches.permits, 1),
            "bound_flows_per_s": rounded(self.bound.flows_per_second, 1),
            "ratio_to_bound": rounded(self.ratio(), 4),
        })
    }

    fn ratio(&self) -> f64 {
        self.steady.flows_per_second() / self.bound.flows_per_second
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, name)| name.trim());
    format!("{} cores, {model}", cores())
}
