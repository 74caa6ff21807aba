//! `coord hook claude-code` and `coord hook codex`: an event of the client in, its answer out.
//!
//! The coordinator judges the event; here it is handed over and the answer printed. Where
//! nobody can be asked, the hook does what `--when-down` says, in the client's own shape:
//! the exit code is always 0, for a client takes most others as leave to go on.

mod answer;
mod event;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{Caller, Error, place};
use crate::exit::Exit;
use crate::settings::Global;
use event::Event;

/// Arguments of a hook that a client calls.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Give up after so many seconds; shorter than the client's own patience
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    deadline: f64,
    /// What to do where the coordinator cannot be asked: deny, or allow and say so
    #[arg(long, value_enum, default_value_t = WhenDown::Deny)]
    when_down: WhenDown,
}

/// What follows where nobody can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WhenDown {
    /// The tool is not used.
    #[default]
    Deny,
    /// It is, and the person hears of it.
    Allow,
}

impl WhenDown {
    /// As it is written on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("write it in seconds, from 0.1 to 600".to_owned()),
    }
}

/// Answers one event; the answer is on standard output, whatever it is.
pub async fn run(args: &Args, repo: Option<&str>, global: &Global) -> Exit {
    let limit = Duration::from_secs_f64(args.deadline);
    let answered = tokio::time::timeout(limit, ask(repo, global, limit)).await;
    let text = match answered {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => answer::unjudged(&error, args.when_down),
        Err(_) => answer::unjudged(&Error::Late(limit.as_secs_f64()), args.when_down),
    };
    // Nothing to say lets the client go its own way, which may be to ask its person.
    if !text.is_empty() {
        println!("{text}");
    }
    Exit::Done
}

async fn ask(repo: Option<&str>, global: &Global, limit: Duration) -> Result<String, Error> {
    // Both wait: for whoever writes the event, and for git.
    let (global, repo) = (global.clone(), repo.map(str::to_owned));
    let question = tokio::task::spawn_blocking(move || Question::new(repo.as_deref(), &global));
    let question = question
        .await
        .map_err(|error| Error::Event(error.to_string()))??;
    let Question {
        caller,
        event,
        headers,
    } = question;
    let answer = caller
        .client
        // The limit of the whole is what ends it, and says so.
        .hand_over("hook_claude_code", event.text(), headers, limit * 2)
        .await?;
    match answer.body {
        serde_json::Value::Object(fields) if fields.is_empty() => Ok(String::new()),
        body if body.is_object() => Ok(body.to_string()),
        body => Err(Error::NoDecision(body.to_string())),
    }
}

/// The answer of a client's hook whose command line nobody understands: a usage error would
/// read as a refusal of whatever the client wants to do. None for all other commands.
#[must_use]
pub fn misused(argv: &[OsString], error: &clap::Error) -> Option<String> {
    let said = |one: &str, two: &str| argv.windows(2).any(|it| it[0] == one && it[1] == two);
    if !error.use_stderr() || !(said("hook", "claude-code") || said("hook", "codex")) {
        return None;
    }
    let allow = said("--when-down", "allow") || argv.iter().any(|it| it == "--when-down=allow");
    let when_down = if allow {
        WhenDown::Allow
    } else {
        WhenDown::Deny
    };
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let error = Error::Usage(format!("its hook's command line is wrong: {first}"));
    Some(answer::unjudged(&error, when_down))
}

/// An event and what has to be said beside it.
struct Question {
    caller: Caller,
    event: Event,
    headers: HeaderMap,
}

impl Question {
    fn new(repo: Option<&str>, global: &Global) -> Result<Self, Error> {
        let event = event::read(std::io::stdin().lock())?;
        // The client may run its hooks elsewhere than where it works.
        if let Some(cwd) = event.cwd() {
            let _ = std::env::set_current_dir(cwd);
        }
        let mut global = global.clone();
        // The client's session is the session, unless somebody said otherwise.
        global.session = global.session.or_else(|| event.session());
        // Git is asked about both at once: somebody waits for each tool.
        let (caller, root) = std::thread::scope(|scope| {
            let root = scope.spawn(place::root);
            (Caller::of_client(&global, repo), root.join().ok().flatten())
        });
        let caller = caller?;
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &OsStr| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        };
        put("x-coord-root", root.unwrap_or_default().as_os_str());
        put(
            "x-coord-repo",
            OsStr::new(caller.repo.as_deref().unwrap_or_default()),
        );
        if let Some(damage) = event.damage() {
            put("x-coord-unreadable", OsStr::new(damage));
        }
        Ok(Self {
            caller,
            event,
            headers,
        })
    }
}
