//! The address of a NATS server: the one place where it is taken apart.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use async_nats::ServerAddr;
use lattice_core::provider::SecretText;

use super::ConnectionError;

/// Where a NATS server is, as people write it: `[SCHEME://][LOGIN@]HOST[:PORT]`.
///
/// Taking it apart never fails, so that what was noted can be looked at whatever it is. Who connects
/// asks [`ServerAddress::check`]. What is shown of it has no login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    scheme: Option<String>,
    /// A token, or a name and a password.
    login: Option<SecretText>,
    /// As it was written: an IPv6 address may stand in brackets.
    host: String,
    port: Option<u16>,
    /// A path behind it all.
    tail: String,
}

impl ServerAddress {
    /// The port of a server when nothing else is said.
    pub const DEFAULT_PORT: u16 = 4222;

    /// Takes an address apart.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (scheme, login, rest) = parts(text.trim());
        let (place, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match port_behind(place) {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        };
        // Slashes alone say nothing.
        let says_more = tail.chars().any(|c| c != '/');
        let tail = Some(tail).filter(|_| says_more);
        Self {
            scheme: scheme.map(str::to_owned),
            login: login.map(SecretText::new),
            host: host.to_owned(),
            port,
            tail: tail.unwrap_or_default().to_owned(),
        }
    }

    /// Takes a list of addresses apart: commas separate them.
    #[must_use]
    pub fn all(list: &str) -> Vec<Self> {
        addresses(list).iter().map(|text| Self::of(text)).collect()
    }

    /// The name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, or that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme.as_deref() {
            Some("ws") => 80,
            Some("wss") => 443,
            _ => Self::DEFAULT_PORT,
        })
    }

    /// The port, where one is written.
    #[must_use]
    pub fn said_port(&self) -> Option<u16> {
        self.port
    }

    /// The same at this port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    /// The same at this port, unless one is written.
    #[must_use]
    pub fn or_port(self, port: u16) -> Self {
        let port = self.port.unwrap_or(port);
        self.with_port(port)
    }

    /// The same without who connects.
    #[must_use]
    pub fn without_login(self) -> Self {
        Self {
            login: None,
            ..self
        }
    }

    /// The address of the host, where no name has to be looked up.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    /// Whether it is this machine, as people write it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_own = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        self.host == "localhost" || self.ip().is_some_and(is_own)
    }

    /// Whether it says neither how to connect nor as whom.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.scheme.is_none() && self.login.is_none()
    }

    /// Host and port, an IPv6 address in brackets.
    #[must_use]
    pub fn place(&self) -> String {
        // What is no port is shown as it is.
        match names_port(&self.host) {
            true => self.host.clone(),
            false => self.host_at(self.port()),
        }
    }

    /// As it is written, with the login: for clients and processes, not to be shown.
    #[must_use]
    pub fn text(&self) -> String {
        let place = self
            .port
            .map_or_else(|| self.host.clone(), |port| self.host_at(port));
        format!("{}{place}{}", self.front(), self.tail)
    }

    /// The same without the port, which is noted and handed on besides.
    #[must_use]
    pub fn host_text(&self) -> String {
        format!("{}{}", self.front(), self.host)
    }

    /// All of it, also what was not written: for clients, not to be shown.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.scheme.as_deref().unwrap_or("nats");
        format!("{scheme}://{}{}{}", self.user(), self.place(), self.tail)
    }

    /// The address as the client takes it.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Address`] says why it is none.
    pub fn check(&self) -> Result<ServerAddr, ConnectionError> {
        let text = self.text();
        let parsed = text.parse::<ServerAddr>();
        parsed.map_err(|source| ConnectionError::Address {
            address: without_login(&text),
            source,
        })
    }

    fn host_at(&self, port: u16) -> String {
        match self.host.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]:{port}", self.host),
            Err(_) => format!("{}:{port}", self.host),
        }
    }

    /// What stands before the host.
    fn front(&self) -> String {
        let scheme = self.scheme.as_ref();
        let scheme = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
        format!("{scheme}{}", self.user())
    }

    fn user(&self) -> String {
        let login = self.login.as_ref();
        login.map_or_else(String::new, |login| format!("{}@", login.expose()))
    }
}

/// With the scheme where one is written, and without login.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        f.write_str(&self.place())
    }
}

