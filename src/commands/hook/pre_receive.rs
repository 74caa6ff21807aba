//! `coord hook pre-receive`: what is pushed was made under locks. For the server's repository.

use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::verdict::Decision;
use super::{Caller, Error, pushed, within, words};
use crate::exit::Exit;
use crate::settings::Global;

/// A push may bring thousands of commits.
const LIMIT: Duration = Duration::from_secs(30);

/// Stops the push where the coordinator says so, or cannot be asked.
pub async fn run(repo: Option<&str>, global: &Global) -> Exit {
    let answer = match check(repo, global).await {
        Ok(None) => return Exit::Done,
        Ok(Some(answer)) => answer,
        Err(error) => {
            anstream::eprint!("{}", words::push_unchecked(&error));
            return Exit::Refused;
        }
    };
    match Decision::of(&answer) {
        Ok(Decision::Allow) => Exit::Done,
        Ok(Decision::Warn) => {
            anstream::eprint!("{}", words::unfenced(&answer, false));
            Exit::Done
        }
        Ok(Decision::Deny) => {
            anstream::eprint!("{}", words::unfenced(&answer, true));
            Exit::Refused
        }
        Err(_) => {
            anstream::eprint!("{}", words::denied(&answer));
            Exit::Refused
        }
    }
}

/// Nothing where nothing new comes: then nobody need be asked.
async fn check(repo: Option<&str>, global: &Global) -> Result<Option<Value>, Error> {
    let mut told = Vec::new();
    std::io::stdin()
        .read_to_end(&mut told)
        .map_err(|source| Error::File {
            doing: "read",
            path: "standard input".into(),
            source,
        })?;
    let commits = pushed::commits(&String::from_utf8_lossy(&told))?;
    if commits.is_empty() {
        return Ok(None);
    }
    let caller = Caller::new(global, repo)?;
    let mut args = caller.args();
    args.insert("commits".to_owned(), json!(commits));
    let asked = async { Ok(caller.client.call("verify_push", &args).await?.body) };
    Ok(Some(within(LIMIT, asked).await?))
}
