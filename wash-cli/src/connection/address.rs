//! Addresses of NATS servers, and whether they are of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lattice_nats::connection::{options, without_login};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::greeting::{connectable, server_id};
use super::settings::{DEFAULT_PORT, Settings, Side, variable};
use crate::error::{CliError, Code, Result};

/// How long it may take to look a name up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Addresses that no machine has: they are for documentation.
const NOBODYS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOBODYS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A port for sockets by which nothing is sent.
const ANY_PORT: u16 = 9;

impl Settings {
    /// The port of the server of this machine that these lead to, if they lead to one.
    pub(crate) async fn local_port(&self) -> Option<u16> {
        for url in self.connection().servers {
            let (host, port) = split_address(&without_login(&url));
            if leads_here(&host).await {
                return Some(port);
            }
        }
        None
    }
}

/// Whether a host is this machine, as people write it.
pub(crate) fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// The same for one that may have a scheme in front.
pub(crate) fn is_local_server(host: &str) -> bool {
    is_local(without_scheme(host))
}

/// The same for one that may also be a name of this machine, or an address of one of its networks. A
/// name that nobody knows leads nowhere. That keeps a server; it is not enough to end one, which
/// [`leads_to_own`] is for.
async fn leads_here(host: &str) -> bool {
    if is_local_server(host) {
        return true;
    }
    let bare = without_scheme(host);
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    match timeout(LOOKUP, lookup_host((bare, 0_u16))).await {
        Ok(Ok(mut found)) => found.any(is_of_this_machine),
        _ => false,
    }
}

/// Whether what listens there is, for certain, the server that listens at `own` of this machine and the
/// same port. Who ends it, or has hosts use it, has to know: a second server may listen at another address
/// alone, and an address of this machine may be handed on to elsewhere.
pub(crate) async fn leads_to_own(host: &str, port: u16, own: &str) -> bool {
    if literal(host).is_some_and(|address| literal(own) == Some(address)) {
        return true;
    }
    if !leads_here(host).await {
        return false;
    }
    let (there, own) = tokio::join!(server_id(host, port), server_id(own, port));
    there.is_some() && there == own
}

/// The address that one connects to, where no name has to be looked up.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = without_scheme(host);
    match bare.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        bare => bare.parse().ok().map(connectable),
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

pub(super) fn without_scheme(host: &str) -> &str {
    host.split_once("://").map_or(host, |(_, bare)| bare)
}

/// Takes the port off a host that has one behind it; it counts for more than one that is said
/// besides.
pub(crate) fn port_apart(host: Option<String>, port: Option<u16>) -> (Option<String>, Option<u16>) {
    match host.as_deref().and_then(split_port) {
        Some((host, port)) => (Some(host.to_owned()), Some(port)),
        None => (host, port),
    }
}

/// Refuses a port on the command line beside a host, perhaps of a variable, with another one behind it:
/// nobody knows which is meant.
pub(super) fn refuse_two_ports(nats: &options::Given, side: Side) -> Result<()> {
    let behind = nats.host.as_deref().and_then(split_port);
    let (Some((_, behind)), Some(port), Some(host)) = (behind, nats.port, &nats.host) else {
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

/// The host and the port of what has both, perhaps with a scheme.
pub(crate) fn split_port(host: &str) -> Option<(&str, u16)> {
    let host = host.trim_end_matches('/');
    let both = host.rsplit_once(':');
    let (front, port) = both.filter(|_| has_port(without_scheme(host)))?;
    Some((front, port.parse().ok()?))
}

/// The host, perhaps with its scheme, and the port of an address.
pub(super) fn split_address(url: &str) -> (String, u16) {
    let url = url.trim_end_matches('/');
    match url
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse()))
    {
        Some((host, Ok(port))) => (host.to_owned(), port),
        _ => (url.to_owned(), DEFAULT_PORT),
    }
}

pub(super) fn has_port(host: &str) -> bool {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.matches(':').count() == 1 && !after.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::super::{Given, greeter};
    use super::*;

    #[test]
    fn this_machine_is_known_however_it_is_written() {
        for host in [
            "127.0.0.1",
            "127.0.0.2",
            "localhost",
            "::1",
            "[::1]",
            "0.0.0.0",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["10.0.0.1", "nats.test", "tls://127.0.0.1", ""] {
            assert!(!is_local(host), "{host}");
        }
        assert!(is_local_server("tls://127.0.0.1") && !is_local_server("tls://nats.test"));
    }

    #[tokio::test]
    async fn only_a_server_of_this_machine_has_a_local_port() {
        for (host, port) in [
            ("127.0.0.2", Some(4333)),
            ("[::1]", Some(4333)),
            ("127.0.0.1:4444", Some(4444)),
            // This is 127.0.0.1 only to who looks it up.
            ("127.1", Some(4333)),
            ("203.0.113.9", None),
        ] {
            let settings = Settings::at(host, 4333);
            assert_eq!(settings.local_port().await, port, "{host}");
        }
        let at = |urls: &[&str]| Settings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
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
            // Another one, and nobody.
            ("127.0.0.2", false),
            ("127.2", false),
            ("127.0.0.3", false),
            ("127.3", false),
            ("203.0.113.9", false),
        ] {
            assert_eq!(leads_to_own(host, port, own).await, is_own, "{host}");
        }
    }

    #[tokio::test]
    async fn a_server_that_listens_at_all_addresses_is_the_own_at_each() {
        let own = "0.0.0.0";
        let port = greeter(own, 0, "OWN").await;
        for host in [own, "127.0.0.1", "127.0.0.2", "127.2"] {
            assert!(leads_to_own(host, port, own).await, "{host}");
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
    fn a_port_behind_a_host_is_taken_off() {
        for (host, split) in [
            ("127.0.0.1:4333", Some(("127.0.0.1", 4333))),
            ("tls://nats.test:4333/", Some(("tls://nats.test", 4333))),
            ("[::1]:4333", Some(("[::1]", 4333))),
            ("127.0.0.1", None),
            ("tls://nats.test", None),
            ("::1", None),
            ("[::1]", None),
            ("nats.test:port", None),
        ] {
            assert_eq!(split_port(host), split, "{host}");
        }
        let host = |host: &str| Some(host.to_owned());
        assert_eq!(port_apart(host("a:1"), Some(2)), (host("a"), Some(1)));
        assert_eq!(port_apart(host("a"), Some(2)), (host("a"), Some(2)));
    }
}
