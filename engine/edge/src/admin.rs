//! The admin server: `/livez`, `/readyz` (`?verbose`) and `/metrics`. It changes nothing.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::EdgeError;
use crate::exposition::Metrics;
use crate::probe::Probe;

/// Content type of the Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An admin server that listens and does not answer yet.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

struct Admin<P> {
    probe: Arc<P>,
    metrics: Metrics,
}

#[derive(Deserialize)]
struct HowMuch {
    verbose: Option<String>,
}

impl AdminServer {
    /// Takes the address; port 0 takes any free port.
    ///
    /// # Errors
    /// [`EdgeError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, EdgeError> {
        let refused = |source| EdgeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let actual = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address: actual })
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown channel says so or its sender is gone.
    ///
    /// # Errors
    /// [`EdgeError::Server`].
    pub async fn run<P: Probe>(
        self,
        probe: Arc<P>,
        metrics: Metrics,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), EdgeError> {
        let upkeep = metrics.clone();
        let routes = router(Admin { probe, metrics });
        let stopped = async move {
            // An error means that whoever could say so is gone: the same thing.
            drop(shutdown.wait_for(|stop| *stop).await);
        };
        let served = axum::serve(self.listener, routes).with_graceful_shutdown(stopped);
        tokio::select! {
            ended = served.into_future() => ended.map_err(EdgeError::Server),
            () = upkeep.keep_up() => Ok(()),
        }
    }
}

fn router<P: Probe>(admin: Admin<P>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready::<P>))
        .route("/metrics", get(exposition::<P>))
        .with_state(Arc::new(admin))
}

async fn ready<P: Probe>(
    State(admin): State<Arc<Admin<P>>>,
    Query(how): Query<HowMuch>,
) -> Response {
    let found = admin.probe.check().await;
    let status = if found.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::from(if found.ready { "ready\n" } else { "not ready\n" });
    if how.verbose.is_some() {
        for line in &found.lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    (status, text).into_response()
}

async fn exposition<P: Probe>(State(admin): State<Arc<Admin<P>>>) -> Response {
    ([(header::CONTENT_TYPE, EXPOSITION)], admin.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::probe::Readiness;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Service(AtomicBool);

    impl Probe for Service {
        async fn check(&self) -> Readiness {
            let ready = self.0.load(Ordering::Relaxed);
            let lines = vec![format!("lane 3: {}", if ready { "owned" } else { "waiting" })];
            Readiness { ready, lines }
        }
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_service_is_alive_at_once_and_ready_when_it_says_so() {
        let server = AdminServer::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = server.address();
        let service = Arc::new(Service(AtomicBool::new(false)));
        let (stop, stopping) = watch::channel(false);
        let metrics = Metrics::install().unwrap();
        metrics::counter!("signalbox_test_total").increment(7);
        let task = tokio::spawn(server.run(Arc::clone(&service), metrics, stopping));

        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let waiting = ask(address, "/readyz?verbose").await;
        assert!(
            waiting.starts_with("HTTP/1.1 503") && waiting.contains("lane 3: waiting"),
            "{waiting}"
        );

        service.0.store(true, Ordering::Relaxed);
        let ready = ask(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && !ready.contains("lane 3"), "{ready}");
        assert!(ask(address, "/metrics").await.contains("signalbox_test_total 7"));

        stop.send_replace(true);
        task.await.unwrap().unwrap();
    }
}
