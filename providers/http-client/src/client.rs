//! The client of a link.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, PROXY_AUTHORIZATION, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_core::grant::{wanted, wanted_beside};
use lattice_provider_sdk::Shared;
use lattice_rpc::http::IncomingBody;
use lattice_rpc::{Context, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::base::Base;
use crate::body::{Download, Upload, Watch};
use crate::connect::{Connector, Kind, WAITING, Waiting, Ways};
use crate::fault::{Stage, code_of, is_refused, is_told};
use crate::pace::Pace;
use crate::places::Places;
use crate::reach::Reach;
use crate::request::{add_trace, length, prepare, remove_neighbours};
use crate::resolve::LOOKUPS_OF_LINK;
use crate::retry::{asked_pause, ends_before};
use crate::settings::{Http2, HttpSettings};
use crate::stream::Answered;

/// How much later a connection is given up here than by who opens it, who knows better what it
/// waited for.
const GRACE: Duration = Duration::from_millis(20);
/// How many connections of the pool may turn out to be of no use to one request.
const MOST_IN_VAIN: u32 = 8;
/// How long it may stay open whether a request has a body that usually has none.
const FIRST_PIECE: Duration = Duration::from_millis(150);
/// And where its head says that a body is meant, which may come over a slow line.
const FIRST_PIECE_MEANT: Duration = Duration::from_secs(1);

/// How much of an answer may come over HTTP/2 that its guest has not read: a line of 50 ms carries
/// 20 MB/s with that.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// How many guests may pause so before they hold up the others on their connection, which keeps 16 MiB then.
const MOST_PAUSED: u32 = 16;

/// Sends the requests of a link. Its connections are for no other: servers may take who has shown on
/// one who it is for whoever sends on it later (NTLM, Negotiate), and the slow requests of one
/// component are not to hold up those of another.
#[derive(Debug)]
pub(crate) struct LinkClient {
    base: Shared<Base>,
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
    /// For looking up names.
    lookups: Arc<Semaphore>,
    denials: Pace,
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
    pub(crate) fn new(base: Shared<Base>) -> Self {
        let settings = &base.settings;
        let limits = &settings.limits;
        let ways = Arc::new(Ways {
            tls: Arc::clone(&base.tls),
            proxies: settings.proxies.matcher(),
            tunnel_all: settings.http2 == Http2::PriorKnowledge,
            places: Places::new(limits.connections, limits.pooled),
            gate: settings.gate.clone(),
        });
        let client = |kind| {
            let connector = Connector {
                ways: Arc::clone(&ways),
                kind,
            };
            pool(settings, connector)
        };
        Self {
            named: client(Kind::To(Reach::Named)),
            public: client(Kind::To(Reach::Public)),
            loopback: client(Kind::To(Reach::Loopback)),
            by_name: client(Kind::ByName),
            room: Arc::new(Semaphore::new(limits.requests)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_OF_LINK)),
            denials: Pace::new(),
            base,
            ways,
        }
    }

    /// The settings that it was made with.
    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.base.settings
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
        prepare(&mut head, &self.settings().limits)?;
        let within = self.judge(context, &head)?;
        let waits = self.waits(options, context.deadline);
        let place = self.place(waits).await?;
        let (upload, watch) = self.upload(&mut head, body, waits).await?;
        let waiting = waits.waiting(&self.lookups);
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
        let sent = self.persist(client, &head, upload, &watch, waits).await;
        let response = sent.inspect_err(|code| self.tell_prohibited(context, &head, code))?;
        self.receive(response, &head.method, watch, waits, place)
    }

    /// The body of a request. Its head is completed where HTTP/1.1 would take the body for none, as it
    /// does with one of unknown length if the method usually has none.
    async fn upload(
        &self,
        head: &mut Parts,
        body: IncomingBody,
        waits: Waits,
    ) -> Result<(Upload, Watch), ErrorCode> {
        let settings = self.settings();
        let announced = length(&head.headers);
        let known = body.size_hint().exact();
        // A server would take what comes next on the connection for the rest.
        if announced.is_some() && known.is_some() && announced != known {
            return Err(ErrorCode::HttpRequestBodySize(known));
        }
        let most = settings.limits.request_body;
        let has_trailers = head.headers.contains_key(TRAILER);
        let (upload, watch) = Upload::new(body, most, announced, has_trailers);
        let has_usually_none = head.method == Method::GET || head.method == Method::HEAD;
        let may_be_lost = has_usually_none && announced.is_none();
        if may_be_lost && settings.http2 != Http2::PriorKnowledge {
            // A guest may keep a body open that it never writes. Its request goes without, as in 1.x,
            // and writing later on fails.
            let longest = first_piece(&head.headers);
            if upload.begins(waits.begin_by(longest)).await? {
                // HTTP/2 does without; hyper takes it out.
                let chunked = HeaderValue::from_static("chunked");
                head.headers.insert(TRANSFER_ENCODING, chunked);
            }
        }
        Ok((upload, watch))
    }

    fn tell_prohibited(&self, context: &Context, head: &Parts, code: &ErrorCode) {
        if *code == ErrorCode::DestinationIpProhibited {
            self.tell_denied(context, head, code);
        }
    }

    /// Whether a request may be sent, and where its host may be.
    fn judge(&self, context: &Context, head: &Parts) -> Result<Reach, ErrorCode> {
        let judged = self.settings().gate.judge(&head.method, &head.uri);
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
        if let (true, Some(trace)) = (self.settings().propagate_trace, trace) {
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
        let times = &self.settings().times;
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
        waits: Waits,
    ) -> Result<Response<Incoming>, ErrorCode> {
        let policy = &self.settings().retry;
        let mut left = policy.for_method(&head.method);
        let mut backoff = policy.backoff();
        loop {
            let tried = send_once(client, head, upload, watch, waits, &self.lookups).await;
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
        let most = self.settings().limits.response_body;
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

    /// When a body has to begin: who has less time to connect, or for an answer, does not lose it on that.
    fn begin_by(&self, longest: Duration) -> Instant {
        let longest = longest.min(self.connect).min(self.first_byte);
        (Instant::now() + longest).min(self.deadline)
    }

    fn waiting(&self, lookups: &Arc<Semaphore>) -> Waiting {
        Waiting {
            by: self.connect_by(),
            lookups: Arc::clone(lookups),
        }
    }
}

/// How long a body may take to begin that its method usually does not have.
fn first_piece(headers: &HeaderMap) -> Duration {
    match headers.contains_key(CONTENT_TYPE) {
        true => FIRST_PIECE_MEANT,
        false => FIRST_PIECE,
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
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(STREAM_WINDOW * MOST_PAUSED)
        .http2_only(settings.http2 == Http2::PriorKnowledge)
        // Finds out that a server is gone without a word, which one connection for all requests
        // would otherwise hide from each of them.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_waited_for_no_longer_than_the_guest_waits() {
        let now = Instant::now();
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(5));
        let begin_by = |connect: Duration, first_byte: Duration, left: Duration| {
            let waits = Waits {
                connect,
                first_byte,
                between_bytes: long,
                deadline: now + left,
            };
            waits.begin_by(FIRST_PIECE)
        };
        assert_eq!(begin_by(long, long, long), now + FIRST_PIECE);
        assert_eq!(begin_by(short, long, long), now + short);
        assert_eq!(begin_by(long, short, long), now + short);
        assert_eq!(begin_by(long, long, short), now + short);
    }

    #[test]
    fn a_body_that_is_spoken_of_is_waited_for_longer() {
        let mut headers = HeaderMap::new();
        assert_eq!(first_piece(&headers), FIRST_PIECE);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(first_piece(&headers), FIRST_PIECE_MEANT);
    }
}
