//! Being asked to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ends with the first SIGINT or SIGTERM after it was first polled.
pub async fn stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
