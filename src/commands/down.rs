//! `coord down`: stops the local stack.

use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::Error;
use crate::stack::home::Home;
use crate::stack::progress::Progress;
use crate::stack::supervise::{self, Stopped};

/// Stops it and waits until it has ended. Nothing to stop is no failure.
pub async fn run(global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    let progress = Progress::new();
    let stopped = supervise::down(&home, &progress).await;
    progress.finish();
    let word = match stopped? {
        Stopped::Running => "stopped",
        Stopped::Leftovers => "stopped what a killed `coord up` had left",
        Stopped::Nothing => "not running",
    };
    if global.json {
        println!(
            "{}",
            serde_json::json!({ "outcome": word, "home": home.path() })
        );
    } else {
        println!("{word}");
    }
    Ok(Exit::Done)
}
