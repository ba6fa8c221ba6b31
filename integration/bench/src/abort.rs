//! Clients that leave in the middle of their request: whatever was held for them has to come back.
//!
//! Tasks are those of the host. A provider process tells nobody how many it has: one that stays
//! behind there is seen by what it holds, its memory and the socket it is waiting with.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::join_all;
use lattice_core::Locality;
use lattice_integration::{Lattice, Monitored, STEP, usage};
use tokio::task::JoinSet;

use crate::http_load::Connection;
use crate::report::{Figure, Report};
use crate::{bed, processes};

/// What this adds.
pub(crate) const NAMES: &[&str] = &[
    "abort_storm",
    "abort_storm_requests",
    "abort_storm_memory",
    "abort_storm_memory_each",
];

/// How many requests the component takes at a time.
const PERMITS: u32 = 16;
/// How many clients come and go.
const CLIENTS: usize = 64;
/// A request that nobody waits for.
const LONG: &str = "/wait/200";
/// How long a request that shows a free permit takes.
const SHOWS: &str = "/wait/1000";
/// By when it has to be answered: a second one after it would be later.
const SHOWN_BY: Duration = Duration::from_millis(1900);

/// By how many bytes both processes may have grown for each client, and in all however many they
/// were. The least that a client can leave is an entry of a table, with a key and what it is for: a
/// hundred bytes or so; a task takes a kilobyte.
pub(crate) const EACH: u64 = 64;
pub(crate) const AT_MOST: u64 = 64 << 20;

/// What can stay behind.
#[derive(Debug, Clone, Copy)]
struct Held {
    subscriptions: u64,
    tasks: u64,
    files: usize,
    resident: u64,
}

impl Held {
    /// Whether it is no more than before, after so many clients.
    fn is_back(&self, before: Self, clients: u64) -> bool {
        let grown = self.resident.saturating_sub(before.resident);
        self.subscriptions <= before.subscriptions
            && self.tasks <= before.tasks
            && self.files <= before.files
            && grown <= (clients * EACH).min(AT_MOST)
    }
}

/// A component behind HTTP in the host and behind HTTP in a process of its own.
struct Stage {
    monitored: Monitored,
    addresses: Vec<String>,
    pids: [u32; 2],
}

impl Stage {
    async fn start() -> Result<Self> {
        let mut monitored = Monitored::start().await?;
        let lattice = &mut monitored.lattice;
        lattice.run(0, "waiter", "http-probe", PERMITS).await?;
        bed::provide_inside(lattice, "inside", "http-server").await?;
        let name = "http-server-provider";
        lattice.provide(0, "httpserver", name, &[]).await?;
        let addresses = addresses(lattice).await?;
        let host = lattice.hosts[0].pid().context("the host has exited")?;
        let pids = [host, processes::only(name)?];
        Ok(Self {
            monitored,
            addresses,
            pids,
        })
    }

    async fn held(&self) -> Result<Held> {
        let mut held = Held {
            subscriptions: self.monitored.settled_subscriptions().await?,
            tasks: self.monitored.tasks().await?,
            files: 0,
            resident: 0,
        };
        for pid in self.pids {
            held.files += processes::open_files(pid)?;
            held.resident += usage(pid)?.resident;
        }
        Ok(held)
    }

    /// What is held once it is no more than before, or when the time for that has passed: the
    /// allocator gives back a little later what the last clients took.
    async fn held_after(&self, before: Held, clients: u64) -> Result<Held> {
        let until = Instant::now() + STEP;
        loop {
            let now = self.held().await?;
            if now.is_back(before, clients) || Instant::now() > until {
                return Ok(now);
            }
        }
    }

    /// Has clients come and go for some time; gives how many have left.
    async fn storm(&self, time: Duration) -> Result<u64> {
        let until = Instant::now() + time;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let address = self.addresses[client % self.addresses.len()].clone();
            clients.spawn(leave_again_and_again(address, client as u64, until));
        }
        let mut left = 0;
        while let Some(client) = clients.join_next().await {
            left += client??;
        }
        Ok(left)
    }

    /// How many of the component's permits cannot be had at the same time.
    async fn lost_permits(&self) -> usize {
        let requests = (0..PERMITS as usize).map(|index| async move {
            let address = &self.addresses[index % self.addresses.len()];
            let exchange = async { Connection::open(address, SHOWS).await?.exchange().await };
            let status = tokio::time::timeout(SHOWN_BY, exchange).await;
            !matches!(status, Ok(Ok(200)))
        });
        let lost = join_all(requests).await;
        lost.into_iter().filter(|lost| *lost).count()
    }
}

async fn addresses(lattice: &Lattice) -> Result<Vec<String>> {
    let mut addresses = Vec::new();
    for provider in ["inside", "httpserver"] {
        let address = bed::serve(lattice, provider, "waiter", Locality::default()).await?;
        lattice.until_status(&address, "/", 200).await?;
        addresses.push(address);
    }
    Ok(addresses)
}

async fn leave_again_and_again(address: String, seed: u64, until: Instant) -> Result<u64> {
    let mut left = 0;
    while Instant::now() < until {
        let mut connection = Connection::open(&address, LONG).await?;
        connection.send().await?;
        // At another point of the request each time: before, while and after it is handed on.
        let stay = Duration::from_micros((seed * 31 + left * 977) % 20_000);
        tokio::time::sleep(stay).await;
        left += 1;
    }
    Ok(left)
}

/// Measures what is still held after a storm of `time`.
pub(crate) async fn run(report: &mut Report, time: Duration) -> Result<()> {
    let stage = Stage::start().await?;
    // Pools and threads that the first storm makes are no leak.
    let first = (time / 10).max(Duration::from_secs(1)).min(time);
    stage.storm(first).await?;
    stage.lost_permits().await;
    let before = stage.held().await?;
    let clients = stage.storm(time).await?;
    let after = stage.held_after(before, clients).await?;
    let lost = stage.lost_permits().await;
    let subscriptions = after.subscriptions.saturating_sub(before.subscriptions) as usize;
    let tasks = after.tasks.saturating_sub(before.tasks) as usize;
    let files = after.files.saturating_sub(before.files);
    if subscriptions + tasks + files + lost > 0 {
        report.notes.push(format!(
            "after the storm: {subscriptions} subscriptions, {tasks} tasks, {files} open files and \
             {lost} permits have not come back"
        ));
    }
    let left = (subscriptions + tasks + files + lost) as f64;
    let grown = after.resident as f64 - before.resident as f64;
    let each = grown / clients.max(1) as f64;
    for (name, value, unit) in [
        (NAMES[0], left, "left"),
        (NAMES[1], clients as f64, "req"),
        (NAMES[2], grown / (1024.0 * 1024.0), "MiB"),
        (NAMES[3], each, "B"),
    ] {
        report.add(Figure::new(name, value, unit).over(time));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_back_when_it_grew_by_less_than_clients_can_leave() {
        let held = |subscriptions, resident| Held {
            subscriptions,
            tasks: 20,
            files: 7,
            resident,
        };
        let before = held(10, 1000);
        assert!(held(9, 900).is_back(before, 0));
        assert!(held(10, 1000 + 64 * 50).is_back(before, 50));
        assert!(!held(10, 1001 + 64 * 50).is_back(before, 50));
        assert!(!held(11, 1000).is_back(before, 50));
        let one_task_more = Held {
            tasks: 21,
            ..before
        };
        assert!(!one_task_more.is_back(before, 50));
        assert!(!held(10, 1001 + AT_MOST).is_back(before, u64::MAX / EACH));
    }
}
