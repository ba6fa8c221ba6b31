//! The `main` of a provider that is a process of its own.
//!
//! What belongs to the process is here and nowhere else: standard input, the log, signals, the
//! exit code, how many files it may open, and the watch over the host that started it.

mod input;
mod log;
mod open_files;
mod parent;

use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::hide::hide_memory;
use crate::provider::Provider;
use crate::run::run;

pub use open_files::{file_limit, is_out_of_files, raise_file_limit};

/// How long traces may take that have come since those that were exported before the goodbye.
const LAST_TRACES: Duration = Duration::from_millis(50);

/// The exit code for a failure.
const FAILED: u8 = 1;
/// The exit code for wrong arguments.
const USAGE: u8 = 2;

/// Reads host data from standard input, runs the provider, and ends with an exit code: 0 after a
/// shutdown, 1 after a failure, 2 for arguments it does not know.
#[must_use]
pub fn main<P: Provider>(version: &str) -> ExitCode {
    if let Some(code) = arguments::<P>(version) {
        return code;
    }
    serve::<P>()
}

/// As [`main`], for a program that has read its arguments itself.
#[must_use]
pub fn serve<P: Provider>() -> ExitCode {
    // What it is told on standard input are keys, its NATS user and secrets: nothing comes before.
    hide_memory();
    raise_file_limit();
    match start::<P>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}: {}", P::NAME, failure.text);
            if let Some(hint) = failure.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(FAILED)
        }
    }
}

fn arguments<P: Provider>(version: &str) -> Option<ExitCode> {
    let first = std::env::args().nth(1)?;
    let name = P::NAME;
    match first.as_str() {
        "--version" | "-V" => eprintln!("{name} {version}"),
        "--help" | "-h" => eprintln!(
            "{name} {version}: a provider of a lattice. It takes no arguments: a host starts it \
             and writes one line to its standard input, see `wash start provider --help`."
        ),
        other => {
            eprintln!("error: {name} takes no arguments, found `{other}`");
            return Some(ExitCode::from(USAGE));
        }
    }
    Some(ExitCode::SUCCESS)
}

struct Failure {
    text: String,
    hint: Option<&'static str>,
}

impl Failure {
    fn of(error: &(dyn std::error::Error + 'static), hint: Option<&'static str>) -> Self {
        Self {
            text: chain(error),
            hint,
        }
    }
}

fn start<P: Provider>() -> Result<(), Failure> {
    let parent = parent::current();
    let data = input::read().map_err(|e| Failure::of(&e, e.hint()))?;
    let runtime = lattice_rpc::threads::runtime().map_err(|e| Failure::of(&e, None))?;
    let traces = {
        let _inside = runtime.enter();
        log::begin(&data, P::NAME)
    };
    // A process that a host started has keys; one that was started by hand outlives its shell.
    let watched = (!data.provider_xkey_private_key.is_empty()).then_some(parent);
    let done = runtime.block_on(async move {
        if watched.is_some() {
            leave_hangups_to_host();
        }
        let stop = CancellationToken::new();
        let ending = tokio::spawn(wait_for_end(stop.clone(), watched.flatten()));
        let done = run::<P>(data, stop).await;
        ending.abort();
        if let Some(traces) = traces {
            traces.end(LAST_TRACES).await;
        }
        done
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.map_err(|e| Failure::of(&e, e.hint()))
}

/// Cancels `stop` at the first signal, or when the host is gone. Later signals change nothing: what
/// is under way is given a bounded time anyway.
async fn wait_for_end(stop: CancellationToken, parent: Option<parent::Parent>) {
    let host_gone = async {
        match parent {
            Some(parent) => parent.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = signal() => {}
        () = host_gone => tracing::error!("the host that started this provider is gone"),
    }
    stop.cancel();
}

/// A terminal that goes tells all processes in it. The host drains its providers then, and its own end is
/// noticed: it ends none by itself.
#[cfg(unix)]
fn leave_hangups_to_host() {
    use tokio::signal::unix::{SignalKind, signal};
    // A signal that was listened to once does nothing by itself from then on.
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::debug!(%error, "a hangup will end this process");
    }
}

#[cfg(not(unix))]
fn leave_hangups_to_host() {}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    match both {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
