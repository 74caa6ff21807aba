//! `inline`: static checks. Those that come with git always run, others as configured.

use serde_json::Value;

use super::shell::Shell;
use super::{Executor, Running, Work};
use crate::commands::dispatch::config::Wrong;

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
        // Conflict markers, and blanks that nobody wants.
        let built_in =
            "git diff --check --no-ext-diff --no-textconv \"$COORD_BASE\" \"$COORD_HEAD\"";
        Box::pin(self.0.run(work, base, Some(built_in)))
    }
}
