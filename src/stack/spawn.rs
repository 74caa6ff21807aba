//! Starts server processes: as the right account, with a clean environment,
//! in a group of their own, and bound to the life of this process.
//!
//! On Linux a server is told to stop when `coord up` dies, even by SIGKILL.
//! That takes a call between fork and exec, which safe Rust does not have, so
//! coord starts itself as `run-child`, which makes the call and becomes the server.

use std::ffi::OsStr;
use std::process::Stdio;

use tokio::process::Command;

use super::home::Home;
use super::server_account::ServerAccount;
use super::{Doing, Error};

/// What tells a server to stop in an orderly way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StopSignal {
    /// PostgreSQL's fast shutdown.
    Int,
    /// What most programs expect.
    Term,
    /// For helpers that need no order.
    Kill,
}

/// Variables that servers may inherit; nothing of the user's `PG*` or `PGRST_*` reaches them.
const INHERITED: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZDIR"];

/// A command for a server program that writes to the log of this name.
pub(crate) fn server(
    program: &OsStr,
    account: &ServerAccount,
    stop: StopSignal,
    home: &Home,
    log: &str,
) -> Result<Command, Error> {
    let output = home.open_log(log)?;
    let errors = output.try_clone().doing(|| format!("open {log}.log"))?;
    let mut command = bound(program, account, stop);
    command
        .env_clear()
        .envs(
            INHERITED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        // Ctrl-C in a terminal goes to a whole group; the servers stop in order, when we say so.
        .process_group(0);
    Ok(command)
}

#[cfg(target_os = "linux")]
fn bound(program: &OsStr, account: &ServerAccount, stop: StopSignal) -> Command {
    use clap::ValueEnum;
    // Stays right when the file of this program is replaced while it runs.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("run-child")
        .arg("--parent")
        .arg(std::process::id().to_string());
    if let Some(value) = stop.to_possible_value() {
        command.arg("--signal").arg(value.get_name());
    }
    if account.other {
        command
            .arg("--uid")
            .arg(account.uid.to_string())
            .arg("--gid")
            .arg(account.gid.to_string());
    }
    command.arg("--").arg(program);
    command
}

#[cfg(not(target_os = "linux"))]
fn bound(program: &OsStr, account: &ServerAccount, _stop: StopSignal) -> Command {
    let mut command = Command::new(program);
    if account.other {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    command
}

/// Sends a signal to a child that has not been waited for yet.
pub(crate) fn tell(child: &tokio::process::Child, signal: nix::sys::signal::Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended; the caller waits for it in any case.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}
