//! What arguments of several commands have in common.

use std::io::Read as _;

use serde_json::{Map, Value, json};

use crate::checkout::{self, Checkout};
use crate::commands::{Error, show};
use crate::remote;
use crate::stack::clock;

/// Which repository a command is about.
#[derive(Debug, clap::Args)]
pub struct Repo {
    /// host/owner/name or a remote's URL [default: `COORD_REPO`, else git config coord.repo, else git's remote origin]
    #[arg(long = "repo", value_name = "REPO")]
    name: Option<String>,
}

impl Repo {
    /// The arguments that every call begins with.
    pub fn args(self) -> Map<String, Value> {
        let repo = self.name.or_else(remote::repo);
        Map::from_iter(repo.map(|repo| ("repo".to_owned(), repo.into())))
    }
}

/// Adds an argument, if there is one.
pub fn put(call: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    call.extend(value.map(|value| (name.to_owned(), value.into())));
}

/// Adds a list, if there is anything in it.
pub fn put_list(call: &mut Map<String, Value>, name: &str, list: Vec<String>) {
    put(call, name, (!list.is_empty()).then_some(list));
}

/// Adds paths as typed, said from the root of the checkout around us if there is one. Outside of
/// any they are those of the repository that was named; of none named, they would be paths of
/// whichever the caller happens to be granted.
pub fn put_paths(call: &mut Map<String, Value>, typed: &[String]) -> Result<(), Error> {
    let here = Checkout::here();
    let lost = |path: &&String| !path.is_empty() && !checkout::has_scheme(path);
    if here.is_none()
        && !call.contains_key("repo")
        && let Some(path) = typed.iter().find(lost)
    {
        let here = std::env::current_dir().unwrap_or_default();
        return Err(Error::Usage(format!(
            "{} is in no repository: there is no git checkout around {}; go into the checkout (cd), or say \
             with --repo HOST/OWNER/NAME of which repository it is a path, from its root",
            show::harmless(path),
            show::harmless(&here.to_string_lossy())
        )));
    }
    let paths = match here {
        Some(checkout) => typed.iter().map(|path| checkout.name(path)).collect(),
        None => json!(typed),
    };
    call.insert("paths".to_owned(), paths);
    Ok(())
}

/// Seconds from `90`, `30m` or `2h`.
pub fn seconds(text: &str) -> Result<i64, &'static str> {
    clock::duration(text).ok_or("write it in seconds, or as 30m or 2h")
}

/// A text, or what standard input says for `-`.
pub fn words(given: String) -> Result<String, Error> {
    if given == "-" {
        Ok(stdin()?.trim_end().to_owned())
    } else {
        Ok(given)
    }
}

/// JSON; `@FILE` and `-` say where it is. What is neither JSON nor looks like it is a text.
pub fn data(given: String) -> Result<Value, Error> {
    let text = match given.strip_prefix('@') {
        Some(path) => read(path)?,
        None if given == "-" => stdin()?,
        None => given,
    };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) if text.trim_start().starts_with(['{', '[', '"']) => {
            Err(Error::Usage(format!("this is no JSON: {error}")))
        }
        Err(_) => Ok(text.trim_end().into()),
    }
}

/// A file's text, or that of standard input for `-`.
pub fn read(path: &str) -> Result<String, Error> {
    if path == "-" {
        return stdin();
    }
    std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("cannot read {path}: {error}")))
}

fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::Usage(format!("cannot read standard input: {error}")))?;
    Ok(text)
}
