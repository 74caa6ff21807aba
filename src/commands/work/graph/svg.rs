//! The graph as a picture: a column for each step of the way, boxes in them, curves between.
//!
//! The layout is our own: layout-rs needed four minutes for two hundred tasks, and a
//! graph without circles needs no more than its ranks and, within them, the neighbours' mean.
//! What leads over a column passes between its boxes, all from one task together.

use std::fmt::Write as _;

use super::Graph;

const BOX: (f64, f64) = (230.0, 58.0);
const GAP: (f64, f64) = (70.0, 16.0);
const MARGIN: f64 = 16.0;
/// Characters of a title that fit a box.
const FITS: usize = 32;
/// Ways along the columns and back, to bring neighbours together.
const SWEEPS: usize = 8;

pub fn draw(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let high = |at: usize| {
        if at < graph.tasks.len() { BOX.1 } else { 0.0 }
    };
    let tall = |column: &Vec<usize>| {
        column.iter().map(|at| high(*at)).sum::<f64>() + gaps(column.len()) * GAP.1
    };
    let height = layout.columns.iter().map(tall).fold(0.0, f64::max);
    let mut places = vec![(0.0, 0.0); layout.nodes];
    let mut x = 0.0;
    for column in &layout.columns {
        let mut y = (height - tall(column)) / 2.0;
        for at in column {
            places[*at] = (x, y + high(*at) / 2.0);
            y += high(*at) + GAP.1;
        }
        x += BOX.0 + GAP.0;
    }
    let (width, height) = ((x - GAP.0).max(0.0) + 2.0 * MARGIN, height + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0 8 4 0 8z\" fill=\"#6b7280\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <g transform=\"translate({MARGIN} {MARGIN})\">\n"
    );
    for (from, to) in &layout.ties {
        let ((x1, y1), (x2, y2)) = (places[*from], places[*to]);
        let (x1, half) = (x1 + BOX.0, GAP.0 / 2.0);
        let (to_a_task, mut end) = (*to < graph.tasks.len(), String::new());
        if !to_a_task {
            end = format!("H{}", x2 + BOX.0);
        }
        let _ = writeln!(
            out,
            "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}{end}\" fill=\"none\" stroke=\"#6b7280\"{}/>",
            x1 + half,
            x2 - half,
            if to_a_task {
                " marker-end=\"url(#tip)\""
            } else {
                ""
            }
        );
    }
    for (task, (x, y)) in graph.tasks.iter().zip(&places) {
        let (fill, border) = task.state.colours();
        let mut title: String = task.title.chars().take(FITS).collect();
        if title.len() < task.title.len() {
            title.push('…');
        }
        let y = y - BOX.1 / 2.0;
        let _ = writeln!(
            out,
            "<g transform=\"translate({x} {y})\"><title>{} {}: {}</title>\
             <rect width=\"{}\" height=\"{}\" rx=\"6\" fill=\"{fill}\" stroke=\"{border}\"/>\
             <text x=\"10\" y=\"18\" font-weight=\"bold\">{}</text>\
             <text x=\"10\" y=\"34\">{}</text>\
             <text x=\"10\" y=\"50\" fill=\"#4b5563\">{}</text></g>",
            escaped(&task.name),
            escaped(&task.title),
            escaped(&task.standing),
            BOX.0,
            BOX.1,
            escaped(&task.name),
            escaped(&title),
            escaped(&task.standing)
        );
    }
    out.push_str("</g>\n</svg>\n");
    out
}

#[allow(clippy::cast_precision_loss)] // At most some thousands.
fn gaps(count: usize) -> f64 {
    count.saturating_sub(1) as f64
}

/// Nodes are the tasks and, after them, the places where something passes a column.
struct Layout {
    nodes: usize,
    /// From the top; a tie leads from one column to the next.
    columns: Vec<Vec<usize>>,
    ties: Vec<(usize, usize)>,
}

