//! Profiles and network policies as files: reads `agents/*.yaml` into the one object that
//! `apply_config` takes, and leads what the coordinator says of it back to a file and line.

pub mod yaml;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use yaml::{Document, Position, Wrong};

/// The files of a directory, and what each is for.
const NAMES: [&str; 2] = ["profiles.yaml", "network_policies.yaml"];

/// The configuration that a new stack begins with.
const SHIPPED: [(&str, &str); 2] = [
    (
        "agents/profiles.yaml",
        include_str!("../../agents/profiles.yaml"),
    ),
    (
        "agents/network_policies.yaml",
        include_str!("../../agents/network_policies.yaml"),
    ),
];

/// No file of this kind is larger.
const LARGEST: u64 = 1 << 20;

/// Why a configuration cannot be read, or is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in a file.
    #[error("{0}")]
    Mistake(Mistake),
    /// A file that cannot be read.
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file of a directory that is none of ours.
    #[error(
        "{path} is no file of a configuration; in a directory these are: {known}",
        path = .0.display(),
        known = NAMES.join(", ")
    )]
    Unknown(PathBuf),
    /// A directory without any of the files.
    #[error("{path} holds none of {known}", path = .0.display(), known = NAMES.join(", "))]
    Empty(PathBuf),
    /// A file that is none of this kind.
    #[error("{path} is larger than a configuration is", path = .0.display())]
    Large(PathBuf),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// Where in it.
    pub at: Position,
    /// What.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.at;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

/// What the files say together.
#[derive(Debug, Default)]
pub struct Config {
    sections: Map<String, Value>,
    files: Vec<(String, Document)>,
}

impl Config {
    /// Reads files, and the known files of directories.
    ///
    /// # Errors
    /// A file cannot be read, or is no configuration.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut config = Self::default();
        for path in paths {
            for file in files(path)? {
                let size = std::fs::metadata(&file).map_err(|e| Error::Read(file.clone(), e))?;
                if size.len() > LARGEST {
                    return Err(Error::Large(file));
                }
                let text =
                    std::fs::read_to_string(&file).map_err(|e| Error::Read(file.clone(), e))?;
                config.add(&file.display().to_string(), &text)?;
            }
        }
        Ok(config)
    }

    /// The configuration that is built in.
    ///
    /// # Errors
    /// It is broken, which its test would have told.
    pub fn shipped() -> Result<Self, Error> {
        let mut config = Self::default();
        for (name, text) in SHIPPED {
            config.add(name, text)?;
        }
        Ok(config)
    }

    /// The argument of `apply_config`.
    #[must_use]
    pub fn value(&self) -> Value {
        Value::Object(self.sections.clone())
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let mistake = |at, message: String| {
            let file = file.to_owned();
            Error::Mistake(Mistake { file, at, message })
        };
        let document = yaml::read(text).map_err(|Wrong { at, why }| mistake(at, why))?;
        let fields = match &document.value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields.clone(),
            _ => {
                let why = "a configuration is a mapping: profiles, defaults, network_policies";
                return Err(mistake(Position::START, why.to_owned()));
            }
        };
        for (section, value) in fields {
            match (self.sections.get_mut(&section), value) {
                (Some(Value::Object(there)), Value::Object(entries)) => {
                    for (name, entry) in entries {
                        let path = format!("{section}/{name}");
                        if there.contains_key(&name) {
                            let at = place(&document, &path).unwrap_or(Position::START);
                            let first = self.find(&path).map_or_else(String::new, |(file, at)| {
                                format!("; the first is in {file}, line {}", at.line)
                            });
                            let why = format!("{path} stands here a second time{first}");
                            return Err(mistake(at, why));
                        }
                        there.insert(name, entry);
                    }
                }
                (Some(_), _) => {
                    let at = place(&document, &section).unwrap_or(Position::START);
                    let why = format!("{section} is in two files, and not a mapping in both");
                    return Err(mistake(at, why));
                }
                (None, value) => {
                    self.sections.insert(section, value);
                }
            }
        }
        self.files.push((file.to_owned(), document));
        Ok(())
    }

    fn find(&self, path: &str) -> Option<(&str, Position)> {
        let (file, document) = self
            .files
            .iter()
            .find(|(_, document)| document.places.contains_key(path))?;
        Some((file, place(document, path)?))
    }

    /// Leads the details of `config_invalid`, `at PLACE: why`, back to where it stands.
    #[must_use]
    pub fn mistake(&self, details: &str) -> Option<Mistake> {
        let said = details.strip_prefix("at ")?;
        let said = said.strip_prefix("the top/").unwrap_or(said);
        // The longest path that the details begin with: names may hold anything.
        let known = self.files.iter().flat_map(|(file, document)| {
            document
                .places
                .keys()
                .filter_map(move |path| Some((file, document, path, reason(said, path)?)))
        });
        let (file, at, message) = match known.max_by_key(|(_, _, path, _)| path.len()) {
            Some((file, document, path, why)) => {
                let place = document.places.get(path)?;
                let key = why.starts_with("no such key") || why.starts_with("a name has");
                let at = if key { place.key } else { place.value };
                (file.as_str(), at, why.to_owned())
            }
            None => self.near(said)?,
        };
        Some(Mistake {
            file: file.to_owned(),
            at,
            message,
        })
    }

    /// The nearest place above one that stands in no file, and the whole sentence.
    fn near(&self, said: &str) -> Option<(&str, Position, String)> {
        let mut path = said.split_once(": ").map_or(said, |(path, _)| path);
        while let Some((above, _)) = path.rsplit_once('/') {
            path = above;
            if let Some((file, at)) = self.find(path) {
                return Some((file, at, said.to_owned()));
            }
        }
        let (file, _) = self.files.first()?;
        Some((file, Position::START, said.to_owned()))
    }
}

