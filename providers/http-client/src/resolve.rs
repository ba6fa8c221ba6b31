//! From names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lattice_codec::http::ErrorCode;
use lattice_core::grant::literal;
use tokio::sync::Semaphore;

use crate::fault::Fault;

/// How many names are looked up at once: each takes a thread, also when nobody waits any more.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// How many of these one link may have, so that slow ones leave room for those of others.
pub(crate) const LOOKUPS_OF_LINK: usize = 8;

/// Looks up a name.
type Lookup = std::pin::Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, Fault>> + Send>>;

/// The addresses of a host that `admits` lets through. Connections are made to these and no others,
/// so that a name that leads elsewhere the next time gains nothing by it. `own` are the places of the
/// link for lookups.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    admits: impl Fn(IpAddr) -> bool,
    own: Arc<Semaphore>,
) -> Result<Vec<SocketAddr>, Fault> {
    resolve_by(host, port, admits, |host, port| {
        Box::pin(look_up(host, port, own))
    })
    .await
}

async fn resolve_by(
    host: &str,
    port: u16,
    admits: impl Fn(IpAddr) -> bool,
    look_up: impl FnOnce(String, u16) -> Lookup,
) -> Result<Vec<SocketAddr>, Fault> {
    // An address in a request was looked at before; see `AddressFilter::judge`.
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let mut found = look_up(host.to_owned(), port).await?;
    if found.is_empty() {
        return Err(Fault(ErrorCode::DestinationNotFound));
    }
    found.retain(|address| admits(address.ip()));
    if found.is_empty() {
        return Err(Fault(ErrorCode::DestinationIpProhibited));
    }
    Ok(in_turns(found))
}

/// Whether a name is a number in disguise, such as `0x7f.1`, which resolvers take for an address
/// without asking anybody.
pub(crate) fn is_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host).to_ascii_lowercase();
    let hex = last.strip_prefix("0x");
    match hex {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

async fn look_up(host: String, port: u16, own: Arc<Semaphore>) -> Result<Vec<SocketAddr>, Fault> {
    // A request that is given up waits for a place no longer. The link's own comes first, so that no
    // more wait for one of all links than may look up anyway.
    let places = (own.acquire_owned().await, LOOKUPS.acquire().await);
    // A lookup that nobody waits for any more keeps its places until it ends, for so long it keeps
    // its thread.
    let looked = tokio::spawn(async move {
        let _places = places;
        ask_system(host, port).await
    });
    match looked.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Fault(dns_error(&error))),
        Err(error) => Err(Fault(ErrorCode::InternalError(Some(error.to_string())))),
    }
}

#[cfg(not(test))]
async fn ask_system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    found.map(Iterator::collect)
}

#[cfg(test)]
use tests::ask as ask_system;

