//! Which component a request is for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use lattice_provider_sdk::{LinkError, LinkKey, ProviderLink, Session, Shared};
use lattice_rpc::http::{HANDLE, INCOMING_HANDLER};
use lattice_rpc::{Invocation, TraceContext};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::complaints::Complaints;
use crate::cors::Cors;
use crate::failure::Failure;
use crate::place::{PathParams, Shape};
use crate::settings::{BodyLimits, ConnectionLimits, LinkSettings, Mode, PathPlace, Place};
use crate::tls::Identity;
use crate::traced::carried;

/// One link, with all that its requests have in common.
pub(crate) struct Route {
    pub(crate) key: LinkKey,
    place: Place,
    /// The call, complete but for its deadline.
    call: Invocation,
    /// How long the component may take.
    pub(crate) timeout: Duration,
    /// Whether the link sets the time limit itself.
    pub(crate) has_limit: bool,
    pub(crate) read_only: bool,
    pub(crate) methods: Option<HeaderValue>,
    pub(crate) websocket: bool,
    pub(crate) body: BodyLimits,
    pub(crate) connection: ConnectionLimits,
    pub(crate) keep_alive: bool,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) cors: Cors,
    tls: Option<(TlsAcceptor, Shared<Identity>)>,
    pub(crate) complaints: Complaints,
}

impl Route {
    pub(crate) fn new(
        session: &Session,
        link: &ProviderLink,
        settings: LinkSettings,
        identity: Option<Shared<Identity>>,
    ) -> Result<Self, LinkError> {
        let call = session.call_through(link, INCOMING_HANDLER, HANDLE, Instant::now());
        let tls = match identity {
            Some(identity) => Some((identity.acceptor()?, identity)),
            None => None,
        };
        let common = settings.common;
        Ok(Self {
            key: link.key(),
            place: settings.place,
            call,
            timeout: common.timeout.unwrap_or_else(|| session.default_deadline()),
            has_limit: common.timeout.is_some(),
            read_only: common.read_only,
            methods: common.methods,
            websocket: common.websocket,
            body: common.body,
            connection: settings.connection,
            keep_alive: common.keep_alive,
            cache_control: common.cache_control,
            cors: common.cors,
            tls,
            complaints: Complaints::new(),
        })
    }

    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(|(acceptor, _)| acceptor.clone())
    }

    /// Whether it has a path, and with that perhaps parameters.
    pub(crate) fn has_path(&self) -> bool {
        self.place.path.is_some()
    }

    /// Where its calls go.
    pub(crate) fn subject(&self) -> &str {
        self.call.subject().as_str()
    }

    /// The call for one request that has just arrived.
    pub(crate) fn call<B>(&self, request: &Request<B>) -> Invocation {
        let call = self.call.clone().until(Instant::now() + self.timeout);
        // That of the request's own span goes before that of the client.
        match request.extensions().get::<TraceContext>() {
            Some(own) => call.trace(Some(own)),
            None => call.trace(carried(request.headers()).as_ref()),
        }
    }
}

/// Links that want the same place, in the order in which they came: the first one has it.
type Claims = Vec<Arc<Route>>;

/// The components behind the paths of one host, or of any.
#[derive(Default)]
struct Paths {
    all: Claims,
    exact: HashMap<String, Claims>,
    like: BTreeMap<Shape, Claims>,
}

impl Paths {
    fn claims(&mut self, place: &Place) -> &mut Claims {
        match &place.path {
            None => &mut self.all,
            Some(PathPlace::Exact(path)) => self.exact.entry(path.clone()).or_default(),
            Some(PathPlace::Like(template)) => self.like.entry(template.shape()).or_default(),
        }
    }

    fn each(&self) -> impl Iterator<Item = &Claims> {
        let exact = self.exact.values();
        std::iter::once(&self.all)
            .chain(exact)
            .chain(self.like.values())
    }

    fn remove(&mut self, key: &LinkKey) -> bool {
        let mut found = false;
        let mut clean = |claims: &mut Claims| {
            let before = claims.len();
            claims.retain(|known| known.key != *key);
            found |= claims.len() != before;
            !claims.is_empty()
        };
        clean(&mut self.all);
        self.exact.retain(|_, claims| clean(claims));
        self.like.retain(|_, claims| clean(claims));
        found
    }

