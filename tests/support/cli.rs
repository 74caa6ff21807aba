//! `coord` as a process, and what came of it.

use std::process::{Command, Output};

use serde_json::Value;

use super::{coord, shared, told};

/// An agent of this name with a token, and a repository of its own: tests share the stack.
pub struct Agent {
    pub token: String,
    pub repo: String,
}

impl Agent {
    pub fn new(name: &str, repo: &str) -> Self {
        let repo = format!("git.example/cli/{repo}");
        Self {
            token: shared().mint(name, "test-client", &repo),
            repo,
        }
    }

    pub fn coord(&self) -> Command {
        let mut command = coord();
        command
            .env("COORD_URL", &shared().url)
            .env("COORD_TOKEN", &self.token)
            .env("COORD_REPO", &self.repo);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.coord().args(args))
    }
}

pub fn operator(args: &[&str]) -> Ran {
    Ran::of(shared().coord().args(args))
}

/// How a command ended and what it said.
pub struct Ran {
    pub output: Output,
    args: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        Self {
            output: command.output().unwrap(),
            args: format!("{command:?}"),
        }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let said = told(&self.output);
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "{}\n{said}",
            self.args
        );
        self
    }

    pub fn out(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub fn err(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out()).unwrap_or_else(|_| panic!("{}", told(&self.output)))
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = told(&self.output);
        for word in words {
            assert!(said.contains(word), "{word}: {}\n{said}", self.args);
        }
        self
    }
}
