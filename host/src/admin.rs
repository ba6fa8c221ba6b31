//! Health and metrics of the host over HTTP, for those who supervise it.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics;

/// How many connections are served at the same time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take to send its request line and headers.
const HEADERS: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, as when no file handle is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OK: &str = r#"{"status":"ok"}"#;
const FAILURE: &str = r#"{"status":"failure"}"#;
const JSON: &str = "application/json";
const METRICS_PATH: &str = "/metrics";

/// Answers `/livez`, `/readyz` and `/metrics` until it is dropped.
pub(crate) struct Admin {
    told: Arc<Told>,
    _task: AbortOnDropHandle<()>,
}

/// What the endpoints tell.
struct Told {
    ready: AtomicBool,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Listens on `address`. `metrics` is asked at each request for them.
    pub(crate) async fn start(
        address: SocketAddr,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let told = Arc::new(Told {
            ready: AtomicBool::new(true),
            metrics: Box::new(metrics),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&told)));
        Ok(Self {
            told,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The host stops: it lives on for a while and should get nothing new.
    pub(crate) fn set_stopping(&self) {
        self.told.ready.store(false, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, told: Arc<Told>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let told = Arc::clone(&told);
                connections.spawn(async move {
                    let _place = place;
                    serve(stream, told).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection for health requests");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, told: Arc<Told>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = told.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for health requests ended badly");
    }
}

impl Told {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/livez" | "/readyz" | METRICS_PATH);
        if known && !matches!(*method, Method::GET | Method::HEAD) {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        match path {
            "/readyz" if !self.ready.load(Ordering::Relaxed) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, JSON, FAILURE)
            }
            "/livez" | "/readyz" => text(StatusCode::OK, JSON, OK),
            METRICS_PATH => text(StatusCode::OK, metrics::CONTENT_TYPE, (self.metrics)()),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_stopping_host_lives_and_is_not_ready() {
        let status = |method, path, ready| {
            let told = Told {
                ready: AtomicBool::new(ready),
                metrics: Box::new(|| "# EOF\n".to_owned()),
            };
            told.answer(&method, path).status().as_u16()
        };
        assert_eq!(status(Method::GET, "/livez", false), 200);
        assert_eq!(status(Method::GET, "/readyz", true), 200);
        assert_eq!(status(Method::HEAD, "/readyz", false), 500);
        assert_eq!(status(Method::POST, "/readyz", true), 405);
        assert_eq!(status(Method::GET, METRICS_PATH, false), 200);
        assert_eq!(status(Method::POST, METRICS_PATH, true), 405);
        assert_eq!(status(Method::GET, "/", true), 404);
    }

    #[tokio::test]
    async fn the_endpoints_are_served() {
        // A port of the system's choice, given back and taken again.
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let admin = Admin::start(free, String::new).await.unwrap();
        admin.set_stopping();
        let mut stream = TcpStream::connect(free).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 500") && text.ends_with(FAILURE),
            "{text}"
        );
    }
}
