//! A process with all that it starts.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A group of processes that is killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its first process, whose id is the group's; gone when the group was let go.
    leader: Option<Child>,
}

impl Group {
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .process_group(0)
            .stdout(file.try_clone()?)
            .stderr(file);
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .with_context(|| format!("could not start `{}`", program.display()))?;
        Ok(Self {
            leader: Some(child),
        })
    }

    fn id(&self) -> Option<Pid> {
        self.leader.as_ref().and_then(|child| {
            let id = i32::try_from(child.id()).ok()?;
            Pid::from_raw(id)
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let group = self.id().context("it does not run")?;
        kill_process_group(group, signal).context("could not send a signal to it")
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// How its first process ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.leader {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Lets it live on; gives its id.
    pub(crate) fn detach(mut self) -> i32 {
        let id = self.id().map_or(0, |id| id.as_raw_nonzero().get());
        self.leader = None;
        id
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Both fail only when the processes are gone already, which is the goal.
        let _ = self.signal(Signal::KILL);
        if let Some(child) = &mut self.leader {
            let _ = child.wait();
        }
    }
}
