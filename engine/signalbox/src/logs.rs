//! Logs: JSON on standard error for services, plain lines for commands that a person runs. What is logged, and that it
//! carries no personal data, is the business of whoever logs.

use clap::ValueEnum;
use signalbox_bus::TRACE_TARGET;
use signalbox_edge::Traces;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

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
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match reader {
        Reader::Machine => {
            let lines = lines.json().flatten_event(true).with_current_span(true);
            lines.fmt_fields(SpanFields).boxed()
        }
        Reader::Person => lines.without_time().with_target(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.map(|traces| traces.layer(&TRACED)));
    // A second start in the same process keeps the first: there is one log.
    let _ = subscriber.try_init();
}

/// Fields of a span as one JSON object. A span has its fields written whether or not anything is ever logged in it, one for
/// each request, so they are written once and not read again where more are added. Fields for collectors of traces
/// (`otel.name` and the like) are left out.
struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut object = Object::default();
        fields.record(&mut object);
        write!(writer, "{{{}}}", object.members)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let before = current.fields.strip_prefix('{').and_then(|fields| fields.strip_suffix('}'));
        let mut object = Object { members: before.unwrap_or_default().to_owned() };
        fields.record(&mut object);
        current.fields = format!("{{{}}}", object.members);
        Ok(())
    }
}

/// The members of a JSON object, without its braces.
#[derive(Default)]
struct Object {
    members: String,
}

impl Object {
    fn member(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        if field.name().starts_with("otel.") {
            return;
        }
        if !self.members.is_empty() {
            self.members.push(',');
        }
        let name = serde_json::Value::from(field.name());
        self.members.push_str(&format!("{name}:{}", value.into()));
    }
}

impl Visit for Object {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_machines_carries_the_fields_of_its_span() {
        let lines = Lines::default();
        let to = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || to.clone());
        let layer = layer.json().flatten_event(true).with_current_span(true);
        let subscriber = tracing_subscriber::registry().with(layer.fmt_fields(SpanFields));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                otel.kind = "consumer",
                correlation_id = %"a}\"b",
                sends = 2,
                absent = None::<&str>,
                state = tracing::field::Empty
            );
            span.record("state", "paying");
            span.in_scope(|| tracing::warn!(capability = "payout.send", "it is slow"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["capability"], "payout.send");
        assert_eq!(
            line["span"],
            serde_json::json!({
                "name": "request", "correlation_id": "a}\"b", "sends": 2, "state": "paying"
            })
        );
    }
}
