//! One client on standard input and output: its end is the end of its session.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use rmcp::transport::io::stdio_pipes;
use serde_json::Map;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, Identity};
use super::menu::Menu;
use super::repo::Repo;
use super::upstream::Upstream;
use super::{Bridge, Connection, Error, Options, log};
use crate::gitlocks::{Locks, Who};
use crate::signals;
use crate::standby::Standby;

/// How long ending sessions may take: hosts kill what does not go.
const FAREWELL: Duration = Duration::from_secs(3);

/// The same for a push.
const GIT_FAREWELL: Duration = Duration::from_secs(5);

/// Serves until standard input ends or a signal comes.
///
/// # Errors
/// The client does not speak MCP.
pub async fn serve(options: Options) -> Result<(), Error> {
    let identity = Identity::single(&options.global);
    let upstream = Arc::new(Upstream::new(options.global, true));
    // The principal says the role, and unlike the token it is known while there is no stack.
    let principal = upstream.global().principal.clone().unwrap_or_default();
    let menu = Arc::new(Menu::open(&upstream, options.toolset, &principal));
    let closing = CancellationToken::new();
    let killed = CancellationToken::new();
    tokio::spawn(keep_fresh(upstream.clone(), menu.clone(), options.refresh));
    tokio::spawn(kill_on_signal(closing.clone(), killed.clone()));
    let bridge = Arc::new(Bridge {
        upstream,
        identity,
        menus: Box::new(move |_| menu.clone()),
        repo: Repo::new(true),
        seen: super::Seen::default(),
        by_git: std::sync::atomic::AtomicBool::new(false),
        refresh: options.refresh,
        patience: options.patience,
        closing: closing.clone(),
        killed: killed.clone(),
    });

    let (input, output) = stdio_pipes();
    let input = Input {
        inner: input,
        ended: closing,
    };
    let connection = Connection::new(bridge.clone());
    let served = serve_server_with_ct(connection, (input, output), killed).await;
    let result = match served {
        Ok(service) => {
            // Calls under way when the input ends are still answered.
            let _ = service.waiting().await;
            Ok(())
        }
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            Ok(())
        }
        Err(error) => Err(Error::Protocol(error.to_string())),
    };
    end_sessions(&bridge).await;
    result
}

/// Releases what the sessions of this process hold, all at once and not for long.
async fn end_sessions(bridge: &Arc<Bridge>) {
    let mut ending = JoinSet::new();
    for caller in bridge.identity.opened() {
        let bridge = bridge.clone();
        ending.spawn(async move {
            let ended = bridge
                .upstream
                .call_once(&caller, "end_session", &Map::new(), FAREWELL)
                .await;
            if let Err(error) = ended {
                log(format_args!("could not end the session: {error}"));
            }
            if bridge.by_git.load(Ordering::Relaxed) {
                release_by_git(&bridge, &caller).await;
            }
        });
    }
    ending.join_all().await;
}

/// The same for what was locked by git; what cannot be released soon expires.
async fn release_by_git(bridge: &Bridge, caller: &Caller) {
    let global = bridge.upstream.global();
    let released = async {
        let who = Who::new(global, caller.session.as_deref())?;
        Locks::new(None, who)?
            .answer("release_lock", &Map::new())
            .await
    };
    match tokio::time::timeout(GIT_FAREWELL, released).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => log(format_args!("could not release by git: {error}")),
        Err(_) => log(format_args!("could not release by git in time")),
    }
}

/// Keeps the catalogue fresh, and looks more often while the coordinator is down.
async fn keep_fresh(upstream: Arc<Upstream>, menu: Arc<Menu>, refresh: Duration) {
    let caller = Caller::default();
    let standby = Standby::new(upstream.global());
    let mut reached = true;
    loop {
        let result = menu.refresh(&upstream, &caller, Duration::ZERO).await;
        if result.is_ok() != reached {
            match &result {
                Ok(()) => log(format_args!("the coordinator is back")),
                Err(error) => log(format_args!("{error}")),
            }
        }
        reached = result.is_ok();
        if reached && let Ok(client) = upstream.client() {
            standby.keep(&client).await;
        }
        let silent = result.is_err_and(|error| error.is_silence());
        let pause = if silent {
            Duration::from_secs(2).min(refresh)
        } else {
            refresh
        };
        tokio::time::sleep(pause).await;
    }
}

async fn kill_on_signal(closing: CancellationToken, killed: CancellationToken) {
    signals::stop().await;
    closing.cancel();
    killed.cancel();
}

/// Standard input that says when it ends: a `subscriptions/listen` would
/// otherwise keep the transport from closing.
struct Input<R> {
    inner: R,
    ended: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() == before && buffer.remaining() > 0 => {
                self.ended.cancel();
            }
            Poll::Ready(Err(_)) => self.ended.cancel(),
            _ => {}
        }
        polled
    }
}
