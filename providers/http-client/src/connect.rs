//! Opening connections for the pool.

mod open;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use lattice_codec::http::ErrorCode;
use lattice_core::grant::literal;
use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::fault::{Fault, Stage, code_of};
use crate::places::{Place, Places};
use crate::proxy::{ProxyChoice, tunnel};
use crate::reach::{AddressFilter, Reach};
use crate::resolve::{LOOKUPS_OF_LINK, is_number, is_unknown, resolve};
use crate::stream::{Road, Stream};
use open::open;

/// The time limit of connections that are opened for nobody in particular.
const USUAL: Duration = Duration::from_secs(10);

/// How long it is looked here where a name leads that a proxy may know better.
const LOCAL_LOOKUP: Duration = Duration::from_secs(2);

/// How many addresses of a host a proxy is asked for.
const MOST_ASKED: usize = 4;

/// The alert of a server that speaks none of the protocols that it was offered (RFC 7301).
const NO_PROTOCOL: Option<u8> = Some(120);

/// Which connections a request may take. Each kind has a pool of its own, since that depends on more
/// than its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those to addresses within reach.
    To(Reach),
    /// Those to a proxy that reads the request and looks up its host.
    ByName,
}

impl Kind {
    fn reach(self) -> Reach {
        match self {
            Self::To(reach) => reach,
            Self::ByName => Reach::Named,
        }
    }
}

/// For whom a connection is opened.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// When it has to be there.
    pub(crate) by: Instant,
    /// The places of the link for looking up names.
    pub(crate) lookups: Arc<Semaphore>,
}

impl Waiting {
    /// For nobody in particular.
    pub(crate) fn until(by: Instant) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS_OF_LINK));
        Self { by, lookups }
    }
}

tokio::task_local! {
    /// The request that waits for a connection.
    pub(crate) static WAITING: Waiting;
}

/// Opens connections as a link says.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) tls: Arc<RwLock<Arc<ClientConfig>>>,
    pub(crate) proxies: ProxyChoice,
    /// Whether a proxy must not read requests, since it would not understand them.
    pub(crate) tunnel_all: bool,
    pub(crate) places: Places,
    pub(crate) gate: AddressFilter,
}

/// What the pool opens connections with.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) ways: Arc<Ways>,
    pub(crate) kind: Kind,
}

impl Service<Uri> for Connector {
    type Response = Road;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Road, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let waiting = WAITING.try_with(Waiting::clone);
        let waiting = waiting.unwrap_or_else(|_| Waiting::until(Instant::now() + USUAL));
        let (ways, kind) = (Arc::clone(&self.ways), self.kind);
        Box::pin(async move { ways.connect(&uri, kind, &waiting).await })
    }
}

impl Ways {
    /// Whether a request to a host is hidden from the proxy that it takes: because the proxy would not
    /// understand it, or would look up the name, which may lead elsewhere there.
    pub(crate) fn hides(&self, host: &str) -> bool {
        self.tunnel_all || self.checks_for_proxy(host)
    }

    fn checks_for_proxy(&self, host: &str) -> bool {
        literal(host).is_none() && (!self.proxies.check() || is_number(host))
    }

    async fn connect(&self, uri: &Uri, kind: Kind, waiting: &Waiting) -> Result<Road, Fault> {
        let authority = uri
            .authority()
            .ok_or(Fault(ErrorCode::HttpRequestUriInvalid))?;
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let port = authority
            .port_u16()
            .unwrap_or(if is_https { 443 } else { 80 });
        let (by, target) = (waiting.by, (authority.host(), port));
        // Without HTTP/1.1, requests can only share a connection.
        let place = self.places.take(target, self.tunnel_all, by).await?;
        let is_for_one = place.is_for_one();
        let to = (uri, authority, port);
        match self.open_at(place, to, kind, waiting).await {
            Err(fault) if is_for_one && self.offers_h2() && is_no_protocol(&fault) => {
                let place = self.places.take(target, true, by).await?;
                self.open_at(place, to, kind, waiting).await
            }
            opened => opened,
        }
    }

