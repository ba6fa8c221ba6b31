//! Addresses of NATS servers, and whether they are of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lattice_nats::connection::{ServerAddress, options, without_login};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::greeting::{connectable, server_id};
use super::settings::{Settings, Side, variable};
use crate::error::{CliError, Code, Result};

/// How long it may take to look a name up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Addresses that no machine has: they are for documentation.
const NOBODYS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOBODYS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A port for sockets by which nothing is sent.
const ANY_PORT: u16 = 9;

/// Host and port, as far as they are said.
pub(crate) type Said = (Option<ServerAddress>, Option<u16>);

/// Takes a host apart that may have a port behind it; that counts for more than one that is said
/// besides.
pub(crate) fn said(host: Option<&str>, port: Option<u16>) -> Said {
    let host = host.map(ServerAddress::of);
    let behind = host.as_ref().and_then(ServerAddress::said_port);
    (host, behind.or(port))
}

impl Settings {
    /// The port of the server of this machine that these lead to, if they lead to one.
    pub(crate) async fn local_port(&self) -> Option<u16> {
        for server in self.servers() {
            if leads_here(server).await {
                return Some(server.port());
            }
        }
        None
    }
}

/// Whether a server is of this machine and plainly said, as those are that `wash up` starts.
pub(crate) fn is_here(server: &ServerAddress) -> bool {
    server.is_bare() && server.is_local()
}

/// Whether a server is of this machine, perhaps by a name of it or at an address of one of its networks.
/// A name that nobody knows leads nowhere. That keeps a server; it is not enough to end one, which
/// [`leads_to_own`] is for.
async fn leads_here(server: &ServerAddress) -> bool {
    if server.is_local() {
        return true;
    }
    match timeout(LOOKUP, lookup_host((server.host(), 0_u16))).await {
        Ok(Ok(mut found)) => found.any(is_of_this_machine),
        _ => false,
    }
}

/// Whether what listens there is, for certain, the server that listens at the host `own` of this machine
/// and the same port. Who ends it, or has hosts use it, has to know: a second server may listen at another
/// address alone, and an address of this machine may be handed on to elsewhere.
pub(crate) async fn leads_to_own(server: &ServerAddress, own: &ServerAddress) -> bool {
    if literal(server).is_some_and(|address| literal(own) == Some(address)) {
        return true;
    }
    if !leads_here(server).await {
        return false;
    }
    let own = own.clone().with_port(server.port());
    let (there, own) = tokio::join!(server_id(server), server_id(&own));
    there.is_some() && there == own
}

/// The address that one connects to, where no name has to be looked up.
fn literal(server: &ServerAddress) -> Option<IpAddr> {
    match server.host() {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => server.ip().map(connectable),
    }
}

/// Only what is an address of this machine can be bound; where the system lets anything be bound, what
/// this machine speaks from to itself counts.
fn is_of_this_machine(address: SocketAddr) -> bool {
    let can_bind = |address: SocketAddr| UdpSocket::bind(address).is_ok();
    let nobodys = match address {
        SocketAddr::V4(_) => IpAddr::from(NOBODYS_V4),
        SocketAddr::V6(_) => IpAddr::from(NOBODYS_V6),
    };
    let ip = address.ip();
    can_bind(address)
        && (!can_bind(SocketAddr::new(nobodys, 0)) || ip.is_loopback() || speaks_from(address))
}

/// Whether who asks this address does so from it.
fn speaks_from(mut address: SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    address.set_port(ANY_PORT);
    // Nothing is sent: it only says which way that would go.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address.ip())
}

/// Refuses a port on the command line beside a host, perhaps of a variable, with another one behind it:
/// nobody knows which is meant.
pub(super) fn refuse_two_ports(nats: &options::Given, side: Side) -> Result<()> {
    let (_, behind) = said(nats.host.as_deref(), None);
    let (Some(behind), Some(port), Some(host)) = (behind, nats.port, &nats.host) else {
        return Ok(());
    };
    if port == behind || !nats.urls.is_empty() || is_of_variable(side, port) {
        return Ok(());
    }
    let host = without_login(host);
    let text = format!("the host `{host}` names port {behind}, and port {port} is given besides");
    Err(CliError::new(Code::Usage, text).hint(
        "leave one of the two ports out; a host that was not given comes from a variable, such as \
         `WASMCLOUD_CTL_HOST`",
    ))
}

/// Whether a variable says this port, so that it may not be meant for this command.
fn is_of_variable(side: Side, port: u16) -> bool {
    let names: &[&str] = match side {
        Side::Control => &["WASMCLOUD_CTL_PORT", "WASMCLOUD_NATS_PORT"],
        Side::Rpc => &["WASMCLOUD_RPC_PORT"],
    };
    let said = names.iter().filter_map(|name| variable(name));
    said.filter_map(|text| text.parse::<u16>().ok())
        .any(|said| said == port)
}

