//! Which repository the current directory belongs to.

use std::process::Command;

/// The address of the git remote here: `origin`, else the first; without any secret in it.
#[must_use]
pub fn remote() -> Option<String> {
    let url = git(&["remote", "get-url", "origin"]).or_else(|| {
        let remotes = git(&["remote"])?;
        git(&["remote", "get-url", remotes.lines().next()?])
    })?;
    Some(without_userinfo(&url))
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

/// `https://user:token@host/x` carries a secret that nobody should log; `git@host:x` does not.
fn without_userinfo(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://")
        && let Some((authority, path)) = rest.split_once('/')
        && let Some((_, host)) = authority.rsplit_once('@')
    {
        return format!("{scheme}://{host}/{path}");
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::without_userinfo;

    #[test]
    fn a_secret_in_the_address_goes_no_further() {
        assert_eq!(
            without_userinfo("https://me:secret@github.com/o/r.git"),
            "https://github.com/o/r.git"
        );
        assert_eq!(
            without_userinfo("git@github.com:o/r.git"),
            "git@github.com:o/r.git"
        );
        assert_eq!(
            without_userinfo("https://github.com/o/r@2"),
            "https://github.com/o/r@2"
        );
    }
}
