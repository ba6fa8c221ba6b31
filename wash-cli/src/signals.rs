//! SIGINT, SIGTERM and SIGHUP, for commands that must clean up before they end.

use crate::error::{CliError, Code, Exit, Result};

/// Which signal asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupt,
    Terminate,
    /// The terminal is gone.
    HangUp,
}

impl Stop {
    fn reason(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
            Self::HangUp => Exit::HungUp,
        }
    }

    pub(crate) fn exit(self) -> u8 {
        self.reason() as u8
    }

    /// The error of a command that did not get to its end.
    pub(crate) fn into_error(self) -> CliError {
        let name = match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        };
        CliError::new(Code::Signal, format!("stopped by {name}")).exit_with(self.reason())
    }
}

/// Where Linux tells which signals a process ignores.
#[cfg(unix)]
const STATUS: &str = "/proc/self/status";

/// These signals, from the moment of [`Signals::listen`] on.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// Not where it is ignored.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| CliError::io("could not listen for signals", &error))
        };
        // Who listens to a signal no longer ignores it, and `nohup` has it ignored to go on.
        let status = std::fs::read_to_string(STATUS);
        let goes_on = status.map_or(true, |status| ignores_hangup(&status));
        let hangup = (!goes_on).then(|| listen(SignalKind::hangup()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
        })
    }

    #[cfg(unix)]
    pub(crate) async fn recv(&mut self) -> Stop {
        let Self {
            interrupt,
            terminate,
            hangup,
        } = self;
        let hanging_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        // The end of a terminal may be told along with another.
        tokio::select! {
            biased;
            _ = interrupt.recv() => Stop::Interrupt,
            _ = terminate.recv() => Stop::Terminate,
            _ = hanging_up => Stop::HangUp,
        }
    }

    /// Waits for one that somebody sends who does not want to wait. The end of a terminal, which may
    /// be told more than once, is none.
    #[cfg(unix)]
    pub(crate) async fn again(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn recv(&mut self) -> Stop {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Stop::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn again(&mut self) {
        self.recv().await;
    }
}

/// Whether a process with this status goes on without its terminal; also where that is not known.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of the first signal, which this is.
    ignored.is_none_or(|ignored| ignored & 1 != 0)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Number, getpid, kill_process};
    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tokio::time::timeout;

    use super::*;

    /// How long a signal may take.
    const SOON: Duration = Duration::from_secs(10);

    /// Ends a terminal of this process, and waits until all who listen know it.
    async fn hang_up(seen: &mut Signal) {
        kill_process(getpid(), Number::HUP).unwrap();
        timeout(SOON, seen.recv()).await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_a_terminal_stops_a_command_and_hurries_none() {
        let listen = |kind| signal(kind).unwrap();
        let mut seen = listen(SignalKind::hangup());
        let mut signals = Signals {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hangup: Some(listen(SignalKind::hangup())),
        };
        hang_up(&mut seen).await;
        let stop = timeout(SOON, signals.recv()).await.unwrap();
        assert_eq!((stop, stop.exit()), (Stop::HangUp, 129));
        hang_up(&mut seen).await;
        let hurried = timeout(Duration::from_millis(50), signals.again()).await;
        assert!(hurried.is_err());
    }

    #[test]
    fn a_hangup_that_is_ignored_stays_so() {
        let status = |mask: &str| format!("Name:\tx\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(ignores_hangup("Name:\tx\n"));
    }
}
