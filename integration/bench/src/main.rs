//! `lattice-bench`: what a call over the lattice costs, beside what the bus alone costs.
//!
//! One run starts a NATS server, a host and what else is needed, all as processes of their own,
//! measures in interleaved rounds and reports medians. CPU time is that of the processes under
//! test; the load generator and Redis are left out, as in the figures of the 1.9 lattice that the
//! results are compared with.
#![allow(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures real time, and the bus by itself"
)]

// How load is made and measured.
mod bus;
mod calls;
mod histogram;
mod http_load;
mod hyper_hello;
mod load;
mod meter;
mod processes;
mod wasmtime_serve;
// What is measured.
mod abort;
mod bed;
mod capabilities;
mod measures;
mod memory;
mod overload;
mod restart;
mod rounds;
mod scale;
mod selection;
mod spread;
mod start;
// What becomes of it.
mod check;
mod goals;
mod page;
mod report;
mod svg;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::report::Report;
use crate::selection::{Group, Selection};

/// Measures a whole lattice of real processes against a bare bus.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many interleaved rounds to measure.
    #[arg(long, default_value_t = report::ENOUGH_ROUNDS)]
    rounds: usize,
    /// How long each measurement of a round runs, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long clients come and leave in `abort_storm`, in seconds; its goal is about 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    storm: f64,
    #[command(flatten)]
    selection: Selection,
    /// Measures nothing and takes the results of an earlier run.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Fails when a figure is more than 15 % worse than in this earlier run, or missing.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Writes the results into this folder of documentation.
    #[arg(long, value_name = "FOLDER")]
    publish: Option<PathBuf>,
    /// Answers requests on a subject until killed; one half of the bare exchange.
    #[arg(long, hide = true, num_args = 2, value_names = ["URL", "SUBJECT"])]
    respond: Option<Vec<String>>,
    /// Answers HTTP at an address until killed; what HTTP costs without a lattice.
    #[arg(long, hide = true, value_name = "ADDRESS")]
    hyper: Option<String>,
}

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(address) = &arguments.hyper {
        // As many threads as the host has, which is what it is compared with.
        return lattice_rpc::threads::runtime()?.block_on(hyper_hello::serve(address));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    if let Some([url, subject]) = arguments.respond.as_deref() {
        return bus::respond(url, subject).await;
    }
    // Before minutes of measuring: a missing file should not waste them.
    let committed = arguments.check.as_deref().map(Report::read).transpose()?;
    let report = match &arguments.from {
        Some(path) => Report::read(path)?,
        None => measure(&arguments).await?,
    };
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()?)
            .with_context(|| format!("could not write `{}`", path.display()))?;
        println!("written to {}", path.display());
    }
    if let Some(committed) = committed {
        let expects = |name: &str| arguments.selection.expects(name);
        println!("{}", check::check(&committed, &report, &expects)?);
    }
    if let Some(docs) = &arguments.publish {
        match arguments.selection.capabilities {
            true => capabilities::page::publish(docs, &report)?,
            false => {
                for name in page::publish(docs, &report)? {
                    println!("note: `{name}` misses a goal and the page does not say why");
                }
            }
        }
        println!("published in {}", docs.display());
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let (rounds, time) = (arguments.rounds, arguments.time());
    let selection = &arguments.selection;
    let mut report = Report::new(rounds, time)?;
    if selection.capabilities {
        let wanted = |name: &str| selection.wants(name);
        capabilities::run(&mut report, rounds, time, &wanted).await?;
        return Ok(report);
    }
    rounds::run(&mut report, rounds, time, selection).await?;
    if selection.runs(Group::ColdStart) {
        start::cold_start(&mut report, rounds).await?;
    }
    if selection.runs(Group::Idle) {
        memory::idle(&mut report).await?;
    }
    if selection.runs(Group::Restart) {
        restart::run(&mut report, rounds).await?;
    }
    if selection.runs(Group::Idle10000) {
        memory::idle_10000(&mut report, rounds, time).await?;
    }
    if selection.runs(Group::Scale) {
        scale::run(&mut report, rounds, time).await?;
    }
    if selection.runs(Group::Overload) {
        overload::run(&mut report, time, selection.full).await?;
    }
    if selection.runs(Group::Abort) {
        abort::run(&mut report, Duration::from_secs_f64(arguments.storm)).await?;
    }
    Ok(report)
}
