//! The graph as a tree: what needs a task stands below it, and what needs several stands
//! once, below the first of them, and is named below the others.

use super::Graph;
use crate::commands::show::{FAINT, NAME, styled};

pub fn draw(graph: &Graph) -> String {
    if graph.tasks.is_empty() {
        return "no open tasks\n".to_owned();
    }
    let mut drawing = Drawing {
        graph,
        drawn: vec![false; graph.tasks.len()],
        out: String::new(),
    };
    for at in 0..graph.tasks.len() {
        if graph.needs(at).is_empty() {
            drawing.task(at, None, "", "");
        }
    }
    drawing.out
}

struct Drawing<'a> {
    graph: &'a Graph,
    drawn: Vec<bool>,
    out: String,
}

impl Drawing<'_> {
    fn task(&mut self, at: usize, above: Option<usize>, first: &str, rest: &str) {
        let task = &self.graph.tasks[at];
        let name = |at: usize| styled(NAME, &self.graph.tasks[at].name);
        let state = styled(task.state.style(), &task.standing);
        let mut line = format!(
            "{}{}  {state}  {}",
            styled(FAINT, first),
            name(at),
            task.title
        );
        if self.drawn[at] {
            let above = styled(FAINT, "(see above)");
            line = format!("{}{}  {above}", styled(FAINT, first), name(at));
            self.line(&line);
            return;
        }
        let others: Vec<String> = (self.graph.needs(at).into_iter())
            .filter(|other| Some(*other) != above)
            .map(name)
            .collect();
        if !others.is_empty() {
            let needs = format!("(needs {} too)", others.join(", "));
            line = format!("{line}  {needs}");
        }
        self.line(&line);
        self.drawn[at] = true;
        let below = self.graph.needed_by(at);
        let last = below.len().saturating_sub(1);
        for (place, next) in below.into_iter().enumerate() {
            let (turn, down) = if place == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.task(
                next,
                Some(at),
                &format!("{rest}{turn}"),
                &format!("{rest}{down}"),
            );
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_task_stands_once_and_is_named_where_else_it_is_needed() {
        let body = json!({
            "tasks": [
                {"task": "T-1", "title": "Parse", "state": "completed", "agent": "bob"},
                {"task": "T-2", "title": "Check", "state": "claimed", "agent": "ann"},
                {"task": "T-3", "title": "Print", "state": "pending"},
                {"task": "T-4", "title": "Ship\u{1b}[2J", "state": "pending", "blocked": true},
                {"task": "T-5", "title": "Alone", "state": "dead", "agent": "bob"},
            ],
            "ties": [{"task": "T-2", "needs": "T-1"}, {"task": "T-3", "needs": "T-1"},
                     {"task": "T-4", "needs": "T-2"}, {"task": "T-4", "needs": "T-3"}],
        });
        let drawn = draw(&Graph::read(&body));
        assert_eq!(
            anstream::adapter::strip_str(&drawn).to_string(),
            "T-1  completed by bob  Parse\n\
             ├─ T-2  claimed by ann  Check\n\
             │  └─ T-4  blocked  Ship\u{fffd}[2J  (needs T-3 too)\n\
             └─ T-3  pending  Print\n   \
                └─ T-4  (see above)\n\
             T-5  dead  Alone\n"
        );
        assert_eq!(draw(&Graph::read(&json!({"tasks": []}))), "no open tasks\n");
    }
}
