//! The text that git runs.

use std::path::{Path, PathBuf};

use super::Hook;
use crate::commands::up::quote;

/// Below git's directory, for scripts that husky's files call.
pub const FOLDER: &str = "coord-hooks";

/// The second line of each script of ours.
const MARK: &str =
    "# coord-hook: made by `coord hook install`, taken away by `coord hook uninstall`";

/// The end of our line in a file of husky's.
const LINE_MARK: &str = "# coord-hook";

/// A script that lets the hook which was there before have its say, then calls `coord`:
/// the one on the PATH, else the one that installed it.
pub fn text(hook: Hook, program: &Path) -> String {
    let name = hook.name();
    let program = quote(program);
    // Two readers of one input.
    let (take, give) = match hook {
        Hook::PreReceive => ("input=$(cat)\n", "printf '%s\\n' \"$input\" | "),
        _ => ("", ""),
    };
    // git commit --no-verify skips those that decide, and those alone.
    let without = i32::from(hook.decides());
    format!(
        r#"#!/bin/sh
{MARK}
{take}if [ -x "$0.before-coord" ]; then
  {give}"$0.before-coord" "$@" || exit
fi
coord=$(command -v coord) || coord={program}
if ! [ -x "$coord" ]; then
  echo "coord: the hook $0 finds no coord, neither on the PATH nor as "{program} >&2
  echo "coord: install it there, or take the hook away: rm '$0'" >&2
  exit {without}
fi
{give}"$coord" hook {name} "$@"
"#
    )
}

/// What is in a file, if it is ours.
pub fn ours(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    (text.lines().nth(1) == Some(MARK)).then_some(text)
}

/// Where the hook goes that was there before.
pub fn before(script: &Path) -> PathBuf {
    let mut name = script.as_os_str().to_owned();
    name.push(".before-coord");
    name.into()
}

/// The line for a file of husky's. It says nothing of this machine, and does nothing on one
/// where nobody installed the hook.
pub fn line(hook: Hook) -> String {
    format!(
        "f=\"$(git rev-parse --git-common-dir)/{FOLDER}/{}\"; [ ! -f \"$f\" ] || sh \"$f\" \"$@\" || exit {LINE_MARK}\n",
        hook.name()
    )
}

/// Whether this is it.
pub fn is_line(line: &str) -> bool {
    line.trim_end().ends_with(LINE_MARK)
}
