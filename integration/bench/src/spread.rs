//! The echo on all hosts of a lattice of its own, beside which others can be up.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lattice_integration::Lattice;
use lattice_rpc::Peer;

use crate::calls::{self, SMALL};
use crate::meter::{Meter, Sample};
use crate::{bed, processes};

/// Calls in flight for each host: spread over more of them, the same load would leave each with less
/// to do at a time, which costs more per call whatever the number of hosts.
const IN_FLIGHT: usize = 64;

/// A lattice with one component on all its hosts.
pub(crate) struct Spread {
    // Before the lattice, whose server it is connected to.
    peer: Peer,
    meter: Meter,
    pids: Vec<u32>,
    in_flight: usize,
    pub(crate) lattice: Lattice,
}

impl Spread {
    /// Starts a server and so many hosts, and the component on each of them.
    pub(crate) async fn start(hosts: usize) -> Result<Self> {
        let servers = processes::named("nats-server")?;
        let (lattice, meter) = bed::metered(hosts).await?;
        let mut pids = processes::named("nats-server")?;
        pids.retain(|pid| !servers.contains(pid));
        for (index, host) in lattice.hosts.iter().enumerate() {
            lattice.run(index, SMALL.id, "echo", 1000).await?;
            pids.push(host.pid().context("a host has exited")?);
        }
        Ok(Self {
            peer: lattice.peer().await?,
            meter,
            pids,
            in_flight: IN_FLIGHT * hosts,
            lattice,
        })
    }

    /// Calls the component for some time and meters server and hosts.
    pub(crate) async fn sample(&self, time: Duration) -> Result<Sample> {
        let calls = calls::echo(&self.peer, SMALL, self.in_flight, 64, time);
        self.meter.measure(&self.pids, calls).await
    }
}
