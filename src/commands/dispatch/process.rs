//! A command of the operator's, under limits: in a process group of its own that ends with it,
//! with the dispatcher, and when its time is up.
//!
//! What a command starts in a session of its own (`setsid`) leaves that group. It still carries
//! the mark of its run in its environment, by which [`sweep`] finds it where there is a /proc.
//! A command that means to get away needs a container around it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// In the environment of everything a run starts.
pub const MARK: &str = "COORD_DISPATCH_RUN";

/// Between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(2);

/// More is not written into one log.
const LOG: usize = 32 << 20;

/// What a summary is made of.
const TAIL: usize = 16 << 10;

/// The leader of the group: it waits beside the command for the end of the dispatcher, which
/// closes the pipe at its standard input, and then ends the group; it sets the limit of memory.
const LEADER: &str = r#"exec 3<&0 </dev/null
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
if [ -n "$1" ]; then ulimit -v "$1" || exit 125; fi
exec /bin/sh -c "$2""#;

/// Whether this system's shell can set that limit, before anything depends on it.
pub fn can_limit(memory_mb: u64) -> Result<(), String> {
    let kilobytes = memory_mb.saturating_mul(1024).to_string();
    let tried = std::process::Command::new("/bin/sh")
        .args(["-c", "ulimit -v \"$1\"", "sh", &kilobytes])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(format!(
            "memory_mb: /bin/sh cannot limit memory to {memory_mb} MB here (ulimit -v)"
        )),
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    To(ExitStatus),
    /// Its own time was up, before the job's.
    TimedOut,
    Stopped,
}

impl Came {
    pub fn said(self) -> String {
        match self {
            Self::To(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (_, Some(signal)) => format!("ended by signal {signal}"),
                _ => "ended".to_owned(),
            },
            Self::TimedOut => "its time is up".to_owned(),
            Self::Stopped => "stopped".to_owned(),
        }
    }
}

/// Where the output goes.
pub struct Log {
    file: File,
    room: usize,
    tail: VecDeque<u8>,
}

impl Log {
    pub fn new(file: File) -> Self {
        Self {
            file,
            room: LOG,
            tail: VecDeque::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(self.room);
        // A full disk must not end a run: its verdict is known all the same.
        let _ = self.file.write_all(&bytes[..fits]);
        self.room -= fits;
        if fits < bytes.len() && fits > 0 {
            let _ = self
                .file
                .write_all(b"\n[coord: what follows is not kept]\n");
        }
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }

    /// The end of it.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A line for `/bin/sh` and what surrounds it.
pub struct Line<'a> {
    pub text: &'a str,
    pub dir: &'a Path,
    /// All of its environment.
    pub env: &'a [(String, String)],
    /// The mark of its run.
    pub mark: &'a str,
    pub memory_mb: Option<u64>,
    pub until: Option<Instant>,
}

impl Line<'_> {
    /// Runs it to its end, or until it is stopped.
    pub async fn run(&self, log: &mut Log, stop: &CancellationToken) -> std::io::Result<Came> {
        let (into, mut output) = tokio::net::unix::pipe::pipe()?;
        let into = into.into_blocking_fd()?;
        let memory = self.memory_mb.map(|mb| mb.saturating_mul(1024).to_string());
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", LEADER, "sh", &memory.unwrap_or_default(), self.text])
            .current_dir(self.dir)
            .env_clear()
            .envs(self.env.iter().cloned())
            .env(MARK, self.mark)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .stdin(Stdio::piped())
            .stdout(into.try_clone()?)
            .stderr(into)
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        // Its ends of the pipe are the only ones that count.
        drop(command);
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let mut guard = Group(group);
        let alive = child.stdin.take();
        let mut buffer = vec![0; 64 << 10];
        let mut open = true;
        let came = loop {
            tokio::select! {
                read = output.read(&mut buffer), if open => match read {
                    Ok(size) if size > 0 => log.write(&buffer[..size]),
                    _ => open = false,
                },
                ended = child.wait() => break Came::To(ended?),
                () = until(self.until) => break Came::TimedOut,
                () = stop.cancelled() => break Came::Stopped,
            }
        };
        if !matches!(came, Came::To(_)) {
            guard.tell(Signal::SIGTERM);
            let _ = timeout(GRACE, child.wait()).await;
        }
        guard.end();
        let _ = child.wait().await;
        drop(alive);
        // What got away may hold the pipe for ever.
        let _ = timeout(Duration::from_secs(1), rest(&mut output, &mut buffer, log)).await;
        Ok(came)
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn rest(output: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], log: &mut Log) {
    while let Ok(size) = output.read(buffer).await {
        if size == 0 {
            return;
        }
        log.write(&buffer[..size]);
    }
}

/// A group that ends when nobody looks after it any more.
struct Group(Option<Pid>);

impl Group {
    fn tell(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may be empty by now.
            let _ = killpg(group, signal);
        }
    }

    fn end(&mut self) {
        self.tell(Signal::SIGKILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends every process that carries the mark of a run.
pub async fn sweep(mark: &str) {
    let wanted = format!("{MARK}={mark}");
    // What is ended here may just have started another.
    for _ in 0..50 {
        let marked = marked(wanted.as_bytes());
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            let _ = kill(pid, Signal::SIGKILL);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn marked(wanted: &[u8]) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|it| it == wanted))
    })
    .map(Pid::from_raw)
    .collect()
}
