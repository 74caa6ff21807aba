//! Parses the command line, runs the command, exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_coordinator::cli::main()
}
