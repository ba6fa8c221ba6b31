//! The client of links that agree in their settings.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{PROXY_AUTHORIZATION, TRAILER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_core::grant::{wanted, wanted_beside};
use lattice_provider_sdk::LinkError;
use lattice_rpc::http::IncomingBody;
use lattice_rpc::{Context, TraceContext};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::{Download, Upload, Watch};
use crate::connect::{Connector, Kind, Places, WAITING, Waiting, Ways, reach};
use crate::fault::{Stage, code_of, is_refused, is_told};
use crate::pace::Pace;
use crate::reach::Reach;
use crate::request::{add_trace, length, prepare, remove_neighbours};
use crate::resolve::LOOKUPS_OF_LINK;
use crate::retry::{asked_pause, ends_before};
use crate::settings::{Http2, HttpSettings};
use crate::stream::Answered;
use crate::tls::{Material, TlsError};

/// How long a proxy may take to be reached when a link is put or looked at.
const PROXY_LIMIT: Duration = Duration::from_secs(3);
/// How much later a connection is given up here than by who opens it, who knows better what it
/// waited for.
const GRACE: Duration = Duration::from_millis(20);
/// How many connections of the pool may turn out to be of no use to one request.
const MOST_IN_VAIN: u32 = 8;

/// Sends requests as links with these settings say.
#[derive(Debug)]
pub(crate) struct LinkClient {
    settings: HttpSettings,
    ways: Arc<Ways>,
    /// To hosts wherever they are.
    named: Client<Connector, Upload>,
    /// To hosts at public addresses. Its connections are apart, since which of them a request may take
    /// depends on more than its host.
    public: Client<Connector, Upload>,
    /// To those at these and on this machine.
    loopback: Client<Connector, Upload>,
    /// To proxies that look up a host of which nothing is known here.
    by_name: Client<Connector, Upload>,
    room: Arc<Semaphore>,
    /// For looking up names, by the link that a request came through: links that agree in their
    /// settings do not hold up one another.
    lookups: Places,
    denials: Pace,
    /// Tells the TLS files from later ones.
    mark: Mutex<u64>,
}

/// How long the stages of a request may take.
#[derive(Debug, Clone, Copy)]
struct Waits {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
    deadline: Instant,
}

impl LinkClient {
    /// Makes a client; it connects when there is something to send.
    pub(crate) async fn new(settings: &HttpSettings) -> Result<Self, LinkError> {
        let loaded = load(settings, None).await?;
        let (mark, tls) = loaded.ok_or_else(|| LinkError::unavailable("there is no TLS"))?;
        let limits = &settings.limits;
        let ways = Arc::new(Ways {
            tls: RwLock::new(Arc::new(tls)),
            proxies: settings.proxies.matcher(),
            tunnel_all: settings.http2 == Http2::PriorKnowledge,
            places: Places::new(limits.connections),
            gate: settings.gate.clone(),
        });
        let client = |kind| {
            let connector = Connector {
                ways: Arc::clone(&ways),
                kind,
            };
            pool(settings, connector)
        };
        Ok(Self {
            named: client(Kind::To(Reach::Named)),
            public: client(Kind::To(Reach::Public)),
            loopback: client(Kind::To(Reach::Loopback)),
            by_name: client(Kind::ByName),
            room: Arc::new(Semaphore::new(limits.requests)),
            lookups: Places::new(LOOKUPS_OF_LINK),
            denials: Pace::new(),
            mark: Mutex::new(mark),
            settings: settings.clone(),
            ways,
        })
    }

