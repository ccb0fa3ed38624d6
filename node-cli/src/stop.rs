//! Ctrl-C: the signals that ask the program to end.

use anyhow::Context;

/// Somebody stopped the work before its end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Returns on Ctrl-C or SIGTERM. The signals are caught from this call on, not only once the future is awaited.
#[cfg(unix)]
pub(crate) fn asked() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Returns on Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn asked() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Then Ctrl-C ends the process without us.
            std::future::pending::<()>().await;
        }
    })
}
