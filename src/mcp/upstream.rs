//! The coordinator as the bridge sees it: where it is, and calls on behalf of a caller.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::caller::Caller;
use super::error::Error;
use crate::rpc::{Answer, Client};
use crate::settings::{self, Global, Target};

/// Arguments of a function, by name.
pub type Args = Map<String, Value>;

/// A client that may not exist yet: the stack may start after the bridge, come
/// back on another port, or get a new token while the bridge runs.
pub struct Upstream {
    global: Global,
    /// Whether calls without a token of their own speak with the bridge's.
    own_token: bool,
    client: ArcSwapOption<Client>,
}

impl Upstream {
    /// Knows where to look; looks on first use.
    pub fn new(global: Global, own_token: bool) -> Self {
        Self {
            global,
            own_token,
            client: ArcSwapOption::empty(),
        }
    }

    /// What names this coordinator across restarts: the URL if one was given, else the home.
    pub fn name(&self) -> String {
        self.global.coordinator()
    }

    /// The settings this was made from.
    pub fn global(&self) -> &Global {
        &self.global
    }

    fn target(&self) -> Result<Target, settings::Error> {
        if self.own_token {
            let mut target = self.global.target()?;
            // The caller brings the session.
            target.session = None;
            Ok(target)
        } else {
            self.global.bare_target()
        }
    }

    /// The client as it is now.
    pub fn client(&self) -> Result<Arc<Client>, Error> {
        match self.client.load_full() {
            Some(client) => Ok(client),
            None => self.look_again(),
        }
    }

    fn look_again(&self) -> Result<Arc<Client>, Error> {
        let client = Arc::new(Client::new(self.target()?)?);
        self.client.store(Some(client.clone()));
        Ok(client)
    }

    /// A new client if address or token are not what `old` has.
    fn renewed(&self, old: &Client) -> Option<Arc<Client>> {
        let target = self.target().ok()?;
        if &target == old.target() {
            return None;
        }
        self.look_again().ok()
    }

    /// One call, retried under one idempotency key.
    pub async fn call(
        &self,
        caller: &Caller,
        function: &str,
        args: &Args,
    ) -> Result<Answer, Error> {
        self.ask(caller, function, args, None).await
    }

    /// One try within `limit`, for polling and for ending.
    pub async fn call_once(
        &self,
        caller: &Caller,
        function: &str,
        args: &Args,
        limit: Duration,
    ) -> Result<Answer, Error> {
        self.ask(caller, function, args, Some(limit)).await
    }

    async fn ask(
        &self,
        caller: &Caller,
        function: &str,
        args: &Args,
        limit: Option<Duration>,
    ) -> Result<Answer, Error> {
        let key = Uuid::new_v4().to_string();
        let mut client = self.client()?;
        let mut renewed = false;
        loop {
            let speaker = caller.speaks(&client)?;
            let answer = match limit {
                None => speaker.call_with_key(function, args, &key).await,
                Some(limit) => speaker.call_once(function, args, limit).await,
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => Error::from(error),
            };
            if renewed || !error.may_be_stale() {
                return Err(error);
            }
            client = self.renewed(&client).ok_or(error)?;
            renewed = true;
        }
    }
}
