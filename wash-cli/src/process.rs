//! Processes that outlive the command that started them: records on disk, liveness, signals.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What a pid file holds. The start time keeps a reused pid from being taken for ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: i32,
    /// Clock ticks since boot, from `/proc`; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<u64>,
    /// The port of this machine that it serves (broker) or uses (host); none where a host uses a server
    /// elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Whether the configuration of a broker is ours. Older versions did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own_config: Option<bool>,
}

impl ProcessRecord {
    /// Describes a process that was just started.
    pub(crate) fn of(pid: u32, port: u16) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Self {
            pid,
            start_time: start_time(pid),
            port: Some(port),
            own_config: None,
        })
    }

    /// That of a broker which is gone, when nothing but whose configuration it had is to be known.
    pub(crate) fn of_none(own_config: bool) -> Self {
        Self {
            pid: 0,
            start_time: None,
            port: None,
            own_config: Some(own_config),
        }
    }

    pub(crate) fn read(path: &Path) -> Option<Self> {
        // 0 and negative numbers address process groups.
        Self::read_any(path).filter(|record| record.pid > 0)
    }

    /// What a pid file says of the configuration, also when the process is forgotten.
    pub(crate) fn read_own_config(path: &Path) -> Option<bool> {
        Self::read_any(path)?.own_config
    }

    fn read_any(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        crate::files::write_private(path, &serde_json::to_vec(self)?)
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        match self.start_time {
            Some(_) => start_time(self.pid) == self.start_time,
            None => self
                .target()
                .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
        }
    }

    fn target(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.target().filter(|_| self.is_alive()) {
            // It may have ended just now, which is what the signal is for.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Asks the process to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Has nats-server read its configuration and certificates again.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends the process and everything in its group.
    pub(crate) fn kill(&self) {
        if let Some(pid) = self.target().filter(|_| self.is_alive()) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// Waits until the process is gone; false when the deadline passed first.
    pub(crate) async fn gone_by(&self, deadline: Instant) -> bool {
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Stops the process: politely, then after `grace` by force. True when it is gone.
    pub(crate) async fn stop(&self, grace: Duration) -> bool {
        const KILL_GRACE: Duration = Duration::from_secs(5);
        self.terminate();
        if self.gone_by(Instant::now() + grace).await {
            return true;
        }
        self.kill();
        self.gone_by(Instant::now() + KILL_GRACE).await
    }
}

/// The start time of a running process: field 22 of `/proc/<pid>/stat`. A zombie counts as ended.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// The second field is the program's name in brackets and may hold anything, so count from its end.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_an_awkward_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time(&stat.replace(") S ", ") Z ")), None);
        assert_eq!(parse_start_time("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_reused_pid_is_not_taken_for_ours() {
        let own = ProcessRecord::of(std::process::id(), 1).unwrap();
        assert!(own.is_alive());
        let other = ProcessRecord {
            start_time: own.start_time.map(|time| time + 1),
            ..own
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn records_that_address_groups_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid.json");
        fs::write(&path, r#"{"pid":-1}"#).unwrap();
        assert_eq!(ProcessRecord::read(&path), None);
    }

    #[tokio::test]
    async fn a_stopped_process_is_gone() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .unwrap();
        let record = ProcessRecord::of(child.id(), 1).unwrap();
        assert!(record.is_alive());
        assert!(record.stop(Duration::from_secs(10)).await);
        child.wait().unwrap();
    }
}
