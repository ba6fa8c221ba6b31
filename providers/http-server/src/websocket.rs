//! Connections that a component takes over.
//!
//! A component that answers the request for a WebSocket with status 101 reads from the body of its
//! request what the client sends from then on, and what it writes into the body of its
//! response goes to the client: the frames of the WebSocket, in both directions, as they are.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lattice_rpc::http::IncomingBody;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::farewell::hear_out;

/// The one protocol that connections are handed over for.
const WEBSOCKET: &str = "websocket";

/// How many pieces wait for the component.
const PIECES: usize = 4;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// How long a client may take over one piece of what a component sends.
const SLOWEST: Duration = Duration::from_secs(60);

/// How long a component may go on whose client sends no more, after the last that this client took.
const FAREWELL: Duration = Duration::from_secs(10);

/// Whether a request asks for a WebSocket.
pub(crate) fn is_asked_for<B>(request: &Request<B>) -> bool {
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_word(request.headers(), CONNECTION, "upgrade")
        && has_word(request.headers(), UPGRADE, WEBSOCKET)
}

fn has_word(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name);
    let values = values.iter().filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split(','));
    words.any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// What a component does with an offer.
#[derive(Debug)]
pub(crate) enum Answered {
    /// It takes the connection over after this head.
    Taken(http::response::Parts, Box<Tunnel>),
    /// It answers as always.
    Other(Response<IncomingBody>),
}

/// A request for a WebSocket that a component has not answered yet.
#[derive(Debug)]
pub(crate) struct Offer {
    upgrade: OnUpgrade,
    /// Where what the client sends goes; the body of the request ends when this is dropped.
    up: mpsc::Sender<Bytes>,
}

/// What the client of a WebSocket sends.
#[derive(Debug)]
pub(crate) struct FromClient(mpsc::Receiver<Bytes>);

impl FromClient {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Offer {
    pub(crate) fn new(request: &mut Request<Incoming>) -> (Self, FromClient) {
        let (up, from_client) = mpsc::channel(PIECES);
        let upgrade = hyper::upgrade::on(request);
        (Self { upgrade, up }, FromClient(from_client))
    }

    /// Takes a component's answer; with status 101 it has taken the offer.
    pub(crate) fn answered(self, response: Response<IncomingBody>) -> Answered {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Answered::Other(response);
        }
        let (mut head, body) = response.into_parts();
        // A guest cannot set these itself.
        let headers = &mut head.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let tunnel = Tunnel {
            upgrade: self.upgrade,
            up: self.up,
            down: body,
        };
        Answered::Taken(head, Box::new(tunnel))
    }
}

/// A connection that a component has taken over.
#[derive(Debug)]
pub(crate) struct Tunnel {
    upgrade: OnUpgrade,
    up: mpsc::Sender<Bytes>,
    down: IncomingBody,
}

impl Tunnel {
    /// Carries bytes both ways until one side has had enough.
    pub(crate) async fn run(self) {
        let upgraded = match self.upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(%error, "a WebSocket did not begin");
                return;
            }
        };
        let (read, write) = tokio::io::split(upgraded);
        carry((read, self.up), (self.down, write)).await;
    }
}

/// Carries bytes up and down.
async fn carry<B>(
    (mut read, up): (impl AsyncRead + Unpin, mpsc::Sender<Bytes>),
    (body, write): (B, impl AsyncWrite + Unpin),
) where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let taken = Notify::new();
    let mut down = pin!(to_client(body, write, &taken));
    let is_all_said = tokio::select! {
        is_all_said = down.as_mut() => Some(is_all_said),
        () = to_component(&mut read, up) => None,
    };
    match is_all_said {
        // What the system has not sent yet is lost where the client has sent something unread.
        Some(true) => return hear_out(read).await,
        Some(false) => return,
        None => {}
    }
    // The component may answer the client's farewell, and has more to say while the client takes it.
    loop {
        tokio::select! {
            _ = down.as_mut() => return,
            more = timeout(FAREWELL, taken.notified()) => {
                if more.is_err() {
                    tracing::debug!("ended a component that its client had left");
                    return;
                }
            }
        }
    }
}

