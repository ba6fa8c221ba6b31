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
    /// Only measures whose name contains this; several with commas between, or given again.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Also what takes minutes: restarts, many components, many hosts, overload, aborts.
    #[arg(long)]
    full: bool,
    /// Instead, operations of each capability through components, beside the clients of backends.
    #[arg(long, conflicts_with = "full")]
    capabilities: bool,
    /// Measures nothing and takes the results of an earlier run.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Fails when a ratio is more than 15 % worse than in this earlier run.
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

    /// Whether one of the measures is asked for, by a part of a name.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(&**part))
    }

    /// Whether one of those that take minutes is asked for: all of them, or by its whole name.
    fn wants_long(&self, names: &[&str]) -> bool {
        if self.full {
            return names.iter().any(|name| self.wants(name));
        }
        self.only.iter().any(|name| names.contains(&&**name))
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
        println!("{}", check::check(&committed, &report)?);
    }
    if let Some(docs) = &arguments.publish {
        match arguments.capabilities {
            true => capabilities::page::publish(docs, &report)?,
            false => page::publish(docs, &report)?,
        }
        println!("published in {}", docs.display());
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let (rounds, time) = (arguments.rounds, arguments.time());
    let mut report = Report::new(rounds, time)?;
    let any = |names: &[&str]| names.iter().any(|name| arguments.wants(name));
    let wanted = |name: &str| arguments.wants(name);
    if arguments.capabilities {
        capabilities::run(&mut report, rounds, time, &wanted).await?;
        return Ok(report);
    }
    rounds::run(&mut report, rounds, time, &wanted).await?;
    if any(start::COLD_START) {
        start::cold_start(&mut report, rounds).await?;
    }
    if any(memory::IDLE) {
        memory::idle(&mut report).await?;
    }
    if arguments.wants_long(restart::NAMES) {
        restart::run(&mut report, rounds).await?;
    }
    if arguments.wants_long(memory::IDLE_10000) {
        memory::idle_10000(&mut report, rounds, time).await?;
    }
    if arguments.wants_long(scale::NAMES) {
        scale::run(&mut report, rounds, time).await?;
    }
    if arguments.wants_long(overload::NAMES) {
        overload::run(&mut report, time, arguments.full).await?;
    }
    if arguments.wants_long(abort::NAMES) {
        abort::run(&mut report, Duration::from_secs_f64(arguments.storm)).await?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::parse_from(std::iter::once("lattice-bench").chain(line.split_whitespace()))
    }

    #[test]
    fn long_measures_run_when_all_or_they_are_asked_for() {
        let long = ["idle_10000", "idle_10000_total"];
        assert!(!arguments("").wants_long(&long));
        assert!(!arguments("--only idle").wants_long(&long));
        assert!(arguments("--only idle_10000").wants_long(&long));
        assert!(arguments("--full").wants_long(&long));
        assert!(arguments("--full --only idle").wants_long(&long));
        assert!(!arguments("--full --only bus").wants_long(&long));
        assert!(arguments("--only bus,idle_10000").wants_long(&long));
    }

    #[test]
    fn capabilities_are_measured_by_themselves() {
        assert!(arguments("--capabilities --only sql").capabilities);
        let line = ["lattice-bench", "--capabilities", "--full"];
        assert!(Arguments::try_parse_from(line).is_err());
    }

    #[test]
    fn part_of_a_name_chooses() {
        assert!(arguments("").wants("bus_1"));
        assert!(arguments("--only bus").wants("bus_1"));
        assert!(!arguments("--only http").wants("bus_1"));
        assert!(arguments("--only http,bus").wants("bus_1"));
        assert!(arguments("--only http --only bus").wants("bus_1"));
    }
}
