//! Spans of the worker: one for each record, from when it was read until its transaction was committed. A record that was
//! not committed keeps its span through every try. Costs next to nothing where no collector is configured.

use signalbox_bus::{Inbound, TRACE_TARGET, follow};
use signalbox_flow::Flow;
use signalbox_schemas::headers;
use tracing::{Span, field};

/// Begins the span of a record, in the trace that the record belongs to.
pub(crate) fn begin(record: &Inbound) -> Span {
    let span = tracing::info_span!(
        target: TRACE_TARGET,
        "apply",
        otel.name = field::Empty,
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.destination.name = record.topic.as_str(),
        messaging.destination.partition.id = record.partition,
        messaging.kafka.offset = record.offset,
        signalbox.flow = field::Empty,
        signalbox.journey = field::Empty,
        signalbox.state = field::Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("process {}", record.topic.as_str()).as_str());
        follow(&span, record.headers.text(headers::TRACEPARENT));
    }
    span
}

/// Notes where the record has taken its flow.
pub(crate) fn applied(span: &Span, flow: &Flow) {
    span.record("signalbox.flow", field::display(flow.id));
    span.record("signalbox.journey", flow.journey.as_str());
    span.record("signalbox.state", flow.state.as_str());
}