    /// Looks whether the proxies are there, and reads TLS files that have changed.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        if self.settings.tls.has_files() {
            let known = *self.mark.lock();
            if let Some((mark, tls)) = load(&self.settings, Some(known)).await? {
                *self.mark.lock() = mark;
                *self.ways.tls.write() = Arc::new(tls);
            }
        }
        for proxy in self.ways.proxies.addresses() {
            let usual = if proxy.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = proxy.port_u16().unwrap_or(usual);
            let host = proxy.host().unwrap_or_default();
            let waiting = Waiting::until(Instant::now() + PROXY_LIMIT);
            let reached = reach(host, port, |_| true, &waiting).await;
            reached.map_err(|fault| {
                let what = format!("could not reach the proxy at `{host}:{port}`");
                LinkError::unavailable_because(what, fault)
            })?;
        }
        Ok(())
    }

    /// Sends a request and gives the response as soon as its head is there.
    pub(crate) async fn send(
        &self,
        context: &Context,
        request: Request<IncomingBody>,
        options: RequestOptions,
    ) -> Result<Response<Download>, ErrorCode> {
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        let limits = &self.settings.limits;
        prepare(&mut head, limits)?;
        let within = self.judge(context, &head)?;
        let waits = self.waits(options, context.deadline);
        let place = self.place(waits).await?;
        let lookups = self.lookups_of(context);
        let waiting = waits.waiting(&lookups);
        let by_name = self.ways.is_asked_by_name(&head.uri, within, &waiting);
        let by_name = by_name.await.inspect_err(|code| {
            self.tell_prohibited(context, &head, code);
        })?;
        self.complete(&mut head, by_name, context.trace.as_ref());
        let client = match within {
            _ if by_name => &self.by_name,
            Reach::Named => &self.named,
            Reach::Public => &self.public,
            Reach::Loopback => &self.loopback,
        };
        let (upload, watch) = {
            let has_trailers = head.headers.contains_key(TRAILER);
            Upload::new(body, limits.request_body, has_trailers)
        };
        let by = (waits, lookups);
        let sent = self.persist(client, &head, upload, &watch, by).await;
        let response = sent.inspect_err(|code| self.tell_prohibited(context, &head, code))?;
        self.receive(response, &head.method, watch, waits, place)
    }

    /// The places for lookups of the link that a call came through.
    fn lookups_of(&self, context: &Context) -> Arc<Semaphore> {
        let source = context.source_id.as_deref().unwrap_or_default();
        self.lookups
            .host(&format!("{source}\n{}", context.link_name))
    }

    fn tell_prohibited(&self, context: &Context, head: &Parts, code: &ErrorCode) {
        if *code == ErrorCode::DestinationIpProhibited {
            self.tell_denied(context, head, code);
        }
    }

    /// Whether a request may be sent, and where its host may be.
    fn judge(&self, context: &Context, head: &Parts) -> Result<Reach, ErrorCode> {
        let judged = self.settings.gate.judge(&head.method, &head.uri);
        if let Err(code) = &judged {
            self.tell_denied(context, head, code);
        }
        judged
    }

    /// Tells what would let a request through; the host of the caller makes an event of it.
    fn tell_denied(&self, context: &Context, head: &Parts, code: &ErrorCode) {
        let Some(untold) = self.denials.turn() else {
            return;
        };
        let wanted = match code {
            ErrorCode::DestinationIpProhibited => wanted_beside(&head.method, &head.uri),
            _ => format!("`{}`", wanted(&head.method, &head.uri)),
        };
        tracing::warn!(
            component = context.source_id.as_deref().unwrap_or_default(),
            link = &*context.link_name,
            method = %head.method,
            %code,
            untold,
            "denied a request; {wanted} in the link's `allow` would let it through"
        );
    }

    /// Adds what the guest does not send itself.
    fn complete(&self, head: &mut Parts, by_name: bool, trace: Option<&TraceContext>) {
        if let (true, Some(trace)) = (self.settings.propagate_trace, trace) {
            add_trace(&mut head.headers, trace);
        }
        let host = head.uri.host().unwrap_or_default();
        // What a proxy does not read would be read by the server.
        if (by_name || !self.ways.hides(host))
            && let Some(login) = self.ways.proxies.login(&head.uri)
        {
            head.headers.insert(PROXY_AUTHORIZATION, login);
        }
    }

    fn waits(&self, options: RequestOptions, deadline: Instant) -> Waits {
        let times = &self.settings.times;
        let shorter = |own: Duration, asked: Option<u64>| {
            asked.map_or(own, |nanos| own.min(Duration::from_nanos(nanos)))
        };
        Waits {
            connect: shorter(times.connect, options.connect_timeout),
            first_byte: shorter(times.first_byte, options.first_byte_timeout),
            between_bytes: shorter(times.between_bytes, options.between_bytes_timeout),
            deadline,
        }
    }

    /// The right to be one of the requests at once.
    async fn place(&self, waits: Waits) -> Result<OwnedSemaphorePermit, ErrorCode> {
        let room = Arc::clone(&self.room).acquire_owned();
        match timeout_at(waits.connect_by(), room).await {
            Ok(Ok(place)) => Ok(place),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(ErrorCode::ConnectionLimitReached),
        }
    }

    /// Sends a request, and again as far as the link wants that.
    async fn persist(
        &self,
        client: &Client<Connector, Upload>,
        head: &Parts,
        mut upload: Upload,
        watch: &Watch,
        (waits, lookups): (Waits, Arc<Semaphore>),
    ) -> Result<Response<Incoming>, ErrorCode> {
        let policy = &self.settings.retry;
        let mut left = policy.for_method(&head.method);
        let mut backoff = policy.backoff();
        loop {
            let tried = send_once(client, head, upload, watch, waits, &lookups).await;
            let is_worth_it = match &tried {
                Ok(response) => policy.takes_status(response.status()),
                Err(code) => policy.takes_error(code),
            };
            if left == 0 || !is_worth_it {
                return tried;
            }
            let asked = tried
                .as_ref()
                .ok()
                .and_then(|tried| asked_pause(tried.headers()));
            let pause = backoff.delay().max(asked.unwrap_or_default());
            if !ends_before(pause, waits.deadline) {
                return tried;
            }
            let Some(next) = watch.again() else {
                return tried;
            };
            drop(tried);
            upload = next;
            left -= 1;
            sleep(pause).await;
        }
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        method: &Method,
        upload: Watch,
        waits: Waits,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Download>, ErrorCode> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ErrorCode::HttpUpgradeFailed);
        }
        let (mut head, body) = response.into_parts();
        let most = self.settings.limits.response_body;
        let length = length(&head.headers).filter(|_| *method != Method::HEAD);
        if let Some(length) = length
            && length > most
            && !body.is_end_stream()
        {
            return Err(ErrorCode::HttpResponseBodySize(Some(length)));
        }
        remove_neighbours(&mut head.headers);
        upload.settle();
        let body = Download::new(body, upload, most, waits.between_bytes, place);
        Ok(Response::from_parts(head, body))
    }
}

