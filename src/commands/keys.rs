//! `coord keys`: the keys that sign the local stack's tokens.

use std::time::{Duration, Instant};

use clap::Subcommand;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::commands::show::{self, NAME};
use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::Error;
use crate::stack::clock;
use crate::stack::home::Home;
use crate::stack::keys::Keys;
use crate::stack::process::Process;
use crate::stack::progress::Progress;
use crate::stack::state::State;
use crate::stack::token;

/// How long the running API may take until it knows a new key.
const KNOWN: Duration = Duration::from_secs(20);

/// Arguments of `coord keys`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rotation leaves no gap: tokens of the old key stay good until its grace is over or they \
                  expire, and new ones are signed by the new key. Mint them again within the grace."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the keys that are good now
    List,
    /// Sign with a new key from now on
    Rotate {
        /// How long tokens of the old key stay good: seconds, or as 8h or 30d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = grace)]
        grace: i64,
    },
    /// Refuse at once what a retired key signed
    Drop {
        /// The key's id, as `coord keys list` shows it
        kid: String,
    },
}

fn grace(text: &str) -> Result<i64, &'static str> {
    match clock::duration(text) {
        Some(seconds @ 0..=31_536_000) => Ok(seconds),
        _ => Err("at most 365 days, in seconds or as 8h or 30d"),
    }
}

/// Does it.
///
/// # Errors
/// There are no keys, they cannot be written, or the running API does not take them.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    let keys = match &args.what {
        What::List => Keys::load(&home)?,
        What::Rotate { grace } => {
            let keys = Keys::rotate(&home, *grace)?;
            take_up(&home, &keys).await?;
            keys
        }
        What::Drop { kid } => {
            if !Keys::drop_retired(&home, kid)? {
                return Err(Error::Token(format!(
                    "no retired key is called {kid}; `coord keys list` shows them, and the signing key goes by `coord keys rotate`"
                )));
            }
            let keys = Keys::load(&home)?;
            take_up(&home, &keys).await?;
            keys
        }
    };
    print(&keys, global.json);
    Ok(Exit::Done)
}

/// Tells the running stack, and waits until its API takes what the signing key signs.
async fn take_up(home: &Home, keys: &Keys) -> Result<(), Error> {
    let Some(state) = State::read(home).filter(|state| Process::of(state.pid).is_some()) else {
        return Ok(());
    };
    // It may end in this very moment; the next start takes the new keys anyway.
    let _ = kill(Pid::from_raw(state.pid), Signal::SIGUSR1);
    let progress = Progress::new();
    let begun = Instant::now();
    let client = token::operator(keys, &state.url, None)?;
    loop {
        let known = client
            .call_once("version", &Map::new(), Duration::from_secs(2))
            .await;
        match known {
            Ok(_) => break,
            Err(error) if begun.elapsed() > KNOWN => {
                progress.finish();
                return Err(Error::Key(format!(
                    "the key was changed, and the running API does not know it yet ({error}); `coord down` and `coord up` make it"
                )));
            }
            Err(_) => progress.step("waiting until the API knows the key"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    progress.finish();
    Ok(())
}

fn print(keys: &Keys, json: bool) {
    if json {
        let retired: Vec<Value> = keys
            .retired
            .iter()
            .map(
                |old| json!({"kid": old.kid(), "signs": false, "until": clock::rfc3339(old.until)}),
            )
            .collect();
        let all = [vec![json!({"kid": keys.kid, "signs": true})], retired].concat();
        show::json(&json!({ "keys": all }));
        return;
    }
    let mut rows = vec![vec![keys.kid.clone(), "signs".to_owned()]];
    for old in &keys.retired {
        let until = format!("good until {}", clock::rfc3339(old.until));
        rows.push(vec![old.kid().to_owned(), until]);
    }
    show::print(&show::table(&["key", "state"], &rows, &[NAME]));
}
