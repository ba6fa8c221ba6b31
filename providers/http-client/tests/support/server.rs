//! Servers: proper ones, and some that speak what a test has them say.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A server that is there until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// How many connections were made to it.
    connections: Arc<AtomicUsize>,
    _running: AbortOnDropHandle<()>,
}

impl Server {
    /// Answers requests, over TLS if there is a config for it.
    pub(crate) async fn start<H, F>(tls: Option<ServerConfig>, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::raw(move |stream| {
            let (handler, tls) = (handler.clone(), tls.clone());
            async move {
                match tls {
                    None => speak(stream, handler).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            speak(stream, handler).await;
                        }
                    }
                }
            }
        })
        .await
    }

    /// Hands each connection over.
    pub(crate) async fn raw<H, F>(handler: H) -> Self
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let running = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(handler(stream));
            }
        });
        Self {
            address,
            connections,
            _running: AbortOnDropHandle::new(running),
        }
    }

    /// Says the same to each request and then keeps silent.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::raw(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn speak<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    // How it ends is the client's business.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads up to the blank line after a head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// A server that tells what it was sent.
pub(crate) async fn mirror(tls: Option<ServerConfig>) -> Server {
    Server::start(tls, |request| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        let mut headers: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        text(format!(
            "{} {} {:?} [{}] {} {trailers:?}",
            head.method,
            head.uri,
            head.version,
            headers.join("; "),
            String::from_utf8_lossy(&body),
        ))
    })
    .await
}