/// Whether nothing is known here of a name, so that whoever else is asked may know more.
pub(crate) fn is_unknown(fault: &Fault) -> bool {
    matches!(
        fault.0,
        ErrorCode::DnsError { .. } | ErrorCode::DnsTimeout | ErrorCode::DestinationNotFound
    )
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

    use std::collections::BTreeSet;

    use lattice_core::grant::Grants;
    use parking_lot::Mutex;

    use crate::address::is_public;
    use crate::reach::AddressFilter;

    /// The system's resolver, with names of which this test decides where they lead.
    pub(super) async fn ask(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host.as_str() {
            "metadata.test" => Ok(vec![SocketAddr::from(([169, 254, 169, 254], port))]),
            "unknown.test" => Err(io::Error::other("Name or service not known")),
            "slow.test" => std::future::pending().await,
            name if name.ends_with("rebind.test") => Ok(vec![rebound(name, port)]),
            _ => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
        }
    }

    /// A public address at first, as somebody looks at it; afterwards one that is not.
    fn rebound(name: &str, port: u16) -> SocketAddr {
        static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        match ASKED.lock().insert(name.to_owned()) {
            true => SocketAddr::from(([93, 184, 216, 34], port)),
            false => SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    #[tokio::test]
    async fn a_name_that_is_granted_and_leads_elsewhere_the_next_time_gains_nothing() {
        for (name, list) in [
            ("a.rebind.test", "http://a.rebind.test"),
            ("b.rebind.test", "b.rebind.test, 127.0.0.1, 10.0.0.0/8"),
            ("c.rebind.test", "*.rebind.test, localhost"),
        ] {
            let gate = AddressFilter::new(Some(Grants::parse(list).unwrap()));
            let uri = format!("http://{name}/").parse().unwrap();
            let reach = gate.judge(&http::Method::GET, &uri).unwrap();
            let asked = || resolve(name, 80, |address| gate.admits(reach, address));
            assert_eq!(
                asked().await.unwrap(),
                ["93.184.216.34:80".parse().unwrap()]
            );
            assert_eq!(asked().await, prohibited(), "{list}");
        }
    }

    fn own() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(LOOKUPS_OF_LINK))
    }

    async fn resolve(
        host: &str,
        port: u16,
        admits: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<SocketAddr>, Fault> {
        super::resolve(host, port, admits, own()).await
    }

    #[tokio::test]
    async fn slow_lookups_of_one_link_are_few_and_those_that_wait_are_given_up() {
        let own = own();
        let slow = || super::resolve("slow.test", 80, |_| true, Arc::clone(&own));
        // Each request is given up at once, as by its deadline. Looking up goes on for some of them.
        for _ in 0..1000 {
            let mut slow = Box::pin(slow());
            assert!(futures::poll!(slow.as_mut()).is_pending());
        }
        assert_eq!(own.available_permits(), 0);
        let taken = 64 - LOOKUPS.available_permits();
        assert!(taken <= 3 * LOOKUPS_OF_LINK, "{taken} places are taken");
        // Other links have theirs.
        assert!(resolve("localhost", 80, |_| true).await.is_ok());
    }

    fn prohibited() -> Result<Vec<SocketAddr>, Fault> {
        Err(Fault(ErrorCode::DestinationIpProhibited))
    }

    #[tokio::test]
    async fn literals_need_no_lookup() {
        let found = resolve("[::1]", 80, |_| false).await.unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn names_and_odd_numbers_are_checked_by_what_they_lead_to() {
        assert!(resolve("localhost", 80, |_| true).await.is_ok());
        // The system takes all of these for the address of this machine.
        for host in ["localhost", "2130706433", "0x7f.1", "127.1"] {
            assert_eq!(resolve(host, 80, is_public).await, prohibited(), "{host}");
        }
        for host in [
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
        ] {
            assert!(is_number(host), "{host}");
            let open = |address| !crate::address::is_metadata(address);
            assert_eq!(resolve(host, 80, open).await, prohibited(), "{host}");
        }
        assert!(!is_number("example.com") && !is_number("a.1x") && is_number("1.2.3.4."));
    }

    /// What a name leads to, one time after the other.
    async fn found(answers: &[&str]) -> Result<Vec<SocketAddr>, Fault> {
        let answers: Vec<SocketAddr> = answers.iter().map(|text| text.parse().unwrap()).collect();
        let asked = resolve_by("rebind.test", 80, is_public, |host, _| {
            assert_eq!(host, "rebind.test");
            Box::pin(async { Ok(answers) })
        });
        asked.await
    }

    #[tokio::test]
    async fn of_many_addresses_only_those_are_left_that_are_let_through() {
        let mixed = [
            "10.0.0.1:80",
            "93.184.216.34:80",
            "[::ffff:127.0.0.1]:80",
            "[::1]:80",
        ];
        let left = found(&mixed).await.unwrap();
        assert_eq!(left, ["93.184.216.34:80".parse().unwrap()]);
        for private in [
            "10.0.0.1:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a00:1]:80",
        ] {
            assert_eq!(found(&[private]).await, prohibited(), "{private}");
        }
        assert_eq!(found(&[]).await, Err(Fault(ErrorCode::DestinationNotFound)));
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
