//! Secrets of other services: named in the configuration, never written there.

use std::path::PathBuf;

use serde::Deserialize;

/// Where a secret is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// In a variable of the dispatcher's environment.
    Env(String),
    /// In a file, alone.
    File(PathBuf),
}

impl Secret {
    /// The secret, read anew each time: it may have been rotated.
    pub fn read(&self) -> Result<String, String> {
        let found = match self {
            Self::Env(name) => crate::settings::env(name).ok_or_else(|| " is not set".to_owned()),
            Self::File(path) => std::fs::read_to_string(path).map_err(|error| format!(": {error}")),
        };
        match found.map(|text| text.trim().to_owned()) {
            Ok(secret) if secret.is_empty() => Err(format!("{} is empty", self.place())),
            Ok(secret) => Ok(secret),
            Err(why) => Err(format!("{}{why}", self.place())),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("the variable {name}"),
            Self::File(path) => format!("the file {}", path.display()),
        }
    }
}
