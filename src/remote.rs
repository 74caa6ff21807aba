//! The repository to speak of: the address of the git remote around the working directory.
//! The coordinator canonicalises it.

use crate::git;
use crate::settings::env;

/// `COORD_REPO`, else what the checkout's git config calls itself, else git's remote here.
#[must_use]
pub fn repo() -> Option<String> {
    env("COORD_REPO")
        .or_else(|| git::text(&["config", "--get", "coord.repo"]))
        .or_else(address)
}

/// The address of the git remote here: `origin`, else the first; without any secret in it.
/// None where it is a directory of this machine, which names no repository to others.
#[must_use]
pub fn address() -> Option<String> {
    let url = git::text(&["remote", "get-url", "origin"]).or_else(|| {
        let remotes = git::text(&["remote"])?;
        git::text(&["remote", "get-url", remotes.lines().next()?])
    })?;
    names_a_host(&url).then(|| without_secret(&url))
}

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
            without_secret("https://example.com/o/r@2"),
            "https://example.com/o/r@2"
        );
        assert_eq!(
            without_secret("git@example.com:o/r.git"),
            "git@example.com:o/r.git"
        );
    }
}
