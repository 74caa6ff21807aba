//! Tokens: what stands in them, how they are signed, and how one is read.

use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::home::Home;
use super::keys::Keys;
use super::{Error, clock};
use crate::rpc::{Answer, Client};
use crate::settings::{OPERATOR, Target};

/// Whom tokens of this stack are for.
pub const AUDIENCE: &str = "coord";
/// How long a token lives that this program signs for one call of its own.
const OWN_CALL: i64 = 60;

/// What a token may do at all; the database decides the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Works
    Agent,
    /// Administers
    Operator,
    /// Reads
    Auditor,
}

impl Role {
    /// Its name in arguments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

/// The claims of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The database role.
    pub role: String,
    /// The agent.
    pub sub: String,
    /// What kind of agent.
    pub agent_type: String,
    /// For whom.
    pub aud: String,
    /// When it was issued.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// Its own id, by which it can be revoked.
    pub jti: String,
    /// The one session it may speak for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

impl Claims {
    /// Claims that begin now.
    #[must_use]
    pub fn new(sub: &str, agent_type: &str, role: Role, ttl: i64) -> Self {
        let iat = clock::now();
        Self {
            role: format!("coord_{}", role.name()),
            sub: sub.to_owned(),
            agent_type: agent_type.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat.saturating_add(ttl),
            jti: Uuid::new_v4().to_string(),
            session_id: None,
        }
    }

    /// Signs them.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(&self, keys: &Keys) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(keys.kid.clone());
        encode(&header, self, &keys.signing)
            .map_err(|error| Error::Key(format!("cannot sign a token: {error}")))
    }
}

/// A client that calls as the operator, with a token for this one errand.
///
/// # Errors
/// The key does not sign.
pub fn operator(keys: &Keys, url: &str, apikey: Option<String>) -> Result<Client, Error> {
    let token = Claims::new(OPERATOR, OPERATOR, Role::Operator, OWN_CALL).sign(keys)?;
    Ok(Client::new(Target {
        url: url.to_owned(),
        token: Some(token),
        apikey,
        // One session for all errands: each token's own would be one more that dies of silence.
        session: Some("coord-stack".to_owned()),
    })?)
}

/// Makes an agent known and grants it its repos.
///
/// # Errors
/// The coordinator cannot be reached or refuses.
pub async fn register(
    client: &Client,
    name: &str,
    agent_type: &str,
    role: Role,
    repos: &[String],
    profile: Option<&str>,
) -> Result<Answer, Error> {
    let mut args = Map::new();
    args.insert("name".into(), json!(name));
    args.insert("agent_type".into(), json!(agent_type));
    args.insert("role".into(), json!(role.name()));
    args.insert("repos".into(), json!(repos));
    args.extend(profile.map(|profile| ("profile".to_owned(), json!(profile))));
    let answer = client.call("register_agent", &args).await?;
    refuse(answer)
}

/// Makes a token worthless before it ends.
///
/// # Errors
/// The coordinator cannot be reached or refuses.
pub async fn revoke(
    client: &Client,
    jti: &str,
    expires: Option<i64>,
    reason: Option<&str>,
) -> Result<Answer, Error> {
    let mut args = Map::new();
    args.insert("jti".into(), json!(jti));
    if let Some(expires) = expires {
        args.insert("expires_at".into(), json!(clock::rfc3339(expires)));
    }
    if let Some(reason) = reason {
        args.insert("reason".into(), json!(reason));
    }
    let answer = client.call("revoke_token", &args).await?;
    refuse(answer)
}

/// An answer that refuses becomes an error.
fn refuse(answer: Answer) -> Result<Answer, Error> {
    if answer.ok() {
        return Ok(answer);
    }
    let text = |name: &str| {
        answer
            .body
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Err(crate::rpc::Error::Problem(Box::new(crate::rpc::Problem {
        status: if answer.status < 400 {
            403
        } else {
            answer.status
        },
        code: text("code").unwrap_or_default(),
        message: text("message")
            .or_else(|| text("outcome"))
            .unwrap_or_else(|| "refused".to_owned()),
        details: text("details"),
        hint: text("hint").or_else(|| text("next")),
    }))
    .into())
}

/// A token, taken apart.
#[derive(Debug)]
pub struct Inspected {
    /// Algorithm and key.
    pub header: Value,
    /// All claims, also those of others' making.
    pub claims: Map<String, Value>,
    /// Whether the home's key signed it; `None` without a home.
    pub signed_here: Option<bool>,
}

/// Reads a token without trusting it.
///
/// # Errors
/// It is no JWT.
pub fn inspect(token: &str, home: &Home) -> Result<Inspected, Error> {
    let bad = |error: jsonwebtoken::errors::Error| {
        Error::Token(format!(
            "this is no token ({error}); a token has three parts with dots between, as in {}",
            home.token("agent-1").display()
        ))
    };
    let header = decode_header(token).map_err(bad)?;
    let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(token)
        .map_err(bad)?
        .claims;
    let signed_here = Keys::load(home).ok().map(|keys| signed_by(token, &keys));
    Ok(Inspected {
        header: serde_json::to_value(header).unwrap_or_default(),
        claims,
        signed_here,
    })
}

/// Whether this key signed it. Only the signature counts here, not the time.
fn signed_by(token: &str, keys: &Keys) -> bool {
    let mut only_signature = Validation::new(Algorithm::ES256);
    only_signature.required_spec_claims.clear();
    only_signature.validate_exp = false;
    only_signature.validate_aud = false;
    keys.jwks.keys.iter().any(|jwk| {
        DecodingKey::from_jwk(jwk)
            .is_ok_and(|key| decode::<Map<String, Value>>(token, &key, &only_signature).is_ok())
    })
}

/// Whether the token in this file is the home's own and lives for this long still.
pub(crate) fn fresh(path: &Path, keys: &Keys, seconds: i64) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    let text = text.trim();
    // Not by a retired key, which is good for old tokens only.
    decode_header(text).is_ok_and(|header| header.kid.as_ref() == Some(&keys.kid))
        && signed_by(text, keys)
        && jsonwebtoken::dangerous::insecure_decode::<Claims>(text)
            .is_ok_and(|token| token.claims.exp - clock::now() > seconds)
}