impl Layout {
    /// The tasks by their longest way from one that needs nothing, neighbours near each other.
    fn of(graph: &Graph) -> Self {
        let (needs, needed_by) = neighbours(
            graph.tasks.len(),
            graph.ties.iter().map(|(task, need)| (*need, *task)),
        );
        let ranks = ranks(&needs, &needed_by);
        let mut columns = vec![Vec::new(); ranks.iter().max().map_or(0, |most| most + 1)];
        for (at, rank) in ranks.iter().enumerate() {
            columns[*rank].push(at);
        }
        let mut nodes = graph.tasks.len();
        let mut ties = Vec::new();
        for (need, tasks) in needed_by.iter().enumerate() {
            let last = tasks.iter().map(|it| ranks[*it]).max().unwrap_or_default();
            let mut from = need;
            let passed = columns.iter_mut().enumerate().take(last + 1);
            for (rank, column) in passed.skip(ranks[need] + 1) {
                let there = tasks.iter().filter(|it| ranks[**it] == rank);
                ties.extend(there.map(|task| (from, *task)));
                if rank < last {
                    column.push(nodes);
                    ties.push((from, nodes));
                    from = nodes;
                    nodes += 1;
                }
            }
        }
        let mut layout = Self {
            nodes,
            columns,
            ties,
        };
        layout.untangle();
        layout
    }

    fn untangle(&mut self) {
        let (before, after) = neighbours(self.nodes, self.ties.iter().copied());
        let mut rows = vec![0.0; self.nodes];
        for column in &self.columns {
            settle(column, &mut rows);
        }
        for _ in 0..SWEEPS {
            for column in &mut self.columns {
                arrange(column, &before, &mut rows);
            }
            for column in self.columns.iter_mut().rev() {
                arrange(column, &after, &mut rows);
            }
        }
    }
}

/// What leads to each node, and where each leads.
fn neighbours(
    nodes: usize,
    ties: impl Iterator<Item = (usize, usize)>,
) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut before = vec![Vec::new(); nodes];
    let mut after = before.clone();
    for (from, to) in ties {
        before[to].push(from);
        after[from].push(to);
    }
    (before, after)
}

/// Each one behind all that it needs.
fn ranks(needs: &[Vec<usize>], needed_by: &[Vec<usize>]) -> Vec<usize> {
    let mut ranks = vec![0; needs.len()];
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..needs.len()).filter(|at| open[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for next in &needed_by[at] {
            ranks[*next] = ranks[*next].max(ranks[at] + 1);
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    ranks
}

/// Orders a column by where its neighbours on one side are.
#[allow(clippy::cast_precision_loss)]
fn arrange(column: &mut [usize], neighbours: &[Vec<usize>], rows: &mut [f64]) {
    let mean = |at: usize| match neighbours[at].as_slice() {
        [] => rows[at],
        found => found.iter().map(|it| rows[*it]).sum::<f64>() / found.len() as f64,
    };
    column.sort_by(|one, two| mean(*one).total_cmp(&mean(*two)));
    settle(column, rows);
}

/// Rows count from the middle: columns differ in height.
#[allow(clippy::cast_precision_loss)]
fn settle(column: &[usize], rows: &mut [f64]) {
    for (row, at) in column.iter().enumerate() {
        rows[*at] = row as f64 - column.len() as f64 / 2.0;
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_tie_leads_to_the_right_and_no_two_boxes_share_a_place() {
        fastrand::seed(7);
        let tasks: Vec<_> = (1..=300)
            .map(|number| json!({"task": format!("T-{number}"), "title": "t", "state": "pending"}))
            .collect();
        let mut ties = Vec::new();
        for task in 2..=300 {
            let needs = fastrand::usize(1..task);
            ties.push(json!({"task": format!("T-{task}"), "needs": format!("T-{needs}")}));
        }
        let graph = Graph::read(&json!({"tasks": tasks, "ties": ties}));
        let layout = Layout::of(&graph);
        let mut column = vec![0; layout.nodes];
        for (step, nodes) in layout.columns.iter().enumerate() {
            for at in nodes {
                column[*at] = step;
            }
        }
        assert!(
            layout
                .ties
                .iter()
                .all(|(a, b)| column[*a] + 1 == column[*b])
        );
        // Whatever a task needs is reached from there, and nothing else.
        let (before, _) = neighbours(layout.nodes, layout.ties.iter().copied());
        for (task, need) in &graph.ties {
            let mut at = before[*task][0];
            while at >= 300 {
                at = before[at][0];
            }
            assert_eq!(at, *need);
        }
        assert_eq!(draw(&graph).matches("<rect width=\"230\"").count(), 300);
    }

    #[test]
    fn titles_are_escaped_and_shortened() {
        let title = "<script>&\"".repeat(9);
        let body =
            json!({"tasks": [{"task": "T-1", "title": title, "state": "claimed", "agent": "b"}]});
        let drawn = draw(&Graph::read(&body));
        assert!(
            !drawn.contains("<script>") && drawn.contains('…') && drawn.contains("claimed by b")
        );
        assert!(draw(&Graph::read(&json!({}))).starts_with("<svg"));
    }
}
