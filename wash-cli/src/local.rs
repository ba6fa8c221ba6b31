//! Stopping what `wash up` started on this machine.

use std::fs::File;
use std::time::Duration;

use futures::future::join_all;
use lattice_core::{HostId, LatticeName};
use tokio::time::Instant;

use crate::connection::leads_to_own;
use crate::error::Result;
use crate::lattice_dir::{HostEntry, LatticeDir, LocalAddress};

/// A host drains its calls and stops its providers before it ends.
const HOST_GRACE: Duration = Duration::from_secs(20);
/// What a host may take to end after it has said goodbye.
const EXIT_GRACE: Duration = Duration::from_secs(10);
/// A NATS server writes its streams before it ends.
const BROKER_GRACE: Duration = Duration::from_secs(10);
/// How long another command is waited for that starts or stops the lattice whose server is to stop.
const OTHERS: Duration = Duration::from_secs(5);

/// How stopping one host went.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) id: String,
    pub(crate) gone: bool,
}

/// Stops hosts side by side: politely, then by force.
pub(crate) async fn stop_hosts(hosts: &[HostEntry]) -> Vec<Stopped> {
    join_all(hosts.iter().map(|host| async move {
        let gone = host.process.stop(HOST_GRACE).await;
        if gone {
            host.forget();
        }
        Stopped {
            id: host.id.clone(),
            gone,
        }
    }))
    .await
}

/// Forgets a host that has said goodbye, if `wash up` started it on this machine, so that it is
/// not taken for one that died.
pub(crate) async fn forget_stopped(lattice: &LatticeName, id: &HostId) -> Result<()> {
    let hosts = LatticeDir::open(lattice)?.hosts();
    for host in hosts.iter().filter(|host| host.id == id.as_str()) {
        // It says goodbye before its last steps. One that hangs in them is still to be seen.
        if host.process.gone_by(Instant::now() + EXIT_GRACE).await {
            host.forget();
        }
    }
    Ok(())
}

/// Forgets the record of this very process: a host that has stopped in order.
pub(crate) fn forget_own() {
    let own = i32::try_from(std::process::id()).ok();
    // Without its folder there is no record either.
    for dir in LatticeDir::all().unwrap_or_default() {
        dir.live_hosts()
            .iter()
            .filter(|host| Some(host.process.pid) == own)
            .for_each(HostEntry::forget);
    }
}

/// Ends everything now.
pub(crate) fn kill_all(hosts: &[HostEntry], broker: Option<&LatticeDir>) {
    for host in hosts {
        host.process.kill();
        host.forget();
    }
    if let Some(dir) = broker {
        if let Some(process) = dir.broker() {
            process.kill();
        }
        dir.forget_broker();
    }
}

/// What became of the NATS server of a lattice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BrokerStop {
    /// It was stopped. It is that of this lattice, which may be another one.
    Stopped(LatticeDir),
    /// It does not end.
    Stuck,
    /// Hosts of these lattices still use it, or one of them is being started or stopped.
    InUse(Vec<String>),
    /// None runs that `wash up` started.
    NotOurs,
}

/// Stops the NATS server of the lattice, unless hosts here still use it. A server that another
/// lattice started, and kept only for this one, is stopped too: nobody starts that lattice as long
/// as the file is held that this returns. Who calls this has the lock of `dir` already.
pub(crate) async fn stop_broker(dir: &LatticeDir) -> Result<(BrokerStop, Option<File>)> {
    let lattices = LatticeDir::all()?;
    let Some((owner, port)) = owner_of(dir, &lattices).await else {
        return Ok((BrokerStop::NotOurs, None));
    };
    if owner == dir {
        return Ok((stop_unused(owner, port).await?, None));
    }
    match owner.lock(OTHERS).await {
        Ok(alone) => Ok((stop_unused(owner, port).await?, Some(alone))),
        Err(_) => Ok((BrokerStop::InUse(vec![owner.name().to_owned()]), None)),
    }
}

