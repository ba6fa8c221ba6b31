//! The signals that tell a host to stop.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// Where Linux tells which signals a process ignores.
const STATUS: &str = "/proc/self/status";

/// How soon after a hangup the same sender may have the host terminate, as systemd does with
/// `SendSIGHUP=`, without that being a second wish.
const TOGETHER: Duration = Duration::from_secs(1);

/// What tells a host to stop.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    /// When a hangup was the first, if no signal has come along with it so far.
    hung_up: Option<Instant>,
}

impl Signals {
    /// Listens to all of them.
    pub(super) fn listen() -> io::Result<Self> {
        // Who listens to a signal no longer ignores it, and `nohup` has it ignored for the host to go on.
        let status = std::fs::read_to_string(STATUS);
        let goes_on = status.map_or(true, |status| ignores_hangup(&status));
        let hangup = (!goes_on).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
            hung_up: None,
        })
    }

    /// Waits for the first, and says which it is: of some that are there, not the hangup, which may be
    /// told along with another.
    pub(super) async fn first(&mut self) -> &'static str {
        let Self {
            interrupt,
            terminate,
            hangup,
            hung_up,
        } = self;
        let hanging_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hanging_up => {
                *hung_up = Some(Instant::now());
                "SIGHUP"
            }
        }
    }

    /// Waits for one that somebody sends who does not want to wait. The end of a terminal may be told
    /// more than once.
    pub(super) async fn second(&mut self) {
        if let Some(at) = self.hung_up {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => {}
                () = sleep_until(at + TOGETHER) => {}
            }
            self.hung_up = None;
        }
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether a process with this status goes on without its terminal; also where that is not known.
fn ignores_hangup(status: &str) -> bool {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of the first signal, which this is.
    ignored.is_none_or(|ignored| ignored & 1 != 0)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};
    use tokio::time::timeout;

    use super::*;

    /// How long a signal may take.
    const SOON: Duration = Duration::from_secs(10);

    /// Sends this process a signal, and waits until all who listen have it.
    async fn send(number: Number, seen: &mut Signal) {
        kill_process(getpid(), number).unwrap();
        timeout(SOON, seen.recv()).await.unwrap();
    }

    #[tokio::test]
    async fn signals_that_are_sent_together_are_one_wish() {
        let hangup = || signal(SignalKind::hangup()).unwrap();
        let terminate = || signal(SignalKind::terminate()).unwrap();
        let (mut hangups, mut terminations) = (hangup(), terminate());
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt()).unwrap(),
            terminate: terminate(),
            hangup: Some(hangup()),
            hung_up: None,
        };
        send(Number::HUP, &mut hangups).await;
        send(Number::TERM, &mut terminations).await;
        assert_eq!(timeout(SOON, signals.first()).await, Ok("SIGTERM"));
        // The hangup is still there.
        assert_eq!(timeout(SOON, signals.first()).await, Ok("SIGHUP"));
        send(Number::TERM, &mut terminations).await;
        let early = timeout(TOGETHER / 4, signals.second()).await;
        assert!(early.is_err(), "that came along with the hangup");
        send(Number::TERM, &mut terminations).await;
        timeout(SOON, signals.second()).await.unwrap();
    }

    #[test]
    fn the_status_of_a_process_says_whether_it_ignores_a_hangup() {
        let status = |mask: &str| format!("Name:\tx\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(ignores_hangup("Name:\tx\n"));
    }
}
