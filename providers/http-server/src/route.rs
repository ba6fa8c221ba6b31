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
use crate::order::Turn;
use crate::place::{PathParams, Shape};
use crate::settings::{BodyLimits, ConnectionLimits, LinkSettings, Mode, PathPlace, Place, Tls};
use crate::tls::Identity;
use crate::traced::carried;

/// One link, with all that its requests have in common.
pub(crate) struct Route {
    pub(crate) key: LinkKey,
    /// How many links came before it.
    number: u64,
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
        number: u64,
    ) -> Result<Self, LinkError> {
        let call = session.call_through(link, INCOMING_HANDLER, HANDLE, Instant::now());
        let tls = match identity {
            Some(identity) => Some((identity.acceptor()?, identity)),
            None => None,
        };
        let common = settings.common;
        Ok(Self {
            key: link.key(),
            number,
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

    pub(crate) fn identity(&self) -> Option<&Shared<Identity>> {
        self.tls.as_ref().map(|(_, identity)| identity)
    }

    fn files(&self) -> Option<&Tls> {
        Some(self.identity()?.files())
    }

    /// Whether clients are shown the same certificate, or none, whichever of the two is asked.
    pub(crate) fn shows_like(&self, other: &Self) -> bool {
        self.files() == other.files()
    }

    /// Whether connections are treated alike, whichever of the two is asked.
    pub(crate) fn greets_like(&self, other: &Self) -> bool {
        self.shows_like(other)
            && self.keep_alive == other.keep_alive
            && self.connection == other.connection
    }

    /// What belongs to it of what comes to its address.
    pub(crate) fn place(&self) -> &Place {
        &self.place
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

/// A link that wants a place.
struct Claim {
    route: Arc<Route>,
    turn: Turn,
    /// Since when it is at the address, wherever there.
    here: Turn,
}

/// Links that want the same place: the first one has it, the others wait for their turn.
#[derive(Default)]
struct Claims(Vec<Claim>);

impl Claims {
    fn first(&self) -> Option<&Arc<Route>> {
        Some(&self.0.first()?.route)
    }

    fn add(&mut self, route: Route, here: Turn) {
        let turn = Turn::new(route.number, Instant::now());
        let at = turn.after(self.0.iter().map(|known| &known.turn));
        let route = Arc::new(route);
        self.0.insert(at, Claim { route, turn, here });
    }

    fn of(&self, key: &LinkKey) -> Option<&Arc<Route>> {
        let own = self.0.iter().find(|known| known.route.key == *key)?;
        Some(&own.route)
    }

    /// Gives a link that is here other settings; gives them back if it is not.
    fn swap(&mut self, route: Route) -> Option<Route> {
        match self.0.iter_mut().find(|known| known.route.key == route.key) {
            Some(own) => {
                own.route = Arc::new(route);
                None
            }
            None => Some(route),
        }
    }
}

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

    fn known(&self, place: &Place) -> Option<&Claims> {
        match &place.path {
            None => Some(&self.all),
            Some(PathPlace::Exact(path)) => self.exact.get(path),
            Some(PathPlace::Like(template)) => self.like.get(&template.shape()),
        }
    }

    fn each(&self) -> impl Iterator<Item = &Claims> + Clone {
        let exact = self.exact.values();
        std::iter::once(&self.all)
            .chain(exact)
            .chain(self.like.values())
    }

    fn remove(&mut self, key: &LinkKey) {
        let clean = |claims: &mut Claims| {
            claims.0.retain(|known| known.route.key != *key);
            !claims.0.is_empty()
        };
        clean(&mut self.all);
        self.exact.retain(|_, claims| clean(claims));
        self.like.retain(|_, claims| clean(claims));
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

    /// Whether hosts are told apart here as a provider does in this mode.
    pub(crate) fn fits(&self, mode: &Mode) -> bool {
        mode.header() == self.header
    }

    /// Adds a link that is not here yet.
    pub(crate) fn add(&mut self, route: Route) {
        let here = Turn::new(route.number, Instant::now());
        self.claims(&route.place).add(route, here);
    }

    /// Gives a link other settings. Where it wants the same as before it keeps its turn.
    pub(crate) fn swap(&mut self, old: &Place, route: Route) {
        let is_same = self.known(old).is_some_and(|known| {
            let wanted = self.known(&route.place);
            wanted.is_some_and(|wanted| std::ptr::eq(known, wanted))
        });
        let route = match is_same {
            true => self.claims(old).swap(route),
            false => Some(route),
        };
        if let Some(route) = route {
            let now = || Turn::new(route.number, Instant::now());
            let here = self.here(&route.key).unwrap_or_else(now);
            self.remove(&route.key);
            self.claims(&route.place).add(route, here);
        }
    }

    /// Removes a link.
    pub(crate) fn remove(&mut self, key: &LinkKey) {
        self.any_host.remove(key);
        self.hosts.retain(|_, paths| {
            paths.remove(key);
            paths.each().any(|claims| !claims.0.is_empty())
        });
    }

    fn claims(&mut self, place: &Place) -> &mut Claims {
        let paths = match &place.host {
            None => &mut self.any_host,
            Some(host) => self.hosts.entry(host.clone()).or_default(),
        };
        paths.claims(place)
    }

    fn known(&self, place: &Place) -> Option<&Claims> {
        let paths = match &place.host {
            None => &self.any_host,
            Some(host) => self.hosts.get(host)?,
        };
        paths.known(place)
    }

    /// Who has a place.
    pub(crate) fn owner(&self, place: &Place) -> Option<&LinkKey> {
        Some(&self.known(place)?.first()?.key)
    }

    /// A link that wants a place.
    pub(crate) fn of(&self, key: &LinkKey, place: &Place) -> Option<&Arc<Route>> {
        self.known(place)?.of(key)
    }

    fn each(&self) -> impl Iterator<Item = &Claims> + Clone {
        let paths = std::iter::once(&self.any_host).chain(self.hosts.values());
        paths.flat_map(Paths::each)
    }

    /// Since when a link is at the address.
    fn here(&self, key: &LinkKey) -> Option<Turn> {
        let mut all = self.each().flat_map(|claims| &claims.0);
        let own = all.find(|known| known.route.key == *key)?;
        Some(own.here)
    }

    /// The link whose settings hold for connections, the one that came first of those that have a place;
    /// `None` when there is none left. One that comes late takes that from nobody.
    pub(crate) fn any(&self) -> Option<&Arc<Route>> {
        let firsts = self.each().filter_map(|claims| claims.0.first());
        Turn::leading(firsts.map(|first| (first.here, &first.route)))
    }

    /// The link whose settings hold for connections also where another one has its place.
    pub(crate) fn before(&self, route: &Route) -> Option<&Arc<Route>> {
        let now = || Turn::new(route.number, Instant::now());
        let own = self.here(&route.key).unwrap_or_else(now);
        let firsts = self.each().filter_map(|claims| claims.0.first());
        let others = firsts.filter(|first| first.route.key != route.key);
        let others = others.map(|first| (first.here, Some(&first.route)));
        Turn::leading(others.chain(std::iter::once((own, None)))).flatten()
    }

    /// Changes something, and says whether connections are treated in another way then.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self)) -> bool {
        let before = self.any().cloned();
        change(self);
        match (before, self.any()) {
            (Some(before), Some(now)) => !before.greets_like(now),
            _ => false,
        }
    }

    /// The link that a request belongs to.
    pub(crate) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Result<Found, Failure> {
        let path = uri.path();
        let mut missing = Failure::NO_ROUTE;
        if !self.hosts.is_empty() {
            match routing_host(&self.header, uri, headers)? {
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

/// The host that a request is for, if it names one. One that names several is refused: whoever has checked
/// it before may have looked at another one.
fn routing_host<'a>(
    header: &HeaderName,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<&'a str>, Failure> {
    if *header == HOST
        && let Some(authority) = uri.authority()
    {
        // HTTP/2 has the host in the address, which goes before the header in HTTP/1.1 too (RFC 9112,
        // section 3.2.2).
        return Ok(Some(authority.as_str()));
    }
    let mut named = headers.get_all(header).iter();
    match (named.next(), named.next()) {
        (_, Some(_)) => Err(Failure::BAD_HOST),
        (host, None) => Ok(host.and_then(|host| host.to_str().ok())),
    }
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
        for (header, uri, host) in [
            (&HOST, &full, "a.example"),
            (&HOST, &path, "b.example"),
            (&other, &full, "c.example"),
        ] {
            assert_eq!(routing_host(header, uri, &headers), Ok(Some(host)));
        }
    }

    #[test]
    fn a_request_that_names_several_hosts_is_for_none() {
        let (other, path) = (HeaderName::from_static("x-host"), Uri::from_static("/"));
        let mut headers = HeaderMap::new();
        assert_eq!(routing_host(&other, &path, &headers), Ok(None));
        for name in ["a.example", "b.example"] {
            headers.append(&other, HeaderValue::from_static(name));
        }
        let found = routing_host(&other, &path, &headers);
        assert_eq!(found, Err(Failure::BAD_HOST));
    }

    #[test]
    fn a_port_is_cut_off() {
        assert_eq!(without_port("a.example:8000"), "a.example");
        assert_eq!(without_port("a.example"), "a.example");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("[::1]:80"), "[::1]");
    }
}
