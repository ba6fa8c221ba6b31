//! One connection: TLS, then HTTP/1.1 or HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::listener::Shared;
use crate::traced;

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long the head of a request may take, counted from the end of the one before; so it also
/// bounds how long a connection may be idle.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// How large the head of a request may be; a larger one is answered with 431.
const MAX_HEAD: usize = 64 * 1024;

/// How many requests one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// Serves the requests of a connection until either side ends it.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not turn off delays on a connection");
    }
    match shared.manners() {
        (None, keep_alive) => run(stream, Scheme::HTTP, shared, keep_alive, closing).await,
        (Some(acceptor), keep_alive) => {
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => run(stream, Scheme::HTTPS, shared, keep_alive, closing).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn run<S>(
    stream: S,
    scheme: Scheme,
    shared: Arc<Shared>,
    keep_alive: bool,
    closing: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(keep_alive);
    let service =
        service_fn(move |request| traced::handle(Arc::clone(&shared), scheme.clone(), request));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

fn builder(keep_alive: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(keep_alive);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}