    fn find(&self, path: &str) -> Option<Found> {
        let plain = |claims: &Claims| {
            Some(Found {
                route: Arc::clone(claims.first()?),
                params: None,
            })
        };
        if let Some(found) = self.exact.get(path).and_then(plain) {
            return Some(found);
        }
        for claims in self.like.values() {
            let Some(route) = claims.first() else {
                continue;
            };
            if let Some(PathPlace::Like(template)) = &route.place.path
                && let Some(params) = template.read(path)
            {
                return Some(Found {
                    route: Arc::clone(route),
                    params: Some(params),
                });
            }
        }
        plain(&self.all)
    }
}

/// A link that a request belongs to.
pub(crate) struct Found {
    pub(crate) route: Arc<Route>,
    /// What the request has in place of the parameters of the link's path.
    pub(crate) params: Option<PathParams>,
}

/// The components behind one address.
pub(crate) struct Routes {
    /// Names the host.
    header: HeaderName,
    any_host: Paths,
    hosts: HashMap<String, Paths>,
}

impl Routes {
    pub(crate) fn new(mode: &Mode) -> Self {
        Self {
            header: mode.header(),
            any_host: Paths::default(),
            hosts: HashMap::new(),
        }
    }

    /// Adds a link and returns who has its place, if that is another one.
    ///
    /// # Errors
    ///
    /// Gives the link back when this address tells hosts apart by another header.
    pub(crate) fn add(&mut self, mode: &Mode, route: Route) -> Result<Option<LinkKey>, Box<Route>> {
        if mode.header() != self.header {
            return Err(Box::new(route));
        }
        let paths = match &route.place.host {
            None => &mut self.any_host,
            Some(host) => self.hosts.entry(host.clone()).or_default(),
        };
        let claims = paths.claims(&route.place);
        claims.retain(|known| known.key != route.key);
        claims.push(Arc::new(route));
        let first = &claims[0].key;
        Ok((claims.len() > 1).then(|| first.clone()))
    }

    /// Removes a link; says whether it was here.
    pub(crate) fn remove(&mut self, key: &LinkKey) -> bool {
        let mut found = self.any_host.remove(key);
        self.hosts.retain(|_, paths| {
            found |= paths.remove(key);
            paths.each().any(|claims| !claims.is_empty())
        });
        found
    }

    /// Any link, whose settings then hold for connections; `None` when there is none left.
    pub(crate) fn any(&self) -> Option<&Arc<Route>> {
        let paths = std::iter::once(&self.any_host).chain(self.hosts.values());
        paths.flat_map(Paths::each).flatten().next()
    }

    /// The link that a request belongs to.
    pub(crate) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Result<Found, Failure> {
        let path = uri.path();
        let mut missing = Failure::NO_ROUTE;
        if !self.hosts.is_empty() {
            match routing_host(&self.header, uri, headers) {
                Some(host) => {
                    let host = host.trim().to_ascii_lowercase();
                    // A client names the port unless it is the usual one; links rarely do.
                    let without = without_port(&host);
                    let paths = self.hosts.get(&host).or_else(|| self.hosts.get(without));
                    if let Some(found) = paths.and_then(|paths| paths.find(path)) {
                        return Ok(found);
                    }
                }
                None => missing = Failure::NO_HOST,
            }
        }
        self.any_host.find(path).ok_or(missing)
    }
}

fn routing_host<'a>(header: &HeaderName, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if *header == HOST
        && let Some(authority) = uri.authority()
    {
        // HTTP/2 has the host in the address, which goes before the header in HTTP/1.1 too (RFC 9112,
        // section 3.2.2).
        return Some(authority.as_str());
    }
    headers.get(header)?.to_str().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_in_an_address_goes_before_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("b.example"));
        let other = HeaderName::from_static("x-host");
        headers.insert(&other, HeaderValue::from_static("c.example"));
        let (full, path) = (
            Uri::from_static("http://a.example/x"),
            Uri::from_static("/x"),
        );
        assert_eq!(routing_host(&HOST, &full, &headers), Some("a.example"));
        assert_eq!(routing_host(&HOST, &path, &headers), Some("b.example"));
        assert_eq!(routing_host(&other, &full, &headers), Some("c.example"));
    }

    #[test]
    fn a_port_is_cut_off() {
        assert_eq!(without_port("a.example:8000"), "a.example");
        assert_eq!(without_port("a.example"), "a.example");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("[::1]:80"), "[::1]");
    }
}
