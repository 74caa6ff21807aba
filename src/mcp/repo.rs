//! Which repository the bridge works in: told, or that of the working directory.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::settings::env;

/// Git answers in milliseconds, or its repository lies on a share that hangs.
const LIMIT: Duration = Duration::from_secs(2);

/// Found out once, when first needed.
pub struct Repo {
    /// Whether the working directory means something: not in a server of many.
    local: bool,
    name: OnceCell<Option<String>>,
}

impl Repo {
    /// Nothing is looked up yet.
    pub fn new(local: bool) -> Self {
        Self {
            local,
            name: OnceCell::new(),
        }
    }

    /// `COORD_REPO`, else the address of the remote `origin`, which the coordinator canonicalises.
    pub async fn name(&self) -> Option<&str> {
        let find = || async {
            match env("COORD_REPO") {
                Some(repo) => Some(repo),
                None if self.local => origin().await,
                None => None,
            }
        };
        self.name.get_or_init(find).await.as_deref()
    }
}

async fn origin() -> Option<String> {
    let git = Command::new("git")
        .args(["remote", "get-url", "origin"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, git).await.ok()?.ok()?;
    let url = String::from_utf8(output.stdout).ok()?;
    let url = url.trim();
    (output.status.success() && names_a_host(url)).then(|| without_secret(url))
}

/// A remote may be a directory of this machine, which names no repository to others.
fn names_a_host(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => scheme != "file",
        None => url
            .find(':')
            .is_some_and(|colon| !url[..colon].contains('/')),
    }
}

/// Some people keep a token in the address of their remote: it goes nowhere.
fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{names_a_host, without_secret};

    #[test]
    fn a_directory_names_no_repository() {
        assert!(names_a_host("https://example.com/o/r") && names_a_host("git@example.com:o/r"));
        assert!(
            !names_a_host("/srv/git/r") && !names_a_host("../r:x") && !names_a_host("file:///r")
        );
    }

    #[test]
    fn a_token_in_the_remote_is_dropped() {
        let plain = "https://example.com/o/r.git";
        assert_eq!(without_secret("https://u:t@example.com/o/r.git"), plain);
        assert_eq!(without_secret(plain), plain);
        assert_eq!(
            without_secret("git@example.com:o/r.git"),
            "git@example.com:o/r.git"
        );
    }
}
