//! `coord guard list`, `coord guard test` and `coord guard replay`: about the rules themselves.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{end, list, style};
use crate::alike::with_nearest;
use crate::commands::Error;
use crate::commands::audit::time;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::yaml::Document;

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only of this category
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Test {
    /// YAML with a section guardrails, as `agents/guardrail_patterns.yaml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// YAML with a section guardrails, as `agents/guardrail_patterns.yaml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Commands since then: 30m, 2h or 7d ago, or a time [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// So many changed decisions at most
    #[arg(long = "max", value_name = "N", default_value_t = 500)]
    most: u32,
}

impl List {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut answer = client.call("list_guardrails", &Map::new()).await?.body;
        if let (Some(category), Some(Value::Array(rules))) =
            (&self.category, answer.get_mut("rules"))
        {
            rules.retain(|rule| rule["category"].as_str() == Some(category));
        }
        Ok(end(&answer, as_json, listed, true))
    }
}

fn listed(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = list(answer, "rules")
        .iter()
        .map(|rule| {
            let mut marks = Vec::new();
            marks.extend((rule["enabled"] == json!(false)).then_some("off"));
            marks.extend((rule["catastrophic"] == json!(true)).then_some("always"));
            marks.extend(rule.get("declared").map(|_| "declared"));
            vec![
                text(rule, "rule"),
                text(rule, "severity"),
                marks.join(" "),
                text(rule, "remedy"),
            ]
        })
        .collect();
    let table = show::table(&["rule", "severity", "", "remedy"], &rows, &[NAME]);
    let rules = if rows.len() == 1 { "rule" } else { "rules" };
    format!(
        "{table}{} {rules}, revision {}\n",
        rows.len(),
        text(answer, "revision")
    )
}

impl Test {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut results = Vec::new();
        for (id, mut rule) in rules(&self.file)? {
            if let Value::Object(fields) = &mut rule {
                fields.insert("id".to_owned(), json!(id));
            }
            let call = Map::from_iter([("rule".to_owned(), rule)]);
            let mut answer = client.call("test_guardrail_rule", &call).await?.body;
            if let Value::Object(fields) = &mut answer {
                fields.insert("rule".to_owned(), json!(id));
            }
            results.push(answer);
        }
        let good = results.iter().all(|it| it["holds"] == json!(true));
        Ok(end(&json!(results), as_json, tried, good))
    }
}

fn tried(results: &Value) -> String {
    let mut out = Vec::new();
    for result in results.as_array().into_iter().flatten() {
        let holds = result["holds"] == json!(true);
        let (word, style) = if holds {
            ("holds", GOOD)
        } else {
            ("FAILS", BAD)
        };
        let examples = format!("{} examples", text(result, "examples"));
        out.push(format!(
            "{} {} {}\n",
            styled(style, word),
            styled(NAME, text(result, "rule")),
            styled(FAINT, examples)
        ));
        for problem in list(result, "problems").iter().filter_map(Value::as_str) {
            let key = problem.split(':').next().unwrap_or_default();
            let key = key.rsplit('/').next().unwrap_or_default();
            out.push(format!(
                "  {}\n",
                with_nearest(key, &show::harmless(problem))
            ));
        }
    }
    out.concat()
}

impl Replay {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut call = Map::new();
        call.insert("rules".to_owned(), Value::Object(rules(&self.file)?));
        call.insert("max_results".to_owned(), self.most.into());
        call.extend(self.since.map(|since| ("since".to_owned(), since.into())));
        let answer = client.call("replay_guardrails", &call).await?.body;
        Ok(end(&answer, as_json, replayed, true))
    }
}

fn replayed(answer: &Value) -> String {
    let changes = list(answer, "changes");
    let mut out = Vec::new();
    for change in changes {
        let decision = |name| {
            let decision = text(change, name);
            styled(style(&decision), &decision)
        };
        out.push(format!(
            "{} {} {}  {}  {}\n",
            decision("before"),
            styled(FAINT, "->"),
            decision("after"),
            styled(NAME, text(change, "agent")),
            text(change, "command"),
        ));
    }
    out.push(format!(
        "{} of {} recorded commands would be decided otherwise\n",
        changes.len(),
        text(answer, "replayed")
    ));
    out.concat()
}

/// The section guardrails of a file.
fn rules(file: &Path) -> Result<Map<String, Value>, Error> {
    let told = |why: String| Error::Usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    let document = Document::parse(&text).map_err(|error| {
        let place = format!("{}:{}: {}", error.at.line, error.at.column, error.why);
        told(place)
    })?;
    match document.value.get("guardrails") {
        Some(Value::Object(rules)) => Ok(rules.clone()),
        _ => Err(told("it has no section guardrails with rules".to_owned())),
    }
}
