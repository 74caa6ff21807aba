//! The coordinator's answers in the words of a hook. Git shows them as they are.

use std::path::Path;

use serde_json::Value;

use super::Error;
use super::verdict::Verdict;
use crate::commands::show::{harmless, span};
use crate::commands::spoken::spoken;
use crate::commands::up::quote;
use crate::{rpc, settings};

/// Lines about single files; the rest is counted.
const SHOWN: usize = 20;

/// What `git commit` is told about files that no lock covers.
pub fn uncovered(verdict: &Verdict, refused: bool) -> String {
    let total = verdict.problems.len();
    let head = if refused {
        "coord: this commit is refused"
    } else {
        "coord: warning"
    };
    let mut out = vec![format!(
        "{head}: {} not locked by {}\n",
        count(total, "staged file is", "staged files are"),
        verdict.agent
    )];
    for problem in verdict.problems.iter().take(SHOWN) {
        let path = text(problem, "path");
        out.push(format!("  {path}: {}\n", state(problem, &path)));
    }
    out.push(rest(total));
    let paths: Vec<_> = verdict.problems.iter().take(SHOWN).map(argument).collect();
    let more = if total > SHOWN { " …" } else { "" };
    out.push(format!("Lock them first{}:\n", from_where()));
    out.push(format!("  coord lock acquire {}{more}\n", paths.join(" ")));
    if verdict.problems.iter().any(|it| it.get("holder").is_some()) {
        out.push(
            "Where somebody else holds them: ask the holder, or stand in line with `--wait 10m`.\n"
                .to_owned(),
        );
    }
    out.concat()
}

fn state(problem: &Value, path: &str) -> String {
    if problem.get("problem").is_some_and(|it| it == "only_shared") {
        return "you hold it shared, which is for reading".to_owned();
    }
    let holder = text(problem, "holder");
    if holder.is_empty() {
        return "nobody has locked it".to_owned();
    }
    let held = text(problem, "held_path");
    let held = if held == path {
        String::new()
    } else {
        format!(" (with {held})")
    };
    let left = problem.get("holder_seconds_left").and_then(Value::as_i64);
    let left = left.map(|it| format!(" for up to {} more", span(it)));
    let reason = text(problem, "reason");
    let reason = if reason.is_empty() {
        reason
    } else {
        format!(": {reason}")
    };
    format!(
        "{holder} holds it{held}{}{reason}",
        left.unwrap_or_default()
    )
}

fn argument(problem: &Value) -> String {
    let path = problem.get("path").and_then(Value::as_str);
    quote(Path::new(&harmless(path.unwrap_or_default())))
}

/// Paths are those from the root; whoever stands below must hear it.
fn from_where() -> &'static str {
    match settings::env("GIT_PREFIX") {
        Some(_) => ", at the root of the checkout",
        None => "",
    }
}

/// What `git commit` is told when nobody could be asked.
pub fn unchecked(error: &Error) -> String {
    format!(
        "coord: the locks could not be checked, so this commit stops. Nobody has refused it.\n  \
         why: {}\n  what mends it: {}\n  \
         To commit once without the check: git commit --no-verify\n",
        why_not(error),
        mend(error)
    )
}

/// What went wrong, without the coordinator's advice: that is what mends it.
pub fn why_not(error: &Error) -> String {
    let Error::Rpc(rpc::Error::Problem(problem)) = error else {
        return one_line(&error.to_string());
    };
    let details = problem.details.as_ref();
    one_line(&details.map_or(problem.message.clone(), |it| {
        format!("{}: {it}", problem.message)
    }))
}

/// What helps against it.
pub fn mend(error: &Error) -> String {
    let advice = match error {
        Error::NoToken(_) => {
            "set COORD_TOKEN to your token; an operator mints one with `coord token mint`"
        }
        Error::Settings(settings::Error::NoStack(_)) => {
            "start a coordinator with `coord up --detach`, or set COORD_URL and COORD_TOKEN to one that runs"
        }
        Error::Settings(settings::Error::Token { .. }) => {
            "put the token there, or set COORD_TOKEN to it"
        }
        Error::Late(_) | Error::Rpc(rpc::Error::Unreachable(..)) => {
            "start the coordinator (`coord up --detach`), or set COORD_URL (git config coord.url) to where it runs; `coord hook status` looks"
        }
        Error::Rpc(rpc::Error::Problem(problem)) => match &problem.hint {
            Some(hint) => &one_line(&spoken(hint)),
            None if problem.status == 401 => {
                "set COORD_TOKEN to a token of this coordinator; an operator mints one with `coord token mint`"
            }
            None => "`coord hook status` and `coord doctor` look for what is wrong",
        },
        Error::Rpc(_) | Error::NoDecision(_) => {
            "`coord hook status` and `coord doctor` look for what is wrong"
        }
        Error::Event(_) => {
            "the client and coord do not understand each other: see docs/client-hooks.md"
        }
        Error::Usage(_) => "`coord hook install` writes it anew",
        Error::Git(_) | Error::File { .. } => "see what it says, then try again",
    };
    advice.to_owned()
}