#[cfg(test)]
mod tests {
    use super::super::{Given, greeter};
    use super::*;

    #[test]
    fn only_a_server_that_is_plainly_said_is_one_to_start() {
        for host in ["127.0.0.1:4333", "localhost", "::1", "[::1]", "0.0.0.0"] {
            assert!(is_here(&ServerAddress::of(host)), "{host}");
        }
        for host in ["10.0.0.1", "tls://127.0.0.1", "word@127.0.0.1", "127.1"] {
            assert!(!is_here(&ServerAddress::of(host)), "{host}");
        }
    }

    #[tokio::test]
    async fn only_a_server_of_this_machine_has_a_local_port() {
        for (host, port) in [
            ("127.0.0.2", Some(4333)),
            ("[::1]", Some(4333)),
            ("127.0.0.1:4444", Some(4444)),
            // This is 127.0.0.1 only to who looks it up.
            ("127.1", Some(4333)),
            ("me:word@127.0.0.1", Some(4333)),
            ("tls://word@[::1]:4444", Some(4444)),
            ("203.0.113.9", None),
        ] {
            let settings = Settings::at(host, 4333);
            assert_eq!(settings.local_port().await, port, "{host}");
        }
        let at = |urls: &[&str]| Settings {
            urls: urls.iter().map(|url| ServerAddress::of(url)).collect(),
            ..Settings::at("127.0.0.1", 4222)
        };
        let far = "tls://203.0.113.9:5555";
        assert_eq!(at(&[far]).local_port().await, None);
        let both = at(&[far, "nats://a:b@localhost:4555/"]);
        assert_eq!(both.local_port().await, Some(4555));
        let usual = at(&["nats://127.0.0.1"]);
        assert_eq!(usual.local_port().await, Some(4222));
    }

    #[tokio::test]
    async fn only_the_same_server_is_the_own() {
        let own = "127.0.0.1";
        let port = greeter(own, 0, "OWN").await;
        greeter("127.0.0.2", port, "OTHER").await;
        for (host, is_own) in [
            (own, true),
            ("localhost", true),
            ("127.1", true),
            ("tls://127.1", true),
            ("tls://word@127.0.0.1", true),
            ("word@127.1", true),
            // Another one, and nobody.
            ("127.0.0.2", false),
            ("127.2", false),
            ("127.0.0.3", false),
            ("127.3", false),
            ("203.0.113.9", false),
        ] {
            let server = ServerAddress::of(host).with_port(port);
            let own = ServerAddress::of(own);
            assert_eq!(leads_to_own(&server, &own).await, is_own, "{host}");
        }
    }

    #[tokio::test]
    async fn a_server_that_listens_at_all_addresses_is_the_own_at_each() {
        let own = "0.0.0.0";
        let port = greeter(own, 0, "OWN").await;
        for host in [own, "127.0.0.1", "127.0.0.2", "127.2"] {
            let server = ServerAddress::of(host).with_port(port);
            let own = ServerAddress::of(own);
            assert!(leads_to_own(&server, &own).await, "{host}");
        }
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        assert!(is_of_this_machine(at("127.0.0.2")));
        assert!(speaks_from(at("127.0.0.1")));
        for far in ["203.0.113.9", "2001:db8::9"] {
            assert!(!is_of_this_machine(at(far)), "{far}");
            assert!(!speaks_from(at(far)), "{far}");
        }
    }

    #[test]
    fn a_port_on_the_command_line_is_not_overruled_by_the_one_behind_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let check = |host: &str, port| {
            let nats = options::Given {
                host: Some(host.to_owned()),
                port,
                ..options::Given::default()
            };
            let given = Given {
                nats,
                context_dir: Some(folder.path().into()),
                ..Given::default()
            };
            given.settle()
        };
        assert!(check("127.0.0.1:4222", None).is_ok());
        assert!(check("127.0.0.1:4222", Some(4222)).is_ok());
        assert!(check("127.0.0.1", Some(4333)).is_ok());
        let refused = check("nats://word@127.0.0.1:4222", Some(4333)).unwrap_err();
        assert_eq!(refused.code(), Code::Usage);
        let text = refused.to_string();
        assert!(text.contains("4222") && text.contains("4333"), "{text}");
        assert!(!text.contains("word"), "{text}");
    }

    #[test]
    fn a_port_behind_a_host_counts_for_more_than_one_besides() {
        for (host, port) in [
            ("a", 2),
            ("a:1", 1),
            ("tls://me:word@a:1/", 1),
            ("tls://a", 2),
            ("::1", 2),
            ("[::1]:1", 1),
            ("a:port", 2),
        ] {
            assert_eq!(said(Some(host), Some(2)).1, Some(port), "{host}");
        }
        assert_eq!(said(None, Some(2)), (None, Some(2)));
        assert_eq!(said(Some("a"), None).1, None);
    }
}
