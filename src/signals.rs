//! Being asked to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ends with the first SIGINT or SIGTERM after this call, awaited or not yet.
pub fn stop() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
