//! What a repository's git config says of the coordinator: `coord.url`, `coord.tokenFile`,
//! `coord.home` and `coord.repo`.

use std::path::{Path, PathBuf};

use crate::git;
use crate::settings::Global;

/// The settings that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    url: Option<String>,
    token_file: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Config {
    /// Those that hold here.
    pub fn read() -> Self {
        let listed = git::run(&["config", "-z", "--get-regexp", r"^coord\."]);
        Self::parse(&listed.unwrap_or_default())
    }

    /// Git names keys in small letters; the last of a key holds.
    fn parse(listed: &[u8]) -> Self {
        let mut config = Self::default();
        for entry in git::parts(listed) {
            let text = String::from_utf8_lossy(entry);
            let Some((key, value)) = text.split_once('\n').filter(|it| !it.1.is_empty()) else {
                continue;
            };
            match key {
                "coord.url" => config.url = Some(value.to_owned()),
                "coord.tokenfile" => config.token_file = Some(value.into()),
                "coord.home" => config.home = Some(value.into()),
                _ => {}
            }
        }
        config
    }

    /// The flags and the environment, and these where they say nothing.
    pub fn behind(&self, global: &Global) -> Global {
        let mut global = global.clone();
        global.url = global.url.or_else(|| self.url.clone());
        global.token_file = global.token_file.or_else(|| self.token_file.clone());
        global.home = global.home.or_else(|| self.home.clone());
        global
    }
}

/// Keeps what was said on the command line itself: the environment is there for whoever has it.
/// Gives what was written.
pub fn keep(
    global: &Global,
    repo: Option<&str>,
    said: impl Fn(&str) -> bool,
) -> Result<Vec<(&'static str, String)>, super::Error> {
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|source| super::Error::File {
            doing: "find",
            path: path.to_owned(),
            source,
        })
    };
    let mut entries = Vec::new();
    if let Some(repo) = repo {
        entries.push(("coord.repo", repo.to_owned()));
    }
    if let Some(url) = global.url.as_ref().filter(|_| said("url")) {
        entries.push(("coord.url", url.clone()));
    }
    if let Some(path) = global.token_file.as_ref().filter(|_| said("token_file")) {
        entries.push(("coord.tokenFile", whole(path)?.display().to_string()));
    }
    if let Some(path) = global.home.as_ref().filter(|_| said("home")) {
        entries.push(("coord.home", whole(path)?.display().to_string()));
    }
    for (key, value) in &entries {
        git::run(&["config", "--local", "--replace-all", key, value])?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_environment_come_before_the_repository() {
        let config = Config::parse(
            b"coord.url\nhttp://old\0coord.url\nhttp://a\0coord.tokenfile\n/t\0coord.repo\nx\0coord.home\n\0coord.odd\0",
        );
        let bare = config.behind(&Global::default());
        assert_eq!(bare.url.as_deref(), Some("http://a"));
        assert_eq!(bare.token_file, Some("/t".into()));
        assert_eq!(bare.home, None);
        let flags = Global {
            url: Some("http://b".to_owned()),
            ..Global::default()
        };
        assert_eq!(config.behind(&flags).url.as_deref(), Some("http://b"));
    }
}
