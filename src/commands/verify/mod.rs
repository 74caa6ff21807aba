//! `coord verify`: changes and their verification with a terminal face.

mod decide;
mod list;
mod status;
mod submit;

use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Arguments of `coord verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nobody verifies a change of their own. The machines' checks are run by `coord dispatch`.\n\n\
                        docs/verification.md tells what the tiers mean, and which changes reach which."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Have the commits of this checkout verified: its paths and its size are taken from git
    Submit(submit::Args),
    /// Show how far a change is: its plan, its checks, what they came to
    Status(status::Args),
    /// List changes, the newest first: those under way, or all of them
    List(list::Args),
    /// Decide what takes a person: operators and agents of trust 4, never its author
    Decide(decide::Args),
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached or refuses the arguments, or git has no such commit.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    match args.what {
        What::Submit(args) => submit::run(args, global).await,
        What::Status(args) => status::run(args, &Client::new(global.target()?)?, global.json).await,
        What::List(args) => list::run(args, &Client::new(global.target()?)?, global.json).await,
        What::Decide(args) => decide::run(args, &Client::new(global.target()?)?, global.json).await,
    }
}
