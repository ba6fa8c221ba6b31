//! Which component a request is for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use lattice_provider_sdk::{DEFAULT_DEADLINE, LinkKey, ProviderLink, Session};
use lattice_rpc::http::{HANDLE, INCOMING_HANDLER};
use lattice_rpc::{Invocation, TraceContext};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::complaints::Complaints;
use crate::cors::Cors;
use crate::failure::Failure;
use crate::settings::{LinkSettings, Mode, Place};
use crate::traced::carried;

/// One link, with all that its requests have in common.
pub(crate) struct Route {
    pub(crate) key: LinkKey,
    place: Place,
    /// The call, complete but for its deadline.
    call: Invocation,
    timeout: Duration,
    /// Whether the link sets the time limit itself.
    pub(crate) has_limit: bool,
    pub(crate) read_only: bool,
    pub(crate) keep_alive: bool,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) cors: Cors,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) complaints: Complaints,
}

impl Route {
    pub(crate) fn new(
        session: &Session,
        link: &ProviderLink,
        settings: LinkSettings,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let call = session.call_through(link, INCOMING_HANDLER, HANDLE, Instant::now());
        Self {
            key: link.key(),
            place: settings.place,
            call,
            timeout: settings.timeout.unwrap_or(DEFAULT_DEADLINE),
            has_limit: settings.timeout.is_some(),
            read_only: settings.read_only,
            keep_alive: settings.keep_alive,
            cache_control: settings.cache_control,
            cors: settings.cors,
            tls,
            complaints: Complaints::new(),
        }
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

/// The components behind one address.
pub(crate) enum Routes {
    Everything(Claims),
    ByPath(HashMap<String, Claims>),
    ByHost(HeaderName, HashMap<String, Claims>),
}

impl Routes {
    pub(crate) fn new(mode: &Mode) -> Self {
        match mode {
            Mode::Address => Self::Everything(Claims::new()),
            Mode::Path => Self::ByPath(HashMap::new()),
            Mode::Host(header) => Self::ByHost(header.clone(), HashMap::new()),
        }
    }

    /// Adds a link and returns who has its place, if that is another one.
    ///
    /// # Errors
    ///
    /// Gives the link back when this address tells components apart in another way.
    pub(crate) fn add(&mut self, route: Route) -> Result<Option<LinkKey>, Box<Route>> {
        let claims = match (self, &route.place) {
            (Self::Everything(claims), Place::Everything) => claims,
            (Self::ByPath(table), Place::Path(path)) => table.entry(path.clone()).or_default(),
            (Self::ByHost(_, table), Place::Host(host)) => table.entry(host.clone()).or_default(),
            _ => return Err(Box::new(route)),
        };
        claims.retain(|known| known.key != route.key);
        claims.push(Arc::new(route));
        let first = &claims[0].key;
        Ok((claims.len() > 1).then(|| first.clone()))
    }

    /// Removes a link; says whether it was here.
    pub(crate) fn remove(&mut self, key: &LinkKey) -> bool {
        let remove = |claims: &mut Claims| {
            let before = claims.len();
            claims.retain(|known| known.key != *key);
            claims.len() != before
        };
        match self {
            Self::Everything(claims) => remove(claims),
            Self::ByPath(table) | Self::ByHost(_, table) => {
                // A link has one place, so the first find is the only one.
                let found = table.values_mut().any(remove);
                table.retain(|_, claims| !claims.is_empty());
                found
            }
        }
    }

    /// Any link, whose settings then hold for connections; `None` when there is none left.
    pub(crate) fn any(&self) -> Option<&Arc<Route>> {
        match self {
            Self::Everything(claims) => claims.first(),
            Self::ByPath(table) | Self::ByHost(_, table) => table.values().flatten().next(),
        }
    }

    /// The link that a request belongs to.
    pub(crate) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Result<Arc<Route>, Failure> {
        let claims = match self {
            Self::Everything(claims) => Some(claims),
            Self::ByPath(table) => table.get(uri.path()),
            Self::ByHost(header, table) => {
                let host = routing_host(header, uri, headers).ok_or(Failure::NO_HOST)?;
                let host = host.trim().to_ascii_lowercase();
                // A client names the port unless it is the usual one; links rarely do.
                table.get(&host).or_else(|| table.get(without_port(&host)))
            }
        };
        let route = claims.and_then(|claims| claims.first());
        route.cloned().ok_or(Failure::NO_ROUTE)
    }
}

fn routing_host<'a>(header: &HeaderName, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match headers.get(header) {
        Some(value) => value.to_str().ok(),
        // HTTP/2 has the host in the address instead.
        None if *header == HOST => uri.authority().map(|authority| authority.as_str()),
        None => None,
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
    fn a_port_is_cut_off() {
        assert_eq!(without_port("a.example:8000"), "a.example");
        assert_eq!(without_port("a.example"), "a.example");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("[::1]:80"), "[::1]");
    }
}
