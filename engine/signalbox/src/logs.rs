//! Logs: JSON on standard error for services, plain lines for commands that a person runs. What is logged, and that it
//! carries no personal data, is the business of whoever logs.

use clap::ValueEnum;
use signalbox_bus::TRACE_TARGET;
use signalbox_edge::Traces;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What a human must act on.
    Error,
    /// What is disturbed and may heal.
    Warn,
    /// What a service does, in large strokes.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything of our own.
    Trace,
}

/// Who reads the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A log collector.
    Machine,
    /// Whoever typed the command.
    Person,
}

/// Whose spans a collector gets.
const TRACED: [&str; 2] = [TRACE_TARGET, signalbox_adapters::SPAN_TARGET];

/// Starts logging, and tracing where there is a collector. Libraries stay at `warn` unless they are asked for by the environment variable `RUST_LOG`.
pub(crate) fn init(reader: Reader, level: LogLevel, traces: Option<&Traces>) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let ours = format!(
        "warn,signalbox={level},signalbox_adapters={level},signalbox_bus={level},signalbox_edge={level},\
         signalbox_sandbox={level},signalbox_store={level},signalbox_worker={level}"
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match reader {
        Reader::Machine => lines.json().flatten_event(true).with_current_span(true).boxed(),
        Reader::Person => lines.without_time().with_target(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.map(|traces| traces.layer(&TRACED)));
    // A second start in the same process keeps the first: there is one log.
    let _ = subscriber.try_init();
}
