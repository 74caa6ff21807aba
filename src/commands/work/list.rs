//! `coord work list`: rows of the view `tasks`.

use anstyle::Style;
use serde_json::{Map, Value};

use super::task::{ago, ahead, state};
use crate::commands::Error;
use crate::commands::arguments::Repo;
use crate::commands::show::{self, FAINT, GOOD, NAME, text};
use crate::exit::Exit;
use crate::rpc::Client;

/// Rows of one page: no server is asked for more at once.
const PAGE: usize = 1000;

/// What a table shows; JSON has it all.
const COLUMNS: &str = "task,number,state,blocked,priority,task_type,title,agent,submitted_at,next_at,lease_until,finished_at,reason";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only in this state; may be repeated [default: pending and claimed]
    #[arg(long, value_name = "STATE", value_delimiter = ',',
          value_parser = ["pending", "claimed", "completed", "dead", "cancelled"])]
    state: Vec<String>,
    /// Only pending ones that wait for others
    #[arg(long, conflicts_with_all = ["state", "all"])]
    blocked: bool,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// Only those that you submitted or have claimed
    #[arg(long)]
    mine: bool,
    /// Those that ended too, newest first
    #[arg(long, conflicts_with = "state")]
    all: bool,
    /// At most so many [default: no limit]
    #[arg(long = "max", value_name = "N")]
    most: Option<usize>,
    #[command(flatten)]
    repo: Repo,
}

pub async fn run(args: Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let mut filters = Vec::new();
    // A read of the repository says how the coordinator writes it, or that it is not granted.
    let pending = client.call("work_pending", &args.repo.args()).await?;
    if let Some(repo) = pending.body.get("repo").and_then(Value::as_str) {
        filters.push(("repo", format!("eq.{repo}")));
    }
    let past = args.all
        || args
            .state
            .iter()
            .any(|it| it != "pending" && it != "claimed");
    if args.blocked {
        filters.push(("blocked", "is.true".to_owned()));
    } else if !args.state.is_empty() {
        filters.push(("state", format!("in.({})", args.state.join(","))));
    } else if !args.all {
        filters.push(("state", "in.(pending,claimed)".to_owned()));
    }
    filters.extend(args.task_type.map(|it| ("task_type", format!("eq.{it}"))));
    if args.mine {
        let me = client.call("my_profile", &Map::new()).await?;
        let me = me.body["agent"].to_string();
        filters.push(("or", format!("(agent.eq.{me},submitted_by.eq.{me})")));
    }
    if past {
        filters.push(("order", "number.desc".to_owned()));
    } else {
        filters.push(("order", "state,turn_at,number".to_owned()));
    }
    if !json {
        filters.push(("select", COLUMNS.to_owned()));
    }
    let mut tasks: Vec<Value> = Vec::new();
    let most = args.most.unwrap_or(usize::MAX);
    while tasks.len() < most {
        let size = PAGE.min(most - tasks.len());
        let mut page = filters.clone();
        page.push(("offset", tasks.len().to_string()));
        page.push(("limit", size.to_string()));
        let rows = client.read("tasks", &page).await?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        let last = rows.len() < size;
        tasks.extend(rows);
        if last {
            break;
        }
    }
    if json {
        show::json(&Value::Array(tasks));
    } else if tasks.is_empty() {
        show::print("no tasks\n");
    } else {
        show::print(&table(&tasks));
    }
    Ok(Exit::Done)
}

fn table(tasks: &[Value]) -> String {
    let rows: Vec<Vec<String>> = tasks.iter().map(row).collect();
    let names = ["task", "state", "prio", "type", "agent", "age", "", "title"];
    show::table(
        &names,
        &rows,
        &[NAME, Style::new(), FAINT, FAINT, GOOD, FAINT, FAINT],
    )
}

fn row(task: &Value) -> Vec<String> {
    let note = match text(task, "state").as_str() {
        "claimed" => match ahead(task, "lease_until") {
            Some(left) => format!("{left} left"),
            None => "lease over".to_owned(),
        },
        "pending" => ahead(task, "next_at").map_or(String::new(), |left| format!("in {left}")),
        "completed" => String::new(),
        _ => text(task, "reason"),
    };
    vec![
        text(task, "task"),
        state(task),
        text(task, "priority"),
        text(task, "task_type"),
        text(task, "agent"),
        ago(task, "submitted_at"),
        note,
        text(task, "title"),
    ]
}
