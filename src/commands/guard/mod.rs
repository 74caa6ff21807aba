//! `coord guard`: what the guardrails say of commands, and what a change of them would.

mod check;
mod lines;
mod rules;
mod violations;

use serde_json::{Map, Value};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, Style, WARN, styled, text};
use crate::exit::Exit;
use crate::git;
use crate::rpc::Client;
use crate::settings::Global;

/// Arguments of `coord guard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Ask whether a command may run, or files be written; exits 1 if not
    Check(check::Args),
    /// Show how a command is read, and which rule sees what in it
    Explain(check::Explain),
    /// List the rules
    List(rules::List),
    /// Try rules of a file on their own examples; exits 1 if one does not hold
    Test(rules::Test),
    /// Show what rules found, the latest first
    Violations(violations::Args),
    /// Show what rules of a file would decide otherwise of the commands that were recorded
    Replay(rules::Replay),
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached or refuses the arguments, or a file cannot be read.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    match args.what {
        What::Check(args) => args.run(&client, global.json).await,
        What::Explain(args) => args.run(&client, global.json).await,
        What::List(args) => args.run(&client, global.json).await,
        What::Test(args) => args.run(&client, global.json).await,
        What::Violations(args) => args.run(&client, global.json).await,
        What::Replay(args) => args.run(&client, global.json).await,
    }
}

/// Where a command would run, and where the checkout around it begins.
#[must_use]
pub fn place(cwd: Option<&str>) -> Map<String, Value> {
    let cwd = cwd.map(str::to_owned).or_else(|| {
        let here = std::env::current_dir().ok()?;
        here.to_str().map(str::to_owned)
    });
    let dir = cwd.as_deref().unwrap_or(".");
    let root = git::text_in(dir.as_ref(), &["rev-parse", "--show-toplevel"]);
    let known = [("cwd", cwd), ("root", root)].into_iter();
    let known = known.filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    known.collect()
}

/// A verdict for people: the decision, why, and what to do.
#[must_use]
pub fn told(answer: &Value) -> String {
    let decision = text(answer, "decision");
    let mut out = vec![format!("{}\n", styled(style(&decision), &decision))];
    for violation in list(answer, "violations") {
        let severity = text(violation, "severity");
        out.push(format!(
            "  {} {}: {}\n      {}\n",
            styled(style(&severity), &severity),
            styled(NAME, text(violation, "rule")),
            text(violation, "matched"),
            text(violation, "remedy"),
        ));
    }
    if let Some(approval) = answer.get("approval") {
        out.push(format!(
            "{} {} ({})\n",
            styled(FAINT, "approval:"),
            styled(NAME, text(approval, "id")),
            text(approval, "state")
        ));
    }
    out.push(show::next(answer));
    out.concat()
}

/// Whether one may go on.
#[must_use]
pub fn passes(answer: &Value) -> bool {
    matches!(answer["decision"].as_str(), Some("allow" | "warn"))
}

fn style(word: &str) -> Style {
    match word {
        "allow" => GOOD,
        "warn" | "log_only" => WARN,
        _ => BAD,
    }
}

fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body[name].as_array().map_or(&[], Vec::as_slice)
}

/// Prints an answer as JSON or in words, and says how to end.
fn end(answer: &Value, json: bool, tell: impl Fn(&Value) -> String, good: bool) -> Exit {
    if json {
        show::json(answer);
    } else {
        show::print(&tell(answer));
    }
    if good { Exit::Done } else { Exit::Refused }
}
