//! Addresses of NATS servers, and whether they are of this machine.

use std::net::IpAddr;

use super::settings::DEFAULT_PORT;

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
    is_local(host.split_once("://").map_or(host, |(_, bare)| bare))
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
}
