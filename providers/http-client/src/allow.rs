//! Where requests may go.

use http::uri::{Authority, Scheme};
use http::{Method, Uri};

/// Says that nothing may go out, since an empty value counts as none.
const NOTHING: &str = "none";

/// A list of what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Allow(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rule {
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

/// What a list says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It must not be sent.
    Denied,
    /// It may, if its host is at a public address.
    Public,
    /// It may, wherever its host is.
    Named,
}

impl Allow {
    /// Reads a list; an item that is none is given back.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == NOTHING {
            return Ok(Self(Vec::new()));
        }
        let items = text.split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        items
            .map(|item| Rule::parse(item).ok_or_else(|| item.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What is said of a request whose address has a scheme and a host.
    pub(crate) fn judge(&self, method: &Method, uri: &Uri) -> Verdict {
        let rules = self.0.iter().filter(|rule| rule.covers(method, uri));
        let verdicts = rules.map(|rule| match rule.host {
            Host::Exactly(_) => Verdict::Named,
            Host::Any | Host::Below(_) => Verdict::Public,
        });
        verdicts.max().unwrap_or(Verdict::Denied)
    }
}

impl Rule {
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
        Allow::parse(list)
            .unwrap()
            .judge(&method, &uri.parse().unwrap())
    }

    fn get(list: &str, uri: &str) -> Verdict {
        judge(list, "GET", uri)
    }

    #[test]
    fn hosts_are_named_or_covered() {
        assert_eq!(get("*", "http://a.example/"), Verdict::Public);
        assert_eq!(get("a.example", "http://A.Example.:81/"), Verdict::Named);
        assert_eq!(get("*.example", "https://a.b.example/"), Verdict::Public);
        assert_eq!(get("*.example", "http://example/"), Verdict::Denied);
        assert_eq!(get("*.example", "http://badexample/"), Verdict::Denied);
        assert_eq!(get("a.example", "http://b.example/"), Verdict::Denied);
        assert_eq!(get("*, a.example", "http://a.example/"), Verdict::Named);
        assert_eq!(get("[::1]:80", "http://[::1]/"), Verdict::Named);
        assert_eq!(get("none", "http://a.example/"), Verdict::Denied);
    }

    #[test]
    fn a_port_is_any_one_unless_a_scheme_or_number_is_given() {
        assert_eq!(get("a:8080", "http://a:8080/"), Verdict::Named);
        assert_eq!(get("a:8080", "http://a/"), Verdict::Denied);
        assert_eq!(get("a:443", "https://a/"), Verdict::Named);
        assert_eq!(get("https://a", "https://a/x"), Verdict::Named);
        assert_eq!(get("https://a", "https://a:444/"), Verdict::Denied);
        assert_eq!(get("https://a", "http://a:443/"), Verdict::Denied);
        assert_eq!(get("https://*.a:444", "https://b.a:444/"), Verdict::Public);
    }

    #[test]
    fn methods_and_paths_narrow() {
        assert_eq!(judge("get a", "GET", "http://a/"), Verdict::Named);
        assert_eq!(judge("GET a", "POST", "http://a/"), Verdict::Denied);
        assert_eq!(
            judge("POST https://*", "POST", "https://a/"),
            Verdict::Public
        );
        let list = "GET http://a/api";
        assert_eq!(get(list, "http://a/api?x=1"), Verdict::Named);
        assert_eq!(get(list, "http://a/api/b"), Verdict::Named);
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
        assert_eq!(get("http://a/", "http://a/b"), Verdict::Named);
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for item in [
            "a/b", "ftp://a", "a:b", "a:", "*a", "*.", "a.*", "x y z", "u@a", "http://", "G(T a",
        ] {
            assert_eq!(Allow::parse(&format!("ok, {item}")), Err(item.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn a_list_of_hosts_lets_no_other_host_through(
            hosts in proptest::collection::vec("[a-c]{1,2}(\\.[a-c]{1,2})?", 1..4),
            asked in "[a-c]{1,2}(\\.[a-c]{1,2})?",
        ) {
            let expected = if hosts.contains(&asked) { Verdict::Named } else { Verdict::Denied };
            prop_assert_eq!(get(&hosts.join(","), &format!("http://{asked}/")), expected);
        }

        #[test]
        fn nothing_panics(list in "\\PC{0,40}") {
            let _ = Allow::parse(&list);
        }
    }
}
