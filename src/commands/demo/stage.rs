//! What the demo plays on: a throw-away stack, a throw-away repository, and the processes of two agents.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::Failure;

/// The repository everybody in the demo works in.
pub const REPO: &str = "git.example/acme/shop";
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the stack may take to start, and to stop.
const STACK: Duration = Duration::from_mins(1);

/// The stack and the repository; both go with it.
pub struct Stage {
    /// Root of the API.
    pub url: String,
    /// The home of the stack.
    pub home: String,
    work: TempDir,
    stack: Child,
}

impl Stage {
    /// Begins to start the stack. It stops when its standard input ends, so it outlives us in no case.
    pub fn begin() -> Result<Self, Failure> {
        let work = tempfile::Builder::new()
            .prefix("coord-demo-")
            .tempdir()
            .map_err(|error| Failure::doing("make a temporary directory", error))?;
        let stack = coord(work.path())?
            .args(["up", "--ephemeral", "--json", "--until-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us alone; we stop it in order.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::doing("start coord up", error))?;
        Ok(Self {
            url: String::new(),
            home: String::new(),
            work,
            stack,
        })
    }

    /// Waits until the stack answers.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let mut said = String::new();
        if let Some(out) = self.stack.stdout.take() {
            let mut out = BufReader::new(out);
            let _ = timeout(STACK, out.read_line(&mut said)).await;
        }
        let state: Value = serde_json::from_str(&said).unwrap_or_default();
        let mut errors = self.stack.stderr.take();
        let (Some(url), Some(home)) = (state["url"].as_str(), state["home"].as_str()) else {
            drop(self.stack.stdin.take());
            let mut why = String::new();
            if let Some(errors) = &mut errors {
                let _ = timeout(STACK, errors.read_to_string(&mut why)).await;
            }
            let told: Value = serde_json::from_str(&why).unwrap_or_default();
            let why = told["message"].as_str().unwrap_or(&why);
            return Err(Failure::Step(format!("coord up did not come up: {why}")));
        };
        home.clone_into(&mut self.home);
        url.clone_into(&mut self.url);
        // What it may still say goes nowhere instead of blocking it.
        if let Some(mut errors) = errors {
            tokio::spawn(async move { tokio::io::copy(&mut errors, &mut tokio::io::sink()).await });
        }
        Ok(())
    }

    /// The working tree.
    pub fn tree(&self) -> &Path {
        self.work.path()
    }

    /// A repository with one commit and a remote.
    pub async fn repository(&self) -> Result<(), Failure> {
        let remote = format!("https://{REPO}.git");
        let identity = ["-c", "user.name=demo", "-c", "user.email=demo@git.example"];
        self.git(&["init", "--quiet"]).await?;
        self.git(&["remote", "add", "origin", &remote]).await?;
        std::fs::create_dir(self.tree().join("src"))
            .and_then(|()| std::fs::write(self.tree().join("src/cart.rs"), "// the cart\n"))
            .map_err(|error| Failure::doing("write src/cart.rs", error))?;
        self.git(&["add", "."]).await?;
        let mut commit = identity.to_vec();
        commit.extend([
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "-m",
            "The shop",
        ]);
        self.git(&commit).await
    }

    async fn git(&self, args: &[&str]) -> Result<(), Failure> {
        let mut git = Command::new("git");
        let output = run(clean(git.args(args), self.tree()), "git").await?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::Step(format!(
            "git {}: {}",
            args.join(" "),
            errors(&output)
        )))
    }

    /// `coord` on this stack, as the operator.
    pub async fn coord(&self, args: &[&str], colour: bool) -> Result<Output, Failure> {
        let mut command = coord(self.tree())?;
        command.args(args).env("COORD_HOME", &self.home);
        if colour {
            command.env("CLICOLOR_FORCE", "1");
        }
        run(&mut command, "coord").await
    }

    /// A token for an agent that may work in the repository.
    pub async fn token(&self, agent: &str, agent_type: &str) -> Result<String, Failure> {
        let args = [
            "token", "mint", "--agent", agent, "--type", agent_type, "--repo", REPO,
        ];
        let output = self.coord(&args, false).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(Failure::Step(format!(
            "coord token mint: {}",
            errors(&output)
        )))
    }

