//! SIGTERM and Ctrl-C as a value that tasks wait for. A second signal ends the process at once: whoever sends it does
//! not want to wait, and a crash is safe here.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::CliError;

/// Exit status after a second signal, as a shell reports a process that SIGINT ended.
const IMPATIENT: i32 = 130;

/// Begins to listen. The value becomes true with the first signal.
pub(crate) fn on_signal() -> Result<watch::Receiver<bool>, CliError> {
    let listen = |kind| {
        signal(kind).map_err(|source| CliError::System { doing: "listening for signals", source })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping in order; a second signal stops at once");
        stop.send_replace(true);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::process::exit(IMPATIENT);
    });
    Ok(stopping)
}

/// Waits for the signal, or for ever.
pub(crate) async fn requested(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