    fn offers_h2(&self) -> bool {
        let config = self.tls.read();
        config.alpn_protocols.iter().any(|name| name == b"h2")
    }

    /// Opens a connection that has its place.
    async fn open_at(
        &self,
        place: Place,
        (uri, authority, port): (&Uri, &Authority, u16),
        kind: Kind,
        waiting: &Waiting,
    ) -> Result<Road, Fault> {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let (mut stream, mut is_proxied) = match self.proxies.of(uri) {
            None => {
                let admits = |address| self.gate.admits(kind.reach(), address);
                let reached = reach(authority.host(), port, admits, waiting);
                (reached.await?, false)
            }
            Some(proxy) => {
                let target = (authority, port);
                let detour = self.detour(&proxy, target, (is_https, kind), waiting);
                detour.await?
            }
        };
        let mut is_h2 = false;
        if is_https {
            is_proxied = false;
            let mut config = Arc::clone(&self.tls.read());
            if place.is_for_one() {
                // The pool would keep one of HTTP/2 all the same.
                Arc::make_mut(&mut config)
                    .alpn_protocols
                    .retain(|name| name != b"h2");
            }
            stream = shake(stream, config, authority.host(), waiting.by).await?;
            if let Stream::Tls(tls) = &stream {
                is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            }
        }
        Ok(Road {
            io: TokioIo::new(stream),
            is_h2,
            is_proxied,
            place,
        })
    }

    /// Reaches a proxy and, unless it is to read the request, has it pass on what follows.
    async fn detour(
        &self,
        proxy: &Intercept,
        (target, port): (&Authority, u16),
        (is_https, kind): (bool, Kind),
        waiting: &Waiting,
    ) -> Result<(Stream, bool), Fault> {
        let name = target.host();
        if !is_https && (kind == Kind::ByName || !self.hides(name)) {
            return Ok((self.to_proxy(proxy, waiting).await?, true));
        }
        let asked = if self.checks_for_proxy(name) {
            self.checked(name, port, kind.reach(), waiting).await?
        } else {
            vec![format!("{name}:{port}")]
        };
        let mut failure = Fault(ErrorCode::DestinationNotFound);
        for target in asked {
            let mut stream = self.to_proxy(proxy, waiting).await?;
            let opened = tunnel(&mut stream, &target, proxy.basic_auth());
            let opened = timeout_at(waiting.by, opened).await;
            match opened.map_err(|_| too_late())? {
                Ok(()) => return Ok((stream, false)),
                Err(fault) if leads_nowhere(&fault) => failure = fault,
                Err(fault) => return Err(fault),
            }
        }
        Err(failure)
    }

    async fn to_proxy(&self, proxy: &Intercept, waiting: &Waiting) -> Result<Stream, Fault> {
        let address = proxy.uri();
        let by_tls = address.scheme() == Some(&Scheme::HTTPS);
        let host = address.host().ok_or(Fault(ErrorCode::ConfigurationError))?;
        let port = address.port_u16().unwrap_or(if by_tls { 443 } else { 80 });
        let stream = reach(host, port, |_| true, waiting).await?;
        if !by_tls {
            return Ok(stream);
        }
        let mut config = ClientConfig::clone(&self.tls.read());
        config.alpn_protocols.clear();
        shake(stream, Arc::new(config), host, waiting.by).await
    }

    /// What a proxy is asked for in the place of a name, one after the other: the addresses that it
    /// leads to from here, as far as they are let through. Where a link has no grants, a host may also
    /// have a name that only the proxy knows.
    async fn checked(
        &self,
        name: &str,
        port: u16,
        within: Reach,
        waiting: &Waiting,
    ) -> Result<Vec<String>, Fault> {
        let Some(mut found) = self.find_for_proxy(name, port, within, waiting).await? else {
            return Ok(vec![format!("{name}:{port}")]);
        };
        // A proxy tells late, or not at all, that it has no way to addresses of version 6.
        found.sort_by_key(SocketAddr::is_ipv6);
        let found = found.iter().take(MOST_ASKED);
        Ok(found.map(ToString::to_string).collect())
    }

