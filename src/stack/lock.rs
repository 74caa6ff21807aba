//! One `coord up` per home: a lock that the kernel lets go when its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::home::Home;
use super::process::Process;
use super::{Doing, Error};

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who has the home.
#[derive(Debug)]
pub enum Taken {
    /// We do.
    Ours(Lock),
    /// A running `coord up`; unknown in the instant before it has written who it is.
    Theirs(Option<Process>),
}

/// Takes the home, or says who has it.
///
/// # Errors
/// The lock file cannot be opened.
pub fn take(home: &Home) -> Result<Taken, Error> {
    let taken = attempt(home)?;
    if let Taken::Ours(Lock { file }) = &taken {
        let me = Process::current().to_text();
        let mut file = file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(me.as_bytes()))
            .at("write", &home.lock())?;
    }
    Ok(taken)
}

fn attempt(home: &Home) -> Result<Taken, Error> {
    let path = home.lock();
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(Taken::Ours(Lock { file })),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).at("read", &path)?;
            Ok(Taken::Theirs(Process::from_text(&text)))
        }
        Err(TryLockError::Error(error)) => Err(error).at("lock", &path),
    }
}

/// Who runs a stack in this home, if anybody does. Creates nothing; holds the
/// lock for an instant, for which [`take`] is to be tried again.
///
/// # Errors
/// The lock file cannot be opened.
pub fn holder(home: &Home) -> Result<Option<Option<Process>>, Error> {
    if !home.lock().exists() {
        return Ok(None);
    }
    match attempt(home)? {
        Taken::Ours(_) => Ok(None),
        Taken::Theirs(process) => Ok(Some(process)),
    }
}
