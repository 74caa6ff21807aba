//! `inline`: static checks. Those that come with git always run, others as configured.

use serde_json::Value;

use super::shell::Shell;
use super::{Executor, Running, Work};
use crate::commands::dispatch::config::Wrong;

/// Conflict markers, and blanks that nobody wants. A change of .gitattributes may exempt files from
/// both, so with one the markers are looked for in all that is added.
const BUILT_IN: &str = r#"git diff --check --no-ext-diff --no-textconv "$COORD_BASE" "$COORD_HEAD" && {
  git diff --quiet --no-ext-diff "$COORD_BASE" "$COORD_HEAD" -- ':(glob)**/.gitattributes' ||
  ! git diff --text --no-ext-diff --no-textconv --no-color --unified=0 "$COORD_BASE" "$COORD_HEAD" |
    LC_ALL=C grep -aE '^\+(<<<<<<<|>>>>>>>) ' ||
  { echo 'leftover conflict marker, in a change of .gitattributes'; false; }
}"#;

struct Inline(Shell);

pub fn read(section: &Value) -> Result<Box<dyn Executor>, Wrong> {
    Ok(Box::new(Inline(Shell::read(section)?)))
}

impl Executor for Inline {
    fn targets(&self) -> Vec<Option<String>> {
        vec![None]
    }

    fn here(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, work: &'a Work, base: &'a str) -> Running<'a> {
        Box::pin(self.0.run(work, base, Some(BUILT_IN)))
    }
}
