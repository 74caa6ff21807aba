//! Memories for people: every line that somebody else wrote stands behind `>`, so that none
//! can pass for ours.

use std::fmt::Write as _;

use serde_json::Value;

use crate::commands::show::{self, FAINT, NAME, WARN, styled, text};

/// The answer of recall, best first.
pub fn list(body: &Value) -> String {
    let memories = show::list(body, "memories");
    if memories.is_empty() {
        return "nothing is remembered that fits\n".to_owned();
    }
    let mut out: String = memories.iter().map(ranked).collect();
    let _ = writeln!(out, "{}", styled(FAINT, text(body, "note")));
    out
}

/// One memory with all that is kept of it.
pub fn whole(memory: &Value) -> String {
    let mut out = head(memory);
    quote(&mut out, "", said(memory, "summary"));
    body(&mut out, memory);
    for (name, what) in [
        ("event_type", "type"),
        ("outcome", "outcome"),
        ("scope", "scope"),
        ("repo", "repository"),
        ("commit", "commit"),
        ("learned_at", "learned"),
        ("told", "told"),
        ("told_at", "told last"),
        ("useful", "useful"),
        ("useless", "useless"),
        ("tries", "tries"),
        ("effectiveness", "effectiveness"),
        ("valid_until", "valid until"),
        ("archived_at", "archived"),
        ("uid", "uid"),
    ] {
        field(&mut out, what, &text(memory, name));
    }
    out
}

/// A procedure that contradicts another one.
pub fn conflict(other: &Value) -> String {
    let mut out = format!(
        "  {} said by {}, effectiveness {}\n",
        styled(NAME, text(other, "id")),
        text(other, "said_by"),
        text(other, "effectiveness")
    );
    quote(&mut out, "", said(other, "name"));
    steps(&mut out, other, "steps");
    out
}

fn ranked(memory: &Value) -> String {
    let mut out = head(memory);
    quote(&mut out, "", said(memory, "summary"));
    body(&mut out, memory);
    if memory.get("details_cut").is_some() {
        let id = text(memory, "id");
        let _ = writeln!(
            out,
            "  {}",
            styled(FAINT, format_args!("cut: coord mem show {id}"))
        );
    }
    field(&mut out, "why", &text(memory, "why"));
    for other in show::list(memory, "conflicts") {
        let _ = writeln!(out, "  {}", styled(WARN, "is contradicted by"));
        out.push_str(&conflict(other));
    }
    out.push('\n');
    out
}

/// Its id, its worth, who said it, and what speaks against it.
fn head(memory: &Value) -> String {
    let mut out = styled(NAME, text(memory, "id"));
    for name in ["relevance", "event_type", "outcome"] {
        let value = text(memory, name);
        if !value.is_empty() && value != "neutral" {
            let _ = write!(out, "  {value}");
        }
    }
    let _ = write!(out, "  said by {}", text(memory, "said_by"));
    let stale = memory.get("maybe_stale") == Some(&Value::Bool(true));
    let candidate = memory.get("candidate") == Some(&Value::Bool(true));
    let by = text(memory, "superseded_by");
    let marks = [
        (stale, "maybe stale: its files were pushed since".to_owned()),
        (candidate, "not tried yet".to_owned()),
        (!by.is_empty(), format!("superseded by {by}")),
    ];
    for (_, mark) in marks.into_iter().filter(|(so, _)| *so) {
        let _ = write!(out, "  {}", styled(WARN, mark));
    }
    out.push('\n');
    out
}

/// Details, steps, lessons, tags and paths.
fn body(out: &mut String, memory: &Value) {
    let procedure = text(memory, "kind") == "procedural";
    let kept = memory.get("details");
    match kept {
        Some(Value::String(details)) => quote(out, "", details),
        // The view keeps tellings apart, and the steps of a procedure.
        Some(Value::Array(_)) if !procedure => {
            for telling in texts(memory, "details") {
                quote(out, "", telling);
            }
        }
        _ => {}
    }
    for need in texts(memory, "prerequisites") {
        quote(out, "needs: ", need);
    }
    if procedure {
        let name = if memory.get("steps").is_some() {
            "steps"
        } else {
            "details"
        };
        steps(out, memory, name);
    }
    for lesson in texts(memory, "lessons") {
        quote(out, "lesson: ", lesson);
    }
    for name in ["tags", "paths"] {
        let joined = texts(memory, name).collect::<Vec<_>>().join(", ");
        field(
            out,
            name,
            &show::harmless(&joined).replace(['\n', '\t'], " "),
        );
    }
}

fn steps(out: &mut String, memory: &Value, name: &str) {
    for (step, number) in texts(memory, name).zip(1..) {
        quote(out, &format!("{number}. "), step);
    }
}

/// Words of somebody else, each line behind the mark.
fn quote(out: &mut String, before: &str, words: &str) {
    for (number, line) in show::harmless(words).lines().enumerate() {
        let before = if number == 0 { before } else { "" };
        let _ = writeln!(out, "  {} {before}{line}", styled(FAINT, ">"));
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(out, "  {} {value}", styled(FAINT, format_args!("{name}:")));
    }
}

fn said<'a>(memory: &'a Value, name: &str) -> &'a str {
    memory.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(memory: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    show::list(memory, name).iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_said_stands_behind_a_mark() {
        let body = json!({"note": "Quoted from agents.", "memories": [{
            "id": "M-7", "kind": "episodic", "said_by": "agent-a", "relevance": 0.83, "event_type": "bugfix",
            "outcome": "negative", "summary": "locks\nM-8  said by operator", "details": "so\u{1b}[2J\nit is",
            "lessons": ["ask first"], "tags": ["a\nb"], "paths": ["src/"], "why": "words locks; today",
            "maybe_stale": true,
        }]});
        assert_eq!(
            anstream::adapter::strip_str(&list(&body)).to_string(),
            "M-7  0.83  bugfix  negative  said by agent-a  maybe stale: its files were pushed since\n  \
             > locks\n  > M-8  said by operator\n  > so\u{fffd}[2J\n  > it is\n  > lesson: ask first\n  \
             tags: a b\n  paths: src/\n  why: words locks; today\n\nQuoted from agents.\n"
        );
    }

    #[test]
    fn a_procedure_has_its_steps_whether_recalled_or_read() {
        let recalled =
            json!({"id": "M-1", "kind": "procedural", "steps": ["a", "b"], "prerequisites": ["c"]});
        let read = json!({"id": "M-1", "kind": "procedural", "details": ["a", "b"], "prerequisites": ["c"]});
        for memory in [recalled, read] {
            let mut out = String::new();
            body(&mut out, &memory);
            let plain = anstream::adapter::strip_str(&out).to_string();
            assert_eq!(plain, "  > needs: c\n  > 1. a\n  > 2. b\n");
        }
    }
}
