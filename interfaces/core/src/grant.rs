//! Where HTTP requests may go: grants such as `GET https://api.example.com/v1`, as links and the
//! configs of the HTTP client state them.

use std::net::IpAddr;

use http::uri::{Authority, Scheme};
use http::{Method, Uri};

/// Says that nothing may go out, since an empty value counts as none.
const NOTHING: &str = "none";

/// A list of what is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    grants: Vec<Grant>,
    networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Grant {
    method: Option<Method>,
    scheme: Option<Scheme>,
    host: Host,
    port: Option<u16>,
    path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Any,
    /// Those that end with this text, which begins with a dot.
    Below(String),
    Exactly(String),
}

/// All addresses whose first so many bits are those of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// What a list says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It must not be sent.
    Denied,
    /// It may, if its host is at a public address or in a network of the list: whoever answers for a
    /// name chooses where it leads, so that a name alone opens nothing private.
    Public,
    /// It may, if its host is at such an address or at one of its own machine: the name says so
    /// (`localhost` and what is below it).
    Loopback,
    /// It may: its host is an address, and named as such.
    Named,
}

/// What a grant looks like, in words.
pub const GRANT_FORMS: &str = "`*`, `*.x`, `host[:port]` or `scheme://host[:port][/path]`, after a method or none, or a \
     network such as `10.0.0.0/8`";

/// An item of a list that is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no grant; it is {GRANT_FORMS}", self.shown())]
pub struct InvalidGrant {
    /// The item.
    pub item: String,
}

impl InvalidGrant {
    /// The item as it may be shown: a login may stand before a host.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.item.contains('@') {
            return "<hidden>".to_owned();
        }
        self.item.chars().take(120).collect()
    }
}

impl Grants {
    /// A list that lets nothing through.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a list with commas; `none` lets nothing through.
    ///
    /// # Errors
    ///
    /// Gives back the first item that is no grant.
    pub fn parse(text: &str) -> Result<Self, InvalidGrant> {
        if text.trim() == NOTHING {
            return Ok(Self::none());
        }
        let items = text.split(',').map(str::trim);
        Self::of(items.filter(|item| !item.is_empty()))
    }

    /// Reads one grant from each item.
    ///
    /// # Errors
    ///
    /// Gives back the first item that is no grant.
    pub fn of<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidGrant> {
        let mut grants = Self::none();
        for item in items {
            if let Some(network) = Network::parse(item) {
                grants.networks.push(network);
                continue;
            }
            let grant = Grant::parse(item).ok_or_else(|| InvalidGrant {
                item: item.to_owned(),
            })?;
            grants.grants.push(grant);
        }
        Ok(grants)
    }

    /// What is said of a request whose address has a scheme and a host.
    #[must_use]
    pub fn judge(&self, method: &Method, uri: &Uri) -> Verdict {
        let literal = uri.host().and_then(literal);
        if literal.is_some_and(|address| self.names(address)) {
            return Verdict::Named;
        }
        let grants = self.grants.iter();
        let verdicts = grants
            .filter(|grant| grant.covers(method, uri))
            .map(|grant| match &grant.host {
                Host::Exactly(_) if literal.is_some() => Verdict::Named,
                Host::Exactly(name) | Host::Below(name) if is_loopback(name) => Verdict::Loopback,
                Host::Exactly(_) | Host::Any | Host::Below(_) => Verdict::Public,
            });
        verdicts.max().unwrap_or(Verdict::Denied)
    }

    /// Whether a network of the list holds an address.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.holds(address))
    }
}

/// The address that the host of a URI is, if it is one.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// Whether a name stands for the machine that looks it up (RFC 6761, section 6.3).
fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// The grant that would let a request through, without its path, which may hold what is not for
/// logs.
#[must_use]
pub fn wanted(method: &Method, uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.authority().map_or("", |authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host)
    });
    format!("{method} {scheme}://{host}")
}

/// What would let a request through whose host is at an address that is not public, in words. A name
/// does not tell the address, which is another one the next time.
#[must_use]
pub fn wanted_beside(method: &Method, uri: &Uri) -> String {
    let wanted = wanted(method, uri);
    match uri.host().and_then(literal) {
        Some(_) => format!("a grant of this address, such as `{wanted}`, or of its network"),
        None => format!(
            "a grant of its address or network, such as `10.0.0.0/8`, beside that of its name, such as \
             `{wanted}`,"
        ),
    }
}

