//! The one listener: routes under the vendors' prefixes, faults in front of them, orderly stop.
//!
//! A lost answer must look to the caller like a dead connection, not like an HTTP error. So every
//! connection carries a switch; once thrown, its next write fails and the connection closes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::ledger::LedgerError;
use crate::options::SandboxOptions;
use crate::personas::Vendor;
use crate::state::State;
use crate::travel::{Cut, cut};
use crate::{control, increase, onfido, seon, yente};

/// How long a stop waits for requests under way before it cuts them off.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A vendor's own answer when it cannot serve.
type Refusal = fn() -> Response;

/// The sandbox could not start or did not end well.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The address is taken or not ours: choose another.
    #[error("sandbox cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The ledger file is damaged or not writable: move it away or choose another.
    #[error("sandbox cannot use its ledger file")]
    Ledger(#[from] LedgerError),
    /// The server ended by itself: a defect.
    #[error("sandbox server failed")]
    Server(#[source] io::Error),
    /// The server's task died: a defect.
    #[error("sandbox task died")]
    Task(#[from] JoinError),
}

/// A running sandbox; dropping it stops it too.
#[derive(Debug)]
pub struct Sandbox {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Base address of a vendor's API, without a slash at the end.
    #[must_use]
    pub fn url(&self, vendor: Vendor) -> String {
        format!("http://{}/{}", self.address, vendor.prefix())
    }

    /// Base address of the control routes, without a slash at the end.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/_sandbox", self.address)
    }

    /// Stops accepting, lets requests under way end for up to five seconds, then ends.
    ///
    /// # Errors
    /// [`SandboxError::Server`] or [`SandboxError::Task`] if it had failed before.
    pub async fn stop(mut self) -> Result<(), SandboxError> {
        self.stop.send_replace(true);
        match tokio::time::timeout(STOP_WITHIN, &mut self.task).await {
            Ok(ended) => ended?.map_err(SandboxError::Server),
            Err(_elapsed) => {
                self.task.abort();
                Ok(())
            }
        }
    }

    /// Runs until the server ends by itself.
    ///
    /// # Errors
    /// [`SandboxError::Server`] or [`SandboxError::Task`] if it failed.
    pub async fn wait(self) -> Result<(), SandboxError> {
        let Self { task, stop, .. } = self;
        let ended = task.await?;
        drop(stop);
        ended.map_err(SandboxError::Server)
    }
}

/// Starts a sandbox and returns once it listens.
///
/// # Errors
/// [`SandboxError::Listen`] or [`SandboxError::Ledger`].
pub async fn serve(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
    let wanted = options.listen;
    let listen = |source| SandboxError::Listen { address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (stop, mut stopping) = watch::channel(false);
    let state = Arc::new(State::new(options, stopping.clone())?);
    let app = routes(&state).into_make_service_with_connect_info::<Switch>();
    let task = tokio::spawn(async move {
        axum::serve(SwitchedListener(listener), app)
            .with_graceful_shutdown(async move {
                // An error means that the handle was dropped, which is a stop as well.
                let _stopped = stopping.wait_for(|stop| *stop).await.is_ok();
            })
            .await
    });
    tracing::info!(%address, "sandbox listens");
    Ok(Sandbox { address, stop, task })
}

fn routes(state: &Arc<State>) -> Router {
    let faulty = |vendor, unavailable: Refusal, routes: Router<Arc<State>>| {
        routes.route_layer(from_fn_with_state((Arc::clone(state), vendor, unavailable), pass))
    };
    Router::new()
        .merge(faulty(Vendor::Onfido, onfido::unavailable, onfido::routes()))
        .merge(faulty(Vendor::Yente, yente::unavailable, yente::routes()))
        .merge(faulty(Vendor::Seon, seon::unavailable, seon::routes()))
        .merge(faulty(Vendor::Increase, increase::unavailable, increase::routes()))
        .merge(control::routes())
        .with_state(Arc::clone(state))
}

/// Leads a vendor request through the faults of the moment to its handler and back.
async fn pass(
    Shared((state, vendor, unavailable)): Shared<(Arc<State>, Vendor, Refusal)>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
    next: Next,
) -> Response {
    state.calls.count(vendor, operation(request.method(), request.uri().path()));
    let draw = state.chance.draw(vendor);
    // Half the delay lies before the effect and half after it: a caller that gives up may have
    // caused the effect or not.
    state.sleep(draw.latency / 2).await;
    let response = if let Some(hang_for) = draw.hang {
        let by_default = hang_for.is_zero();
        state.sleep(if by_default { state.options.hang_for } else { hang_for }).await;
        cut()
    } else if draw.unavailable {
        unavailable()
    } else {
        next.run(request).await
    };
    state.sleep(draw.latency / 2).await;
    if draw.answer_lost || response.extensions().get::<Cut>().is_some() {
        switch.throw();
    }
    response
}

/// Method and path without the vendor's prefix and with identifiers replaced.
fn operation(method: &Method, path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(2).filter(|part| !part.is_empty()).collect();
    let path = match segments.as_slice() {
        ["v3.6", resource, _] => format!("v3.6/{resource}/{{id}}"),
        ["match", _] => "match/{dataset}".to_owned(),
        [transfers @ ("ach_transfers" | "real_time_payments_transfers"), _] => {
            format!("{transfers}/{{id}}")
        }
        [transfers, _, "cancel"] => format!("{transfers}/{{id}}/cancel"),
        other => other.join("/"),
    };
    format!("{method} /{path}")
}

/// Shared by a connection and the requests on it; thrown, it closes the connection unanswered.
#[derive(Debug, Clone, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn throw(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, SwitchedListener>> for Switch {
    fn connect_info(stream: IncomingStream<'_, SwitchedListener>) -> Self {
        stream.io().switch.clone()
    }
}

struct SwitchedListener(TcpListener);

impl Listener for SwitchedListener {
    type Io = SwitchedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection keeps its delay");
        }
        (SwitchedStream { stream, switch: Switch::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

struct SwitchedStream {
    stream: TcpStream,
    switch: Switch,
}

impl AsyncRead for SwitchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SwitchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::operation;

    #[test]
    fn operations_are_counted_without_identifiers() {
        let cases = [
            ("/onfido/v3.6/workflow_runs/5d0b", "GET /v3.6/workflow_runs/{id}"),
            ("/increase/ach_transfers", "GET /ach_transfers"),
            ("/increase/ach_transfers/a1", "GET /ach_transfers/{id}"),
            ("/increase/ach_transfers/a1/cancel", "GET /ach_transfers/{id}/cancel"),
            ("/yente/match/default", "GET /match/{dataset}"),
            ("/seon/SeonRestService/fraud-api/v2/", "GET /SeonRestService/fraud-api/v2"),
        ];
        for (path, expected) in cases {
            assert_eq!(operation(&Method::GET, path), expected);
        }
    }
}
