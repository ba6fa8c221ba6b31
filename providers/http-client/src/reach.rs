//! To which addresses connections may be made.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, Uri};
use lattice_codec::http::ErrorCode;
use lattice_core::grant::{Grants, Verdict, literal};

use crate::address::{is_metadata, is_public};

/// The addresses that the host of a request may be at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All but those of metadata services, as in 1.x where a link has no grants; where it has some, the
    /// address that a request itself names.
    Named,
    /// Public ones, and those in networks that the link names.
    Public,
    /// These and those of this machine.
    Loopback,
}

/// What a link lets through, and to where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AddressFilter {
    /// None lets requests through to wherever 1.x did.
    grants: Option<Arc<Grants>>,
}

impl AddressFilter {
    pub(crate) fn new(grants: Option<Grants>) -> Self {
        let grants = grants.map(Arc::new);
        Self { grants }
    }

    /// Whether a request may be sent, and where its host may be once its name is looked up. A host
    /// that is an address is looked at here.
    pub(crate) fn judge(&self, method: &Method, uri: &Uri) -> Result<Reach, ErrorCode> {
        let verdict = match &self.grants {
            Some(grants) => grants.judge(method, uri),
            None => Verdict::Named,
        };
        let reach = match verdict {
            Verdict::Denied => return Err(ErrorCode::HttpRequestDenied),
            Verdict::Public => Reach::Public,
            Verdict::Loopback => Reach::Loopback,
            Verdict::Named => Reach::Named,
        };
        // A grant for an address is for that very address.
        let is_granted = reach == Reach::Named && self.grants.is_some();
        match uri.host().and_then(literal) {
            Some(address) if !is_granted && !self.admits(reach, address) => {
                Err(ErrorCode::DestinationIpProhibited)
            }
            _ => Ok(reach),
        }
    }

    /// Whether a name may lead to an address. Whoever answers for a name chooses that, and another one
    /// the next time, so that it opens nothing private by itself.
    pub(crate) fn admits(&self, reach: Reach, address: IpAddr) -> bool {
        let is_open = match reach {
            // What a link with grants names so is an address, and leads nowhere else.
            Reach::Named => self.grants.is_none() && !is_metadata(address),
            Reach::Public => is_public(address),
            Reach::Loopback => is_public(address) || address.to_canonical().is_loopback(),
        };
        is_open
            || self
                .grants
                .as_ref()
                .is_some_and(|grants| grants.names(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(list: Option<&str>) -> AddressFilter {
        AddressFilter::new(list.map(|list| Grants::parse(list).unwrap()))
    }

    fn judged(list: Option<&str>, uri: &str) -> Result<Reach, ErrorCode> {
        gate(list).judge(&Method::GET, &uri.parse().unwrap())
    }

    const METADATA: [&str; 12] = [
        "http://169.254.169.254/",
        "http://169.254.170.2/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://[fd00:ec2::254]/",
        "http://[fd00:ec2::23]/",
        "http://[fe80::a9fe:a9fe]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
    ];

    const PRIVATE: [&str; 10] = [
        "http://127.0.0.1/",
        "http://0.0.0.0/",
        "http://0.1.2.3/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fd12::1]/",
    ];

    #[test]
    fn metadata_services_are_reached_by_their_address_alone() {
        for uri in METADATA {
            for list in [None, Some("*"), Some("*, example.com")] {
                let expected = Err(ErrorCode::DestinationIpProhibited);
                assert_eq!(judged(list, uri), expected, "{list:?} {uri}");
            }
        }
        let named = judged(Some("169.254.169.254"), "http://169.254.169.254/");
        assert_eq!(named, Ok(Reach::Named));
        let by_network = judged(Some("169.254.0.0/16"), "http://169.254.169.254/");
        assert_eq!(by_network, Ok(Reach::Named));
        // Under another name it is not the address that was named.
        let address = "169.254.169.254".parse().unwrap();
        let other = gate(Some("169.254.169.254, example.com"));
        assert!(!other.admits(Reach::Named, address));
        assert!(!gate(None).admits(Reach::Named, address));
        assert!(gate(Some("x, 169.254.0.0/16")).admits(Reach::Named, address));
    }

    #[test]
    fn private_addresses_are_reached_where_their_host_or_network_is_named() {
        for uri in PRIVATE {
            let expected = Err(ErrorCode::DestinationIpProhibited);
            assert_eq!(judged(Some("*"), uri), expected, "{uri}");
            assert_eq!(judged(None, uri), Ok(Reach::Named), "{uri}");
        }
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(!gate(Some("*")).admits(Reach::Public, address));
        assert!(gate(Some("*, 10.0.0.0/8")).admits(Reach::Public, address));
        assert!(gate(None).admits(Reach::Named, address));
        // A name is no address, however exactly it is named.
        let named = gate(Some("db.internal, 10.0.0.1"));
        let uri = "http://db.internal/".parse().unwrap();
        assert_eq!(named.judge(&Method::GET, &uri), Ok(Reach::Public));
        for reach in [Reach::Named, Reach::Public, Reach::Loopback] {
            assert!(!named.admits(reach, address), "{reach:?}");
        }
        let with_network = gate(Some("db.internal, 10.0.0.1/32"));
        assert!(with_network.admits(Reach::Public, address));
        assert!(!with_network.admits(Reach::Public, "10.0.0.2".parse().unwrap()));
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert!(gate(Some("*, 10.0.0.0/8")).admits(Reach::Public, mapped));
        assert!(!gate(Some("*")).admits(Reach::Public, mapped));
    }

    #[test]
    fn localhost_names_the_addresses_of_this_machine_and_no_others() {
        let local = gate(Some("localhost, *.localhost"));
        for host in ["localhost", "a.localhost:81"] {
            let uri = format!("http://{host}/").parse().unwrap();
            assert_eq!(local.judge(&Method::GET, &uri), Ok(Reach::Loopback));
        }
        for (address, admitted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("93.184.216.34", true),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
        ] {
            let found = local.admits(Reach::Loopback, address.parse().unwrap());
            assert_eq!(found, admitted, "{address}");
        }
        assert_eq!(judged(Some("*"), "http://localhost/"), Ok(Reach::Public));
    }

    #[test]
    fn what_no_grant_covers_is_denied() {
        let denied = Err(ErrorCode::HttpRequestDenied);
        assert_eq!(judged(Some("none"), "http://example.com/"), denied);
        assert_eq!(judged(Some("https://a"), "http://a/"), denied);
        assert_eq!(judged(None, "http://example.com/"), Ok(Reach::Named));
    }
}