impl Waits {
    fn connect_by(&self) -> Instant {
        (Instant::now() + self.connect).min(self.deadline)
    }

    fn waiting(&self, lookups: &Arc<Semaphore>) -> Waiting {
        Waiting {
            by: self.connect_by(),
            lookups: Arc::clone(lookups),
        }
    }
}

/// Why an attempt failed.
enum Failed {
    With(ErrorCode),
    /// The server has not begun with it, and may at another time.
    Refused,
    /// The connection did not come about that another request was opening for both.
    WithAnother,
}

impl Failed {
    fn of(error: &hyper_util::client::legacy::Error) -> Self {
        if is_refused(error) {
            return Self::Refused;
        }
        // Whoever opens a connection tells a code, and who waits for that is told of it only.
        match error.is_connect() && !is_told(error) {
            true => Self::WithAnother,
            false => Self::With(code_of(error, Stage::Head)),
        }
    }

    fn code(self) -> ErrorCode {
        match self {
            Self::With(code) => code,
            Self::Refused => ErrorCode::ConnectionTerminated,
            Self::WithAnother => ErrorCode::DestinationUnavailable,
        }
    }
}

/// Sends a request once, for all that its sender can tell: what the pool did with others is no
/// failure of its own.
///
/// A server may end a connection just when a request takes it out of the pool. A safe request goes
/// by another connection then: it changes nothing, whether the server has seen it or not. And a
/// request that waited for another's connection in vain, with which nothing was sent, has one opened.
async fn send_once(
    client: &Client<Connector, Upload>,
    head: &Parts,
    mut upload: Upload,
    watch: &Watch,
    waits: Waits,
    lookups: &Arc<Semaphore>,
) -> Result<Response<Incoming>, ErrorCode> {
    let mut left = MOST_IN_VAIN;
    loop {
        let mut request = Request::from_parts(head.clone(), upload);
        let taken = capture_connection(&mut request);
        let waiting = waits.waiting(lookups);
        let tried = attempt(client, request, taken.clone(), waits, waiting).await;
        let answered = Answered::of(&taken);
        let is_in_vain = match &tried {
            Ok(_) => {
                answered.inspect(Answered::note);
                false
            }
            Err(Failed::With(ErrorCode::ConnectionTerminated)) => {
                head.method.is_safe() && answered.is_some_and(|it| it.has())
            }
            Err(Failed::With(_) | Failed::Refused) => false,
            Err(Failed::WithAnother) => true,
        };
        let next = match left {
            1.. if is_in_vain => watch.again(),
            _ => None,
        };
        let Some(next) = next else {
            return tried.map_err(|failed| watch.fault().unwrap_or(failed.code()));
        };
        upload = next;
        left -= 1;
    }
}

