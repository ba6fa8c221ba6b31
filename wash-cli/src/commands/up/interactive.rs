//! `wash up` in the foreground: shows the logs until a signal comes or every host is gone.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::MissedTickBehavior;

use super::Running;
use super::hosts::{self, Hosts};
use crate::error::Result;
use crate::output::{Ui, eprint_line, print_line};
use crate::signals::{Signals, Stop};

/// How often the logs are looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How much of one log is shown per look, so that a flood does not hold up signals.
const CHUNK: u64 = 256 * 1024;

/// Shows logs until a signal comes; an error when all hosts have ended by themselves.
pub(super) async fn follow(running: &mut Running, signals: &mut Signals, ui: &Ui) -> Result<Stop> {
    let mut logs = Logs::of(&running.fresh);
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ui.notice("showing the logs of the hosts; press Ctrl-C to stop the lattice");
    loop {
        tokio::select! {
            stop = signals.recv() => return Ok(stop),
            _ = ticks.tick() => {}
        }
        let ended = running.fresh.newly_ended();
        logs.show(ui).await;
        for (id, status) in ended {
            if running.fresh.all_ended() {
                return Err(hosts::died(&id, &status.to_string(), &[]));
            }
            ui.notice(&format!("host `{id}` ended: {status}"));
        }
    }
}

/// The logs of several hosts.
struct Logs(Vec<Log>);

struct Log {
    prefix: String,
    path: PathBuf,
    offset: u64,
    /// An unfinished line.
    rest: Vec<u8>,
}

impl Logs {
    fn of(hosts: &Hosts) -> Self {
        let entries = hosts.entries();
        let alone = entries.len() == 1;
        let log = |(index, entry): (usize, &crate::lattice_dir::HostEntry)| Log {
            prefix: if alone {
                String::new()
            } else {
                format!("[{}] ", index + 1)
            },
            path: entry.log(),
            offset: 0,
            rest: Vec::new(),
        };
        Self(entries.iter().enumerate().map(log).collect())
    }

    /// Prints new lines. With JSON the document owns stdout, so logs go to stderr.
    async fn show(&mut self, ui: &Ui) {
        for log in &mut self.0 {
            for line in log.new_lines().await {
                let line = format!("{}{line}", log.prefix);
                if ui.is_json() {
                    eprint_line(&line)
                } else {
                    print_line(&line)
                }
            }
        }
    }
}

impl Log {
    async fn new_lines(&mut self) -> Vec<String> {
        // A log that cannot be read now is tried again at the next look.
        let Ok(bytes) = self.read().await else {
            return Vec::new();
        };
        self.offset += bytes.len() as u64;
        self.rest.extend_from_slice(&bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&complete)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    async fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.offset)).await?;
        let mut bytes = Vec::new();
        file.take(CHUNK).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_complete_new_lines_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.log");
        let mut log = Log {
            prefix: String::new(),
            path: path.clone(),
            offset: 0,
            rest: Vec::new(),
        };
        assert!(log.new_lines().await.is_empty());
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(log.new_lines().await, ["one"]);
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(log.new_lines().await, ["two"]);
        assert!(log.new_lines().await.is_empty());
    }
}
