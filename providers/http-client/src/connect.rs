//! Opening connections for the pool.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use lattice_codec::http::ErrorCode;
use lattice_core::grant::literal;
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::fault::{Fault, Stage, code_of, of_io};
use crate::proxy::{ProxyChoice, tunnel};
use crate::reach::{Gate, Reach};
use crate::resolve::{is_number, resolve};
use crate::stream::{Road, Stream};

/// How long one address is tried alone.
const ALONE: Duration = Duration::from_millis(250);
/// The time limit of connections that are opened for nobody in particular.
const USUAL: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// When the connection that a request waits for has to be there.
    pub(crate) static CONNECT_BY: Instant;
}

/// Opens connections as a link says.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) tls: RwLock<Arc<ClientConfig>>,
    pub(crate) proxies: ProxyChoice,
    /// Whether a proxy must not read requests, since it would not understand them.
    pub(crate) tunnel_all: bool,
    pub(crate) places: Places,
    pub(crate) gate: Gate,
}

/// The right to be one of a limited number of connections, by host and port.
#[derive(Debug)]
pub(crate) struct Places {
    per_host: usize,
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Places {
    pub(crate) fn new(per_host: usize) -> Self {
        Self {
            per_host,
            hosts: Mutex::default(),
        }
    }

    async fn take(&self, authority: &str, by: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        let host = self.host(authority);
        match timeout_at(by, host.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(Fault(ErrorCode::ConnectionLimitReached)),
        }
    }

    fn host(&self, authority: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(authority).and_then(Weak::upgrade) {
            return host;
        }
        hosts.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(authority.to_owned(), Arc::downgrade(&host));
        host
    }
}

/// What the pool opens connections with.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) ways: Arc<Ways>,
    pub(crate) reach: Reach,
}

impl Service<Uri> for Connector {
    type Response = Road;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Road, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let by = CONNECT_BY.try_with(|by| *by);
        let by = by.unwrap_or_else(|_| Instant::now() + USUAL);
        let (ways, within) = (Arc::clone(&self.ways), self.reach);
        Box::pin(async move { ways.connect(&uri, within, by).await })
    }
}

impl Ways {
    /// Whether a request to a host is hidden from the proxy that it takes: because the proxy would not
    /// understand it, or would look up the name, which may lead elsewhere there.
    pub(crate) fn hides(&self, host: &str, within: Reach) -> bool {
        self.tunnel_all || self.checks_for_proxy(host, within)
    }

    fn checks_for_proxy(&self, host: &str, within: Reach) -> bool {
        let is_checked = within == Reach::Public && !self.proxies.check();
        literal(host).is_none() && (is_checked || is_number(host))
    }

    async fn connect(&self, uri: &Uri, within: Reach, by: Instant) -> Result<Road, Fault> {
        let authority = uri
            .authority()
            .ok_or(Fault(ErrorCode::HttpRequestUriInvalid))?;
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let port = authority
            .port_u16()
            .unwrap_or(if is_https { 443 } else { 80 });
        let place = self
            .places
            .take(&format!("{}:{port}", authority.host()), by)
            .await?;
        let (mut stream, mut is_proxied) = match self.proxies.of(uri) {
            None => {
                let admits = |address| self.gate.admits(within, address);
                (reach(authority.host(), port, admits, by).await?, false)
            }
            Some(proxy) => {
                let target = (authority, port);
                self.detour(&proxy, target, (is_https, within), by).await?
            }
        };
        let mut is_h2 = false;
        if is_https {
            is_proxied = false;
            let config = Arc::clone(&self.tls.read());
            stream = shake(stream, config, authority.host(), by).await?;
            if let Stream::Tls(tls) = &stream {
                is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            }
        }
        Ok(Road {
            io: TokioIo::new(stream),
            is_h2,
            is_proxied,
            _place: place,
        })
    }

    /// Reaches a proxy and, unless it is to read the request, has it pass on what follows.
    async fn detour(
        &self,
        proxy: &Intercept,
        (target, port): (&Authority, u16),
        (is_https, within): (bool, Reach),
        by: Instant,
    ) -> Result<(Stream, bool), Fault> {
        let name = target.host();
        let asked = if self.checks_for_proxy(name, within) {
            let admits = |address| self.gate.admits(within, address);
            let found = timeout_at(by, resolve(name, port, admits)).await;
            let found = found.map_err(|_| Fault(ErrorCode::DnsTimeout))??;
            // One is there: none would have been an error.
            found.first().map_or_else(String::new, ToString::to_string)
        } else {
            format!("{name}:{port}")
        };
        let address = proxy.uri();
        let by_tls = address.scheme() == Some(&Scheme::HTTPS);
        let host = address.host().ok_or(Fault(ErrorCode::ConfigurationError))?;
        let own_port = address.port_u16().unwrap_or(if by_tls { 443 } else { 80 });
        let mut stream = reach(host, own_port, |_| true, by).await?;
        if by_tls {
            let mut config = ClientConfig::clone(&self.tls.read());
            config.alpn_protocols.clear();
            stream = shake(stream, Arc::new(config), host, by).await?;
        }
        if !is_https && !self.hides(name, within) {
            return Ok((stream, true));
        }
        let opened = tunnel(&mut stream, &asked, proxy.basic_auth());
        timeout_at(by, opened).await.map_err(|_| too_late())??;
        Ok((stream, false))
    }
}

fn too_late() -> Fault {
    Fault(ErrorCode::ConnectionTimeout)
}

/// Opens a connection to a host.
pub(crate) async fn reach(
    host: &str,
    port: u16,
    admits: impl Fn(IpAddr) -> bool,
    by: Instant,
) -> Result<Stream, Fault> {
    let found = timeout_at(by, resolve(host, port, admits)).await;
    let found = found.map_err(|_| Fault(ErrorCode::DnsTimeout))??;
    let stream = open(found, by).await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not turn off delays on a connection");
    }
    Ok(Stream::Plain(stream))
}

/// Opens a connection to one of some addresses. When one does not answer at once, or fails, the next
/// one is tried beside it.
async fn open(addresses: Vec<SocketAddr>, by: Instant) -> Result<TcpStream, Fault> {
    let mut tries = FuturesUnordered::new();
    let mut rest = addresses.into_iter();
    let mut failure = None;
    loop {
        if let Some(address) = rest.next() {
            tries.push(TcpStream::connect(address));
        } else if tries.is_empty() {
            return Err(failure.unwrap_or(Fault(ErrorCode::DestinationNotFound)));
        }
        tokio::select! {
            Some(tried) = tries.next() => match tried {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let code = of_io(&error);
                    let told = || ErrorCode::InternalError(Some(error.to_string()));
                    failure = Some(Fault(code.unwrap_or_else(told)));
                }
            },
            () = sleep(ALONE), if rest.len() > 0 => {}
            () = sleep_until(by) => return Err(too_late()),
        }
    }
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
