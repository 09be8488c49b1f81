//! Spans to an OpenTelemetry collector: OTLP over HTTP, protobuf, in batches on a thread of their own. Which spans there
//! are is the business of those who work; that they carry no personal data, too.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::EdgeError;

/// How long a collector may take for one batch; a batch that fails is lost, work is not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Spans on their way to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Exports to a collector; it may be away. Must not be called on the async runtime: the exporter's client blocks.
    ///
    /// `collector` is the base URL, to which `/v1/traces` is added (OTLP/HTTP). Whoever begins a trace decides by its
    /// `sampled` flag (W3C Trace Context) whether it is recorded; traces that begin here are.
    ///
    /// # Errors
    /// [`EdgeError::Traces`]: the address cannot be used.
    pub fn start(collector: &str, service: &str) -> Result<Self, EdgeError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| EdgeError::Traces(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.namespace", "signalbox"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .build();
        Ok(Self { provider })
    }

    /// What takes the spans of these targets over, for the subscriber of the process.
    pub fn layer<S>(&self, targets: &[&str]) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours =
            targets.iter().map(|target| (*target, tracing::Level::INFO)).collect::<Targets>();
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("signalbox"))
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    }

    /// Sends what is waiting, within a few seconds.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
