//! Who wants to hear of changes, and the loop that tells them. State is
//! polled, and only while somebody has subscribed to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::{Peer, SubscriptionSink};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::caller::Caller;
use super::catalogue::Catalogue;
use super::menu::Menu;
use super::resources;
use super::upstream::Upstream;

/// What the one client of a process last saw of each resource: changes are
/// told from there. Empty where there are many clients.
#[derive(Default)]
pub struct Seen(Mutex<HashMap<String, u64>>);

impl Seen {
    /// The client saw this.
    pub fn note(&self, uri: &str, digest: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(uri.to_owned(), digest);
    }

    fn get(&self, uri: &str) -> Option<u64> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(uri).copied()
    }
}

/// The resources one subscriber watches, each with its last known state.
#[derive(Default)]
pub struct Wanted {
    uris: Mutex<HashMap<String, Option<u64>>>,
    more: Notify,
}

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<u64>>> {
        self.uris.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches one more, from this state on.
    pub fn add(&self, uri: &str, state: Option<u64>) {
        self.lock().insert(uri.to_owned(), state);
        self.more.notify_one();
    }

    /// Watches one less.
    pub fn remove(&self, uri: &str) {
        self.lock().remove(uri);
    }

    fn list(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether this state is another than the last one, which it replaces.
    fn differs(&self, uri: &str, state: u64) -> bool {
        match self.lock().get_mut(uri) {
            Some(last) => last.replace(state).is_some_and(|last| last != state),
            None => false,
        }
    }
}

/// The way to one subscriber.
pub enum Listener {
    /// A client of an era with sessions: the connection itself.
    Peer(Peer<RoleServer>),
    /// A `subscriptions/listen` request, which takes only what it asked for.
    Sink(SubscriptionSink),
}

/// What there is to tell.
enum News<'a> {
    Tools,
    Resources,
    Prompts,
    Updated(&'a str),
}

impl Listener {
    /// Whether the subscriber is still there.
    async fn tell(&self, news: News<'_>) -> bool {
        match self {
            Self::Peer(peer) => {
                let sent = match news {
                    News::Tools => peer.notify_tool_list_changed().await,
                    News::Resources => peer.notify_resource_list_changed().await,
                    News::Prompts => peer.notify_prompt_list_changed().await,
                    News::Updated(uri) => {
                        let update = ResourceUpdatedNotificationParam::new(uri);
                        peer.notify_resource_updated(update).await
                    }
                };
                sent.is_ok() || !peer.is_transport_closed()
            }
            Self::Sink(sink) => {
                use rmcp::service::SubscriptionSendError::NotificationNotAccepted;
                let sent = match news {
                    News::Tools => sink.notify_tool_list_changed().await,
                    News::Resources => sink.notify_resource_list_changed().await,
                    News::Prompts => sink.notify_prompt_list_changed().await,
                    News::Updated(uri) => sink.notify_resource_updated(uri).await,
                };
                matches!(sent, Ok(()) | Err(NotificationNotAccepted(_)))
            }
        }
    }

    async fn tell_all(&self, old: &Catalogue, new: &Catalogue) -> bool {
        (old.tools == new.tools || self.tell(News::Tools).await)
            && ((old.resources == new.resources && old.templates == new.templates)
                || self.tell(News::Resources).await)
            && (old.prompts == new.prompts || self.tell(News::Prompts).await)
    }
}

/// One subscriber's loop.
pub struct Watch {
    pub upstream: Arc<Upstream>,
    pub menu: Arc<Menu>,
    pub caller: Caller,
    pub wanted: Arc<Wanted>,
    pub listener: Listener,
    /// How old the catalogue may become.
    pub refresh: Duration,
}

impl Watch {
    /// Begins each resource at what the client last saw of it, else at what it is now.
    pub async fn begin(&self, seen: &Seen) {
        for uri in self.wanted.list() {
            let state = match seen.get(&uri) {
                Some(state) => Some(state),
                None => self.peek(&uri).await,
            };
            self.wanted.add(&uri, state);
        }
    }

    /// Tells what changes, until the subscriber or the bridge is gone.
    pub async fn run(self, end: CancellationToken) {
        tokio::select! {
            () = end.cancelled() => {}
            () = self.tell() => {}
        }
    }

    async fn tell(&self) {
        let mut offers = self.menu.changes();
        let mut old = self.menu.current();
        let mut refresh = tokio::time::interval(self.refresh);
        loop {
            let idle = self.wanted.is_empty();
            let alive = tokio::select! {
                changed = offers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = offers.borrow_and_update().clone();
                    let alive = self.listener.tell_all(&old, &new).await;
                    old = new;
                    alive
                }
                _ = refresh.tick() => {
                    // Where nobody else keeps the menu fresh, who listens does. The menu
                    // keeps the failure.
                    let age = self.refresh / 2;
                    let _ = self.menu.refresh(&self.upstream, &self.caller, age).await;
                    true
                }
                () = self.wanted.more.notified(), if idle => true,
                () = tokio::time::sleep(about_a_second()), if !idle => self.look().await,
            };
            if !alive {
                return;
            }
        }
    }

    async fn look(&self) -> bool {
        for uri in self.wanted.list() {
            if let Some(state) = self.peek(&uri).await
                && self.wanted.differs(&uri, state)
                && !self.listener.tell(News::Updated(&uri)).await
            {
                return false;
            }
        }
        true
    }

    /// Its state, if it can be had: a coordinator that is down is no change.
    async fn peek(&self, uri: &str) -> Option<u64> {
        resources::peek(&self.upstream, &self.menu, &self.caller, uri)
            .await
            .ok()
            .flatten()
    }
}

/// Not quite a second each time, so that many bridges do not ask in step.
fn about_a_second() -> Duration {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    Duration::from_millis(700 + random % 600)
}
