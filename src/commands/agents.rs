//! `coord agents`: the principals, and what binds them.

use serde_json::Value;

use crate::commands::Error;
use crate::commands::show::{self, FAINT, NAME};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Rows of one page: no server is asked for more at once.
const PAGE: usize = 1000;

/// Arguments of `coord agents`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: Option<String>,
    /// Only those with this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

/// Lists them: all for operators and auditors, itself for an agent.
///
/// # Errors
/// The coordinator cannot be reached.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
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
    if global.json {
        show::json(&Value::Array(agents));
    } else {
        show::print(&table(&agents));
    }
    Ok(Exit::Done)
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
            .chain([repos, state])
            .collect()
    };
    let rows: Vec<Vec<String>> = agents.iter().map(row).collect();
    let names = ["name", "type", "role", "profile", "trust", "repos", "state"];
    show::table(&names, &rows, &[NAME, FAINT])
}
