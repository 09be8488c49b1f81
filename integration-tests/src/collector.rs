//! An OpenTelemetry collector that remembers spans: OTLP over HTTP, protobuf. It understands what a test asks about and
//! nothing else.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::Failure;

const LOOK: Duration = Duration::from_millis(50);

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSpan {
    /// `service.name` of its resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Trace id, lower-case hexadecimal.
    pub trace: String,
    /// Span id, lower-case hexadecimal.
    pub id: String,
    /// Span id of its parent, empty where it has none.
    pub parent: String,
    /// Attributes that are text.
    pub attributes: BTreeMap<String, String>,
}

/// A collector that listens.
pub struct Collector {
    address: String,
    spans: Arc<Mutex<Vec<SeenSpan>>>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// `System` where there is none.
    pub async fn start() -> Result<Self, Failure> {
        let doing = || Failure::while_doing("starting a collector");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(doing())?;
        let address = format!("http://{}", listener.local_addr().map_err(doing())?);
        let spans = Arc::new(Mutex::new(Vec::new()));
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let serving = tokio::spawn(async move {
            // It ends with its test.
            drop(axum::serve(listener, routes).await);
        });
        Ok(Self { address, spans, serving })
    }

    /// Its base URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the spans of one trace are as they should be.
    ///
    /// # Errors
    /// `Late` with what there was instead.
    pub async fn until(
        &self,
        trace: &str,
        within: Duration,
        complete: impl Fn(&[SeenSpan]) -> bool,
    ) -> Result<Vec<SeenSpan>, Failure> {
        let deadline = Instant::now() + within;
        loop {
            let mut seen = self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
            seen.retain(|span| span.trace == trace);
            if complete(&seen) {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                let names = seen.iter().map(|span| format!("{} of {}", span.name, span.service));
                return Err(Failure::Late {
                    what: format!("the spans of trace {trace}"),
                    seconds: within.as_secs(),
                    seen: names.collect::<Vec<_>>().join("\n"),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<SeenSpan>>>>, body: Bytes) -> StatusCode {
    let Ok(export) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut found = Vec::new();
    for of_resource in export.resource_spans {
        let resource = of_resource.resource.map(|resource| texts(&resource.attributes));
        let service = resource.and_then(|mut texts| texts.remove("service.name"));
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(SeenSpan {
                service: service.clone().unwrap_or_default(),
                attributes: texts(&span.attributes),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
            });
        }
    }
    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    StatusCode::OK
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
