//! Who speaks in a request: the token and the session it is answered for.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::request::Parts;
use rmcp::model::{Extensions, MetaObject};
use serde_json::Value;
use uuid::Uuid;

use crate::rpc::{Client, Error};
use crate::settings::{Global, env};

/// On whose behalf the bridge calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// A whole `Authorization` value; without one, the bridge's own token speaks.
    pub authorization: Option<String>,
    /// The session; without one, the token is the session.
    pub session: Option<String>,
}

impl Caller {
    /// This client with this caller's voice.
    pub fn speaks(&self, client: &Client) -> Result<Client, Error> {
        client.speaking(self.authorization.as_deref(), self.session.as_deref())
    }
}

/// How callers are told apart.
pub enum Identity {
    /// One client on standard input, speaking with the bridge's token.
    Single {
        /// The session that flags or the environment name.
        given: Option<String>,
        /// The session of this process, for clients that name none.
        process: String,
        /// Sessions that calls of this process opened, to be ended with it.
        opened: Mutex<BTreeSet<String>>,
    },
    /// Many clients over HTTP, each with a token and session of its own.
    Forwarded,
}

impl Identity {
    /// The client on standard input. Claude Code tells its session by the environment.
    pub fn single(global: &Global) -> Self {
        Self::Single {
            given: global
                .session
                .clone()
                .filter(|session| !session.is_empty())
                .or_else(|| env("CLAUDE_CODE_SESSION_ID")),
            process: Uuid::new_v4().to_string(),
            opened: Mutex::default(),
        }
    }

    /// Who sent this request.
    pub fn caller(&self, meta: Option<&MetaObject>, extensions: &Extensions) -> Caller {
        let told = meta.and_then(session_of_meta);
        match self {
            Self::Single { given, process, .. } => Caller {
                authorization: None,
                session: given.clone().or(told).or_else(|| Some(process.clone())),
            },
            Self::Forwarded => {
                let headers = extensions.get::<Parts>().map(|parts| &parts.headers);
                let header = |name| headers.and_then(|headers| header(headers, name));
                Caller {
                    authorization: header("authorization"),
                    session: header("x-session-id")
                        .or(told)
                        .or_else(|| header("mcp-session-id")),
                }
            }
        }
    }

    /// Remembers that a call of this process wrote under this session.
    pub fn wrote(&self, caller: &Caller) {
        if let (Self::Single { opened, .. }, Some(session)) = (self, &caller.session) {
            let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
            if !opened.contains(session) {
                opened.insert(session.clone());
            }
        }
    }

    /// The sessions to end with this process.
    pub fn opened(&self) -> Vec<Caller> {
        let Self::Single { opened, .. } = self else {
            return Vec::new();
        };
        let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened
            .iter()
            .map(|session| Caller {
                authorization: None,
                session: Some(session.clone()),
            })
            .collect()
    }
}

/// A header's text, if it is there and not empty.
pub fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Codex names its session in every call's `_meta`; where depends on its version.
fn session_of_meta(meta: &MetaObject) -> Option<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
    };
    let turn = || {
        let turn = meta.get("x-codex-turn-metadata")?;
        match turn {
            Value::String(json) => {
                let turn: Value = serde_json::from_str(json).ok()?;
                text(turn.get("session_id")?)
            }
            turn => text(turn.get("session_id")?),
        }
    };
    meta.get("sessionId")
        .and_then(text)
        .or_else(turn)
        .or_else(|| meta.get("threadId").and_then(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn session(meta: Value) -> Option<String> {
        session_of_meta(&serde_json::from_value(meta).unwrap())
    }

    #[test]
    fn codex_names_its_session_in_several_places() {
        assert_eq!(session(json!({"sessionId": "a"})).as_deref(), Some("a"));
        let inside = json!({"x-codex-turn-metadata": {"session_id": "b"}});
        assert_eq!(session(inside).as_deref(), Some("b"));
        let quoted = json!({"x-codex-turn-metadata": "{\"session_id\":\"c\"}", "threadId": "d"});
        assert_eq!(session(quoted).as_deref(), Some("c"));
        assert_eq!(session(json!({"progressToken": 1})), None);
    }

    #[test]
    fn a_session_that_was_given_beats_one_that_is_told() {
        let identity = Identity::Single {
            given: Some("given".to_owned()),
            process: "process".to_owned(),
            opened: Mutex::default(),
        };
        let meta: MetaObject = serde_json::from_value(json!({"sessionId": "told"})).unwrap();
        let caller = identity.caller(Some(&meta), &Extensions::new());
        assert_eq!(caller.session.as_deref(), Some("given"));
    }
}
