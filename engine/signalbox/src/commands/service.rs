//! What every service does around its work: admin server, ready file, waiting for servers that are away at start.
//! It does not know what the work is.

use clap::Args;
use serde_json::{Value, json};
use signalbox_bus::RegistryError;
use signalbox_edge::{AdminServer, Metrics, Probe};
use signalbox_store::StoreError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::CliError;
use crate::shutdown;

/// How often a server that is away is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a service is asked whether it is ready, for the ready file.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of every service.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Where health and metrics are served, over the configuration; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// File that is written when the service is ready, as {"admin":"HOST:PORT"}
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// The admin side of a running service.
pub(crate) struct Admin {
    server: JoinHandle<Result<(), signalbox_edge::EdgeError>>,
    ready_file: Option<JoinHandle<Result<(), CliError>>>,
    stop: watch::Sender<bool>,
}

impl Admin {
    /// Starts to answer. It goes on answering while the service stops, until `end`.
    pub(crate) async fn start<P: Probe>(
        args: &ServiceArgs,
        configured: SocketAddr,
        probe: Arc<P>,
    ) -> Result<Self, CliError> {
        let metrics = Metrics::install()?;
        let server = AdminServer::bind(args.admin_listen.unwrap_or(configured)).await?;
        let address = server.address();
        tracing::info!(%address, "health and metrics are served");
        let (stop, stopping) = watch::channel(false);
        let ready_file = args.ready_file.clone().map(|file| {
            let probe = Arc::clone(&probe);
            tokio::spawn(async move {
                while !probe.check().await.ready {
                    tokio::time::sleep(LOOK).await;
                }
                tell_ready(&file, &json!({"admin": address}))
            })
        });
        let server = tokio::spawn(server.run(probe, metrics, stopping));
        Ok(Self { server, ready_file, stop })
    }

    /// Stops answering.
    pub(crate) async fn end(self) {
        if let Some(writer) = self.ready_file {
            writer.abort();
            if let Ok(Err(error)) = writer.await {
                tracing::warn!(%error, "the ready file was not written");
            }
        }
        self.stop.send_replace(true);
        if let Ok(Err(error)) = self.server.await {
            tracing::warn!(%error, "the admin server did not end well");
        }
    }
}

/// Writes the ready file. It appears whole: whoever waits for it never reads half of it.
pub(crate) fn tell_ready(file: &Path, content: &Value) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: file.to_owned(), source };
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    std::fs::write(&unfinished, content.to_string()).map_err(failed)?;
    std::fs::rename(&unfinished, file).map_err(failed)
}

/// Tries until it works, it is hopeless, or the service is told to stop (then none). Servers that are away come back;
/// a schema that this program does not know does not change by waiting.
pub(crate) async fn patiently<T>(
    what: &'static str,
    stopping: &mut watch::Receiver<bool>,
    mut attempt: impl AsyncFnMut() -> Result<T, CliError>,
) -> Result<Option<T>, CliError> {
    loop {
        let error = tokio::select! {
            () = shutdown::requested(stopping) => return Ok(None),
            outcome = attempt() => match outcome {
                Ok(done) => return Ok(Some(done)),
                Err(error) if is_away(&error) => error,
                Err(error) => return Err(error),
            },
        };
        tracing::warn!(what, %error, "waiting; tried again every second");
        tokio::select! {
            () = shutdown::requested(stopping) => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

fn is_away(error: &CliError) -> bool {
    matches!(
        error,
        CliError::Store(StoreError::Retry(_))
            | CliError::Registry(RegistryError::Unavailable(_))
            | CliError::Bus(signalbox_bus::BusError::Unreachable(_))
    )
}
