//! One connection: TLS, then HTTP/1.1 or HTTP/2, and perhaps a WebSocket after that.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::Held;
use crate::farewell::farewell;
use crate::listener::{Manners, Shared};
use crate::settings::ConnectionLimits;
use crate::traced;
use crate::watch::{Ended, Watch, Watched};
use crate::websocket::Tunnel;

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection that is ended may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many streams a client may reset before they are looked at, and how many that are in error.
const MAX_EARLY_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 128;

/// How much of a request may come over HTTP/2 that its component has not taken. One on a line of 50 ms has
/// 5 MB/s with that; several share no more than the line. Much more is not for a client to fill on each of
/// its connections, of which there are thousands.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many requests of a connection may be left unread before those hold up the others on it. With the
/// window that bounds what a connection keeps to 4 MiB.
const MOST_UNREAD: u32 = 16;

/// What the requests of one connection share.
pub(crate) struct Line {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scheme: Scheme,
    watch: Arc<Watch>,
    /// Whether there is to be no other request.
    is_for_one: bool,
    /// The request after which the connection ends is there. HTTP/1.1 looks after that itself.
    has_last: CancellationToken,
    /// What a component makes of the connection once HTTP is done with it.
    tunnel: Mutex<Option<Box<Tunnel>>>,
}

impl Line {
    /// Lets a component have the connection after the answer.
    pub(crate) fn hand_over(&self, tunnel: Box<Tunnel>) {
        *self.tunnel.lock() = Some(tunnel);
    }
}

/// Serves the requests of a connection until either side ends it.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not turn off delays on a connection");
    }
    let mut manners = shared.manners();
    let Some(acceptor) = manners.tls.take() else {
        return run(stream, Scheme::HTTP, shared, manners, closing).await;
    };
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => run(stream, Scheme::HTTPS, shared, manners, closing).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn run<S>(
    stream: S,
    scheme: Scheme,
    shared: Arc<Shared>,
    manners: Manners,
    closing: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::new();
    let line = Arc::new(Line {
        shared,
        scheme,
        watch: Arc::clone(&watch),
        is_for_one: !manners.keep_alive,
        has_last: CancellationToken::new(),
        tunnel: Mutex::new(None),
    });
    let stream = Watched::new(stream, Arc::clone(&watch));
    let parting = speak(stream.clone(), &line, &manners, closing).await;
    if parting == Parting::TooSlow {
        return stream.refuse().await;
    }
    let tunnel = line.tunnel.lock().take();
    if let Some(tunnel) = tunnel {
        drop(stream);
        tunnel.run().await;
    } else if parting == Parting::Answered
        && watch.may_be_sending()
        && let Some(_permit) = line.shared.farewell()
    {
        farewell(stream, None).await;
    }
}

/// How a connection ends on which HTTP is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// The client is too slow to say what it wants, which it is to be told.
    TooSlow,
    /// All is said that the client is to be told.
    Answered,
    /// The client takes nothing more.
    CutOff,
}

/// Speaks HTTP until a connection is over, or has to be.
async fn speak<S>(
    stream: Watched<S>,
    line: &Arc<Line>,
    manners: &Manners,
    closing: CancellationToken,
) -> Parting
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(manners);
    let service = service_fn(|request| answer(Arc::clone(line), request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut is_closing = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            why = line.watch.wait(&manners.limits) => {
                if why == Ended::SlowHead {
                    return Parting::TooSlow;
                }
                tracing::debug!(?why, "ended a connection");
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(GOODBYE, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    Err(_) => return Parting::CutOff,
                }
            }
            // What is under way has its limits still.
            () = closing.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = line.has_last.cancelled(), if line.is_for_one && !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
    Parting::Answered
}

/// Answers a request, which the watch knows of until its answer is sent.
async fn answer(
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<http::Response<Held>, std::convert::Infallible> {
    if line.is_for_one && request.version() == Version::HTTP_2 {
        line.has_last.cancel();
    }
    let mut busy = line.watch.enter();
    line.watch.expects_body(!request.body().is_end_stream());
    let response = traced::handle(line, request).await?;
    busy.answered();
    Ok(response.map(|body| Held::new(body, busy)))
}

fn builder(manners: &Manners) -> Builder<TokioExecutor> {
    let ConnectionLimits {
        header_bytes,
        streams,
        ..
    } = manners.limits;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The watch knows more about what is waited for.
        .header_read_timeout(None)
        .max_buf_size(header_bytes)
        .keep_alive(manners.keep_alive);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * streams.clamp(1, MOST_UNREAD))
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    builder
}
