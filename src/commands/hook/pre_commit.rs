//! `coord hook pre-commit`: what is staged is locked by whoever commits it.

use super::staged::{self, Becoming};
use super::verdict::{self, Decision, Verdict};
use super::{Caller, Error, words};
use crate::exit::Exit;
use crate::settings::Global;

/// Stops the commit where the coordinator says so, or cannot be asked.
pub async fn run(repo: Option<&str>, global: &Global) -> Exit {
    match check(repo, global).await {
        Ok(None) => Exit::Done,
        Ok(Some(verdict)) => match verdict.decision {
            Decision::Allow => Exit::Done,
            Decision::Warn => {
                anstream::eprint!("{}", words::uncovered(&verdict, false));
                Exit::Done
            }
            Decision::Deny => {
                anstream::eprint!("{}", words::uncovered(&verdict, true));
                Exit::Refused
            }
        },
        Err(error) => {
            anstream::eprint!("{}", words::unchecked(&error));
            Exit::Refused
        }
    }
}

/// Nothing where nothing is staged: then nobody need be asked.
async fn check(repo: Option<&str>, global: &Global) -> Result<Option<Verdict>, Error> {
    let files = staged::files(Becoming::New)?;
    if files.is_empty() {
        return Ok(None);
    }
    let caller = Caller::new(global, repo)?;
    Ok(Some(verdict::ask(&caller, &files).await?))
}
