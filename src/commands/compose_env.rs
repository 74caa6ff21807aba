//! `coord compose-env`: the secrets that docker-compose.yml wants, as `.env`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::Error;
use crate::stack::home::Home;
use crate::stack::keys::Keys;
use crate::stack::server_account::ServerAccount;

/// Prints fresh secrets, and the public half of the home's signing key, so that
/// `coord token mint --url …` signs for the containers.
pub fn run(global: &Global) -> Result<Exit, Error> {
    let mut home = Home::at(&global.home_dir())?;
    home.prepare(&ServerAccount::choose()?)?;
    let keys = Keys::ensure(&home)?;
    for (name, length) in [
        ("POSTGRES_PASSWORD", 32),
        ("JWT_SECRET", 48),
        ("REALTIME_DB_ENC_KEY", 16),
        ("REALTIME_SECRET_KEY_BASE", 64),
    ] {
        println!("{name}={}", secret(length)?);
    }
    println!("JWT_JWKS='{}'", keys.jwks_text()?);
    Ok(Exit::Done)
}

/// Letters, digits, `-` and `_`: safe in `.env` files and in URLs.
fn secret(length: usize) -> Result<String, Error> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Key("the system's random numbers failed".to_owned()))?;
    let mut text = URL_SAFE_NO_PAD.encode(bytes);
    text.truncate(length);
    Ok(text)
}
