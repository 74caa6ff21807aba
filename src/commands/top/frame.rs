//! Drawing: into a terminal's cells, or as text.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState};

use super::panes::{COUNT, Pane};
use crate::commands::show::{self, FAINT, HEAD, NAME, styled};

/// All panes, one below the other.
pub fn text(panes: &[Pane]) -> String {
    let mut out = Vec::new();
    for pane in panes {
        let title = format!(
            "{} {}\n",
            styled(HEAD, pane.name),
            styled(FAINT, format_args!("({})", pane.sum))
        );
        let rows = match pane.rows.as_slice() {
            [] => "  none\n".to_owned(),
            rows => show::table(pane.heads, rows, &[NAME]),
        };
        out.push(title + &rows);
    }
    out.join("\n")
}

/// What the person chose.
#[derive(Default)]
pub struct View {
    /// The chosen pane.
    pub pane: usize,
    /// It alone, as large as the terminal.
    pub large: bool,
    /// Where each pane is scrolled to.
    pub scrolled: [usize; COUNT],
    /// Only rows with this in them.
    pub filter: String,
    /// It is being typed.
    pub typing: bool,
}

impl View {
    /// The rows that the filter leaves.
    pub fn rows<'a>(&self, pane: &'a Pane) -> Vec<&'a Vec<String>> {
        let wanted = self.filter.to_lowercase();
        let fits =
            |row: &&Vec<String>| row.iter().any(|cell| cell.to_lowercase().contains(&wanted));
        pane.rows.iter().filter(fits).collect()
    }
}

/// What stands in the first line.
pub struct Heading {
    pub place: String,
    pub time: String,
    /// Why there is nothing newer.
    pub trouble: Option<String>,
}

pub fn draw(frame: &mut Frame, heading: &Heading, panes: Option<&[Pane; COUNT]>, view: &View) {
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(first_line(heading), top);
    frame.render_widget(last_line(view), bottom);
    let Some(panes) = panes else {
        return;
    };
    if view.large {
        pane(frame, middle, &panes[view.pane], view, view.pane);
        return;
    }
    for (at, area) in areas(middle).into_iter().enumerate() {
        pane(frame, area, &panes[at], view, at);
    }
}

/// Agents beside locks, the queue over the whole width, waiting beside refusals; in a narrow
/// terminal all of them below each other.
fn areas(area: Rect) -> [Rect; COUNT] {
    if area.width < 100 {
        return Layout::vertical([Constraint::Fill(1); COUNT]).areas(area);
    }
    let [upper, queue, lower] = Layout::vertical([
        Constraint::Fill(3),
        Constraint::Fill(4),
        Constraint::Fill(2),
    ])
    .areas(area);
    let halves = Layout::horizontal([Constraint::Fill(1); 2]);
    let [agents, locks] = halves.areas(upper);
    let [waiting, refusals] = halves.areas(lower);
    [agents, locks, queue, waiting, refusals]
}

fn first_line(heading: &Heading) -> Paragraph<'_> {
    let mut spans = vec![
        Span::styled("coord top", Modifier::BOLD),
        Span::raw(format!("  {}  {}", heading.place, heading.time)),
    ];
    if let Some(trouble) = &heading.trouble {
        let style = Style::new().fg(Color::White).bg(Color::Red);
        spans.insert(1, Span::raw("  "));
        spans.insert(2, Span::styled(format!(" {trouble} "), style));
    }
    Paragraph::new(Line::from(spans))
}

fn last_line(view: &View) -> Paragraph<'_> {
    let filter = if view.typing {
        format!("/{}_  enter keeps it, esc drops it", view.filter)
    } else if view.filter.is_empty() {
        "q quit   tab pane   up/down scroll   enter large   / filter".to_owned()
    } else {
        format!("only /{}/   esc drops it   q quit", view.filter)
    };
    Paragraph::new(filter).style(Modifier::DIM)
}

