//! What a dispatcher may run, and where: a file of its operator's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::executors::{ALL, Executor};
use crate::alike::with_nearest;
use crate::commands::Error;
use crate::yaml::Document;

/// The whole file.
pub struct Config {
    /// Where runs and their logs are.
    pub scratch: Option<PathBuf>,
    /// An address at which others read a log, with {name} in it.
    pub log_url: Option<String>,
    pub repos: Vec<Repo>,
}

/// A repository whose changes are checked.
pub struct Repo {
    pub name: String,
    pub checkout: Option<PathBuf>,
    pub default_branch: Option<String>,
    pub executors: BTreeMap<&'static str, Box<dyn Executor>>,
}

/// What is wrong with a part, and where below that part.
pub struct Wrong {
    pub below: String,
    pub why: String,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self {
            below: String::new(),
            why,
        }
    }
}

/// The settings of each target of an executor, by its name.
pub fn targets<T: DeserializeOwned>(
    section: &Value,
    check: impl Fn(&str, &T) -> Result<(), String>,
) -> Result<BTreeMap<String, T>, Wrong> {
    let Value::Object(section) = section else {
        return Err(Wrong::from(
            "this maps targets to their settings".to_owned(),
        ));
    };
    let mut targets = BTreeMap::new();
    for (name, value) in section {
        let read = serde_json::from_value::<T>(value.clone()).map_err(|error| error.to_string());
        let read = read.and_then(|settings| check(name, &settings).map(|()| settings));
        let settings = read.map_err(|why| Wrong {
            below: format!("/{name}"),
            why,
        })?;
        targets.insert(name.clone(), settings);
    }
    Ok(targets)
}

/// A file as it is read, for telling where something is wrong.
struct Place<'a> {
    file: &'a Path,
    document: &'a Document,
}

impl Place<'_> {
    fn wrong(&self, path: &str, why: &str) -> Error {
        let at = self.document.position(path);
        let file = self.file.display();
        Error::Usage(format!("{file}:{}:{}: {why}", at.line, at.column))
    }

    fn mapping<'v>(&self, path: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Error> {
        value
            .as_object()
            .ok_or_else(|| self.wrong(path, "this is a mapping"))
    }

    fn text(&self, path: &str, value: &Value) -> Result<String, Error> {
        match value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err(self.wrong(path, "this is a text")),
        }
    }
}

impl Config {
    /// Reads the file; of its executors only these, where there are any.
    pub fn read(file: &Path, only: &[String]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::Usage(format!("cannot read {}: {error}", file.display())))?;
        let document = Document::parse(&text).map_err(|error| {
            let at = error.at;
            Error::Usage(format!(
                "{}:{}:{}: {}",
                file.display(),
                at.line,
                at.column,
                error.why
            ))
        })?;
        let place = Place {
            file,
            document: &document,
        };
        let mut config = Self {
            scratch: None,
            log_url: None,
            repos: Vec::new(),
        };
        for (name, value) in place.mapping("", &document.value)? {
            match name.as_str() {
                "scratch" => config.scratch = Some(place.text(name, value)?.into()),
                "log_url" => config.log_url = Some(place.text(name, value)?),
                "repos" => {
                    for (repo, value) in place.mapping(name, value)? {
                        config.repos.push(Repo::read(&place, repo, value, only)?);
                    }
                }
                _ => {
                    let why =
                        format!("{name}: no such key; these are known: scratch, log_url, repos");
                    return Err(place.wrong(name, &with_nearest(name, &why)));
                }
            }
        }
        if config.repos.is_empty() {
            return Err(place.wrong(
                "repos",
                "repos names the repositories whose changes are checked",
            ));
        }
        Ok(config)
    }
}

impl Repo {
    fn read(place: &Place, name: &str, value: &Value, only: &[String]) -> Result<Self, Error> {
        let mut repo = Self {
            name: name.to_owned(),
            checkout: None,
            default_branch: None,
            executors: BTreeMap::new(),
        };
        let path = format!("repos/{name}");
        for (key, value) in place.mapping(&path, value)? {
            let path = format!("{path}/{key}");
            match key.as_str() {
                "checkout" => {
                    let dir = PathBuf::from(place.text(&path, value)?);
                    if !dir.join(".git").exists() && !dir.join("HEAD").is_file() {
                        return Err(place.wrong(&path, "this is no git checkout"));
                    }
                    repo.checkout = Some(dir);
                }
                "default_branch" => repo.default_branch = Some(place.text(&path, value)?),
                _ => {
                    let Some((known, read)) = ALL.iter().find(|(known, _)| known == key) else {
                        let known: Vec<_> = ALL.iter().map(|(known, _)| *known).collect();
                        let known = known.join(", ");
                        let why = format!(
                            "{key}: no such key; these are known: checkout, default_branch, {known}"
                        );
                        return Err(place.wrong(&path, &with_nearest(key, &why)));
                    };
                    // What is not run needs no secrets.
                    if only.is_empty() || only.contains(key) {
                        let executor = read(value).map_err(|wrong| {
                            place.wrong(&format!("{path}{}", wrong.below), &wrong.why)
                        })?;
                        repo.executors.insert(known, executor);
                    }
                }
            }
        }
        if repo.checkout.is_none() && repo.executors.values().any(|it| it.here()) {
            let why = "what runs on this machine takes a checkout of the repository";
            return Err(place.wrong(&path, why));
        }
        Ok(repo)
    }

    /// What to take jobs for, as `take_verification` wants it.
    pub fn takes(&self, here: bool, elsewhere: bool) -> Vec<String> {
        let wanted = self.executors.iter();
        let wanted = wanted.filter(|(_, it)| if it.here() { here } else { elsewhere });
        wanted
            .flat_map(|(name, it)| {
                let targets = it.targets();
                targets.into_iter().map(move |target| match target {
                    None => (*name).to_owned(),
                    Some(target) => format!("{name}:{target}"),
                })
            })
            .collect()
    }
}
