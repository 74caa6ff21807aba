//! `coord run-child` (hidden): becomes a server process that ends with its parent.

use std::ffi::OsString;

use crate::exit::Exit;
use crate::stack::spawn::StopSignal;

/// Arguments of `coord run-child`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process to end with
    #[arg(long)]
    parent: i32,
    /// What to be told then
    #[arg(long)]
    signal: StopSignal,
    /// The account to become
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Its group
    #[arg(long)]
    gid: Option<u32>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Replaces this process by the program; returns only when that fails.
pub fn run(args: &Args) -> Exit {
    match become_child(args) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("coord: cannot start {}: {error}", args.command[0].display());
            Exit::Server
        }
    }
}

#[cfg(target_os = "linux")]
fn become_child(args: &Args) -> std::io::Result<()> {
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use nix::unistd::{Gid, Uid, getppid, setgid, setgroups, setuid};
    use std::os::unix::process::CommandExt;

    if let (Some(uid), Some(gid)) = (args.uid, args.gid) {
        let gid = Gid::from_raw(gid);
        setgroups(&[gid])?;
        setgid(gid)?;
        setuid(Uid::from_raw(uid))?;
    }
    // After the change of account, which would clear it.
    set_pdeathsig(match args.signal {
        StopSignal::Int => Signal::SIGINT,
        StopSignal::Term => Signal::SIGTERM,
        StopSignal::Kill => Signal::SIGKILL,
    })?;
    if getppid().as_raw() != args.parent {
        return Err(std::io::Error::other("the parent is gone"));
    }
    Err(std::process::Command::new(&args.command[0])
        .args(&args.command[1..])
        .exec())
}

#[cfg(not(target_os = "linux"))]
fn become_child(_args: &Args) -> std::io::Result<()> {
    Err(std::io::Error::other(
        "this system has no signal for the death of a parent",
    ))
}
