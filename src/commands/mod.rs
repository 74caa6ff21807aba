//! One file per command; each has its arguments and a `run`.

mod agents;
mod apply;
mod approvals;
mod arguments;
mod audit;
pub mod call;
mod completions;
mod compose_env;
mod demo;
mod dispatch;
mod doctor;
mod down;
mod env;
mod github;
mod guard;
mod handoff;
pub mod hook;
mod in_line;
mod keys;
mod lock;
mod man;
mod mcp;
mod mem;
mod network;
mod run;
mod run_child;
pub mod show;
pub mod spoken;
mod status;
mod token;
mod top;
mod up;
mod verify;
mod way_out;
mod work;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::exit::Exit;
use crate::settings::Global;
use crate::{gitlocks, rpc, settings, stack};
use spoken::spoken;
pub use way_out::WayOut;

/// The commands of `coord`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Start the local stack: a private PostgreSQL and PostgREST
    Up(up::Args),
    /// Stop the local stack
    Down,
    /// Say whether the local stack runs and answers
    Status,
    /// Say what is wrong with the local stack, and what mends it
    Doctor(doctor::Args),
    /// Print the local stack's variables for a shell, as in `eval "$(coord env)"`
    Env,
    /// Mint, inspect and revoke tokens
    Token(token::Args),
    /// List agents and people with their profiles, or who is here now
    Agents(agents::Args),
    /// Make profiles and policies what YAML files say
    Apply(apply::Args),
    /// Ask and export which hosts agents may talk to
    Network(network::Args),
    /// Show and rotate the keys that sign tokens
    Keys(keys::Args),
    /// Take, release and show locks
    Lock(lock::Args),
    /// Coordinate through GitHub, and through nothing but git
    Github(github::Args),
    /// Queue, claim and finish tasks
    Work(work::Args),
    /// Have changes verified, see how far they are, decide what takes a person
    Verify(verify::Args),
    /// Run the checks of changes, as a file of yours says
    Dispatch(dispatch::Args),
    /// Leave for others how things stand, and read what they left
    Handoff(handoff::Args),
    /// Watch agents, locks, queue and refusals, live
    Top(top::Args),
    /// Remember what was learned, and recall what others learned
    Mem(mem::Args),
    /// Check what agents' clients do, and what git commits and pushes, in their hooks
    Hook(hook::Args),
    /// Run a command that was checked, under locks: for agents without hooks
    Run(run::Args),
    /// Ask the guardrails, and try changes of them
    Guard(guard::Args),
    /// List and decide what agents asked others to allow
    Approvals(approvals::Args),
    /// Read, follow, export and verify the audit
    Audit(audit::Args),
    /// Call any function of the coordinator
    Call(call::Args),
    /// Serve the coordinator's tools to an MCP client
    Mcp(mcp::Args),
    /// Print the secrets that docker-compose.yml wants, for its .env
    ComposeEnv,
    /// Two agents and one file: a tour on a throw-away stack
    Demo,
    /// Print shell completions
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
    /// Become a server process that ends with its parent
    #[command(hide = true)]
    RunChild(run_child::Args),
}

/// Runs one command.
///
/// # Errors
/// What the command could not do; [`Error::exit`] says how to end.
pub async fn run(command: Command, global: &Global) -> Result<Exit, Error> {
    match command {
        Command::Up(args) => Ok(up::run(&args, global).await?),
        Command::Down => Ok(down::run(global).await?),
        Command::Status => Ok(status::run(global).await?),
        Command::Doctor(args) => Ok(doctor::run(&args, global).await?),
        Command::Env => Ok(env::run(global)?),
        Command::Token(args) => Ok(token::run(&args, global).await?),
        Command::Agents(args) => agents::run(&args, global).await,
        Command::Apply(args) => apply::run(&args, global).await,
        Command::Network(args) => network::run(args, global).await,
        Command::Keys(args) => Ok(keys::run(&args, global).await?),
        Command::Lock(args) => lock::run(args, global).await,
        Command::Github(args) => github::run(args, global).await,
        Command::Work(args) => work::run(args, global).await,
        Command::Verify(args) => verify::run(args, global).await,
        Command::Dispatch(args) => dispatch::run(args, global).await,
        Command::Top(args) => top::run(&args, global).await,
        Command::Handoff(args) => handoff::run(args, global).await,
        Command::Mem(args) => mem::run(args, global).await,
        Command::Hook(args) => hook::run(args, global).await,
        Command::Run(args) => run::run(args, global).await,
        Command::Guard(args) => guard::run(args, global).await,
        Command::Approvals(args) => approvals::run(args, global).await,
        Command::Audit(args) => audit::run(args, global).await,
        Command::Call(args) => call::run(args, global).await,
        Command::Mcp(args) => mcp::run(args, global).await,
        Command::ComposeEnv => Ok(compose_env::run(global)?),
        Command::Demo => Ok(demo::run().await),
        Command::Completions(args) => Ok(completions::run(&args)),
        Command::Man(args) => man::run(&args),
        Command::RunChild(args) => Ok(run_child::run(&args)),
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// The local stack.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// Locks by git.
    #[error(transparent)]
    GitLocks(#[from] gitlocks::Error),
    /// GitHub.
    #[error(transparent)]
    GitHub(#[from] github::ApiError),
    /// Nobody to call.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The MCP bridge could not serve.
    #[error(transparent)]
    Mcp(#[from] crate::mcp::Error),
    /// A file or directory that cannot be written.
    #[error("cannot write {path}: {1}", path = .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// Arguments that clap cannot judge.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rpc(error) => error.exit(),
            Self::Stack(error) => error.exit(),
            Self::GitLocks(error) => error.exit(),
            Self::GitHub(error) => error.exit(),
            Self::Mcp(error) => error.exit(),
            Self::Settings(settings::Error::NoStack(_)) => Exit::Unreachable,
            Self::Settings(_) | Self::Usage(_) | Self::Write(..) => Exit::Usage,
        }
    }

    /// The call that failed, if one did.
    #[must_use]
    pub fn of_call(&self) -> Option<&rpc::Error> {
        match self {
            Self::Rpc(error) | Self::Stack(stack::Error::Rpc(error)) => Some(error),
            _ => None,
        }
    }

    /// Tells it on standard error: lines for people, an object for scripts.
    pub fn print(&self, json: bool, way_out: Option<&WayOut>) {
        if json {
            eprintln!("{}", self.object(way_out));
            return;
        }
        match (way_out, self.of_call()) {
            (Some(it), _) => anstream::eprintln!("coord: {}\n{}", it.why, it.advice),
            (None, Some(rpc::Error::Problem(problem))) => {
                let problem = rpc::Problem {
                    details: problem.details.as_deref().map(spoken),
                    hint: problem.hint.as_deref().map(spoken),
                    ..(**problem).clone()
                };
                anstream::eprintln!("coord: {problem}");
            }
            (None, _) => anstream::eprintln!("coord: {self}"),
        }
    }

    fn object(&self, way_out: Option<&WayOut>) -> Value {
        let (why, advice) = way_out.map(|it| (&it.why, &it.advice)).unzip();
        match self.of_call() {
            Some(rpc::Error::Problem(problem)) => json!({
                "code": problem.code, "message": problem.message,
                "details": problem.details.as_ref().or(why), "hint": problem.hint.as_ref().or(advice),
            }),
            _ => json!({ "message": self.to_string(), "hint": advice }),
        }
    }
}
