//! From names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use lattice_codec::http::ErrorCode;
use tokio::sync::Semaphore;

use crate::address::is_public;
use crate::fault::Fault;
use crate::proxy::literal;

/// How many names are looked up at once: each takes a thread, also when nobody waits any more.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// The addresses of a host, only public ones if `public_only`.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    public_only: bool,
) -> Result<Vec<SocketAddr>, Fault> {
    let mut found: Vec<_> = match literal(host) {
        Some(address) => vec![SocketAddr::new(address, port)],
        None => look_up(host, port).await?,
    };
    if found.is_empty() {
        return Err(Fault(ErrorCode::DestinationNotFound));
    }
    if public_only {
        found.retain(|address| is_public(plain(address.ip())));
        if found.is_empty() {
            return Err(Fault(ErrorCode::DestinationIpProhibited));
        }
    }
    Ok(in_turns(found))
}

fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    let host = host.to_owned();
    // A lookup that nobody waits for any more keeps its place until it ends, for so long it keeps
    // its thread.
    let looked = tokio::spawn(async move {
        let _place = LOOKUPS.acquire().await;
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        found.map(Iterator::collect::<Vec<_>>)
    });
    match looked.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Fault(dns_error(&error))),
        Err(error) => Err(Fault(ErrorCode::InternalError(Some(error.to_string())))),
    }
}

/// What the system's resolver means. It says so in words only.
fn dns_error(error: &io::Error) -> ErrorCode {
    let text = error.to_string();
    let what = text.rsplit(": ").next().unwrap_or(&text);
    let rcode = match what {
        "Name or service not known" | "No address associated with hostname" => "NXDOMAIN",
        "Temporary failure in name resolution" => "SERVFAIL",
        other => other,
    };
    ErrorCode::DnsError {
        rcode: Some(rcode.to_owned()),
        info_code: None,
    }
}

/// Has addresses of both kinds alternate, beginning with the first one's kind, so that one kind
/// that leads nowhere does not hold up the other.
fn in_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = found.first() else {
        return found;
    };
    let is_first_kind = |address: &SocketAddr| address.is_ipv4() == first.is_ipv4();
    let (one, other): (Vec<_>, Vec<_>) = found.iter().copied().partition(is_first_kind);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = Vec::with_capacity(found.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair.iter().all(Option::is_none) {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_are_checked_without_a_lookup() {
        let found = resolve("[::1]", 80, false).await.unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
        for host in ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"] {
            let denied = resolve(host, 80, true).await;
            assert_eq!(
                denied,
                Err(Fault(ErrorCode::DestinationIpProhibited)),
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn names_and_odd_numbers_are_checked_by_what_they_lead_to() {
        assert!(resolve("localhost", 80, false).await.is_ok());
        // The system takes all of these for the address of this machine.
        for host in ["localhost", "2130706433", "0x7f.1", "127.1"] {
            let denied = resolve(host, 80, true).await;
            assert_eq!(
                denied,
                Err(Fault(ErrorCode::DestinationIpProhibited)),
                "{host}"
            );
        }
    }

    #[test]
    fn kinds_of_addresses_alternate() {
        let all = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1", "[::3]:1"];
        let all: Vec<SocketAddr> = all.iter().map(|text| text.parse().unwrap()).collect();
        let turns = in_turns(all.clone());
        assert_eq!(turns, [all[0], all[2], all[1], all[3], all[4]]);
    }

    #[test]
    fn what_the_resolver_says_is_put_in_its_usual_words() {
        let text = "failed to lookup address information: Name or service not known";
        let code = dns_error(&io::Error::other(text));
        assert_eq!(code.to_string(), "DNS-error: NXDOMAIN");
    }
}
