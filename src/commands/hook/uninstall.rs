//! `coord hook uninstall`: our hooks go, those that were there before come back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::install::file_error;
use super::place::{self, Place};
use super::wiring::Client;
use super::{Error, Hook, Names, script};
use crate::commands::Error as CommandError;
use crate::commands::show::{self, GOOD, NAME, styled};
use crate::exit::Exit;
use crate::settings::Global;

/// Takes them out; those that are not ours stay.
pub fn run(names: &Names, global: &Global) -> Result<Exit, CommandError> {
    let (mut hooks, mut clients) = (names.of_git(), names.of_clients());
    if names.names.is_empty() {
        hooks = Hook::ALL.to_vec();
        clients = Client::ALL.to_vec();
    }
    let kept = |error: Error| CommandError::Usage(error.to_string());
    let place = Place::find().map_err(|error| kept(error.into()))?;
    let mut gone = Vec::new();
    for hook in hooks {
        gone.extend(take_out(&place, hook).map_err(kept)?);
    }
    if let Some(root) = place::root() {
        for client in clients {
            let change = client.unwire(&root).map_err(kept)?;
            change.make().map_err(kept)?;
            gone.extend((change.what() != "unchanged").then_some(Gone {
                hook: client.name(),
                restored: None,
            }));
        }
    }
    if global.json {
        let hooks: Vec<_> = gone
            .iter()
            .map(|it| json!({"hook": it.hook, "outcome": "removed", "restored": it.restored}))
            .collect();
        show::json(&json!({"ok": true, "hooks": hooks}));
        return Ok(Exit::Done);
    }
    for Gone { hook, restored } in &gone {
        let back = if restored.is_some() {
            ", what was there before is back"
        } else {
            ""
        };
        show::print(&format!(
            "{} {}{back}\n",
            styled(GOOD, "removed"),
            styled(NAME, hook)
        ));
    }
    if gone.is_empty() {
        show::print("no hooks of coord are here\n");
    }
    Ok(Exit::Done)
}

/// A hook that was there.
struct Gone {
    hook: &'static str,
    /// The one of before, which is back.
    restored: Option<PathBuf>,
}

fn take_out(place: &Place, hook: Hook) -> Result<Option<Gone>, Error> {
    let file = place.script(hook);
    let line = match place {
        Place::Husky { shared, .. } => take_line_out(&shared.join(hook.name()))?,
        Place::Folder(_) => false,
    };
    let gone = |restored| {
        Some(Gone {
            hook: hook.name(),
            restored,
        })
    };
    if script::ours(&file).is_none() {
        return Ok(if line { gone(None) } else { None });
    }
    let before = script::before(&file);
    if before.symlink_metadata().is_ok() {
        std::fs::rename(&before, &file).map_err(file_error("restore", &file))?;
        return Ok(gone(Some(file)));
    }
    std::fs::remove_file(&file).map_err(file_error("remove", &file))?;
    Ok(gone(None))
}

/// A file that holds nothing else was made for our line.
fn take_line_out(file: &Path) -> Result<bool, Error> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(file_error("read", file)(error)),
    };
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| !script::is_line(line))
        .collect();
    if kept == text {
        return Ok(false);
    }
    if kept == "#!/bin/sh\n" {
        std::fs::remove_file(file).map_err(file_error("remove", file))?;
    } else {
        std::fs::write(file, kept).map_err(file_error("write", file))?;
    }
    Ok(true)
}
