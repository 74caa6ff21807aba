//! `coord work graph`: how tasks depend on each other, for people, Graphviz or a browser.

mod dot;
mod svg;
mod text;

use std::collections::HashMap;

use anstyle::AnsiColor;
use serde_json::Value;

use crate::commands::Error;
use crate::commands::arguments::{Repo, put};
use crate::commands::show;
use crate::exit::Exit;
use crate::rpc::Client;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "coord work graph --format svg > graph.svg draws it without Graphviz; with it, \
                        coord work graph --format dot | dot -Tpng > graph.png has more ways to."
)]
pub struct Args {
    /// Around this task: what it needs and what needs it [default: all that are open]
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// How to draw it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// At most so many tasks, up to 1000 [default: 200]
    #[arg(long = "max", value_name = "N")]
    most: Option<i64>,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Lines for a terminal
    Text,
    /// For Graphviz
    Dot,
    /// A picture, for a browser
    Svg,
}

pub async fn run(args: Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let mut call = args.repo.args();
    put(&mut call, "task", args.task);
    put(&mut call, "max_results", args.most);
    let answer = client.call("work_graph", &call).await?;
    let draw: fn(&Graph) -> String = match args.format {
        Format::Text => text::draw,
        Format::Dot => dot::draw,
        Format::Svg => svg::draw,
    };
    Ok(show::told(&answer, json, |body| draw(&Graph::read(body))))
}

/// Tasks in the order of their numbers, and which needs which.
struct Graph {
    tasks: Vec<Task>,
    /// Places in `tasks`: the first needs the second.
    ties: Vec<(usize, usize)>,
}

struct Task {
    name: String,
    title: String,
    state: State,
    /// As `claimed by bob`.
    standing: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Blocked,
    Claimed,
    Completed,
    Failed,
}

impl State {
    fn of(task: &Value) -> Self {
        let blocked = task.get("blocked") == Some(&Value::Bool(true));
        match show::text(task, "state").as_str() {
            "claimed" => Self::Claimed,
            "completed" => Self::Completed,
            "dead" | "cancelled" => Self::Failed,
            _ if blocked => Self::Blocked,
            _ => Self::Pending,
        }
    }

    fn style(self) -> anstyle::Style {
        match self {
            Self::Pending => AnsiColor::Blue.on_default(),
            Self::Blocked => show::FAINT,
            Self::Claimed => show::WARN,
            Self::Completed => show::GOOD,
            Self::Failed => show::BAD,
        }
    }

    /// Fill and border in a picture: readable in black and white, too.
    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Self::Pending => ("#dbeafe", "#2563eb"),
            Self::Blocked => ("#f3f4f6", "#9ca3af"),
            Self::Claimed => ("#fef3c7", "#d97706"),
            Self::Completed => ("#dcfce7", "#16a34a"),
            Self::Failed => ("#fee2e2", "#dc2626"),
        }
    }
}

impl Graph {
    fn read(body: &Value) -> Self {
        let tasks: Vec<Task> = show::list(body, "tasks")
            .iter()
            .map(|task| {
                let state = State::of(task);
                let word = match state {
                    State::Blocked => "blocked".to_owned(),
                    _ => show::text(task, "state"),
                };
                Task {
                    name: show::text(task, "task"),
                    title: show::text(task, "title"),
                    state,
                    standing: match show::text(task, "agent") {
                        // Who had it last is of no interest where it came to nothing.
                        agent if !agent.is_empty() && state != State::Failed => {
                            format!("{word} by {agent}")
                        }
                        _ => word,
                    },
                }
            })
            .collect();
        let places: HashMap<&str, usize> = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (task.name.as_str(), at))
            .collect();
        let ties = show::list(body, "ties")
            .iter()
            .filter_map(|tie| {
                let place = |name| places.get(tie.get(name)?.as_str()?).copied();
                Some((place("task")?, place("needs")?))
            })
            .collect();
        Self { tasks, ties }
    }

    /// What needs this one.
    fn needed_by(&self, at: usize) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .ties
            .iter()
            .filter(|tie| tie.1 == at)
            .map(|tie| tie.0)
            .collect();
        found.sort_unstable();
        found
    }

    /// What this one needs.
    fn needs(&self, at: usize) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .ties
            .iter()
            .filter(|tie| tie.0 == at)
            .map(|tie| tie.1)
            .collect();
        found.sort_unstable();
        found
    }
}
