//! `wash`: starts local lattices, talks to any lattice, builds and inspects components.
//!
//! The library is the whole program, so that `main` stays empty and tests of other crates can
//! generate documentation from [`command`]. Modules mirror the command tree; what they share is
//! [`output`](crate::output), [`error`](crate::error) and [`connection`](crate::connection).

use std::process::ExitCode;

mod advice;
mod args;
mod cli;
mod commands;
mod connection;
mod context;
mod dirs;
mod error;
mod events;
mod files;
mod keys;
mod lattice_dir;
mod local;
mod markdown;
mod output;
mod process;
mod question;
mod resolve;
mod signals;

/// Runs `wash` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Contexts, flags and variables hold seeds, and whole lattices have their keys from it.
    lattice_host::cli::hide_memory();
    if let Some(code) = lattice_host_program::as_provider() {
        return code;
    }
    cli::run(std::env::args_os().collect())
}

/// The command tree with all help texts, for documentation and completions.
#[must_use]
pub fn command() -> clap::Command {
    cli::command()
}