/// What `git push` is told about files that were changed without a lock.
pub fn unfenced(answer: &Value, refused: bool) -> String {
    let problems = list(answer, "problems");
    let total = answer.get("total_problems").and_then(Value::as_u64);
    let total = total.map_or(problems.len(), |it| {
        usize::try_from(it).unwrap_or(usize::MAX)
    });
    let head = if refused {
        "coord: this push is refused"
    } else {
        "coord: warning"
    };
    let mut out = vec![format!(
        "{head}: {} not made under a lock that holds\n",
        count(total, "change is", "changes are")
    )];
    for problem in problems.iter().take(SHOWN) {
        let commit = text(problem, "commit");
        let agent = match text(problem, "agent") {
            agent if agent.is_empty() => agent,
            agent => format!(" by {agent}"),
        };
        out.push(format!(
            "  {}{agent} {}: {}\n",
            commit.get(..12).unwrap_or(&commit),
            text(problem, "path"),
            why(problem)
        ));
    }
    out.push(rest(total));
    out.push(after(&spoken(&text(answer, "next"))));
    out.concat()
}

fn why(problem: &Value) -> String {
    let fence = text(problem, "fence");
    let why = match problem.get("problem").and_then(Value::as_str) {
        Some("no_fence") => "the commit names no lock".to_owned(),
        Some("not_covered") => "no lock that the commit names covers it".to_owned(),
        Some("fence_expired") => {
            format!("its lock (fence {fence}) ran out before it was released")
        }
        Some("fence_broken") => format!("its lock (fence {fence}) was broken by an operator"),
        Some("fence_superseded") => format!(
            "{} pushed it under fence {}, which is newer than {fence}",
            text(problem, "pushed_by"),
            text(problem, "newest_fence")
        ),
        _ => text(problem, "problem"),
    };
    match text(problem, "holder") {
        holder if holder.is_empty() => why,
        holder => format!("{why}; {holder} holds {} now", text(problem, "held_path")),
    }
}

/// What `git push` is told when the coordinator would not even look.
pub fn denied(answer: &Value) -> String {
    let mut out = vec![format!(
        "coord: the coordinator did not check this push, so it stops: {} {}\n",
        text(answer, "outcome"),
        text(answer, "code")
    )];
    for name in ["message", "details", "hint", "next"] {
        out.push(after(&spoken(&text(answer, name))));
    }
    out.concat()
}

/// What `git push` is told when nobody could be asked.
pub fn push_unchecked(error: &Error) -> String {
    format!(
        "coord: the locks could not be checked, so this push stops. Nobody has refused it.\n  \
         why: {}\n  what mends it, on the server: {}\n",
        why_not(error),
        mend(error)
    )
}

fn rest(total: usize) -> String {
    match total.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("  … and {more} more\n"),
    }
}

fn after(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("{text}\n"),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The list in a field; none is an empty one.
pub fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A field on one line, whatever others wrote into it; nothing for none.
pub fn text(body: &Value, name: &str) -> String {
    match body.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => one_line(text),
        Some(value) => value.to_string(),
    }
}

fn one_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Decision;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refused_commit_names_files_holders_and_the_next_step() {
        let mut problems = vec![
            json!({"path": "src/a.rs", "problem": "held_by_other", "holder": "agent-b",
                "held_path": "src/", "holder_seconds_left": 90, "reason": "a\nmove"}),
            json!({"path": "it's", "problem": "not_held"}),
            json!({"path": "c", "problem": "only_shared", "fence": 3}),
        ];
        let mut verdict = Verdict {
            decision: Decision::Deny,
            agent: "agent-a".to_owned(),
            covered: vec![],
            problems: problems.clone(),
        };
        assert_eq!(
            uncovered(&verdict, true),
            "coord: this commit is refused: 3 staged files are not locked by agent-a\n  \
             src/a.rs: agent-b holds it (with src/) for up to 1m 30s more: a move\n  \
             it's: nobody has locked it\n  \
             c: you hold it shared, which is for reading\n\
             Lock them first:\n  coord lock acquire src/a.rs 'it'\\''s' c\n\
             Where somebody else holds them: ask the holder, or stand in line with `--wait 10m`.\n"
        );
        problems.extend((0..30).map(|at| json!({"path": format!("f{at}"), "problem": "not_held"})));
        verdict.problems = problems;
        let told = uncovered(&verdict, false);
        assert!(
            told.starts_with("coord: warning: 33 staged files are"),
            "{told}"
        );
        assert!(
            told.contains("… and 13 more") && !told.contains("f17"),
            "{told}"
        );
    }

    #[test]
    fn a_refused_push_says_what_became_of_each_lock() {
        let answer = json!({"total_problems": 2, "next": "Lock the files.", "problems": [
            {"commit": "0123456789abcdef", "agent": "agent-a", "path": "src/a\nb", "problem": "fence_superseded",
             "fence": 17, "newest_fence": 19, "pushed_by": "agent-b", "holder": "agent-b", "held_path": "src/"},
            {"commit": "fedcba9876543210", "path": "x", "problem": "no_fence"},
        ]});
        assert_eq!(
            unfenced(&answer, true),
            "coord: this push is refused: 2 changes are not made under a lock that holds\n  \
             0123456789ab by agent-a src/a b: agent-b pushed it under fence 19, which is newer than 17; agent-b holds src/ now\n  \
             fedcba987654 x: the commit names no lock\n\
             Lock the files.\n"
        );
    }
}
