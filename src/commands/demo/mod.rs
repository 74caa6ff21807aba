//! `coord demo`: two agents, one file. Every step is played for real and checked.

mod stage;

use std::time::Instant;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::show::{BAD, FAINT, GOOD, HEAD, print, styled};
use crate::exit::Exit;
use stage::{McpAgent, REPO, Stage, errors};

const MCP: Style = AnsiColor::Magenta.on_default().bold();
const HTTP: Style = AnsiColor::Blue.on_default().bold();

/// The file both agents want.
const FILE: &str = "src/cart.rs";
/// Why the first one wants it.
const REASON: &str = "rewriting the cart";

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A step did not happen as said.
    #[error("{0}")]
    Step(String),
    /// Something of the system failed.
    #[error("cannot {0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// A signal.
    #[error("stopped")]
    Stopped,
}

impl Failure {
    fn doing(what: &str, error: std::io::Error) -> Self {
        Self::Io(what.to_owned(), error)
    }
}

/// Plays the demo and takes everything down again, also when it is stopped.
pub async fn run() -> Exit {
    let begun = Instant::now();
    let mut stage = None;
    let played = tokio::select! {
        played = play(&mut stage) => played,
        () = stopped() => Err(Failure::Stopped),
    };
    let cleared = match stage {
        Some(stage) => stage.clear().await,
        None => Ok(()),
    };
    let done = played.and_then(|()| {
        cleared?;
        checked("stack and repository are gone");
        Ok(())
    });
    match done {
        Ok(()) => {
            let seconds = begun.elapsed().as_secs_f64();
            say(format_args!(
                "\n{} in {seconds:.1} s",
                styled(GOOD, "All of it happened")
            ));
            Exit::Done
        }
        Err(failure) => {
            anstream::eprintln!("{} {failure}", styled(BAD, "✗"));
            Exit::Refused
        }
    }
}

/// Ctrl-C, or a request to end.
async fn stopped() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

async fn play(place: &mut Option<Stage>) -> Result<(), Failure> {
    chapter("A coordinator of our own, and a repository");
    typed("coord up --ephemeral --json --until-eof");
    let begun = Instant::now();
    let stage = place.insert(Stage::begin()?);
    stage.ready().await?;
    let stage = &*stage;
    checked(&format!(
        "PostgreSQL and PostgREST answer at {} after {:.1} s",
        stage.url,
        begun.elapsed().as_secs_f64()
    ));
    stage.repository().await?;
    checked(&format!("a git checkout of {REPO} with {FILE}"));
    let mcp_token = stage.token("agent-mcp", "claude-code-cli").await?;
    let http_token = stage.token("agent-http", "codex-cloud").await?;
    checked("tokens for agent-mcp and agent-http");

    let (agent, first) = mcp_takes_the_lock(stage, &mcp_token).await?;
    http_is_refused(stage, &http_token).await?;

    chapter("A person looks");
    looked(stage, &["agent-mcp", FILE, REASON]).await?;

    chapter("The client of agent-mcp crashes");
    typed(&format!("kill -9 {}", agent.client()));
    agent.kill_client().await?;
    checked("its bridge saw the end of its input, ended the session and went");
    looked(stage, &["no locks"]).await?;

    http_wins(stage, &http_token, first).await
}

/// The first agent, over MCP; gives the fence of its lock.
async fn mcp_takes_the_lock(stage: &Stage, token: &str) -> Result<(McpAgent, u64), Failure> {
    chapter("agent-mcp locks the file over MCP");
    typed("coord mcp");
    let mut agent = McpAgent::start(stage, token)?;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "coord-demo", "version": env!("CARGO_PKG_VERSION")}}});
    let welcome = asked(&mut agent, 1, &hello).await?;
    check(
        welcome["result"]["capabilities"]["tools"].is_object(),
        "the bridge offers tools",
        &welcome,
    )?;
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    sent(MCP, &ready.to_string());
    agent.send(&ready).await?;

    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "acquire_lock", "arguments": {"paths": [FILE], "reason": REASON}}});
    let result = asked(&mut agent, 2, &call).await?;
    let text = result["result"]["content"][0]["text"].as_str();
    let answer: Value = serde_json::from_str(text.unwrap_or_default()).unwrap_or_default();
    let fence = answer["locks"][0]["fence"].as_u64().unwrap_or_default();
    check(
        answer["outcome"] == "acquired" && answer["locks"][0]["path"] == FILE && fence > 0,
        &format!("acquired, with fence {fence}"),
        &result,
    )?;
    Ok((agent, fence))
}

