//! The graph in Graphviz's language.

use std::fmt::Write as _;

use super::Graph;

pub fn draw(graph: &Graph) -> String {
    let mut out = String::from(
        "digraph work {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n",
    );
    for task in &graph.tasks {
        let (fill, border) = task.state.colours();
        let _ = writeln!(
            out,
            "  {} [label={}, fillcolor={fill:?}, color={border:?}];",
            quoted(&[&task.name]),
            quoted(&[&task.name, &task.title, &task.standing]),
        );
    }
    // From what is needed to what needs it: as the work goes.
    for (task, needs) in &graph.ties {
        let name = |at: &usize| quoted(&[&graph.tasks[*at].name]);
        let _ = writeln!(out, "  {} -> {};", name(needs), name(task));
    }
    out.push_str("}\n");
    out
}

/// Lines as one string of DOT: in it only quotes and backslashes mean anything, and of what
/// follows a backslash a label knows more than we want to say.
fn quoted(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.replace('\\', "\\\\").replace('"', "\\\""))
        .collect();
    format!("\"{}\"", lines.join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn titles_cannot_leave_their_quotes() {
        let body = json!({
            "tasks": [{"task": "T-1", "title": "a \"quoted\" \\N\\ title", "state": "pending"},
                      {"task": "T-2", "title": "]; x", "state": "dead"}],
            "ties": [{"task": "T-2", "needs": "T-1"}],
        });
        let drawn = draw(&Graph::read(&body));
        assert!(
            drawn.contains(r#""T-1" [label="T-1\na \"quoted\" \\N\\ title\npending","#)
                && drawn.contains(r#""T-2" [label="T-2\n]; x\ndead","#)
                && drawn.contains("  \"T-1\" -> \"T-2\";\n"),
            "{drawn}"
        );
    }
}
