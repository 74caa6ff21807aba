//! Answers for people: fields as lines, lists as tables, in colour where that helps.
//! Whoever wants it exact asks for `--json`.

use std::fmt::Write as _;

use anstyle::AnsiColor;
pub use anstyle::Style;
use serde_json::{Map, Value};

use crate::commands::spoken::spoken;
use crate::exit::Exit;
use crate::rpc::Answer;

/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What was refused.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What changes.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Names worth finding.
pub const NAME: Style = AnsiColor::Cyan.on_default();
/// What matters less.
pub const FAINT: Style = Style::new().dimmed();
/// Headings of tables.
pub const HEAD: Style = Style::new().bold();

/// Text in a style.
#[must_use]
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints to standard output; a reader that went away is no failure.
pub fn print(text: &str) {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The answer itself, on one line.
pub fn json(body: &Value) {
    print(&format!("{body}\n"));
}

/// A field as text of one line, and nothing for null or no field.
#[must_use]
pub fn text(body: &Value, name: &str) -> String {
    match body.get(name) {
        None | Some(Value::Null) => String::new(),
        // Of one line, whatever others wrote.
        Some(Value::String(text)) => harmless(text).replace(['\n', '\t'], " "),
        Some(value) => value.to_string(),
    }
}

/// A list among the fields; empty where there is none.
#[must_use]
pub fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The same as rows of a table.
#[must_use]
pub fn rows(body: &Value, name: &str, row: fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list(body, name).iter().map(row).collect()
}

/// How long something is still held.
#[must_use]
pub fn left(held: &Value) -> String {
    let seconds = held.get("seconds_left").and_then(Value::as_i64);
    seconds.map(span).unwrap_or_default()
}

/// What the coordinator says is to be done now.
#[must_use]
pub fn next(body: &Value) -> String {
    match text(body, "next") {
        next if next.is_empty() => next,
        next => format!("{} {}\n", styled(FAINT, "next:"), spoken(&next)),
    }
}

/// Prints an answer: what was done to standard output, what was refused to standard error.
pub fn told(answer: &Answer, as_json: bool, tell: impl FnOnce(&Value) -> String) -> Exit {
    let denied = answer.body.get("outcome").is_some_and(|it| it == "denied");
    if as_json {
        json(&answer.body);
    } else if denied {
        anstream::eprint!("{}", denial(&answer.body));
    } else if answer.ok() {
        print(&tell(&answer.body));
    } else {
        anstream::eprint!("{}", tell(&answer.body));
    }
    if answer.ok() {
        Exit::Done
    } else {
        Exit::Refused
    }
}

/// Why something was denied.
#[must_use]
pub fn denial(body: &Value) -> String {
    let mut out = vec![format!(
        "{}: {}\n",
        styled(BAD, "denied"),
        text(body, "code")
    )];
    for name in ["message", "details", "hint"] {
        if body.get(name).is_some_and(Value::is_string) {
            out.push(format!("  {}\n", spoken(&text(body, name))));
        }
    }
    out.concat()
}

/// Any answer, readable without knowing its function.
#[must_use]
pub fn answer(body: &Value) -> String {
    let mut out = String::new();
    match body {
        Value::Object(fields) => {
            if let Some(outcome) = fields.get("outcome").and_then(Value::as_str) {
                let good = fields.get("ok").and_then(Value::as_bool).unwrap_or(true);
                let style = if good { GOOD } else { BAD };
                let _ = writeln!(out, "{}", styled(style, outcome));
            }
            let shown = |name: &str| !matches!(name, "outcome" | "next" | "ok");
            for (name, value) in fields.iter().filter(|(name, _)| shown(name)) {
                field(&mut out, name, value, 0);
            }
            if let Some(next) = fields.get("next") {
                field(&mut out, "next", next, 0);
            }
            if out.is_empty() && fields.contains_key("ok") {
                field(&mut out, "ok", &fields["ok"], 0);
            }
        }
        Value::Array(items) => listed(&mut out, items, 0),
        other => {
            let _ = writeln!(out, "{}", scalar(other));
        }
    }
    out
}

/// A field of any kind, on as many lines as it needs.
pub fn field(out: &mut String, name: &str, value: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    let name = styled(FAINT, format_args!("{name}:"));
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let _ = writeln!(out, "{pad}{name}");
            for (name, value) in fields {
                field(out, name, value, depth + 1);
            }
        }
        Value::Array(items) if items.is_empty() => {
            let _ = writeln!(out, "{pad}{name} none");
        }
        Value::Array(items) => {
            let _ = writeln!(out, "{pad}{name}");
            listed(out, items, depth + 1);
        }
        value => {
            let text = scalar(value);
            let mut lines = text.lines();
            let _ = writeln!(out, "{pad}{name} {}", lines.next().unwrap_or_default());
            // Texts of several lines stay under their name.
            for line in lines {
                let _ = writeln!(
                    out,
                    "{}",
                    format_args!("{pad}  {line}").to_string().trim_end()
                );
            }
        }
    }
}