/// Whether the client was sent all, and that nothing follows. `taken` is told of each piece that it has
/// taken.
async fn to_client<B>(mut body: B, mut write: impl AsyncWrite + Unpin, taken: &Notify) -> bool
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            // Trailers have no place here.
            Ok(Err(_)) => continue,
            Err(error) => {
                tracing::warn!(%error, "a WebSocket broke off");
                return false;
            }
        };
        let written = async {
            write.write_all(&data).await?;
            write.flush().await
        };
        match timeout(SLOWEST, written).await {
            Ok(Ok(())) => taken.notify_one(),
            Ok(Err(_)) => return false,
            Err(_) => {
                tracing::debug!("ended a WebSocket whose client takes nothing");
                return false;
            }
        }
    }
    let closed = write.shutdown().await;
    if let Err(error) = &closed {
        tracing::debug!(%error, "could not close a WebSocket");
    }
    closed.is_ok()
}

/// Ends when the client sends no more. A component that does not read it may still write.
async fn to_component(mut read: impl AsyncRead + Unpin, up: mpsc::Sender<Bytes>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let _ = up.send(buffer.split().freeze()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::StreamExt as _;
    use http_body_util::StreamBody;
    use tokio::time::sleep;

    /// What a component sends in five pieces, some time after one another.
    fn slow_pieces(pause: Duration) -> impl Body<Data = Bytes, Error = String> + Unpin {
        let pieces = futures::stream::iter(0..5).then(move |_| async move {
            sleep(pause).await;
            Ok::<_, String>(Frame::data(Bytes::from_static(b"x")))
        });
        StreamBody::new(Box::pin(pieces))
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_goes_on_while_its_client_takes_what_it_sends() {
        for (pause, expected) in [(FAREWELL * 2 / 3, "xxxxx"), (FAREWELL * 3 / 2, "")] {
            let (mut client, server) = tokio::io::duplex(1024);
            let (read, write) = tokio::io::split(server);
            let (up, _from_client) = mpsc::channel(PIECES);
            // It sends no more.
            client.shutdown().await.unwrap();
            let mut seen = String::new();
            let carried = carry((read, up), (slow_pieces(pause), write));
            let ((), read) = tokio::join!(carried, client.read_to_string(&mut seen));
            read.unwrap();
            assert_eq!(seen, expected, "{pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_reads_nothing_is_not_one_whose_client_has_left() {
        let (mut client, server) = tokio::io::duplex(1024);
        let (read, write) = tokio::io::split(server);
        let (up, from_client) = mpsc::channel(PIECES);
        drop(from_client);
        client.write_all(b"hello").await.unwrap();
        let mut seen = String::new();
        let down = slow_pieces(FAREWELL * 3 / 2);
        let carried = carry((read, up), (down, write));
        let ((), read) = tokio::join!(carried, client.read_to_string(&mut seen));
        read.unwrap();
        assert_eq!(seen, "xxxxx");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_still_sends_is_heard_out_when_its_component_has_ended() {
        let (mut client, server) = tokio::io::duplex(1024);
        let (read, write) = tokio::io::split(server);
        let (up, _from_client) = mpsc::channel(PIECES);
        let carried = carry((read, up), (slow_pieces(Duration::from_millis(1)), write));
        let talk = async {
            let mut seen = String::new();
            client.read_to_string(&mut seen).await.unwrap();
            client.write_all(&[0; 100 * 1024]).await.unwrap();
            drop(client);
            seen
        };
        let ((), seen) = tokio::join!(carried, talk);
        assert_eq!(seen, "xxxxx");
    }

    fn asked(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> bool {
        let request = build(Request::get("/"));
        is_asked_for(&request.body(()).unwrap())
    }

    #[test]
    fn a_websocket_is_asked_for_with_both_headers() {
        let full = |builder: http::request::Builder| {
            let builder = builder.header("connection", "keep-alive, Upgrade");
            builder.header("upgrade", "WebSocket")
        };
        assert!(asked(full));
        assert!(!asked(|builder| full(builder).method("POST")));
        assert!(!asked(|builder| builder.header("upgrade", "websocket")));
        assert!(!asked(|builder| builder
            .header("connection", "upgrade")
            .header("upgrade", "h2c")));
    }
}
