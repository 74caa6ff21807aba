//! `local:TARGET`: commands of the operator's in a worktree of the head.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shell::Shell;
use super::{Executor, Running, Work, spoken, target};
use crate::commands::dispatch::config::{Wrong, targets};
use crate::commands::dispatch::job::Ended;

struct Local(BTreeMap<String, Shell>);

pub fn read(section: &Value) -> Result<Box<dyn Executor>, Wrong> {
    let targets = targets(section, |_, shell: &Shell| {
        if shell.commands.is_empty() {
            return Err("commands lists what is run".to_owned());
        }
        shell.check()
    })?;
    Ok(Box::new(Local(targets)))
}

impl Executor for Local {
    fn targets(&self) -> Vec<Option<String>> {
        spoken(self.0.keys())
    }

    fn here(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, work: &'a Work, base: &'a str) -> Running<'a> {
        match self.0.get(target(&work.job)) {
            Some(shell) => Box::pin(shell.run(work, base, None)),
            None => Box::pin(async { Ended::error("this target is not configured here") }),
        }
    }
}
