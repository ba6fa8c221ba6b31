//! Processes under test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::artifacts::program;

/// A host process. It is killed, and its providers with it, when dropped.
#[derive(Debug)]
pub struct HostProcess {
    /// The host's id.
    pub id: String,
    child: Child,
    log: PathBuf,
}

impl HostProcess {
    /// Starts `lattice-host` with arguments and environment, its log in `folder`.
    pub(crate) fn spawn(
        id: &str,
        folder: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let log = folder.join(format!("{id}.log"));
        let file = File::create(&log)?;
        let child = Command::new(program("lattice-host")?)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("could not start lattice-host")?;
        Ok(Self {
            id: id.to_owned(),
            child,
            log,
        })
    }

    /// The process id, while the process runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The process id of a provider of this host, by the file name of its program.
    ///
    /// # Errors
    ///
    /// Fails with the list of processes when it is not there.
    pub fn provider_pid(&self, program: &str) -> Result<u32> {
        let host = self.pid().context("the host has exited")?.to_string();
        let list = std::process::Command::new("ps")
            .args(["-o", "pid=,args=", "--ppid", &host])
            .output()?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let line = list.lines().find(|line| line.contains(program));
        let pid = line.and_then(|line| line.split_whitespace().next());
        Ok(pid
            .with_context(|| format!("no {program} among:\n{list}"))?
            .parse()?)
    }

    /// What host and providers have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the process as a crash would.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks the process to drain and waits for its exit.
    ///
    /// # Errors
    ///
    /// Fails when it does not exit in time.
    pub async fn terminate(&mut self, within: Duration) -> Result<std::process::ExitStatus> {
        let pid = self.pid().context("the host has exited already")?;
        let signalled = Command::new("kill").arg(pid.to_string()).status().await?;
        anyhow::ensure!(signalled.success(), "could not signal the host");
        self.wait(within).await
    }

    /// Waits for the exit.
    ///
    /// # Errors
    ///
    /// Fails when it does not exit in time.
    pub async fn wait(&mut self, within: Duration) -> Result<std::process::ExitStatus> {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the host did not exit within {within:?}:\n{}", self.log()),
        }
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// User and system time, in microseconds.
    pub cpu_us: u64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads what a process has used, from `/proc`.
///
/// # Errors
///
/// Fails when there is no such process.
pub fn usage(pid: u32) -> Result<ProcessUsage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold blanks; fields are counted after it.
    let fields = stat.rsplit_once(") ").context("malformed stat")?.1;
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |at: usize| -> Result<u64> { Ok(fields.get(at).context("short stat")?.parse()?) };
    const TICK_US: u64 = 10_000;
    const PAGE: u64 = 4096;
    Ok(ProcessUsage {
        cpu_us: (number(11)? + number(12)?) * TICK_US,
        threads: number(17)?,
        resident: number(21)? * PAGE,
    })
}

/// The most memory that a process has had at once, in bytes.
///
/// # Errors
///
/// Fails when there is no such process.
pub fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.context("the kernel does not tell the peak of memory")?;
    let number: u64 = text.trim().trim_end_matches(" kB").parse()?;
    Ok(number * 1024)
}
