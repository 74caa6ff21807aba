//! The real stack for tests: `coord up` on a free port, and ways in.
//!
//! `shared()` starts one per test binary; `Stack::start()` one of your own. The
//! stack ends when its standard input does, so it goes with its test whatever
//! happens: at drop, after a panic, and when the test process is killed.
#![allow(
    dead_code,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs
)]

pub mod agents;
pub mod cli;
pub mod hosted;
pub mod mcp;
pub mod recorder;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub const COORD: &str = env!("CARGO_BIN_EXE_coord");

/// `coord`, free of the variables of whoever runs the tests.
pub fn coord() -> Command {
    clean(COORD)
}

pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let keep = ["COORD_PG_BIN", "COORD_POSTGREST", "COORD_CACHE"].contains(&&*text);
        let ours = text.starts_with("PG") || (text.starts_with("COORD_") && !keep);
        if ours || agent_coordinator::settings::OF_CLIENTS.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    // No git repository: the first agent's repo is local/playground.
    command.current_dir("/");
    command
}

/// A running stack.
pub struct Stack {
    /// Root of the REST API.
    pub url: String,
    pub home: PathBuf,
    /// Directory of PostgreSQL's socket.
    pub socket: PathBuf,
    /// The PostgREST program.
    pub postgrest: PathBuf,
    /// Directory of PostgreSQL's programs.
    pub postgres_bin: PathBuf,
    pub operator: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

/// The one stack of this test binary.
pub fn shared() -> &'static Stack {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    SHARED.get_or_init(Stack::start)
}

impl Stack {
    /// An ephemeral stack of one's own.
    pub fn start() -> Self {
        Self::from(coord())
    }

    /// The same with another program, account or environment.
    pub fn from(mut command: Command) -> Self {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut child = command
            .args(["up", "--ephemeral", "--json", "--until-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .expect("coord starts");
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Ok(state) = serde_json::from_str::<Value>(&line) else {
            let _ = child.wait();
            panic!(
                "coord up --ephemeral did not come up:\n{line}{}",
                std::fs::read_to_string(errors.path()).unwrap()
            );
        };
        let text = |name: &str| state[name].as_str().unwrap().to_owned();
        let home = PathBuf::from(text("home"));
        Self {
            url: text("url"),
            socket: text("socket").into(),
            postgrest: text("postgrest").into(),
            postgres_bin: text("postgres_bin").into(),
            operator: read(&home.join("tokens/operator.jwt")),
            home,
            child,
            stdin,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `coord`, pointed at this stack.
    pub fn coord(&self) -> Command {
        let mut command = coord();
        command.env("COORD_HOME", &self.home);
        command
    }

    /// Registers an agent, grants it the repo, and gives a token for it.
    pub fn mint(&self, agent: &str, agent_type: &str, repo: &str) -> String {
        self.mint_with(&["--agent", agent, "--type", agent_type, "--repo", repo])
    }

    pub fn mint_with(&self, args: &[&str]) -> String {
        let output = self
            .coord()
            .args(["token", "mint"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Calls a function over HTTP; an empty token means none.
    pub async fn rpc(
        &self,
        token: &str,
        function: &str,
        args: Value,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        rpc(&self.url, token, function, args, headers).await
    }

    /// What `psql -At` prints, as the superuser.
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.socket, sql)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn rpc(
    url: &str,
    token: &str,
    function: &str,
    args: Value,
    headers: &[(&str, &str)],
) -> (u16, Value) {
    // Made for each call: a client belongs to the runtime of one test.
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let mut request = http
        .post(format!("{url}/rpc/{function}"))
        .header("content-profile", "coord_v1")
        .json(&args);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("the API answers");
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

pub fn psql(socket: &Path, sql: &str) -> String {
    let output = clean("psql")
        .args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "coord",
            "-h",
        ])
        .arg(socket)
        .args(["-c", sql])
        .output()
        .expect("psql is installed");
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Where `tests/clients/setup.sh` put the clients that tests drive.
pub fn clients() -> &'static Path {
    static THERE: OnceLock<PathBuf> = OnceLock::new();
    THERE.get_or_init(|| set_up("setup.sh"))
}

/// Where `tests/clients/github_setup.sh` put what GitHub publishes of itself.
pub fn github() -> &'static Path {
    static THERE: OnceLock<PathBuf> = OnceLock::new();
    THERE.get_or_init(|| set_up("github_setup.sh"))
}

fn set_up(name: &str) -> PathBuf {
    let output = Command::new("sh").arg(script(name)).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// A file of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

/// Everything a program said.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits until it is so, or fails with the words: late, since a busy machine is no fault.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(2);
    while !so() {
        assert!(Instant::now() < until, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
