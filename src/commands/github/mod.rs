//! `coord github`: coordination through GitHub, and through nothing but git.

mod api;
mod reconcile;
mod sync;

pub use api::Error as ApiError;

use crate::commands::Error;
use crate::exit::Exit;
use crate::settings::Global;

/// Arguments of `coord github`.
#[derive(Debug, clap::Args)]
#[command(after_help = "docs/github.md tells what labels, comments and refs say.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show locks and tasks on issues as labels and one comment, and do what labels ask for that no webhook told
    Sync(sync::Args),
    /// Bring locks that were taken by git and those of the coordinator together; the coordinator wins
    Reconcile(reconcile::Args),
}

/// Does it.
///
/// # Errors
/// The coordinator, GitHub or the remote cannot be reached, or refuses.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    match args.what {
        What::Sync(args) => sync::run(args, global).await,
        What::Reconcile(args) => reconcile::run(args, global).await,
    }
}
