//! `coord man`: manual pages, made from the same grammar as the help.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli;
use crate::commands::{Error, show};
use crate::exit::Exit;

/// Arguments of `coord man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the page of each command here, as coord-lock-acquire.1; made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes all pages into the directory, or the first one to standard output.
///
/// # Errors
/// The directory cannot be written.
pub fn run(args: &Args) -> Result<Exit, Error> {
    if let Some(dir) = &args.dir {
        write(dir).map_err(|source| Error::Write(dir.clone(), source))?;
        return Ok(Exit::Done);
    }
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    let _ = clap_mangen::Man::new(cli::grammar()).render(&mut page);
    show::print(&String::from_utf8_lossy(&page));
    Ok(Exit::Done)
}

fn write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(cli::grammar().disable_help_subcommand(true), dir)?;
    writeln!(anstream::stderr(), "wrote the pages to {}", dir.display())
}
