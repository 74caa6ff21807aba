//! The stack's signing key (ES256) and the JWKS with which PostgREST checks what it signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::Error;
use super::home::{Home, write_private};

/// Name of the private key's file.
const PRIVATE: &str = "signing.pem";
/// Name of the public keys' file.
const PUBLIC: &str = "jwks.json";

/// The key and what goes with it.
pub struct Keys {
    /// Signs tokens.
    pub(crate) signing: EncodingKey,
    /// Names the key in each token.
    pub(crate) kid: String,
    /// The public side.
    pub(crate) jwks: JwkSet,
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
            let fault = |_| Error::Key("the system's random numbers failed".to_owned());
            let document = EcdsaKeyPair::generate_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            )
            .map_err(fault)?;
            write_private(&path, &pem(document.as_ref()))?;
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
        Ok(Self {
            signing,
            kid,
            jwks: JwkSet { keys: vec![jwk] },
        })
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
