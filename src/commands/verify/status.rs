//! `coord verify status`, and what other commands say of a change.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, Style, WARN, list, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which change, as C-17
    #[arg(value_name = "CHANGE")]
    changeset: String,
}

pub async fn run(args: Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let call = Map::from_iter([("changeset".to_owned(), args.changeset.into())]);
    let answer = client.call("verification_status", &call).await?;
    Ok(show::told(&answer, json, shown))
}

/// The change in a line, why it takes which checks, and how these are.
pub fn shown(body: &Value) -> String {
    let mut head = text(body, "head");
    head.truncate(12);
    let mut out = format!(
        "{} {} of {} {}, tier {}",
        styled(NAME, text(body, "changeset")),
        state(&text(body, "state")),
        text(body, "author"),
        styled(FAINT, head),
        text(&body["plan"], "tier"),
    );
    let reason = text(body, "reason");
    if !reason.is_empty() {
        let _ = write!(out, ": {reason}");
    }
    out.push('\n');
    for reason in list(&body["plan"], "reasons") {
        let _ = writeln!(out, "{}", styled(FAINT, format_args!("  {}", why(reason))));
    }
    let jobs = list(body, "jobs");
    if !jobs.is_empty() {
        let rows: Vec<_> = jobs.iter().map(row).collect();
        out.push_str(&show::table(
            &["job", "tier", "check", "state", ""],
            &rows,
            &[NAME, FAINT],
        ));
    }
    let manual = jobs
        .iter()
        .find(|job| text(job, "executor").starts_with("manual") && job["ended_at"].is_null());
    if let Some(job) = manual {
        let job = text(job, "job");
        let _ = writeln!(
            out,
            "{job} takes a person: an operator or an agent of trust 4, not its author, by `coord verify decide {job} approve`"
        );
    }
    let next = text(body, "next");
    if !next.is_empty() {
        let _ = writeln!(out, "{}", styled(WARN, next));
    }
    out
}

fn why(reason: &Value) -> String {
    let policy = text(reason, "policy");
    let because = text(reason, "why");
    match (policy.is_empty(), because.is_empty()) {
        (true, _) => because,
        (_, true) => policy,
        _ => format!("{policy}: {because}"),
    }
}

fn row(job: &Value) -> Vec<String> {
    let note = match text(job, "state").as_str() {
        "running" => format!(
            "attempt {} by {}",
            text(job, "attempt"),
            text(job, "taken_by")
        ),
        "passed" | "failed" => {
            let evidence = &job["evidence"];
            let mut note = format!("by {}", text(evidence, "by"));
            for name in ["log_url", "log"] {
                let place = text(evidence, name);
                if !place.is_empty() {
                    note = format!("{note}, {place}");
                    break;
                }
            }
            note
        }
        _ => list(job, "history")
            .last()
            .map_or_else(String::new, |last| text(last, "why")),
    };
    vec![
        text(job, "job"),
        text(job, "tier"),
        text(job, "executor"),
        state(&text(job, "state")),
        note.chars().take(120).collect(),
    ]
}

/// The state of a change or a check, in its colour.
pub fn state(state: &str) -> String {
    let style = match state {
        "verified" | "passed" => GOOD,
        "rejected" | "failed" | "dead" => BAD,
        "running" | "error" | "timed_out" => WARN,
        "superseded" | "cancelled" => FAINT,
        _ => Style::new(),
    };
    styled(style, state)
}
