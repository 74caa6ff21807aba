//! `coord top`: who is here, what is held, what waits, what was refused; live.

mod frame;
mod live;
mod panes;
mod snapshot;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::commands::{Error, show};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;
use snapshot::Snapshot;

/// Arguments of `coord top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: tab and arrows choose a pane and scroll in it, enter makes it large, / filters the rows, \
                  q quits. Shown is what your token may read; operators and auditors see all.\n\n\
                  Where the output is no terminal, --once is meant."
)]
pub struct Args {
    /// Print one frame as text, and end
    #[arg(long)]
    once: bool,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
}

/// Shows it until somebody quits.
///
/// # Errors
/// The first look fails; later ones are told in the picture.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    if global.json || args.once || !std::io::stdout().is_terminal() {
        let snapshot = Snapshot::take(&Client::new(global.target()?)?, None).await?;
        if global.json {
            show::json(&snapshot.json());
        } else {
            show::print(&frame::text(&panes::of(&snapshot)));
        }
        return Ok(Exit::Done);
    }
    live::run(Duration::from_secs(args.every), global).await
}
