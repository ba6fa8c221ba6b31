//! Servers that components send requests to: proper ones, and some that misbehave.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::kit::Running;
use super::web::{Out, whole};
use crate::ground::Ground;

/// A server that is there until it is dropped or killed.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it is asked; under a slow run that is the beginning of a slow road.
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Kills it when it is dropped.
    life: oneshot::Sender<()>,
    running: Running,
}

impl Server {
    /// Answers requests, over TLS if there is a config for it.
    pub(super) async fn start<H, F>(
        ground: &Ground,
        tls: Option<ServerConfig>,
        handler: H,
    ) -> Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Out>> + Send + 'static,
    {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::raw(ground, move |stream| {
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
    pub(super) async fn raw<H, F>(ground: &Ground, handler: H) -> Result<Self>
    where
        H: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = ground.slow_road(listener.local_addr()?.port()).await?;
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            ..Self::on(listener, handler)?
        })
    }

    fn on<H, F>(listener: TcpListener, handler: H) -> Result<Self>
    where
        H: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let (life, lost) = oneshot::channel();
        let running = Running::spawn(async move {
            let mut open = JoinSet::new();
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    open.spawn(handler(stream));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = lost => {}
            }
            drop(listener);
            open.shutdown().await;
        });
        Ok(Self {
            address,
            connections,
            life,
            running,
        })
    }

    /// Ends it with all its connections, as a process ends that is killed; gives its address.
    pub(super) async fn kill(self) -> SocketAddr {
        drop(self.life);
        self.running.ended().await;
        self.address
    }

    /// Says this to each request; then it keeps silent, or ends the connection.
    pub(super) async fn saying(ground: &Ground, answer: &'static str, ends: bool) -> Result<Self> {
        Self::raw(ground, move |mut stream| async move {
            read_head(&mut stream).await;
            let said = stream.write_all(answer.as_bytes()).await.is_ok();
            if said && !ends {
                std::future::pending::<()>().await;
            }
        })
        .await
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn secure(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// How many connections were made to it.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn speak<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Out>> + Send + 'static,
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
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that tells what it was sent: method, address and version in the first line, then the
/// headers, one a line and sorted, then the body and the trailers.
pub(super) async fn mirror(ground: &Ground, tls: Option<ServerConfig>) -> Result<Server> {
    Server::start(ground, tls, reflect).await
}

/// The same without TLS, at an address where there was one before.
pub(super) async fn mirror_again(address: SocketAddr) -> Result<Server> {
    let listener = TcpListener::bind(address).await?;
    Server::on(listener, |stream| speak(stream, reflect))
}

async fn reflect(request: Request<Incoming>) -> Response<Out> {
    let (head, body) = request.into_parts();
    let mut lines = vec![format!("{} {} {:?}", head.method, head.uri, head.version)];
    lines.extend(named("header", &head.headers));
    match body.collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = body.to_bytes();
            lines.push(format!("body {}", String::from_utf8_lossy(&body)));
            lines.extend(named("trailer", &trailers));
        }
        Err(error) => lines.push(format!("broken {error}")),
    }
    Response::new(whole(lines.join("\n") + "\n"))
}

fn named(kind: &str, fields: &http::HeaderMap) -> Vec<String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!(
            "{kind} {name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        )
    };
    let mut lines: Vec<_> = fields.iter().map(line).collect();
    lines.sort();
    lines
}

/// A server that sends back what comes while it comes, with the trailers.
pub(super) async fn echo(ground: &Ground) -> Result<Server> {
    Server::start(ground, None, |request: Request<Incoming>| async move {
        let body = request.into_body();
        let pieces = futures::stream::unfold(body, async |mut body: Incoming| {
            let frame = body.frame().await?.ok()?;
            Some((Ok::<_, Infallible>(frame), body))
        });
        let response = Response::builder().header("trailer", "x-end");
        let body = StreamBody::new(pieces).boxed_unsync();
        response.body(body).expect("these are a response")
    })
    .await
}

/// A proxy for both kinds of addresses that counts what goes through it. Requests without TLS come
/// whole and are answered by itself.
pub(super) async fn proxy(ground: &Ground) -> Result<Server> {
    Server::raw(ground, |mut stream| async move {
        let head = read_head(&mut stream).await;
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if !head.starts_with("CONNECT ") {
            let text = format!("proxied {target}");
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
            drop(stream.write_all(answer.as_bytes()).await);
            return;
        }
        let Ok(mut there) = TcpStream::connect(&target).await else {
            return;
        };
        let opened = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        if opened.is_ok() {
            drop(tokio::io::copy_bidirectional(&mut stream, &mut there).await);
        }
    })
    .await
}

/// Answers with this status so often, then with 200.
pub(super) async fn failing(ground: &Ground, times: usize, status: u16) -> Result<Server> {
    let asked = Arc::new(AtomicUsize::new(0));
    Server::start(ground, None, move |_| {
        let before = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut response = Response::new(whole(Bytes::from(format!("asked {before}"))));
            if before < times {
                *response.status_mut() =
                    http::StatusCode::from_u16(status).expect("a case names a status");
            }
            response
        }
    })
    .await
}
