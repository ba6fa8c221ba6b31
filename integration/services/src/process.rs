//! A process with all that it starts.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

/// How long a stopped process may take to stand.
const FREEZE_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take to end, and how often it is looked whether it has.
const END_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

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

    /// Stops it, and returns when every thread of it stands: until then one that runs on another
    /// core may still answer.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let group = self.id().context("it does not run")?.as_raw_nonzero().get();
        let until = Instant::now() + FREEZE_WITHIN;
        while !stands(group)? {
            ensure!(
                Instant::now() < until,
                "it still runs {FREEZE_WITHIN:?} after SIGSTOP"
            );
            std::thread::yield_now();
        }
        Ok(())
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end, and waits a while until its first process has.
    pub(crate) fn end(&mut self) {
        if self.signal(Signal::TERM).is_err() {
            return;
        }
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until && matches!(self.ended(), Ok(None)) {
            std::thread::park_timeout(LOOK);
        }
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
        // Some start children in groups of their own, as PostgreSQL does, which end by themselves.
        let children = self.id().map(|id| children(id.as_raw_nonzero().get()));
        // Both fail only when the processes are gone already, which is the goal.
        let _ = self.signal(Signal::KILL);
        if let Some(child) = &mut self.leader {
            let _ = child.wait();
        }
        // Until then they hold what one that is started again needs: memory, locks, ports.
        let until = Instant::now() + END_WITHIN;
        for child in children.into_iter().flatten() {
            while Instant::now() < until && runs(&child) {
                std::thread::park_timeout(LOOK);
            }
        }
    }
}

/// The folders in `/proc` of those that a process has started.
fn children(of: i32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.map(|entry| entry.path());
    let is_child = |process: &PathBuf| stat(process).is_some_and(|stat| stat.parent == of);
    processes.filter(is_child).collect()
}

/// Whether no thread of a group runs.
fn stands(group: i32) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        let is_of_group = stat(&process).is_some_and(|stat| stat.group == group);
        // Those that are not processes or that end meanwhile have no threads to look at.
        let Ok(threads) = std::fs::read_dir(process.join("task")) else {
            continue;
        };
        if is_of_group && threads.flatten().any(|thread| runs(&thread.path())) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn runs(thread: &Path) -> bool {
    stat(thread).is_some_and(|stat| !matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
}

/// What the kernel tells of a process or of a thread.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
}

fn stat(process: &Path) -> Option<Stat> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    // The name of the program may hold anything, so what comes after it is counted.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}
