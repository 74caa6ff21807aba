//! The command line: its grammar, and the one place where a command is started and its end told.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, Parser};

use crate::commands::{self, Command};
use crate::exit::Exit;
use crate::settings::Global;

/// Traffic control for AI coding agents that share codebases
#[derive(Debug, Parser)]
#[command(
    name = "coord",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The grammar, for help, completions and man pages.
#[must_use]
pub fn grammar() -> clap::Command {
    Cli::command()
}

/// Whether a flag stands on the command line itself, and not in the environment.
#[must_use]
pub fn said(flag: &str) -> bool {
    let argv = commands::call::gathered(std::env::args_os().collect());
    let Ok(matches) = grammar().try_get_matches_from(argv) else {
        return false;
    };
    let mut matches = &matches;
    while let Some((_, below)) = matches.subcommand() {
        matches = below;
    }
    matches.value_source(flag) == Some(ValueSource::CommandLine)
}

/// Parses the process's arguments, runs the command and says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let argv = commands::call::gathered(as_shell(std::env::args_os().collect()));
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(answer) = commands::hook::misused(&argv, &error) {
                println!("{answer}");
                return Exit::Done.into();
            }
            return tell(&without_environment(&argv, error)).into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("coord: cannot start: {error}");
            return Exit::Server.into();
        }
    };
    let exit = match runtime.block_on(commands::run(cli.command, &cli.global)) {
        Ok(exit) => exit,
        Err(error) => {
            let way_out = commands::WayOut::of(&error, &cli.global);
            error.print(cli.global.json, way_out.as_ref());
            error.exit()
        }
    };
    // Standard input may still block a reader thread; the process is done all the same.
    runtime.shutdown_background();
    exit.into()
}

/// The same error without the variables of the environment: what they set would stand in the
/// usage as if it had to be typed.
fn without_environment(argv: &[OsString], error: clap::Error) -> clap::Error {
    let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if help || !error.use_stderr() {
        return error;
    }
    match no_variables(grammar()).try_get_matches_from(argv) {
        Err(plain) if plain.kind() == error.kind() => plain,
        _ => error,
    }
}

fn no_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.env(None::<&str>))
        .mut_subcommands(no_variables)
}

/// Called by the name of a shell, it is one: `coord-sh -c LINE` is `coord run -c LINE`.
fn as_shell(mut argv: Vec<OsString>) -> Vec<OsString> {
    let name = argv.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "coord-sh") {
        argv.insert(1, "run".into());
    }
    argv
}

/// Prints what clap has to say: help, or what is wrong with the arguments.
#[must_use]
pub fn tell(error: &clap::Error) -> Exit {
    // A closed pipe while printing help is no failure.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}