/// Stops the server of this lattice at this port, if no host uses it.
async fn stop_unused(owner: &LatticeDir, port: u16) -> Result<BrokerStop> {
    let users = users_of(port, &LatticeDir::all()?);
    if !users.is_empty() {
        return Ok(BrokerStop::InUse(users));
    }
    // While others were waited for, it may have been started anew elsewhere.
    let Some(process) = owner.broker().filter(|own| own.port == Some(port)) else {
        return Ok(BrokerStop::NotOurs);
    };
    if !process.stop(BROKER_GRACE).await {
        return Ok(BrokerStop::Stuck);
    }
    owner.forget_broker();
    Ok(BrokerStop::Stopped(owner.clone()))
}

/// The lattice of this machine whose server this one uses, if `wash up` started that.
pub(crate) async fn owner(dir: &LatticeDir) -> Result<Option<LatticeDir>> {
    let lattices = LatticeDir::all()?;
    let found = owner_of(dir, &lattices).await;
    Ok(found.map(|(owner, _)| owner.clone()))
}

/// The lattice whose server this one uses: its own, or the one at the port its hosts used. A port
/// says nothing of servers elsewhere, nor of others at another address of this machine.
async fn owner_of<'a>(dir: &'a LatticeDir, all: &'a [LatticeDir]) -> Option<(&'a LatticeDir, u16)> {
    let port_of = |dir: &LatticeDir| dir.broker().and_then(|broker| broker.port);
    if let Some(port) = port_of(dir) {
        return Some((dir, port));
    }
    let LocalAddress { server, .. } = dir.recorded_address()?;
    let port = server.port();
    let owner = all.iter().find(|other| port_of(other) == Some(port))?;
    let is_its = leads_to_own(&server, &owner.own_host()).await;
    is_its.then_some((owner, port))
}

fn users_of(port: u16, all: &[LatticeDir]) -> Vec<String> {
    all.iter()
        .filter(|dir| {
            dir.live_hosts()
                .iter()
                .any(|host| host.process.port == Some(port))
        })
        .map(|dir| dir.name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::greeter;
    use crate::lattice_dir::create_folder;
    use crate::process::ProcessRecord;
    use lattice_nats::connection::ServerAddress;

    /// A lattice at this address, in a folder of its own.
    fn lattice(name: &str, folder: &tempfile::TempDir, host: &str, port: u16) -> LatticeDir {
        let dir = LatticeDir::at(name, &folder.path().join(name));
        let address = LocalAddress {
            server: ServerAddress::of(host).with_port(port),
            wanted_port: port,
            access: None,
            own: None,
        };
        dir.record_address(&address).unwrap();
        dir
    }

    #[tokio::test]
    async fn another_server_at_the_same_port_is_not_that_of_a_lattice_here() {
        let folder = tempfile::tempdir().unwrap();
        let port = greeter("127.0.0.1", 0, "OWN").await;
        greeter("127.0.0.2", port, "OTHER").await;
        let owner = lattice("owner", &folder, "127.0.0.1", port);
        create_folder(&owner.nats()).unwrap();
        let own = ProcessRecord::of(std::process::id(), port).unwrap();
        owner.record_broker(&own).unwrap();
        for (host, uses) in [
            ("203.0.113.9", false),
            ("tls://203.0.113.9", false),
            ("localhost", true),
            ("127.0.0.1", true),
            // Only looking it up tells that it is the same.
            ("127.1", true),
            ("tls://word@127.0.0.1", true),
            // So does it of one that listens there alone.
            ("127.2", false),
            ("127.0.0.2", false),
        ] {
            let edge = lattice("edge", &folder, host, port);
            let all = [edge.clone(), owner.clone()];
            let found = owner_of(&edge, &all).await;
            let found = found.map(|(dir, port)| (dir.name(), port));
            assert_eq!(found, uses.then_some(("owner", port)), "{host}");
        }
    }

    #[test]
    fn hosts_use_the_server_of_the_port_that_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let (near, far) = ("near", "far");
        for (name, port) in [(near, Some(41222)), (far, None)] {
            let dir = lattice(name, &folder, "127.0.0.1", 41222);
            create_folder(&dir.host_folder("N")).unwrap();
            let host = ProcessRecord {
                port,
                ..ProcessRecord::of(std::process::id(), 1).unwrap()
            };
            dir.record_host("N", host).unwrap();
        }
        let all = [near, far].map(|name| LatticeDir::at(name, &folder.path().join(name)));
        assert_eq!(users_of(41222, &all), ["near"]);
    }
}
