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
    ///
    /// Networks say where the names may lead that grants let through, and an address is let through by
    /// grants as well. Only in a list of nothing but networks do these let any request to their
    /// addresses through.
    #[must_use]
    pub fn judge(&self, method: &Method, uri: &Uri) -> Verdict {
        let literal = uri.host().and_then(literal);
        if self.grants.is_empty() && literal.is_some_and(|address| self.names(address)) {
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
        Some(_) => format!(
            "a grant of this address, such as `{wanted}`, or its network beside the grant that covers it,"
        ),
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
mod tests;
