//! Whether two addresses, or two connections, mean the same NATS.
//!
//! An address can be written in many ways, and a server can have several. What is written is compared
//! here without what makes no difference; what that leaves open, the servers say of themselves when
//! somebody is connected. Servers that are joined by gateways or leaf nodes say nothing of each other.

use std::net::IpAddr;

use async_nats::{Client, ServerAddr, ServerInfo};

use super::{Login, ServerAddress};

/// The name of this machine for itself.
const HERE: &str = "localhost";

/// Where a server is, however its address is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    host: String,
    port: u16,
}

impl Place {
    /// Where an address leads; `None` when it is none.
    #[must_use]
    pub fn of(address: &str) -> Option<Self> {
        Self::leads(&ServerAddress::of(address))
    }

    fn leads(address: &ServerAddress) -> Option<Self> {
        let parsed = address.check().ok()?;
        Some(Self {
            host: host(parsed.host()),
            port: parsed.port(),
        })
    }

    /// Where the addresses of a list lead.
    #[must_use]
    pub fn all(list: &str) -> Vec<Self> {
        ServerAddress::all(list)
            .iter()
            .filter_map(Self::leads)
            .collect()
    }
}

/// A name or an address as it is compared: a machine has many names for itself, and one address can
/// be written in several ways.
fn host(text: &str) -> String {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_loopback() || ip.is_unspecified() => HERE.to_owned(),
        Ok(ip) => ip.to_string(),
        Err(_) if name == HERE || name.ends_with(".localhost") => HERE.to_owned(),
        Err(_) => name,
    }
}

/// Who connects by what stands in the addresses of a list.
#[must_use]
pub fn login_in(list: &str) -> Login {
    let servers = ServerAddress::all(list);
    let servers: Vec<ServerAddr> = servers
        .iter()
        .filter_map(|address| address.check().ok())
        .collect();
    Login::in_addresses(&servers)
}

/// Which NATS a connection leads to, as the server at its other end says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSystem {
    server: String,
    cluster: Option<String>,
}

impl NatsSystem {
    /// The one that a client is connected to, or was last.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        Self::from(client.server_info())
    }

    /// Whether both are one server, or servers of clusters of one name. Two clusters that have one
    /// name by chance, as where nobody has chosen it, cannot be told apart; those that are joined by
    /// gateways or leaf nodes count as two.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let is_one_server = !self.server.is_empty() && self.server == other.server;
        is_one_server || (self.cluster.is_some() && self.cluster == other.cluster)
    }
}

impl From<ServerInfo> for NatsSystem {
    fn from(info: ServerInfo) -> Self {
        Self {
            server: info.server_id,
            cluster: info.cluster.filter(|name| !name.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_however_it_is_written() {
        let place = Place::of("nats://127.0.0.1:4222");
        assert!(place.is_some());
        for address in [
            "127.0.0.1:4222",
            "127.0.0.1",
            "nats://127.0.0.1",
            "nats://127.0.0.1:4222/",
            "NATS://LocalHost:4222",
            "localhost.",
            "tls://localhost",
            "nats://me:secret@localhost:4222",
            "0.0.0.0:4222",
            "nats://[::]:4222",
            "[::1]",
            "nats://[::ffff:127.0.0.1]:4222",
            "127.8.9.1",
            "a.localhost",
        ] {
            assert_eq!(Place::of(address), place, "{address}");
        }
        assert_eq!(Place::of("nats://Nats.Shop:4222"), Place::of("nats.shop."));
        assert_eq!(Place::of("[2001:db8:0::1]"), Place::of("[2001:DB8::1]"));
        assert_eq!(Place::of("ws://a"), Place::of("ws://a:80"));
    }

    #[test]
    fn other_places_are_others() {
        let place = Place::of("nats://127.0.0.1:4222");
        for address in [
            "127.0.0.1:4223",
            "ws://127.0.0.1",
            "nats://10.0.0.1:4222",
            "nats.shop",
            "localhost.shop",
        ] {
            assert!(Place::of(address).is_some(), "{address}");
            assert_ne!(Place::of(address), place, "{address}");
        }
        assert_eq!(Place::of("http://a"), None);
        assert_eq!(Place::all("a, http://b,,c:1").len(), 2);
    }

    fn system(server: &str, cluster: Option<&str>) -> NatsSystem {
        NatsSystem::from(ServerInfo {
            server_id: server.into(),
            cluster: cluster.map(str::to_owned),
            ..ServerInfo::default()
        })
    }

    #[test]
    fn servers_of_one_cluster_are_one_system() {
        let one = system("A", Some("shop"));
        assert!(one.is_same(&one));
        assert!(one.is_same(&system("B", Some("shop"))));
        assert!(one.is_same(&system("A", None)));
        assert!(!one.is_same(&system("B", Some("bank"))));
        assert!(!one.is_same(&system("B", None)));
        assert!(!system("A", Some("")).is_same(&system("B", Some(""))));
        assert!(
            !system("", None).is_same(&system("", None)),
            "never connected"
        );
    }
}