/// Takes a list of addresses apart: commas separate them.
#[must_use]
pub fn addresses(list: &str) -> Vec<String> {
    let parts = list.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// An address without the user name and password that may stand in it, else as it is written.
#[must_use]
pub fn without_login(address: &str) -> String {
    match parts(address) {
        (Some(scheme), _, rest) => format!("{scheme}://{rest}"),
        (None, _, rest) => rest.to_owned(),
    }
}

/// Scheme, login and the rest.
fn parts(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    match rest.rsplit_once('@') {
        Some((login, rest)) => (scheme, Some(login), rest),
        None => (scheme, None, rest),
    }
}

/// The host and the port of what has both.
fn port_behind(place: &str) -> Option<(&str, u16)> {
    let both = place.rsplit_once(':');
    let (host, port) = both.filter(|_| names_port(place))?;
    Some((host, port.parse().ok()?))
}

/// Whether something stands where a port does: an IPv6 address has other colons.
fn names_port(place: &str) -> bool {
    let after = place.rsplit_once(']').map_or(place, |(_, after)| after);
    after.matches(':').count() == 1 && !after.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_however_it_is_written() {
        for (text, host, port, url) in [
            ("127.0.0.1", "127.0.0.1", None, "nats://127.0.0.1:4222"),
            ("a:4333", "a", Some(4333), "nats://a:4333"),
            ("nats://a", "a", None, "nats://a:4222"),
            ("nats://a:4333/", "a", Some(4333), "nats://a:4333"),
            ("tls://a.b:4333", "a.b", Some(4333), "tls://a.b:4333"),
            ("ws://a", "a", None, "ws://a:80"),
            ("wss://a/nats/", "a", None, "wss://a:443/nats/"),
            ("ws://a:8080/nats", "a", Some(8080), "ws://a:8080/nats"),
            ("::1", "::1", None, "nats://[::1]:4222"),
            ("[::1]", "::1", None, "nats://[::1]:4222"),
            ("[::1]:4333", "::1", Some(4333), "nats://[::1]:4333"),
            ("tls://[::1]:4333", "::1", Some(4333), "tls://[::1]:4333"),
            ("word@a", "a", None, "nats://word@a:4222"),
            ("me:word@a", "a", None, "nats://me:word@a:4222"),
            ("me:w/@[::1]:1", "::1", Some(1), "nats://me:w/@[::1]:1"),
            ("tls://me:a@b@c:1", "c", Some(1), "tls://me:a@b@c:1"),
        ] {
            let address = ServerAddress::of(text);
            assert_eq!(
                (address.host(), address.said_port()),
                (host, port),
                "{text}"
            );
            assert_eq!(address.url(), url, "{text}");
            // A slash at the end alone is not kept.
            let kept = if text == "nats://a:4333/" {
                "nats://a:4333"
            } else {
                text
            };
            assert_eq!(address.text(), kept);
        }
    }

    #[test]
    fn what_is_shown_of_an_address_has_no_login() {
        for (text, shown, place) in [
            ("127.0.0.1", "127.0.0.1:4222", "127.0.0.1:4222"),
            ("::1", "[::1]:4222", "[::1]:4222"),
            ("tls://me:word@a:1", "tls://a:1", "a:1"),
            ("word@[::1]:1", "[::1]:1", "[::1]:1"),
        ] {
            let address = ServerAddress::of(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.place(), place);
            assert!(!format!("{address:?}").contains("word"), "{address:?}");
            assert!(!address.without_login().text().contains("word"), "{text}");
        }
        let with_path = "nats://me:word@a:1/";
        assert_eq!(without_login(with_path), "nats://a:1/");
        assert_eq!(without_login("word@a"), "a");
    }

    #[test]
    fn a_port_is_noted_beside_the_host_as_it_was_written() {
        for (text, host) in [
            ("tls://me:word@a:1", "tls://me:word@a"),
            ("[::1]:1", "[::1]"),
            ("::1", "::1"),
            ("a/", "a"),
        ] {
            let address = ServerAddress::of(text);
            assert_eq!(address.host_text(), host);
            let again = ServerAddress::of(host).or_port(address.port());
            assert_eq!(again.url(), address.url());
        }
        let at = |text: &str| ServerAddress::of(text);
        assert_eq!(at("a").or_port(2), at("a:2"));
        assert_eq!(at("a:1").or_port(2), at("a:1"));
        assert_eq!(at("a:1").with_port(2), at("a:2"));
        assert_eq!(at("::1").with_port(2).text(), "[::1]:2");
    }

    #[test]
    fn this_machine_is_known_however_it_is_written() {
        for host in [
            "127.0.0.1",
            "127.0.0.2:4333",
            "localhost",
            "::1",
            "[::1]",
            "0.0.0.0",
            "nats://[::]:4222",
            "tls://127.0.0.1",
            "me:word@localhost",
        ] {
            assert!(ServerAddress::of(host).is_local(), "{host}");
        }
        for host in ["10.0.0.1", "nats.test", "tls://nats.test", "127.1", ""] {
            assert!(!ServerAddress::of(host).is_local(), "{host}");
        }
        assert!(ServerAddress::of("[::1]:4222").is_bare());
        assert!(!ServerAddress::of("nats://a").is_bare());
        assert!(!ServerAddress::of("word@a").is_bare());
    }

    #[test]
    fn a_list_is_taken_apart() {
        let list = ServerAddress::all("nats://me:word@a:4222, [::1]:1,,b,");
        let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["nats://a:4222", "[::1]:1", "b:4222"]);
    }

    #[test]
    fn what_is_no_address_is_named_without_login_and_with_a_hint() {
        for (text, told) in [
            ("http://me:word@a", "http://a"),
            ("a:port", "a:port"),
            ("nats://word@[::1", "nats://[::1"),
            ("a:99999", "a:99999"),
        ] {
            let error = ServerAddress::of(text).check().unwrap_err();
            let expected = format!("`{told}` is not an address of a NATS server");
            assert_eq!(error.to_string(), expected);
            assert!(error.hint().contains("nats://host:4222"), "{text}");
        }
        // What was written is what is told, not a port that nobody wrote.
        assert_eq!(
            ServerAddress::of("a:port").with_port(1).url(),
            "nats://a:port"
        );
        let client = ServerAddress::of("tls://me:word@[::1]:4333").check();
        let client = client.unwrap();
        assert_eq!((client.host(), client.port()), ("::1", 4333));
        assert_eq!(client.username(), Some("me"));
    }
}