/// What is said of a path, if it is this path that something is said of.
fn reason<'a>(said: &'a str, path: &str) -> Option<&'a str> {
    said.strip_prefix(path)?.strip_prefix(": ")
}

fn place(document: &Document, path: &str) -> Option<Position> {
    Some(document.places.get(path)?.key)
}

/// A file itself; of a directory the known ones, if no stranger is among them.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| Error::Read(path.to_owned(), error);
    let mut strangers = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let yaml = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        if yaml && !NAMES.contains(&name.as_str()) {
            strangers.push(entry.path());
        }
    }
    strangers.sort();
    if let Some(stranger) = strangers.into_iter().next() {
        return Err(Error::Unknown(stranger));
    }
    let known: Vec<_> = NAMES
        .iter()
        .map(|name| path.join(name))
        .filter(|file| file.is_file())
        .collect();
    if known.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(files: &[(&str, &str)]) -> Result<Config, Error> {
        let mut config = Config::default();
        for (name, text) in files {
            config.add(name, text)?;
        }
        Ok(config)
    }

    #[test]
    fn what_is_shipped_can_be_read() {
        let value = Config::shipped().unwrap().value();
        for section in ["profiles", "defaults", "network_policies"] {
            assert!(value[section].as_object().unwrap().len() > 2, "{section}");
        }
    }

    #[test]
    fn a_refusal_is_led_back_to_its_line() {
        let config = config(&[
            (
                "a.yaml",
                "profiles:\n  one:\n    trusst: 2\n    trust: 7\n    allowed: [x]\n",
            ),
            (
                "b.yaml",
                "network_policies:\n  net:\n    allow:\n      - 'a: b'\n",
            ),
        ])
        .unwrap();
        for (details, told) in [
            (
                "at profiles/one/trusst: no such key; these are known: trust",
                "a.yaml:3:5: no such key; these are known: trust",
            ),
            (
                "at profiles/one/trust: trust is 0 to 4",
                "a.yaml:4:12: trust is 0 to 4",
            ),
            (
                "at profiles/one/allowed/x: no operation has this name",
                "a.yaml:5:15: no operation has this name",
            ),
            (
                "at network_policies/net/allow/a: b: this has characters",
                "b.yaml:4:9: this has characters",
            ),
            (
                "at the top/profiles: no such key",
                "a.yaml:1:1: no such key",
            ),
            (
                "at profiles/one/extends: missing",
                "a.yaml:2:3: profiles/one/extends: missing",
            ),
            ("at defaults/x: nothing", "a.yaml:1:1: defaults/x: nothing"),
        ] {
            assert_eq!(config.mistake(details).unwrap().to_string(), told);
        }
        assert_eq!(config.mistake("something else"), None);
    }

    #[test]
    fn two_files_are_one_and_contradict_each_other_nowhere() {
        let merged = config(&[("a", "profiles: {x: {}}"), ("b", "profiles: {y: {}}")]).unwrap();
        assert_eq!(merged.value()["profiles"].as_object().unwrap().len(), 2);
        for (first, second, told) in [
            (
                "profiles:\n  x: {}",
                "profiles:\n\n  x: {}",
                "b:3:3: profiles/x stands here a second time; the first is in a, line 2",
            ),
            (
                "profiles: {}",
                "profiles: []",
                "b:1:1: profiles is in two files, and not a mapping in both",
            ),
            (
                "profiles: {}",
                "- x",
                "b:1:1: a configuration is a mapping: profiles, defaults, network_policies",
            ),
        ] {
            let error = config(&[("a", first), ("b", second)]).unwrap_err();
            assert_eq!(error.to_string(), told);
        }
    }
}