    /// A line of shell with `$TOKEN` and `$URL` set, and `$COORD` for this program.
    pub async fn shell(&self, line: &str, token: &str) -> Result<Output, Failure> {
        let mut command = Command::new("sh");
        clean(&mut command, self.tree())
            .args(["-c", line])
            .envs([("TOKEN", token), ("URL", &self.url)])
            .envs([("COORD_TOKEN", token), ("COORD_URL", &self.url)])
            .env("COORD", program()?);
        run(&mut command, "sh").await
    }

    /// Stops the stack and removes what is left.
    pub async fn clear(mut self) -> Result<(), Failure> {
        drop(self.stack.stdin.take());
        let ended = timeout(STACK, self.stack.wait()).await;
        if ended.is_err() {
            let _ = self.stack.kill().await;
        }
        let left = [Path::new(&self.home), self.work.path()].map(Path::to_owned);
        self.work
            .close()
            .map_err(|error| Failure::doing("remove the repository", error))?;
        match left.iter().find(|path| path.exists()) {
            None => Ok(()),
            Some(path) => Err(Failure::Step(format!("{} is still there", path.display()))),
        }
    }
}

/// An MCP client and the bridge it started. The client is `cat`: it passes on
/// what we write, and its end is the end of the bridge's input.
pub struct McpAgent {
    client: Child,
    bridge: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl McpAgent {
    /// Starts both.
    pub fn start(stage: &Stage, token: &str) -> Result<Self, Failure> {
        let failed = |error| Failure::doing("start the MCP client", error);
        let lost = || Failure::Step("a pipe is missing".to_owned());
        let mut cat = Command::new("cat");
        let mut client = clean(&mut cat, stage.tree())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let input = client.stdin.take().ok_or_else(lost)?;
        let passed_on: Stdio = client
            .stdout
            .take()
            .ok_or_else(lost)?
            .try_into()
            .map_err(failed)?;
        let mut bridge = coord(stage.tree())?
            .arg("mcp")
            .env("COORD_URL", &stage.url)
            .env("COORD_TOKEN", token)
            // Its cached catalogue goes with the demo.
            .env("COORD_CACHE_DIR", stage.tree().join(".git/cache"))
            .stdin(passed_on)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let output = BufReader::new(bridge.stdout.take().ok_or_else(lost)?).lines();
        Ok(Self {
            client,
            bridge,
            input,
            output,
        })
    }

    /// Process id of the client.
    pub fn client(&self) -> u32 {
        self.client.id().unwrap_or_default()
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &Value) -> Result<(), Failure> {
        self.input
            .write_all(format!("{message}\n").as_bytes())
            .await
            .map_err(|error| Failure::doing("write to the MCP client", error))
    }

    /// The answer to the request of this id; notifications are passed over.
    pub async fn answer(&mut self, id: u64) -> Result<Value, Failure> {
        let silent = || Failure::Step("the MCP bridge does not answer".to_owned());
        loop {
            let line = timeout(ANSWER, self.output.next_line())
                .await
                .map_err(|_| silent())?
                .map_err(|error| Failure::doing("read from the MCP bridge", error))?
                .ok_or_else(silent)?;
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// `kill -9` for the client. The bridge is left alone, and ends by itself.
    pub async fn kill_client(mut self) -> Result<(), Failure> {
        self.client
            .kill()
            .await
            .map_err(|error| Failure::doing("kill the MCP client", error))?;
        match timeout(ANSWER, self.bridge.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => Err(Failure::Step(format!(
                "the MCP bridge ended badly: {ended:?}"
            ))),
            Err(_) => Err(Failure::Step(
                "the MCP bridge did not see the end of its input".to_owned(),
            )),
        }
    }
}

/// This very program.
fn coord(dir: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(program()?);
    clean(&mut command, dir);
    Ok(command)
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::doing("find this program", error))
}

/// In the demo's directory and free of what is set for other work: another
/// coordinator, session or repository, a proxy.
fn clean<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("COORD_")
            && !["COORD_PG_BIN", "COORD_POSTGREST", "COORD_CACHE"].contains(&&*text);
        if ours || text.starts_with("GIT_") || crate::settings::OF_CLIENTS.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .current_dir(dir)
}

async fn run(command: &mut Command, name: &str) -> Result<Output, Failure> {
    let output = command
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output();
    match timeout(ANSWER, output).await {
        Ok(output) => output.map_err(|error| Failure::doing(&format!("run {name}"), error)),
        Err(_) => Err(Failure::Step(format!("{name} does not end"))),
    }
}

/// What a command said on standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
