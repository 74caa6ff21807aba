//! Other processes: whether one is still the one we knew, and how to end it.
//!
//! A pid alone proves nothing, it is used again; pid and start time together do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

/// A process, known by pid and start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// When it started, in the system's own words.
    pub started: String,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = Pid::this().as_raw();
        Self {
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            started: started(pid)?,
        })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        started(self.pid).is_some_and(|now| now == self.started)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            // It may end in this instant, which is what the signal is for.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it is gone; false when it outlives the patience.
    pub async fn gone_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.alive() {
            if Instant::now() >= until {
                return false;
            }
            sleep(Duration::from_millis(30)).await;
        }
        true
    }

    /// One line for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{} {}\n", self.pid, self.started)
    }

    /// Reads what [`Process::to_text`] wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (pid, started) = text.trim_end().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started: started.to_owned(),
        })
    }
}

/// Whether anything has this pid, a zombie included: so PostgreSQL judges its pid file.
#[must_use]
pub fn pid_in_use(pid: i32) -> bool {
    pid > 1 && kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Start time of a process that is no zombie: of an orphan nobody may ever collect the remains.
#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; state is the 1st and start time the 20th field after it.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?.to_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks}@{}", boot.trim()))
}

#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, start) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

/// The directory a process works in, where the system tells.
#[must_use]
pub fn working_dir(pid: i32) -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        return std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
    }
    let output = std::process::Command::new("lsof")
        .args(["-a", "-d", "cwd", "-Fn", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix('n').map(PathBuf::from))
}

/// The processes that work in this directory: each process of a PostgreSQL
/// works in its data directory. Empty where the system does not tell.
#[must_use]
pub fn working_in(dir: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| working_dir(*pid).is_some_and(|cwd| cwd == dir))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let me = Process::current();
        assert!(me.alive());
        assert_eq!(Process::from_text(&me.to_text()), Some(me.clone()));
        let impostor = Process {
            started: "long ago".to_owned(),
            ..me
        };
        assert!(!impostor.alive());
    }
}
