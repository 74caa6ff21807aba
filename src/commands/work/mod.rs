//! `coord work`: the queue of tasks with a terminal face.

mod claim;
mod finish;
mod graph;
mod list;
mod submit;
mod task;

use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Arguments of `coord work`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A claim belongs to a session: --session or COORD_SESSION_ID, else the token itself. Whoever \
                  claimed a task finishes it from the same session.\n\ndocs/work.md tells what the states mean \
                  and in which order tasks go."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Queue a task, or with --graph many that depend on each other
    Submit(Box<submit::Args>),
    /// List open tasks in their order, or ended ones
    List(list::Args),
    /// Show one task with its dependencies, attempts and result
    Show(task::Args),
    /// Claim the next task that you may do, with its locks
    Claim(claim::Args),
    /// Say that a task you claimed is done
    Done(finish::Done),
    /// Say that a task you claimed failed: it is tried again, or dead
    Fail(finish::Fail),
    /// Give a task you claimed back, undone; that is no failure
    Return(finish::Return),
    /// Cancel an open task
    Cancel(finish::Cancel),
    /// Queue a dead or cancelled task again, as a new one
    Retry(finish::Retry),
    /// Draw how tasks depend on each other
    Graph(graph::Args),
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached or refuses the arguments, or a file cannot be read.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let connect = || Ok::<_, Error>(Client::new(global.target()?)?);
    match args.what {
        What::Submit(args) => submit::run(*args, connect, global.json).await,
        What::List(args) => list::run(args, &connect()?, global.json).await,
        What::Show(args) => task::run(args, &connect()?, global.json).await,
        What::Claim(args) => claim::run(args, &connect()?, global).await,
        What::Done(args) => finish::done(args, connect, global.json).await,
        What::Fail(args) => finish::fail(args, connect, global.json).await,
        What::Return(args) => finish::give_back(args, connect, global.json).await,
        What::Cancel(args) => finish::cancel(args, connect, global.json).await,
        What::Retry(args) => finish::retry(args, &connect()?, global.json).await,
        What::Graph(args) => graph::run(args, &connect()?, global.json).await,
    }
}

/// Makes a client once the arguments are known to be good.
trait Connect: FnOnce() -> Result<Client, Error> {}
impl<F: FnOnce() -> Result<Client, Error>> Connect for F {}