impl Network {
    fn parse(item: &str) -> Option<Self> {
        let (address, bits) = item.split_once('/')?;
        let address: IpAddr = literal(address)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits
            .parse()
            .ok()
            .filter(|bits| digits && *bits <= longest)?;
        Some(Self { address, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.bits
    }
}

impl Grant {
    fn parse(item: &str) -> Option<Self> {
        let (method, place) = match item.split_once(char::is_whitespace) {
            Some((method, place)) => (Some(method.to_ascii_uppercase()), place.trim_start()),
            None => (None, item),
        };
        let method = method
            .map(|method| Method::from_bytes(method.as_bytes()))
            .transpose()
            .ok()?;
        let (scheme, rest) = match place.split_once("://") {
            Some((scheme, rest)) => (Some(read_scheme(scheme)?), rest),
            None => (None, place),
        };
        let (authority, path) = match rest.find('/') {
            // A path only has a meaning for a protocol that has paths.
            Some(_) if scheme.is_none() => return None,
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        let authority: Authority = authority.parse().ok()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()),
            // Something stands there that is no port.
            None if authority.as_str().len() > authority.host().len() => return None,
            None => scheme.as_ref().map(usual_port),
        };
        Some(Self {
            method,
            scheme,
            host: Host::parse(authority.host())?,
            port,
            path: path.filter(|path| path != "/"),
        })
    }

    fn covers(&self, method: &Method, uri: &Uri) -> bool {
        let scheme = uri.scheme().unwrap_or(&Scheme::HTTP);
        let port = uri.port_u16().unwrap_or_else(|| usual_port(scheme));
        self.method.as_ref().is_none_or(|own| own == method)
            && self.scheme.as_ref().is_none_or(|own| own == scheme)
            && self.port.is_none_or(|own| own == port)
            && uri.host().is_some_and(|host| self.host.covers(host))
            && self
                .path
                .as_ref()
                .is_none_or(|own| is_below(own, uri.path()))
    }
}

fn read_scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::HTTP),
        "https" => Some(Scheme::HTTPS),
        _ => None,
    }
}

fn usual_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let host = plain(text);
        let (is_below, name) = match host.strip_prefix('*') {
            Some(rest) => (true, rest.strip_prefix('.')?),
            None => (false, host.as_str()),
        };
        if name.is_empty() || name.contains('*') {
            return None;
        }
        Some(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exactly(host)
        })
    }

    fn covers(&self, host: &str) -> bool {
        let host = plain(host);
        match self {
            Self::Any => true,
            Self::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Self::Exactly(name) => host == *name,
        }
    }
}

/// A host in small letters, without the dot that may end it.
fn plain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').unwrap_or(&host).to_owned()
}

/// Whether a path is the given one or below it. One that leads upwards somewhere is not: the
/// server would end up elsewhere.
fn is_below(prefix: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    let whole = prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/');
    whole && !leads_up(path)
}

fn leads_up(path: &str) -> bool {
    let bytes = unescaped(path.as_bytes());
    let mut segments = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
    // A semicolon begins parameters of a segment, which some servers cut off. What is escaped
    // twice is escaped once more by servers that do so.
    segments.any(|segment| {
        let name = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or(segment);
        name == b".." || segment.windows(3).any(is_escape)
    })
}

fn is_escape(part: &[u8]) -> bool {
    part[0] == b'%' && part[1].is_ascii_hexdigit() && part[2].is_ascii_hexdigit()
}

fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        let digits = others
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &others[2..];
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(list: &str, method: &str, uri: &str) -> Verdict {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Grants::parse(list)
            .unwrap()
            .judge(&method, &uri.parse().unwrap())
    }

    fn get(list: &str, uri: &str) -> Verdict {
        judge(list, "GET", uri)
    }

    #[test]
    fn hosts_are_named_or_covered() {
        assert_eq!(get("*", "http://a.example/"), Verdict::Public);
        assert_eq!(get("a.example", "http://A.Example.:81/"), Verdict::Public);
        assert_eq!(get("*.example", "https://a.b.example/"), Verdict::Public);
        assert_eq!(get("*.example", "http://example/"), Verdict::Denied);
        assert_eq!(get("*.example", "http://badexample/"), Verdict::Denied);
        assert_eq!(get("a.example", "http://b.example/"), Verdict::Denied);
        assert_eq!(get("*, a.example", "http://a.example/"), Verdict::Public);
        assert_eq!(get("none", "http://a.example/"), Verdict::Denied);
    }

    #[test]
    fn a_name_alone_opens_public_addresses_and_an_address_itself() {
        for (list, uri, expected) in [
            ("api.example", "http://api.example/", Verdict::Public),
            (
                "api.example, 10.0.0.1",
                "http://api.example/",
                Verdict::Public,
            ),
            ("10.0.0.1", "http://10.0.0.1/", Verdict::Named),
            ("[::1]:80", "http://[::1]/", Verdict::Named),
            // What resolvers take for an address is a name all the same.
            ("127.1", "http://127.1/", Verdict::Public),
            ("10.0.0.1", "http://10.0.0.1./", Verdict::Public),
            ("localhost", "http://LocalHost.:81/", Verdict::Loopback),
            ("a.localhost", "http://a.localhost/", Verdict::Loopback),
            ("*.localhost", "http://a.localhost/", Verdict::Loopback),
            ("*, localhost", "http://localhost/", Verdict::Loopback),
            ("*", "http://localhost/", Verdict::Public),
            ("notlocalhost", "http://notlocalhost/", Verdict::Public),
        ] {
            assert_eq!(get(list, uri), expected, "{list} {uri}");
        }
    }

    #[test]
    fn a_port_is_any_one_unless_a_scheme_or_number_is_given() {
        assert_eq!(get("a:8080", "http://a:8080/"), Verdict::Public);
        assert_eq!(get("a:8080", "http://a/"), Verdict::Denied);
        assert_eq!(get("a:443", "https://a/"), Verdict::Public);
        assert_eq!(get("https://a", "https://a/x"), Verdict::Public);
        assert_eq!(get("https://a", "https://a:444/"), Verdict::Denied);
        assert_eq!(get("https://a", "http://a:443/"), Verdict::Denied);
        assert_eq!(get("https://*.a:444", "https://b.a:444/"), Verdict::Public);
    }

    #[test]
    fn methods_and_paths_narrow() {
        assert_eq!(judge("get a", "GET", "http://a/"), Verdict::Public);
        assert_eq!(judge("GET a", "POST", "http://a/"), Verdict::Denied);
        assert_eq!(
            judge("POST https://*", "POST", "https://a/"),
            Verdict::Public
        );
        let list = "GET http://a/api";
        assert_eq!(get(list, "http://a/api?x=1"), Verdict::Public);
        assert_eq!(get(list, "http://a/api/b"), Verdict::Public);
        for path in [
            "/apix",
            "/",
            "/api/../b",
            "/api/%2e%2E/b",
            "/api/..%2fb",
            "/api/..\\b",
            "/api/..;/b",
            "/api/%252e%252e/b",
        ] {
            let Ok(uri) = format!("http://a{path}").parse::<Uri>() else {
                continue;
            };
            assert_eq!(get(list, &uri.to_string()), Verdict::Denied, "{path}");
        }
        assert_eq!(get("http://a/", "http://a/b"), Verdict::Public);
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for item in [
            "a/b", "ftp://a", "a:b", "a:", "*a", "*.", "a.*", "x y z", "u@a", "http://", "G(T a",
        ] {
            let error = Grants::parse(&format!("ok, {item}")).unwrap_err();
            assert_eq!(error.item, item);
        }
        let login = Grants::parse("https://me:pw@a").unwrap_err();
        assert!(login.to_string().starts_with("`<hidden>` is no grant"));
    }

    #[test]
    fn networks_name_the_addresses_in_them() {
        let list = "*.internal, 10.0.0.0/8, fd00::/8, [fe80::]/10, 0.0.0.0/0";
        let grants = Grants::parse(list).unwrap();
        assert_eq!(grants.networks.len(), 4);
        let grants = Grants::parse("*.internal, 10.0.0.0/8, [fd00::]/8").unwrap();
        for (address, named) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(grants.names(address.parse().unwrap()), named, "{address}");
        }
        let judge = |uri: &str| grants.judge(&Method::GET, &uri.parse().unwrap());
        assert_eq!(judge("http://10.1.2.3/"), Verdict::Named);
        assert_eq!(judge("http://[::ffff:10.1.2.3]/"), Verdict::Named);
        assert_eq!(judge("http://11.1.2.3/"), Verdict::Denied);
        assert_eq!(judge("http://a.internal/"), Verdict::Public);
        for item in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "GET 10.0.0.0/8",
            "x/8",
        ] {
            assert!(Grants::parse(item).is_err(), "{item}");
        }
    }

    #[test]
    fn the_grant_that_is_wanted_shows_neither_path_nor_login() {
        let uri = "https://me:pw@a.example:8443/hooks/secret?x=1"
            .parse()
            .unwrap();
        assert_eq!(wanted(&Method::POST, &uri), "POST https://a.example:8443");
        let beside = wanted_beside(&Method::POST, &uri);
        assert!(
            beside.contains("such as `10.0.0.0/8`, beside that of its name"),
            "{beside}"
        );
        assert!(
            !beside.contains("secret") && !beside.contains("pw"),
            "{beside}"
        );
    }

    proptest! {
        #[test]
        fn a_list_of_hosts_lets_no_other_host_through(
            hosts in proptest::collection::vec("[a-c]{1,2}(\\.[a-c]{1,2})?", 1..4),
            asked in "[a-c]{1,2}(\\.[a-c]{1,2})?",
        ) {
            let expected = if hosts.contains(&asked) { Verdict::Public } else { Verdict::Denied };
            prop_assert_eq!(get(&hosts.join(","), &format!("http://{asked}/")), expected);
        }

        #[test]
        fn a_wanted_grant_lets_its_request_through(
            method in "GET|POST|DELETE",
            host in "[a-z]{1,8}(\\.[a-z]{1,5})?|10\\.0\\.0\\.[0-9]|\\[fd00::[1-9]\\]",
            port in prop::option::of(1_u16..),
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let uri = format!("https://{host}{port}/x").parse().unwrap();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let grants = Grants::parse(&wanted(&method, &uri)).unwrap();
            let is_address = uri.host().and_then(literal).is_some();
            let expected = if is_address { Verdict::Named } else { Verdict::Public };
            prop_assert_eq!(grants.judge(&method, &uri), expected);
        }

        #[test]
        fn nothing_panics(list in "\\PC{0,40}") {
            let _ = Grants::parse(&list);
        }
    }
}
