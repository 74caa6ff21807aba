//! What is being done, while it is done: a spinner in a terminal, lines elsewhere.
//! All of it on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::clock;

/// Tells the steps of a start.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last: Mutex<String>,
}

impl Progress {
    /// A spinner if standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            last: Mutex::default(),
        }
    }

    /// Something begins.
    pub fn step(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            return;
        }
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        // Counters in a step are for terminals.
        let name = what.split(" (").next().unwrap_or(what);
        if *last != name {
            name.clone_into(&mut last);
            say(what);
        }
    }

    /// Nothing is being done any more.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One line on standard error; with the time where it goes to a log.
pub fn say(what: &str) {
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("coord: {what}");
    } else {
        eprintln!("{} coord: {what}", clock::rfc3339(clock::now()));
    }
}
