//! An HTTP client that shows all that comes: heads, pieces, trailers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kit::Running;

/// How long a step may take on a busy machine.
pub(super) const STEP: Duration = Duration::from_secs(30);

/// What is sent.
pub(super) type Out = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there.
pub(super) fn whole(data: impl Into<Bytes>) -> Out {
    Full::new(data.into()).boxed_unsync()
}

/// A body that is written piece by piece; it ends when the sender is dropped.
pub(super) fn piecewise() -> (mpsc::Sender<Frame<Bytes>>, Out) {
    let (pieces, taken) = mpsc::channel(1);
    let taken = futures::stream::unfold(taken, async |mut taken| {
        let frame = taken.recv().await?;
        Some((Ok::<_, Infallible>(frame), taken))
    });
    (pieces, StreamBody::new(taken.boxed()).boxed_unsync())
}

enum Sender {
    One(http1::SendRequest<Out>),
    Two(http2::SendRequest<Out>),
}

/// One connection.
pub(super) struct Web {
    sender: Sender,
    _running: Running,
}

impl Web {
    /// HTTP/1.1 without TLS.
    pub(super) async fn one(address: &str) -> Result<Self> {
        Self::speak_one(TcpStream::connect(address).await?).await
    }

    /// HTTP/2 without TLS, which the server has to know by its first bytes.
    pub(super) async fn two(address: &str) -> Result<Self> {
        Self::speak_two(TcpStream::connect(address).await?).await
    }

    async fn speak_one<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender: Sender::One(sender),
            _running: Running::spawn(async move { drop(connection.await) }),
        })
    }

    async fn speak_two<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        Ok(Self {
            sender: Sender::Two(sender),
            _running: Running::spawn(async move { drop(connection.await) }),
        })
    }

    /// Over TLS, by the version that the server chooses.
    pub(super) async fn secure(stream: TlsStream<TcpStream>) -> Result<Self> {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Self::speak_two(stream).await,
            _ => Self::speak_one(stream).await,
        }
    }

    /// Sends a request and gives the answer once its head is there.
    pub(super) async fn send(&mut self, request: Request<Out>) -> Result<Response<Incoming>> {
        let sent = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        Ok(timeout(STEP, sent).await.context("no answer")??)
    }
}

/// Connects over TLS.
pub(super) async fn secure(
    address: &str,
    config: rustls::ClientConfig,
) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

/// Sends one request by HTTP/1.1 on a connection of its own and reads all of the answer.
pub(super) async fn ask(address: &str, request: Request<Out>) -> Result<Answer> {
    let mut web = Web::one(address).await?;
    Answer::of(web.send(request).await?).await
}

/// A GET request for a path.
pub(super) fn get(path: &str) -> Request<Out> {
    asking("GET", path, &[], "")
}

/// A request; the header `host` is added where it is missing.
pub(super) fn asking(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Out> {
    let builder = Request::builder().method(method).uri(path);
    let builder = headers.iter().fold(builder, |builder, (name, value)| {
        builder.header(*name, *value)
    });
    let mut request = builder
        .body(whole(body))
        .expect("a case writes what is a request");
    let host = http::HeaderValue::from_static("a.example");
    if request.uri().host().is_none() {
        request.headers_mut().entry("host").or_insert(host);
    }
    request
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Answer {
    /// Reads all of an answer; one that breaks off is an error.
    pub(super) async fn of<B>(response: Response<B>) -> Result<Self>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (head, body) = response.into_parts();
        let collected = timeout(STEP, body.collect()).await;
        let collected = collected.context("the body does not end")??;
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            trailers: collected.trailers().cloned().unwrap_or_default(),
            body: collected.to_bytes(),
        })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All values of a header, in order.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }
}

/// Reads a body up to so many bytes.
pub(super) async fn some<B>(body: &mut B, bytes: usize) -> Result<Vec<u8>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut read = Vec::new();
    while read.len() < bytes {
        let frame = timeout(STEP, body.frame()).await.context("nothing comes")?;
        let frame = frame.context("the body has ended")??;
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(data);
        }
    }
    Ok(read)
}
