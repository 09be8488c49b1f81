//! Traces through Kafka: a span goes on where the header `traceparent` of a record (W3C Trace Context, level 1) points.
//! Whether spans are recorded, and where they go, is not its business.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of spans that are for traces alone and appear in no log.
pub const TRACE_TARGET: &str = "trace";

/// Makes the span a child of the one that the header names. A header that is not there or not well-formed begins a new
/// trace, as the recommendation asks.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    let Some(parent) = traceparent.and_then(parent) else { return };
    // Refused only where no collector is configured: then there is nothing to follow.
    drop(span.set_parent(Context::new().with_remote_span_context(parent)));
}

fn parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    if !(known && hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_header_names_a_span_of_another_process() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parent(given).unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.is_remote());
    }

    #[test]
    fn a_header_of_a_later_version_is_read_as_far_as_it_is_known() {
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert!(!parent(later).unwrap().is_sampled());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        let rows = [
            "",
            "hello",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ];
        for row in rows {
            assert_eq!(parent(row), None, "{row}");
        }
    }
}