fn listed(out: &mut String, items: &[Value], depth: usize) {
    let pad = "  ".repeat(depth);
    let rows: Option<Vec<&Map<String, Value>>> = items.iter().map(Value::as_object).collect();
    let Some(rows) = rows.filter(|rows| rows.iter().all(|row| flat(row))) else {
        for item in items {
            match item {
                Value::Object(fields) => {
                    let _ = writeln!(out, "{pad}-");
                    for (name, value) in fields {
                        field(out, name, value, depth + 1);
                    }
                }
                other => {
                    let _ = writeln!(out, "{pad}{}", scalar(other));
                }
            }
        }
        return;
    };
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let cells = rows
        .iter()
        .map(|row| {
            let cell = |name: &&str| row.get(*name).map(scalar).unwrap_or_default();
            names.iter().map(cell).collect()
        })
        .collect::<Vec<Vec<String>>>();
    for line in table(&names, &cells, &[]).lines() {
        let _ = writeln!(out, "{pad}{line}");
    }
}

/// Whether a row fits a line of a table.
fn flat(row: &Map<String, Value>) -> bool {
    row.values().all(|value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object()),
        Value::String(text) => text.len() <= 200 && !text.contains('\n'),
        _ => true,
    })
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text of others, without what would steer the terminal.
#[must_use]
pub fn harmless(text: &str) -> String {
    let steers = |c: char| match c {
        '\n' | '\t' => false,
        // What turns the direction of the text around it.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    text.replace(steers, "\u{fffd}")
}

/// Columns as wide as their widest cell, the last one ragged; `styles` are those of the
/// columns, and a cell may bring its own.
#[must_use]
pub fn table(names: &[&str], rows: &[Vec<String>], styles: &[Style]) -> String {
    let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(cell));
        }
    }
    let last = names.len().saturating_sub(1);
    let line = |cells: Vec<&str>, style: &dyn Fn(usize) -> Style| {
        let padded = cells.iter().enumerate().map(|(at, cell)| {
            let fill = if at == last {
                0
            } else {
                widths[at] - width(cell)
            };
            format!("{}{}", styled(style(at), cell), " ".repeat(fill))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut out = line(names.to_vec(), &|_| HEAD);
    out.push('\n');
    for row in rows {
        let cells = row.iter().map(String::as_str).collect();
        let style = |at: usize| styles.get(at).copied().unwrap_or_default();
        out.push_str(&line(cells, &style));
        out.push('\n');
    }
    out
}

/// Characters that are seen.
fn width(cell: &str) -> usize {
    anstream::adapter::strip_str(cell)
        .map(|part| part.chars().count())
        .sum()
}

/// `59s`, `29m 59s`, `7h 59m`, `3d 4h`.
#[must_use]
pub fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600, seconds / 60);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => two(minutes, "m", seconds % 60, "s"),
        3600..86_400 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

fn two(big: i64, big_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        format!("{big}{big_unit}")
    } else {
        format!("{big}{big_unit} {small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [0, 59, 60, 1799, 3600, 28_799, 90_000].map(span);
        assert_eq!(
            spans,
            ["0s", "59s", "1m", "29m 59s", "1h", "7h 59m", "1d 1h"]
        );
    }

    #[test]
    fn an_answer_is_its_outcome_its_fields_and_what_to_do_next() {
        let body = json!({
            "ok": true, "next": "Edit.", "outcome": "acquired", "none": [],
            "locks": [{"path": "src/a.rs", "fence": 7}, {"path": "b", "fence": 8, "why": "x"}],
            "deep": {"tags": ["p", "q"], "empty": null},
        });
        assert_eq!(
            plain(&answer(&body)),
            "acquired\nnone: none\nlocks:\n  path      fence  why\n  src/a.rs  7\n  b         8      x\n\
             deep:\n  tags:\n    p\n    q\n  empty: -\nnext: Edit.\n"
        );
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