    async fn find_for_proxy(
        &self,
        name: &str,
        port: u16,
        within: Reach,
        waiting: &Waiting,
    ) -> Result<Option<Vec<SocketAddr>>, Fault> {
        let may_be_unknown = within == Reach::Named && !is_number(name);
        let by = match may_be_unknown {
            true => waiting.by.min(Instant::now() + LOCAL_LOOKUP),
            false => waiting.by,
        };
        let admits = |address| self.gate.admits(within, address);
        match find(name, port, admits, by, &waiting.lookups).await {
            Ok(found) => Ok(Some(found)),
            Err(fault) if may_be_unknown && is_unknown(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether a proxy is to read a request although nothing is known here of its host. It is not a
    /// tunnel then: many proxies open these to servers with TLS only.
    pub(crate) async fn is_asked_by_name(
        &self,
        uri: &Uri,
        within: Reach,
        waiting: &Waiting,
    ) -> Result<bool, ErrorCode> {
        let host = uri.host().unwrap_or_default();
        let is_plain = uri.scheme() != Some(&Scheme::HTTPS) && !self.tunnel_all;
        let may_be = is_plain && within == Reach::Named && self.checks_for_proxy(host);
        if !may_be || self.proxies.of(uri).is_none() {
            return Ok(false);
        }
        let port = uri.port_u16().unwrap_or(80);
        let found = self.find_for_proxy(host, port, within, waiting).await;
        found.map(|found| found.is_none()).map_err(|fault| fault.0)
    }
}

/// Whether a server speaks none of the protocols that it was offered.
fn is_no_protocol(fault: &Fault) -> bool {
    matches!(&fault.0, ErrorCode::TlsAlertReceived { alert_id, .. } if *alert_id == NO_PROTOCOL)
}

/// Whether another address of the same host may be reached all the same.
fn leads_nowhere(fault: &Fault) -> bool {
    matches!(
        fault.0,
        ErrorCode::DestinationUnavailable
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionTerminated
    )
}

async fn find(
    host: &str,
    port: u16,
    admits: impl Fn(IpAddr) -> bool,
    by: Instant,
    lookups: &Arc<Semaphore>,
) -> Result<Vec<SocketAddr>, Fault> {
    let found = resolve(host, port, admits, Arc::clone(lookups));
    let found = timeout_at(by, found).await;
    found.unwrap_or(Err(Fault(ErrorCode::DnsTimeout)))
}

fn too_late() -> Fault {
    Fault(ErrorCode::ConnectionTimeout)
}

/// Opens a connection to a host.
pub(crate) async fn reach(
    host: &str,
    port: u16,
    admits: impl Fn(IpAddr) -> bool,
    waiting: &Waiting,
) -> Result<Stream, Fault> {
    let Waiting { by, lookups } = waiting;
    let found = find(host, port, admits, *by, lookups).await?;
    let stream = open(found, *by).await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not turn off delays on a connection");
    }
    Ok(Stream::Plain(stream))
}

async fn shake(
    stream: Stream,
    config: Arc<ClientConfig>,
    host: &str,
    by: Instant,
) -> Result<Stream, Fault> {
    let name = match literal(host) {
        Some(address) => ServerName::from(address),
        None => ServerName::try_from(host.trim_end_matches('.').to_owned())
            .map_err(|_| Fault(ErrorCode::HttpRequestUriInvalid))?,
    };
    let shaken = TlsConnector::from(config).connect(name, stream);
    match timeout_at(by, shaken).await {
        Ok(Ok(tls)) => Ok(Stream::Tls(Box::new(tls))),
        Ok(Err(error)) => Err(Fault(code_of(&error, Stage::Head))),
        Err(_) => Err(too_late()),
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::grant::Grants;
    use lattice_provider_sdk::Settings;

    use super::*;
    use crate::proxy::Proxies;

    fn ways(grants: Option<&str>) -> Ways {
        let settings = Settings::from_texts([("http_proxy", "http://proxy.test:1")], []);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Ways {
            tls: Arc::new(RwLock::new(Arc::new(tls))),
            proxies: Proxies::read(&settings).unwrap().matcher(),
            tunnel_all: false,
            places: Places::new(1, 1),
            gate: AddressFilter::new(grants.map(|text| Grants::parse(text).unwrap())),
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_metadata_services_is_not_asked_for() {
        let waiting = Waiting::until(Instant::now() + USUAL);
        for (grants, within) in [
            (None, Reach::Named),
            (Some("metadata.test"), Reach::Public),
            (Some("metadata.test"), Reach::Named),
            (Some("*"), Reach::Public),
        ] {
            let ways = ways(grants);
            let asked = ways.checked("metadata.test", 80, within, &waiting).await;
            let prohibited = Fault(ErrorCode::DestinationIpProhibited);
            assert_eq!(asked, Err(prohibited), "{grants:?}");
            // Not before the proxy is reached.
            let uri = "http://metadata.test/latest/".parse().unwrap();
            let road = ways.connect(&uri, Kind::To(within), &waiting).await;
            let prohibited = Err(Fault(ErrorCode::DestinationIpProhibited));
            assert_eq!(road.map(drop), prohibited, "{grants:?}");
            let by_name = ways.is_asked_by_name(&uri, within, &waiting).await;
            assert!(!matches!(by_name, Ok(true)), "{grants:?}");
        }
    }

    #[tokio::test]
    async fn no_connection_is_made_to_where_a_granted_name_leads_the_second_time() {
        let private = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = private.local_addr().unwrap().port();
        let uri: Uri = format!("https://d.rebind.test:{port}/").parse().unwrap();
        // The proxy of these ways is for the other scheme.
        let grant = format!("https://d.rebind.test:{port}");
        let narrow = ways(Some(&grant));
        let waiting = Waiting::until(Instant::now() + USUAL);
        let within = narrow.gate.judge(&http::Method::GET, &uri).unwrap();
        let admits = |address| narrow.gate.admits(within, address);
        let by = waiting.by;
        let first = find("d.rebind.test", port, admits, by, &waiting.lookups).await;
        assert_eq!(first.unwrap()[0].ip().to_string(), "93.184.216.34");
        let road = narrow.connect(&uri, Kind::To(within), &waiting).await;
        let prohibited = Err(Fault(ErrorCode::DestinationIpProhibited));
        assert_eq!(road.map(drop), prohibited);
        assert!(futures::poll!(std::pin::pin!(private.accept())).is_pending());
        // Where its network is named as well, it is connected to; there is no TLS.
        let wide = ways(Some(&format!("{grant}, 127.0.0.0/8")));
        let connected = async { private.accept().await.map(drop) };
        let asked = wide.connect(&uri, Kind::To(within), &waiting);
        let (road, connected) = tokio::join!(asked, connected);
        assert!(connected.is_ok());
        assert_ne!(road.map(drop), prohibited);
    }

    #[tokio::test]
    async fn a_name_that_only_the_proxy_knows_is_asked_for_where_it_may_be_anywhere() {
        let waiting = Waiting::until(Instant::now() + USUAL);
        let ways = ways(None);
        let asked = |within| ways.checked("unknown.test", 80, within, &waiting);
        assert_eq!(asked(Reach::Named).await.unwrap(), ["unknown.test:80"]);
        assert!(asked(Reach::Public).await.is_err());
        assert!(asked(Reach::Loopback).await.is_err());
        let known = ways.checked("localhost", 80, Reach::Named, &waiting).await;
        let address: SocketAddr = known.unwrap()[0].parse().unwrap();
        assert!(address.ip().is_loopback());
        for (uri, expected) in [
            ("http://unknown.test/", true),
            ("https://unknown.test/", false),
            ("http://localhost/", false),
        ] {
            let uri = uri.parse().unwrap();
            let asked = ways.is_asked_by_name(&uri, Reach::Named, &waiting).await;
            assert_eq!(asked, Ok(expected), "{uri}");
        }
    }
}