fn pane(frame: &mut Frame, area: Rect, pane: &Pane, view: &View, at: usize) {
    let rows = view.rows(pane);
    let chosen = view.pane == at;
    let title = format!(" {} ({}) ", pane.name, pane.sum);
    let mut block = Block::bordered().title(title);
    if chosen {
        block = block.border_style(Color::Cyan).title_style(Modifier::BOLD);
    }
    let widths = widths(pane.heads, &rows);
    let head = Row::new(pane.heads.iter().copied()).style(Modifier::BOLD);
    let cells = rows.iter().map(|row| {
        Row::new(row.iter().map(|cell| match colour(cell) {
            Some(colour) => Cell::from(cell.as_str()).style(colour),
            None => Cell::from(cell.as_str()),
        }))
    });
    let table = Table::new(cells, widths)
        .header(head)
        .column_spacing(2)
        .block(block);
    let offset = view.scrolled[at].min(rows.len().saturating_sub(1));
    let mut state = TableState::new().with_offset(offset);
    frame.render_stateful_widget(table, area, &mut state);
}

/// As wide as its widest cell, within reason; the last takes what is left.
fn widths(heads: &[&str], rows: &[&Vec<String>]) -> Vec<Constraint> {
    let last = heads.len() - 1;
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        u16::try_from(widest.clamp(heads[column].len(), 40)).unwrap_or(40)
    };
    (0..heads.len())
        .map(|column| match width(column) {
            width if column == last => Constraint::Min(width.min(10)),
            width => Constraint::Length(width),
        })
        .collect()
}

fn colour(cell: &str) -> Option<Color> {
    match cell {
        "active" | "ready" => Some(Color::Green),
        "busy" | "claimed" | "later" => Some(Color::Yellow),
        "stale" | "denied" | "deadlock" | "held" => Some(Color::Red),
        "blocked" => Some(Color::DarkGray),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::panes;
    use crate::commands::top::snapshot::Snapshot;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn some() -> [Pane; COUNT] {
        panes::of(&Snapshot {
            at: 1_795_379_460,
            agents: vec![json!({"agent": "ann", "status": "active", "locks": 2, "tasks": ["T-1"]})],
            tasks: vec![
                json!({"task": "T-1", "state": "claimed", "agent": "ann", "title": "one\u{1b}[2J"}),
                json!({"task": "T-2", "state": "pending", "blocked": false, "title": "two",
                       "submitted_at": "2026-11-22T20:30:00+00:00"}),
            ],
            ..Snapshot::default()
        })
    }

    fn drawn(width: u16, height: u16, view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let heading = Heading {
            place: "http://x".to_owned(),
            time: "now".to_owned(),
            trouble: Some("unreachable since then".to_owned()),
        };
        terminal
            .draw(|frame| draw(frame, &heading, Some(&some()), view))
            .unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn every_pane_is_there_in_wide_and_narrow_terminals() {
        for (width, height) in [(160, 40), (80, 40)] {
            let drawn = drawn(width, height, &View::default());
            for word in [
                "Agents (1)",
                "Locks (0)",
                "1 claimed, 1 ready, 0 blocked, 0 later, T-2 waits for 1m",
                "Waiting (0)",
                "Refusals",
                "ann",
                "T-1",
                "2 locks",
                "unreachable since then",
                "q quit",
            ] {
                assert!(drawn.contains(word), "{word}\n{drawn}");
            }
            assert!(!drawn.contains('\u{1b}'));
        }
        // No terminal is too small to survive.
        drawn(3, 2, &View::default());
    }

    #[test]
    fn a_large_pane_is_alone_and_a_filter_leaves_what_fits() {
        let view = View {
            pane: 2,
            large: true,
            filter: "TWO".to_owned(),
            ..View::default()
        };
        let drawn = drawn(80, 10, &view);
        assert!(drawn.contains("T-2") && !drawn.contains("Agents") && drawn.contains("only /TWO/"));
        assert!(!drawn.contains("one"), "{drawn}");
    }

    #[test]
    fn text_has_the_same_rows() {
        let text = anstream::adapter::strip_str(&text(&some())).to_string();
        assert!(
            text.contains("Agents (1)") && text.contains("T-2") && text.contains("  none\n"),
            "{text}"
        );
    }
}
