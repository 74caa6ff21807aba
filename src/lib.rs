//! Traffic control for AI coding agents that share codebases.
//!
//! Everything that decides anything is a function in PostgreSQL. This crate
//! is what stands around it: the private stack (`stack`), the client of the
//! REST API that every door uses (`rpc`), the MCP bridge (`mcp`) and the
//! command line (`commands`).

mod alike;
pub mod checkout;
pub mod cli;
pub mod commands;
pub mod exit;
pub mod git;
pub mod gitlocks;
pub mod mcp;
pub mod remote;
pub mod rpc;
pub mod settings;
mod signals;
pub mod stack;
pub mod standby;
mod yaml;