/// The second agent wants the same file and is told who has it.
async fn http_is_refused(stage: &Stage, token: &str) -> Result<(), Failure> {
    chapter("agent-http wants it too, over HTTP");
    let answer = acquired_over_http(stage, token).await?;
    let blocker = &answer["blockers"][0];
    let left = blocker["seconds_left"].as_u64().unwrap_or_default();
    check(
        answer["outcome"] == "held"
            && blocker["holder"] == "agent-mcp"
            && blocker["agent_type"] == "claude-code-cli"
            && blocker["reason"] == REASON
            && left > 0,
        &format!("refused, and told: agent-mcp has it for {REASON}, {left} s more"),
        &answer,
    )
}

/// The lock is free again, and the second agent gets a higher fence.
async fn http_wins(stage: &Stage, token: &str, first: u64) -> Result<(), Failure> {
    chapter("agent-http asks again");
    let answer = acquired_over_http(stage, token).await?;
    let fence = answer["locks"][0]["fence"].as_u64().unwrap_or_default();
    check(
        answer["outcome"] == "acquired" && fence > first,
        &format!("acquired, with fence {fence}: higher than {first}"),
        &answer,
    )
}

/// The same line of shell each time: curl, or where there is none our own client.
async fn acquired_over_http(stage: &Stage, token: &str) -> Result<Value, Failure> {
    let args = json!({"paths": [FILE], "reason": "fixing a bug"});
    let looked = stage.shell("command -v curl", token).await?;
    let line = if looked.status.success() {
        format!(
            "curl -sS $URL/rpc/acquire_lock -H \"Authorization: Bearer $TOKEN\" \
             -H 'Content-Type: application/json' -d '{args}' -w '\\n%{{http_code}}'"
        )
    } else {
        format!("\"$COORD\" call acquire_lock --args-json '{args}' --json")
    };
    typed(&line);
    let output = stage.shell(&line, token).await?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Our own client prints no status, because it takes only 200 for an answer.
    let (body, status) = said.rsplit_once('\n').unwrap_or((&said, "200"));
    got(HTTP, &format!("{status} {body}"));
    if status != "200" {
        return Err(Failure::Step(format!(
            "HTTP status {status} instead of 200"
        )));
    }
    serde_json::from_str(body)
        .map_err(|_| Failure::Step(format!("no answer over HTTP: {}", errors(&output))))
}

/// One request over MCP and its answer, both shown.
async fn asked(agent: &mut McpAgent, id: u64, message: &Value) -> Result<Value, Failure> {
    sent(MCP, &message.to_string());
    agent.send(message).await?;
    let answer = agent.answer(id).await?;
    got(MCP, &answer.to_string());
    Ok(answer)
}

/// `coord lock list`, shown, and checked to say these things.
async fn looked(stage: &Stage, words: &[&str]) -> Result<(), Failure> {
    typed("coord lock list");
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let output = stage.coord(&["lock", "list"], colour).await?;
    let table = String::from_utf8_lossy(&output.stdout);
    for line in table.lines() {
        say(format_args!("    {line}"));
    }
    let plain = anstream::adapter::strip_str(&table).to_string();
    check(
        output.status.success() && words.iter().all(|word| plain.contains(word)),
        &format!("it shows {}", words.join(", ")),
        &Value::from(format!("{plain}{}", errors(&output))),
    )
}

/// The step happened as said, or the demo ends here.
fn check(so: bool, what: &str, instead: &Value) -> Result<(), Failure> {
    if so {
        checked(what);
        return Ok(());
    }
    Err(Failure::Step(format!("not so: {what}; instead: {instead}")))
}

/// A line on standard output, where a reader that went away is no reason to stop.
fn say(line: std::fmt::Arguments<'_>) {
    print(&format!("{line}\n"));
}

fn chapter(title: &str) {
    say(format_args!("\n{}", styled(HEAD, title)));
}

fn typed(line: &str) {
    say(format_args!("  {} {line}", styled(FAINT, "$")));
}

fn sent(who: Style, line: &str) {
    say(format_args!("  {} {}", styled(who, "→"), shortened(line)));
}

fn got(who: Style, line: &str) {
    say(format_args!("  {} {}", styled(who, "←"), shortened(line)));
}

fn checked(what: &str) {
    say(format_args!("  {} {what}", styled(GOOD, "✓")));
}

/// Enough of a long line to see what it is.
fn shortened(line: &str) -> String {
    const MOST: usize = 600;
    if line.chars().count() <= MOST {
        return line.to_owned();
    }
    let begin: String = line.chars().take(MOST).collect();
    format!("{begin} {}", styled(FAINT, "…"))
}