/// Sends a request by one connection.
async fn attempt(
    client: &Client<Connector, Upload>,
    request: Request<Upload>,
    mut taken: CaptureConnection,
    waits: Waits,
    waiting: Waiting,
) -> Result<Response<Incoming>, Failed> {
    let by = waiting.by;
    let mut sent = pin!(WAITING.scope(waiting, client.request(request)));
    let connected = timeout_at(by + GRACE, async {
        let _ = taken.wait_for_connection_metadata().await;
    });
    tokio::select! {
        biased;
        done = sent.as_mut() => return done.map_err(|error| Failed::of(&error)),
        waited = connected => {
            waited.map_err(|_| Failed::With(ErrorCode::ConnectionTimeout))?;
        }
    }
    let first_byte = waits.first_byte;
    match timeout_at(waits.deadline, timeout(first_byte, sent)).await {
        Ok(Ok(done)) => done.map_err(|error| Failed::of(&error)),
        Ok(Err(_)) => Err(Failed::With(ErrorCode::ConnectionReadTimeout)),
        Err(_) => Err(Failed::With(ErrorCode::HttpResponseTimeout)),
    }
}

fn pool(settings: &HttpSettings, connector: Connector) -> Client<Connector, Upload> {
    let header = settings.limits.header;
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.times.idle)
        .pool_max_idle_per_host(settings.limits.idle)
        .http1_max_buf_size(header)
        .http2_max_header_list_size(u32::try_from(header).unwrap_or(u32::MAX))
        .http2_only(settings.http2 == Http2::PriorKnowledge)
        // Finds out that a server is gone without a word, which one connection for all requests
        // would otherwise hide from each of them.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(connector)
}

/// Reads the TLS files, apart from other work since it may block. Gives nothing for those that are
/// known already by their mark.
async fn load(
    settings: &HttpSettings,
    known: Option<u64>,
) -> Result<Option<(u64, rustls::ClientConfig)>, LinkError> {
    let (tls, http2) = (settings.tls.clone(), settings.http2);
    let read = tokio::task::spawn_blocking(move || {
        let made = Material::read(&tls).and_then(|material| {
            let mark = material.mark();
            if known == Some(mark) {
                return Ok(None);
            }
            Ok(Some((mark, material.config(&tls, http2)?)))
        });
        made.map_err(|error: TlsError| error.of_link(&tls))
    });
    read.await.unwrap_or_else(|error| {
        Err(LinkError::unavailable_because(
            "could not read the TLS files",
            error,
        ))
    })
}
