//! The stack's signing key (ES256) and the JWKS with which PostgREST checks what it signed.
//!
//! Rotation makes a new key and retires the old one: it signs nothing more, and what
//! it signed is good until its time is over, so no client ever meets a gap.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::{Deserialize, Serialize};

use super::Error;
use super::clock;
use super::home::{Home, write_private};
use super::server_account::ServerAccount;

/// Name of the private key's file.
const PRIVATE: &str = "signing.pem";
/// Name of the public keys' file.
const PUBLIC: &str = "jwks.json";
/// Name of the file of keys that sign nothing more.
const RETIRED: &str = "retired.json";

/// A key that signs nothing more, and until when what it signed is good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Retired {
    /// Its public side.
    pub jwk: Jwk,
    /// Seconds since 1970.
    pub until: i64,
}

impl Retired {
    /// Names the key in each token.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.common.key_id.as_deref().unwrap_or_default()
    }
}

/// The key and what goes with it.
pub struct Keys {
    /// Signs tokens.
    pub(crate) signing: EncodingKey,
    /// Names the key in each token.
    pub(crate) kid: String,
    /// The public sides of all that are good now, the signing one first.
    pub(crate) jwks: JwkSet,
    /// Those of them that sign nothing more.
    pub(crate) retired: Vec<Retired>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of this home, made if there are none.
    ///
    /// # Errors
    /// They are there and unusable, or cannot be written.
    pub fn ensure(home: &Home) -> Result<Self, Error> {
        let path = home.keys().join(PRIVATE);
        if !path.exists() {
            write_private(&path, &generate()?)?;
        }
        let keys = Self::load(home)?;
        keys.publish(home)?;
        Ok(keys)
    }

    /// The keys of this home.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub fn load(home: &Home) -> Result<Self, Error> {
        let path = home.keys().join(PRIVATE);
        let shown = path.display();
        let bytes = fs::read(&path).map_err(|error| {
            Error::Key(format!(
                "cannot read the signing key {shown}: {error}; `coord up` makes one, and only its owner may read it"
            ))
        })?;
        let unusable = |error: &dyn std::fmt::Display| {
            Error::Key(format!(
                "the signing key {shown} is damaged ({error}); move it away and `coord up` makes a new one, after which all tokens are to be minted again"
            ))
        };
        let signing = EncodingKey::from_ec_pem(&bytes).map_err(|error| unusable(&error))?;
        let mut jwk =
            Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(|error| unusable(&error))?;
        let kid = jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|error| unusable(&error))?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let now = clock::now();
        let mut retired = Self::read_retired(home)?;
        retired.retain(|old| old.until > now && old.kid() != kid);
        let keys = std::iter::once(jwk).chain(retired.iter().map(|old| old.jwk.clone()));
        Ok(Self {
            jwks: JwkSet {
                keys: keys.collect(),
            },
            signing,
            kid,
            retired,
        })
    }

    fn read_retired(home: &Home) -> Result<Vec<Retired>, Error> {
        let path = home.keys().join(RETIRED);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Error::Key(format!(
                    "the retired keys in {} are damaged ({error}); remove the file, and tokens that they signed are to be minted again",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::Key(format!("cannot read {}: {error}", path.display()))),
        }
    }

    fn write_retired(home: &Home, retired: &[Retired]) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(retired)
            .map_err(|error| Error::Key(format!("the retired keys cannot be written: {error}")))?;
        write_private(&home.keys().join(RETIRED), &format!("{text}\n"))
    }

    /// Makes a new signing key. What the old one signed is good for `grace` more seconds.
    ///
    /// # Errors
    /// There is no key yet, or a file cannot be written.
    pub fn rotate(home: &Home, grace: i64) -> Result<Self, Error> {
        let old = Self::load(home)?;
        let mut retired = old.retired;
        retired.extend(old.jwks.keys.into_iter().take(1).map(|jwk| Retired {
            jwk,
            until: clock::now() + grace,
        }));
        // First, so that the old key is known whenever this is interrupted.
        Self::write_retired(home, &retired)?;
        write_private(&home.keys().join(PRIVATE), &generate()?)?;
        Self::ensure(home)
    }

    /// Refuses from now on what a retired key signed. False if there is no such key.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn drop_retired(home: &Home, kid: &str) -> Result<bool, Error> {
        let mut retired = Self::load(home)?.retired;
        let before = retired.len();
        retired.retain(|old| old.kid() != kid);
        Self::write_retired(home, &retired)?;
        Self::ensure(home)?;
        Ok(retired.len() < before)
    }

    /// Gives the servers the JWKS in a file that they may read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn hand_over(&self, home: &Home, account: &ServerAccount) -> Result<(), Error> {
        let path = home.served_jwks();
        write_private(&path, &self.jwks_text()?)?;
        account.own(&path)
    }

    /// The JWKS as PostgREST takes it, read back first: it would silently use a
    /// malformed one as an HMAC secret.
    ///
    /// # Errors
    /// It is malformed.
    pub fn jwks_text(&self) -> Result<String, Error> {
        let text = serde_json::to_string(&self.jwks)
            .map_err(|error| Error::Key(format!("the JWKS cannot be written: {error}")))?;
        let back: JwkSet = serde_json::from_str(&text)
            .map_err(|error| Error::Key(format!("the JWKS cannot be read back: {error}")))?;
        if back.keys.is_empty() || back != self.jwks {
            return Err(Error::Key(
                "the JWKS does not survive being written".to_owned(),
            ));
        }
        Ok(text)
    }

    fn publish(&self, home: &Home) -> Result<(), Error> {
        let path = home.keys().join(PUBLIC);
        let text = self.jwks_text()?;
        if fs::read_to_string(&path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        write_private(&path, &text)
    }
}

/// Files with secrets that somebody else could read.
#[must_use]
pub fn exposed(home: &Home) -> Vec<std::path::PathBuf> {
    [home.keys(), home.tokens()]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0))
        .collect()
}

fn generate() -> Result<String, Error> {
    let fault = |_| Error::Key("the system's random numbers failed".to_owned());
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    Ok(pem(made.map_err(fault)?.as_ref()))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}
