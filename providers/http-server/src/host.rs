//! The host that a request names.

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

/// Whether a request names its host as RFC 9112, section 3.2 demands: one at most, one in HTTP/1.1, and
/// none that is not one, in its address either. HTTP/2 has it there, so the header may be missing.
pub(crate) fn is_sound<B>(request: &Request<B>) -> bool {
    let in_address = request.uri().authority();
    if in_address.is_some_and(|host| !is_host(host.as_str().as_bytes())) {
        return false;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
        (None, _) => request.version() != Version::HTTP_11,
    }
}

/// Whether a value is a host, perhaps with a port, and nothing else.
fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else {
        return false;
    };
    let (text, host) = (authority.as_str(), authority.host());
    // An authority may also name a user before the host.
    let Some(port) = text.strip_prefix(host).filter(|_| !host.is_empty()) else {
        return false;
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_empty() || port.strip_prefix(':').is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(version: Version, hosts: &[&str]) -> bool {
        let mut request = Request::get("/").version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        is_sound(&request.body(()).unwrap())
    }

    #[test]
    fn a_request_names_one_host_that_is_one() {
        let hosts = "a a.example:80 a: [::1] [::1]:80 127.0.0.1:1";
        for host in hosts.split(' ') {
            assert!(sound(Version::HTTP_11, &[host]), "{host}");
        }
        let others = "|:80|a b|a/b|u@a|u:1@a|a@a|a:x|::1|[::1|[::1]80";
        for host in others.split('|') {
            assert!(!sound(Version::HTTP_11, &[host]), "{host}");
            assert!(!sound(Version::HTTP_10, &[host]), "{host}");
        }
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(!sound(version, &["a", "b"]), "{version:?}");
            assert!(!sound(version, &["a", "a"]), "{version:?}");
        }
    }

    #[test]
    fn the_host_in_an_address_is_one() {
        for (address, is_one) in [
            ("http://a.example:80/", true),
            ("http://[::1]/", true),
            ("http://u@a.example/", false),
            ("http://u:1@a.example/", false),
        ] {
            let request = Request::get(address).header(HOST, "a.example");
            assert_eq!(is_sound(&request.body(()).unwrap()), is_one, "{address}");
        }
    }

    #[test]
    fn only_a_request_of_http_1_1_has_to_name_its_host_in_a_header() {
        assert!(!sound(Version::HTTP_11, &[]));
        assert!(sound(Version::HTTP_10, &[]));
        assert!(sound(Version::HTTP_2, &[]));
    }
}
