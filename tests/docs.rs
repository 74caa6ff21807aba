//! The reference in docs/ is made from the system itself, and these tests keep it so.
//! `COORD_BLESS=1 cargo test --test docs` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

/// Compares a generated page with the one in docs/, or writes it.
fn holds(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    if std::env::var_os("COORD_BLESS").is_some() {
        std::fs::write(&path, made).expect("docs/ is writable");
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/{name} is not what the system says; read the difference, then `COORD_BLESS=1 cargo test --test docs`\n{}",
        first_difference(&kept, made)
    );
}

fn first_difference(kept: &str, made: &str) -> String {
    let mut made = made.lines();
    for (number, line) in kept.lines().enumerate() {
        let other = made.next().unwrap_or("(nothing)");
        if line != other {
            return format!("line {}:\n- {line}\n+ {other}", number + 1);
        }
    }
    format!("more lines: {}", made.next().unwrap_or("(none)"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_error_code() {
    let stack = support::shared();
    let rows: Value = serde_json::from_str(
        &stack.psql("select json_agg(e order by e.status, e.code) from coord_v1.error_codes e"),
    )
    .unwrap();
    let mut page = String::from(
        "# Error codes\n\n\
         Every refusal carries one of these: as `message` of an error body (`{code, message, details, hint}`),\n\
         or as `code` of a denial (`outcome: denied`), which is audited. Also readable as the view `error_codes`.\n\n\
         | HTTP | code | meaning | what to do |\n|---|---|---|---|\n",
    );
    for row in rows.as_array().unwrap() {
        writeln!(
            page,
            "| {} | `{}` | {} | {} |",
            row["status"],
            text(row, "code"),
            text(row, "meaning"),
            text(row, "remedy")
        )
        .unwrap();
    }
    holds("errors.md", &page);
}

#[tokio::test]
async fn every_function() {
    let stack = support::shared();
    let (status, catalogue) = stack
        .rpc(&stack.operator, "tool_catalog", json!({}), &[])
        .await;
    assert_eq!(status, 200, "{catalogue}");
    let mut page = String::from(
        "# Functions\n\n\
         `POST /rpc/NAME` with a JSON object, `coord call NAME`, or the MCP tool of that name: one function behind\n\
         every door. Those marked *core* are in the default toolset. Reads may also be called with GET.\n",
    );
    for tool in catalogue["tools"].as_array().unwrap() {
        let hints = &tool["annotations"];
        let mut marks = vec![text(tool, "toolset")];
        for (hint, mark) in [
            ("readOnlyHint", "read-only"),
            ("destructiveHint", "destructive"),
            ("idempotentHint", "idempotent"),
        ] {
            if hints[hint] == json!(true) {
                marks.push(mark);
            }
        }
        write!(
            page,
            "\n## {}\n\n*{}*\n\n{}\n",
            text(tool, "name"),
            marks.join(", "),
            text(tool, "description")
        )
        .unwrap();
        for line in text(tool, "help").lines() {
            write!(page, "\n{line}\n").unwrap();
        }
        arguments(&mut page, &tool["inputSchema"]);
    }
    page.push_str("\n# Prompts\n");
    for prompt in catalogue["prompts"].as_array().unwrap() {
        write!(
            page,
            "\n## {}\n\n{}\n",
            text(prompt, "name"),
            text(prompt, "description")
        )
        .unwrap();
    }
    page.push_str("\n# Resources\n\n");
    for resource in catalogue["resources"].as_array().unwrap() {
        writeln!(
            page,
            "* `{}`: what `{}` answers without arguments",
            text(resource, "uri"),
            text(resource, "function")
        )
        .unwrap();
    }
    holds("functions.md", &page);
}

fn arguments(page: &mut String, schema: &Value) {
    let properties = schema["properties"].as_object().unwrap();
    if properties.is_empty() {
        return;
    }
    page.push_str("\n| argument | type | |\n|---|---|---|\n");
    for (name, property) in properties {
        let mut limits = Vec::new();
        for (key, word) in [
            ("minimum", "from"),
            ("maximum", "to"),
            ("minItems", "at least"),
            ("maxItems", "at most"),
            ("maxLength", "at most"),
            ("default", "default"),
        ] {
            if let Some(value) = property.get(key) {
                limits.push(format!("{word} {value}"));
            }
        }
        if let Some(values) = property["enum"].as_array() {
            limits.push(
                values
                    .iter()
                    .map(Value::to_string)
                    .collect::<Vec<_>>()
                    .join(" or "),
            );
        }
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.contains(&json!(name)));
        let limits = if limits.is_empty() {
            String::new()
        } else {
            format!(" ({})", limits.join(", "))
        };
        writeln!(
            page,
            "| `{name}`{} | {} | {}{limits} |",
            if required { ", required" } else { "" },
            text(property, "type"),
            text(property, "description"),
        )
        .unwrap();
    }
}

#[test]
fn every_command() {
    let mut page = String::from("# Commands\n\nWhat `--help` says, command by command.\n");
    let mut queue = vec![vec![]];
    // Whatever runs in the default home is none of this page's business.
    let nowhere = "/nonexistent";
    while let Some(path) = queue.pop() {
        let output = support::coord()
            .args(&path)
            .arg("--help")
            .env("COLUMNS", "100")
            .env("COORD_HOME", nowhere)
            .output()
            .unwrap();
        let words: Vec<String> = path.clone();
        // `call` lists the coordinator's functions, and says so where there is none.
        assert!(
            output.status.success() || words == ["call"],
            "{words:?}: {}",
            support::told(&output)
        );
        let help = String::from_utf8(output.stdout)
            .unwrap()
            .replace(nowhere, "");
        let name = [vec!["coord".to_owned()], words].concat().join(" ");
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(
            page,
            "\n## {name}\n\n```text\n{}\n```\n",
            help.join("\n").trim()
        )
        .unwrap();
        queue.extend(subcommands(&help).into_iter().rev().map(|name| {
            let mut below = path.clone();
            below.push(name);
            below
        }));
    }
    holds("commands.md", &page);
}

/// The names under "Commands:" of a help text.
fn subcommands(help: &[&str]) -> Vec<String> {
    help.iter()
        .skip_while(|line| **line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Pages name invariants, files and commands: what they name is there.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    pages.extend(
        std::fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    assert!(pages.len() > 4, "docs/ has pages");
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(
                page.parent().unwrap().join(file).exists(),
                "{} links to {target}, which is not there",
                page.display()
            );
        }
    }
}
