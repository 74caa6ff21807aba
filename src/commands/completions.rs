//! `coord completions`: a completion script for a shell.

use crate::cli;
use crate::exit::Exit;

/// Arguments of `coord completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that will read it
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Exit {
    clap_complete::generate(
        args.shell,
        &mut cli::grammar(),
        "coord",
        &mut std::io::stdout(),
    );
    Exit::Done
}
