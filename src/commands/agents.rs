//! `coord agents`: who is registered, and what each may do.

use serde_json::{Value, json};

use crate::commands::Error;
use crate::commands::show::{self, FAINT, NAME, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Shows the principals that the caller may see.
///
/// # Errors
/// The coordinator cannot be reached, or refuses.
pub async fn run(global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    let agents = client.read("agents", &[("order", "name")]).await?;
    if global.json {
        show::json(&json!(agents));
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = agents.iter().map(row).collect();
    let names = [
        "name", "type", "role", "profile", "trust", "enabled", "repos",
    ];
    let styles = [NAME, FAINT, FAINT];
    show::print(&show::table(&names, &rows, &styles));
    Ok(Exit::Done)
}

fn row(agent: &Value) -> Vec<String> {
    let repos = if agent["all_repos"] == json!(true) {
        "*".to_owned()
    } else {
        let repos = agent["repos"].as_array().map_or(&[][..], Vec::as_slice);
        let repos: Vec<_> = repos.iter().filter_map(Value::as_str).collect();
        show::harmless(&repos.join(", "))
    };
    vec![
        text(agent, "name"),
        text(agent, "agent_type"),
        text(agent, "role"),
        match text(agent, "effective_profile") {
            profile if profile.is_empty() => "-".to_owned(),
            profile => profile,
        },
        match text(agent, "trust") {
            trust if trust.is_empty() => "-".to_owned(),
            trust => trust,
        },
        match agent["enabled"] {
            Value::Bool(true) => "yes".to_owned(),
            _ => format!("no: {}", text(agent, "disabled_reason")),
        },
        repos,
    ]
}
