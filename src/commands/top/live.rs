//! The live view: looks, draws, listens for keys; and leaves the terminal as it was.

use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::frame::{self, Heading, View};
use super::panes::{self, COUNT, Pane};
use super::snapshot::Snapshot;
use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::settings::Global;
use crate::signals;
use crate::stack::clock;

/// A look that takes longer is no look.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(every: Duration, global: &Global) -> Result<Exit, Error> {
    // Wrong settings are told before the screen is taken.
    let client = Client::new(global.target()?)?;
    let mut terminal = ratatui::try_init().map_err(|error| {
        Error::Usage(format!(
            "this is no terminal to draw in ({error}); --once prints text"
        ))
    })?;
    let ended = watch(&mut terminal, client, every, global).await;
    ratatui::restore();
    ended
}

/// What is known, and since when nothing newer is.
struct Known {
    client: Client,
    snapshot: Option<Snapshot>,
    panes: Option<[Pane; COUNT]>,
    trouble: Option<(i64, String)>,
}

impl Known {
    fn learn(&mut self, look: Result<Snapshot, String>, global: &Global) {
        match look {
            Ok(snapshot) => {
                self.panes = Some(panes::of(&snapshot));
                self.snapshot = Some(snapshot);
                self.trouble = None;
            }
            Err(why) => {
                let since = self
                    .trouble
                    .take()
                    .map_or_else(clock::now, |(since, _)| since);
                self.trouble = Some((since, why));
                // It may come back on another port, or with another token.
                if let Ok(target) = global.target()
                    && target != *self.client.target()
                    && let Ok(client) = Client::new(target)
                {
                    self.client = client;
                }
            }
        }
    }

    fn heading(&self) -> Heading {
        let at = self.snapshot.as_ref().map(|it| clock::rfc3339(it.at));
        Heading {
            place: self.client.target().url.clone(),
            time: at.unwrap_or_else(|| "looking".to_owned()),
            trouble: self.trouble.as_ref().map(|(since, why)| {
                format!(
                    "{why} since {} ({})",
                    &clock::rfc3339(*since)[11..19],
                    clock::words(clock::now() - since)
                )
            }),
        }
    }
}

async fn watch(
    terminal: &mut DefaultTerminal,
    client: Client,
    every: Duration,
    global: &Global,
) -> Result<Exit, Error> {
    let mut known = Known {
        client,
        snapshot: None,
        panes: None,
        trouble: None,
    };
    let mut view = View::default();
    let mut keys = keys();
    let (done, mut looks) = mpsc::channel(1);
    let mut next = Instant::now();
    let mut looking = false;
    let mut stop = std::pin::pin!(signals::stop());
    loop {
        let heading = known.heading();
        terminal
            .draw(|frame| frame::draw(frame, &heading, known.panes.as_ref(), &view))
            .map_err(|error| Error::Write("the terminal".into(), error))?;
        tokio::select! {
            () = tokio::time::sleep_until(next.into()), if !looking => {
                looking = true;
                let (client, last, done) = (known.client.clone(), known.snapshot.clone(), done.clone());
                tokio::spawn(async move {
                    // Whoever waited for it may be gone.
                    let _ = done.send(look(&client, last).await).await;
                });
            }
            Some(look) = looks.recv() => {
                known.learn(look, global);
                looking = false;
                next = Instant::now() + every;
            }
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if pressed(key, &mut view, known.panes.as_ref()) {
                        return Ok(Exit::Done);
                    }
                }
                Some(_) => {}
                None => return Ok(Exit::Done),
            },
            () = &mut stop => return Ok(Exit::Done),
        }
    }
}

/// A look, or in a few words why there is none.
async fn look(client: &Client, last: Option<Snapshot>) -> Result<Snapshot, String> {
    match tokio::time::timeout(PATIENCE, Snapshot::take(client, last.as_ref())).await {
        Ok(Ok(snapshot)) => Ok(snapshot),
        Ok(Err(rpc::Error::Problem(problem))) if problem.status < 500 => {
            Err(format!("refused ({})", problem.message))
        }
        Ok(Err(_)) | Err(_) => Err("unreachable".to_owned()),
    }
}

/// Keys as they come, read by a thread: it ends with the process.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// Does what a key says; whether it says to quit.
fn pressed(key: KeyEvent, view: &mut View, panes: Option<&[Pane; COUNT]>) -> bool {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return key.code == KeyCode::Char('c');
    }
    if view.typing {
        match key.code {
            KeyCode::Char(c) => view.filter.push(c),
            KeyCode::Backspace => drop(view.filter.pop()),
            KeyCode::Enter => view.typing = false,
            KeyCode::Esc => {
                view.filter.clear();
                view.typing = false;
            }
            _ => {}
        }
        view.scrolled = [0; COUNT];
        return false;
    }
    let last = panes.map_or(0, |panes| {
        view.rows(&panes[view.pane]).len().saturating_sub(1)
    });
    let row = &mut view.scrolled[view.pane];
    match key.code {
        KeyCode::Char('q') => return true,
        KeyCode::Esc if !view.filter.is_empty() => view.filter.clear(),
        KeyCode::Esc if view.large => view.large = false,
        KeyCode::Char('/') => view.typing = true,
        KeyCode::Enter => view.large = !view.large,
        KeyCode::Tab | KeyCode::Right => view.pane = (view.pane + 1) % COUNT,
        KeyCode::BackTab | KeyCode::Left => view.pane = (view.pane + COUNT - 1) % COUNT,
        KeyCode::Down | KeyCode::Char('j') => *row = (*row + 1).min(last),
        KeyCode::Up | KeyCode::Char('k') => *row = row.saturating_sub(1),
        KeyCode::PageDown => *row = (*row + 10).min(last),
        KeyCode::PageUp => *row = row.saturating_sub(10),
        KeyCode::Home => *row = 0,
        KeyCode::End => *row = last,
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose_filter_and_quit() {
        let mut view = View::default();
        let mut press = |code: KeyCode| {
            let quit = pressed(code.into(), &mut view, None);
            (quit, view.pane, view.large, view.filter.clone())
        };
        assert_eq!(press(KeyCode::Tab), (false, 1, false, String::new()));
        assert_eq!(press(KeyCode::Left).1, 0);
        assert_eq!(press(KeyCode::Left).1, COUNT - 1);
        assert!(press(KeyCode::Enter).2);
        press(KeyCode::Char('/'));
        // A letter of a filter is no command.
        assert_eq!(press(KeyCode::Char('q')).3, "q");
        press(KeyCode::Enter);
        assert_eq!(press(KeyCode::Esc).3, "");
        assert!(press(KeyCode::Char('q')).0);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(pressed(interrupt, &mut view, None));
    }
}
