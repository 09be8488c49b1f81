//! Logs: JSON on standard error for services, plain lines for commands that a person runs. What is logged, and that it
//! carries no personal data, is the business of whoever logs.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

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

/// Starts logging. Libraries stay at `warn` unless they are asked for by the environment variable `RUST_LOG`.
pub(crate) fn init(reader: Reader, level: LogLevel) {
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in the same process keeps the first: there is one log.
    let _ = match reader {
        Reader::Machine => builder.json().flatten_event(true).with_current_span(true).try_init(),
        Reader::Person => builder.without_time().with_target(false).try_init(),
    };
}
