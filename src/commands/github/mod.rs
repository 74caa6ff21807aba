//! `coord github`: coordination through GitHub, and through nothing but git.

mod reconcile;

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
    /// Bring locks that were taken by git and those of the coordinator together; the coordinator wins
    Reconcile(reconcile::Args),
}

/// Does it.
///
/// # Errors
/// The coordinator, GitHub or the remote cannot be reached, or refuses.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    match args.what {
        What::Reconcile(args) => reconcile::run(args, global).await,
    }
}
