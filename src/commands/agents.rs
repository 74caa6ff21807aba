//! `coord agents`: the principals and what binds them, or the sessions that are here now.

use anstyle::Style;
use serde_json::{Map, Value};

use crate::commands::Error;
use crate::commands::arguments::put;
use crate::commands::show::{self, FAINT, GOOD, NAME, list, span};
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::settings::Global;
use crate::stack::clock;

/// Rows of one page: no server is asked for more at once.
const PAGE: usize = 1000;

/// Arguments of `coord agents`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    list: Option<List>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum List {
    /// The same as without it
    List(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: Option<String>,
    /// Only those with this profile
    #[arg(long, value_name = "NAME", conflicts_with = "active")]
    profile: Option<String>,
    /// The sessions that are here now, of all who share a repository with you
    #[arg(long)]
    active: bool,
    /// Only sessions that can do this
    #[arg(long, value_name = "CAPABILITY", requires = "active")]
    can: Option<String>,
    /// Sessions of this status [default: live, which is active and stale]
    #[arg(long, value_name = "STATUS", requires = "active",
          value_parser = ["live", "active", "stale", "ended", "all"])]
    status: Option<String>,
}

/// Lists principals (all for operators and auditors, itself for an agent), or sessions.
///
/// # Errors
/// The coordinator cannot be reached.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let args = match &args.list {
        Some(List::List(which)) => which,
        None => &args.which,
    };
    let client = Client::new(global.target()?)?;
    if args.active {
        return sessions(args, &client, global.json).await;
    }
    let mut filters = vec![("order", "name".to_owned())];
    for (column, value) in [("agent_type", &args.agent_type), ("profile", &args.profile)] {
        filters.extend(value.iter().map(|value| (column, format!("eq.{value}"))));
    }
    let mut agents: Vec<Value> = Vec::new();
    loop {
        let mut page = filters.clone();
        page.push(("offset", agents.len().to_string()));
        page.push(("limit", PAGE.to_string()));
        let rows = client.read("agents", &page).await?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        let last = rows.len() < PAGE;
        agents.extend(rows);
        if last {
            break;
        }
    }
    let here = match client.call("discover_agents", &Map::new()).await {
        Ok(answer) => list(&answer.body, "agents").to_vec(),
        // Who may not know is shown the rest.
        Err(rpc::Error::Problem(problem)) if problem.status == 403 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for agent in &mut agents {
        let mine = here
            .iter()
            .filter(|session| session["agent"] == agent["name"]);
        let mine: Vec<Value> = mine.cloned().collect();
        if let Value::Object(agent) = agent {
            agent.insert("sessions".to_owned(), mine.into());
        }
    }
    if global.json {
        show::json(&Value::Array(agents));
    } else {
        show::print(&table(&agents));
    }
    Ok(Exit::Done)
}

/// Who is here, what they can do and what they have.
async fn sessions(args: &Which, client: &Client, json: bool) -> Result<Exit, Error> {
    let mut call = Map::new();
    put(&mut call, "capability", args.can.clone());
    put(&mut call, "status", args.status.clone());
    let answer = client.call("discover_agents", &call).await?;
    let wanted = |session: &&Value| match &args.agent_type {
        Some(wanted) => session["agent_type"] == **wanted,
        None => true,
    };
    let here: Vec<&Value> = list(&answer.body, "agents").iter().filter(wanted).collect();
    if json {
        show::json(&serde_json::json!({ "agents": here }));
    } else if here.is_empty() {
        show::print("nobody\n");
    } else {
        let rows: Vec<Vec<String>> = here.into_iter().map(session).collect();
        let names = [
            "agent", "type", "status", "seen", "tasks", "locks", "can", "repo", "session",
        ];
        show::print(&show::table(&names, &rows, &[NAME, FAINT, GOOD]));
    }
    Ok(Exit::Done)
}

fn session(session: &Value) -> Vec<String> {
    let text = |name: &str| show::text(session, name);
    let words = |name: &str| {
        let words: Vec<&str> = list(session, name)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        show::harmless(&words.join(" "))
    };
    let seen = clock::read(&text("seen_at")).map(|at| span((clock::now() - at).max(0)));
    let status = match (text("status"), session.get("busy_until")) {
        (status, Some(_)) if status == "active" => "busy".to_owned(),
        (status, _) => status,
    };
    let locks = match text("locks") {
        none if none == "0" => String::new(),
        locks => locks,
    };
    vec![
        text("agent"),
        text("agent_type"),
        status,
        seen.map(|seen| format!("{seen} ago")).unwrap_or_default(),
        words("tasks"),
        locks,
        words("capabilities"),
        text("repo"),
        text("session_id"),
    ]
}

/// `2 sessions: T-4 T-7, 3 locks`, in a few characters.
fn activity(agent: &Value) -> String {
    let here = list(agent, "sessions");
    let mut parts = match here.len() {
        0 => return String::new(),
        1 => Vec::new(),
        many => vec![format!("{many} sessions")],
    };
    let tasks = here.iter().flat_map(|session| list(session, "tasks"));
    parts.extend(tasks.filter_map(Value::as_str).map(show::harmless));
    match here
        .iter()
        .filter_map(|session| session["locks"].as_u64())
        .sum()
    {
        0_u64 => {}
        1 => parts.push("1 lock".to_owned()),
        locks => parts.push(format!("{locks} locks")),
    }
    if parts.is_empty() {
        parts.push("here".to_owned());
    }
    parts.join(", ")
}

fn table(agents: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => show::harmless(text),
        Value::Array(list) => {
            let list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            show::harmless(&list.join(" "))
        }
        other => other.to_string(),
    };
    let row = |agent: &Value| {
        let repos = if agent["all_repos"] == true {
            "*".to_owned()
        } else {
            text(&agent["repos"])
        };
        let state = match &agent["disabled_reason"] {
            Value::Null => String::new(),
            why => format!("disabled: {}", text(why)),
        };
        ["name", "agent_type", "role", "profile", "trust"]
            .iter()
            .map(|name| text(&agent[*name]))
            .chain([repos, activity(agent), state])
            .collect()
    };
    let rows: Vec<Vec<String>> = agents.iter().map(row).collect();
    let names = [
        "name", "type", "role", "profile", "trust", "repos", "now", "state",
    ];
    let plain = Style::new();
    show::table(
        &names,
        &rows,
        &[NAME, FAINT, plain, plain, plain, plain, GOOD],
    )
}
