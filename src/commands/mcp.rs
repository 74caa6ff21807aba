//! `coord mcp`: the bridge between an MCP client and the coordinator.

use std::net::SocketAddr;
use std::time::Duration;

use crate::commands::Error;
use crate::exit::Exit;
use crate::mcp::{self, Toolset};
use crate::settings::Global;

/// Arguments of `coord mcp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serve streamable HTTP here instead of standard input and output; every
    /// caller brings its own token
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Another host name under which HTTP clients reach this server
    #[arg(long = "allow-host", value_name = "HOST", requires = "http")]
    allow_hosts: Vec<String>,
    /// Which tools to list
    #[arg(long, value_enum, default_value = "core", env = "COORD_TOOLSET")]
    toolset: Toolset,
    /// Seconds between two looks at whether the coordinator's tools changed
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    refresh: u64,
    /// Seconds that a call may wait in line; less than the client's own patience
    #[arg(long, value_name = "SECONDS", default_value = "50", value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
}

/// Serves until the client goes away or a signal says so.
///
/// # Errors
/// The address cannot be bound, or the client does not speak MCP.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let options = mcp::Options {
        global: global.of_agent(),
        toolset: args.toolset,
        refresh: Duration::from_secs(args.refresh),
        patience: Duration::from_secs(args.patience),
    };
    match args.http {
        None => mcp::stdio::serve(options).await?,
        Some(address) => mcp::http::serve(options, address, args.allow_hosts).await?,
    }
    Ok(Exit::Done)
}
