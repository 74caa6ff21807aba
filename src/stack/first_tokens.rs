//! The tokens that a new stack has from the start, so that the first call needs no other step.

use std::fs;

use super::home::{Home, write_private};
use super::keys::Keys;
use super::progress::say;
use super::token::{self, Claims, Role};
use super::{Doing, Error};
use crate::settings::{AGENT, OPERATOR};
use crate::{remote, rpc};

const AGENT_TYPE: &str = "cli";
/// The repo to play with where there is no git remote.
pub const PLAYGROUND: &str = "local/playground";
/// How long these tokens live, and how long before the end they are made anew.
const TTL: i64 = 30 * 86_400;
const RENEW: i64 = 10 * 86_400;

/// Forgets the tokens of a database that is no more.
///
/// # Errors
/// A file cannot be removed.
pub fn forget(home: &Home) -> Result<(), Error> {
    for name in [OPERATOR, AGENT] {
        let path = home.token(name);
        if path.exists() {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// Makes what is missing or about to end. The agent is registered when its token
/// is new, not each time: what somebody took from it since stays taken.
///
/// # Errors
/// The coordinator refuses the agent, or a file cannot be written.
pub async fn ensure(home: &Home, keys: &Keys, url: &str) -> Result<(), Error> {
    if !home.token(AGENT).exists() {
        let client = token::operator(keys, url, None)?;
        let register = async |repo: &str| {
            let repos = [repo.to_owned()];
            token::register(&client, AGENT, AGENT_TYPE, Role::Agent, &repos, None).await
        };
        let repo = remote::address().unwrap_or_else(|| PLAYGROUND.to_owned());
        match register(&repo).await {
            Ok(_) => {}
            // A remote may be anything, a directory for example; that is no reason not to start.
            Err(Error::Rpc(rpc::Error::Problem(problem))) if repo != PLAYGROUND => {
                say(&format!(
                    "the git remote {repo} is no name for a repo ({problem}); {AGENT} works in {PLAYGROUND}"
                ));
                register(PLAYGROUND).await?;
            }
            Err(error) => return Err(error),
        }
    }
    renew(home, keys)
}

/// Signs again what is about to end.
///
/// # Errors
/// A file cannot be written.
pub fn renew(home: &Home, keys: &Keys) -> Result<(), Error> {
    for (name, agent_type, role) in [
        (OPERATOR, OPERATOR, Role::Operator),
        (AGENT, AGENT_TYPE, Role::Agent),
    ] {
        let path = home.token(name);
        if !token::fresh(&path, keys, RENEW) {
            let token = Claims::new(name, agent_type, role, TTL).sign(keys)?;
            write_private(&path, &format!("{token}\n"))?;
        }
    }
    Ok(())
}
