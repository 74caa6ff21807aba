//! The exit codes of every command except `coord hook`, which follows its host.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the coordinator refused: `ok` is false in its answer, or a 4xx that is not bad input.
    Refused,
    /// 2: usage or bad input.
    Usage,
    /// 3: the coordinator, or a part of the local stack, could not be reached.
    Unreachable,
    /// 4: the server failed.
    Server,
    /// That of a program which was run in its place.
    Of(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Server => 4,
            Exit::Of(code) => code,
        })
    }
}
