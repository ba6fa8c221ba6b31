//! `lattice-bench`: what a call over the lattice costs, beside what the bus alone costs.
//!
//! One run starts a NATS server, a host, the HTTP server, a Redis and its provider, all as
//! processes of their own, measures in interleaved rounds and reports medians. CPU time is that of
//! the processes under test; the load generator and Redis are left out, as in the figures of the
//! 1.9 lattice that the results are compared with.
#![allow(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures real time, and the bus by itself"
)]

mod bus;
mod http_load;
mod lattice;
mod load;
mod memory;
mod report;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::report::Report;

/// Measures a whole lattice of real processes against a bare bus.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many interleaved rounds to measure.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement of a round runs, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only measures whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Answers requests on a subject until killed; one half of the bare exchange.
    #[arg(long, hide = true, num_args = 2, value_names = ["URL", "SUBJECT"])]
    respond: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    if let Some([url, subject]) = arguments.respond.as_deref() {
        return bus::respond(url, subject).await;
    }
    let time = Duration::from_secs_f64(arguments.seconds);
    let only = arguments.only.clone().unwrap_or_default();
    let wanted = |name: &str| name.contains(&only);
    let mut report = Report::new()?;
    lattice::throughput(&mut report, arguments.rounds, time, &wanted).await?;
    if wanted("cold_start") {
        start::cold_start(&mut report, arguments.rounds).await?;
    }
    if wanted("idle") {
        memory::idle(&mut report).await?;
    }
    print!("{}", report.table());
    if let Some(path) = arguments.json {
        std::fs::write(&path, report.json()?)?;
        println!("written to {}", path.display());
    }
    Ok(())
}
