//! Health endpoints of the host, for those who supervise it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
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

/// How many connections are served at the same time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take to send its request line and headers.
const HEADERS: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, as when no file handle is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OK: &str = r#"{"status":"ok"}"#;
const FAILURE: &str = r#"{"status":"failure"}"#;

/// Answers `/livez` and `/readyz` until it is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    ready: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Admin {
    pub(crate) async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let ready = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(accept(listener, Arc::clone(&ready)));
        Ok(Self {
            ready,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The host stops: it lives on for a while and should get nothing new.
    pub(crate) fn set_stopping(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, ready: Arc<AtomicBool>) {
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
                let ready = Arc::clone(&ready);
                connections.spawn(async move {
                    let _place = place;
                    serve(stream, ready).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection for health requests");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, ready: Arc<AtomicBool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(
            request.method(),
            request.uri().path(),
            ready.load(Ordering::Relaxed),
        );
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

fn answer(method: &Method, path: &str, ready: bool) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/livez" | "/readyz" if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "")
        }
        "/readyz" if !ready => (StatusCode::INTERNAL_SERVER_ERROR, FAILURE),
        "/livez" | "/readyz" => (StatusCode::OK, OK),
        _ => (StatusCode::NOT_FOUND, ""),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    if !body.is_empty() {
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_stopping_host_lives_and_is_not_ready() {
        let status = |method, path, ready| answer(&method, path, ready).status().as_u16();
        assert_eq!(status(Method::GET, "/livez", false), 200);
        assert_eq!(status(Method::GET, "/readyz", true), 200);
        assert_eq!(status(Method::HEAD, "/readyz", false), 500);
        assert_eq!(status(Method::POST, "/readyz", true), 405);
        assert_eq!(status(Method::GET, "/metrics", true), 404);
    }

    #[tokio::test]
    async fn the_endpoints_are_served() {
        // A port of the system's choice, given back and taken again.
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let admin = Admin::start(free).await.unwrap();
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
