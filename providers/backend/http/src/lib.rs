//! HTTP to a backend: pooled connections, TLS, time limits.
//!
//! Providers whose backend speaks HTTP (S3, Azure, SQS, etcd) share this client. It knows nothing
//! of any of them: it opens connections, keeps them, and gives up on what takes too long.
//!
//! ```no_run
//! # use bytes::Bytes;
//! # use lattice_backend_http::{HttpBackend, HttpError, HttpOptions};
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = HttpBackend::new(HttpOptions::default())?;
//! let request = http::Request::get("http://127.0.0.1:2379/version").body(Bytes::new())?;
//! let answer = backend.ask(request).await?;
//! assert!(answer.status().is_success());
//! # Ok(()) }
//! ```

mod answer;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "xml")]
pub mod date;
pub mod encode;
#[cfg(feature = "reading")]
pub mod reading;
mod retry;
mod tls;
#[cfg(feature = "xml")]
pub mod xml;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use answer::Answer;
pub use retry::Retry;
pub use tls::{TlsError, TlsOptions};

type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
/// The cause of an error whose type does not matter here.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many times as long as its head all of an answer may take that keeps coming.
const WHOLE: u32 = 20;

/// How a backend is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOptions {
    /// Whom to believe, and who we are.
    pub tls: TlsOptions,
    /// How long a connection may take.
    pub connect_limit: Duration,
    /// How long the head of an answer may take after the request was made, and in
    /// [`HttpBackend::ask`] every further piece of it.
    pub answer_limit: Duration,
    /// The longest answer that [`HttpBackend::ask`] takes, in bytes.
    pub longest_answer: usize,
    /// How many connections there are at most: requests whose answer is still awaited or read.
    pub connections: usize,
    /// How many idle connections to one server are kept.
    pub idle_connections: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            connect_limit: Duration::from_secs(3),
            answer_limit: Duration::from_secs(30),
            longest_answer: 16 << 20,
            connections: 256,
            idle_connections: 32,
        }
    }
}

/// Why a backend did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection, or it broke.
    #[error("could not reach `{authority}`")]
    Reach {
        /// Host and port.
        authority: String,
        /// Why.
        source: BoxError,
    },
    /// All connections are in use, and none came free while one to a new server would have been
    /// made.
    #[error("`{authority}` has {most} requests under way, and none ended within {limit:?}")]
    Busy {
        /// Host and port.
        authority: String,
        /// How many there may be.
        most: usize,
        /// How long we waited.
        limit: Duration,
    },
    /// Nothing was heard in time.
    #[error("`{authority}` did not answer within {limit:?}")]
    Silent {
        /// Host and port.
        authority: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The body of the answer did not come, or is too long.
    #[error("the answer of `{authority}` could not be read")]
    Body {
        /// Host and port.
        authority: String,
        /// Why.
        source: BoxError,
    },
}

impl HttpError {
    /// Whether the request surely never reached the server, so that it may be made again.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        let source = match self {
            Self::Reach { source, .. } => source,
            Self::Busy { .. } => return true,
            _ => return false,
        };
        source
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    }
}

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub struct HttpBackend {
    client: Client<HttpsConnector<HttpConnector>, Boxed>,
    places: Arc<Semaphore>,
    most: usize,
    connect_limit: Duration,
    answer_limit: Duration,
    longest_answer: usize,
}

impl HttpBackend {
    /// Makes a pool without opening a connection.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when a certificate or key cannot be used.
    pub fn new(options: HttpOptions) -> Result<Self, TlsError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_limit));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(options.tls.client()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.idle_connections)
            // Less than servers keep a silent connection.
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Self {
            client,
            places: Arc::new(Semaphore::new(options.connections)),
            most: options.connections,
            connect_limit: options.connect_limit,
            answer_limit: options.answer_limit,
            longest_answer: options.longest_answer,
        })
    }

    /// How long the head of an answer may take.
    #[must_use]
    pub fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// Sends a request whose body streams, and gives the answer as soon as its head is there.
    /// The time limit counts until then; the body of the answer has none, and keeps its connection
    /// until it is read or dropped.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Answer>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let authority = authority(&request);
        let place = self.place(&authority).await?;
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let answer = self.client.request(request);
        match tokio::time::timeout(self.answer_limit, answer).await {
            Ok(Ok(answer)) => Ok(answer.map(|body| Answer::new(body, place))),
            Ok(Err(source)) => Err(HttpError::Reach {
                authority,
                source: source.into(),
            }),
            Err(_) => Err(HttpError::Silent {
                authority,
                limit: self.answer_limit,
            }),
        }
    }

    /// A place among the requests under way, which is waited for as long as for a connection.
    async fn place(&self, authority: &str) -> Result<OwnedSemaphorePermit, HttpError> {
        let free = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.connect_limit, free).await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(HttpError::Busy {
                authority: authority.to_owned(),
                most: self.most,
                limit: self.connect_limit,
            }),
        }
    }

    /// Sends a request and waits for all of the answer. The time limit counts from one piece of it
    /// to the next, since services keep an answer open with blanks while they do what takes long;
    /// all of it may take 20 times as long.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; a longer answer than the options allow is one.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let authority = authority(&request);
        let (head, body) = self.send(request.map(Full::new)).await?.into_parts();
        let limit = self.answer_limit.saturating_mul(WHOLE);
        let whole = tokio::time::timeout(limit, self.whole(&authority, body)).await;
        match whole {
            Ok(body) => Ok(Response::from_parts(head, body?)),
            Err(_) => Err(HttpError::Silent { authority, limit }),
        }
    }

    /// All of a body, for as long as it is not silent.
    async fn whole(&self, authority: &str, body: Answer) -> Result<Bytes, HttpError> {
        let mut body = Limited::new(body, self.longest_answer);
        let mut whole = BytesMut::new();
        loop {
            match tokio::time::timeout(self.answer_limit, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    // Trailers are none of it.
                    whole.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                Ok(Some(Err(source))) => {
                    let authority = authority.to_owned();
                    return Err(HttpError::Body { authority, source });
                }
                Ok(None) => return Ok(whole.freeze()),
                Err(_) => {
                    return Err(HttpError::Silent {
                        authority: authority.to_owned(),
                        limit: self.answer_limit,
                    });
                }
            }
        }
    }
}

fn authority<B>(request: &Request<B>) -> String {
    let authority = request.uri().authority();
    authority.map_or_else(String::new, |authority| {
        let host = authority.host();
        let port = authority.port_u16();
        // Without a login.
        port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        url
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    fn backend() -> HttpBackend {
        HttpBackend::new(HttpOptions {
            answer_limit: Duration::from_millis(200),
            longest_answer: 8,
            ..HttpOptions::default()
        })
        .unwrap()
    }

    #[tokio::test]
    async fn answers_come_whole() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(backend().ask(get(&url)).await.unwrap().into_body(), "hello");
    }

    #[tokio::test]
    async fn there_are_no_more_connections_than_may_be() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        let backend = HttpBackend::new(HttpOptions {
            connections: 1,
            connect_limit: Duration::from_millis(100),
            ..HttpOptions::default()
        })
        .unwrap();
        let held = backend.send(get(&url).map(Full::new)).await.unwrap();
        let error = backend.ask(get(&url)).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Busy { most: 1, .. }),
            "{error:?}"
        );
        drop(held);
        assert_eq!(backend.ask(get(&url)).await.unwrap().into_body(), "hello");
    }

    /// A server that sends a blank after each pause, and then `end`.
    async fn slow_server(pause: Duration, blanks: u32, end: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            for _ in 0..blanks {
                tokio::time::sleep(pause).await;
                if stream.write_all(b" ").await.is_err() {
                    return;
                }
            }
            let _ = stream.write_all(end.as_bytes()).await;
        });
        url
    }

    #[tokio::test]
    async fn an_answer_may_take_long_as_long_as_it_is_not_silent() {
        let limit = Duration::from_secs(1);
        let backend = HttpBackend::new(HttpOptions {
            answer_limit: limit,
            ..HttpOptions::default()
        })
        .unwrap();
        let begun = tokio::time::Instant::now();
        let url = slow_server(limit / 4, 6, "done").await;
        let answer = backend.ask(get(&url)).await.unwrap();
        assert_eq!(answer.into_body(), "      done");
        assert!(begun.elapsed() > limit);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let backend = HttpBackend::new(HttpOptions {
            answer_limit: Duration::from_millis(200),
            ..HttpOptions::default()
        })
        .unwrap();
        let url = slow_server(Duration::from_millis(20), u32::MAX, "").await;
        let error = backend.ask(get(&url)).await.unwrap_err();
        assert!(matches!(error, HttpError::Silent { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_with_the_address() {
        let long = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
        let error = backend().ask(get(&long)).await.unwrap_err();
        assert!(matches!(error, HttpError::Body { .. }), "{error:?}");
        let silent = server("").await;
        let error = backend().ask(get(&silent)).await.unwrap_err();
        assert!(matches!(error, HttpError::Silent { .. }), "{error:?}");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = closed.local_addr().unwrap();
        drop(closed);
        let error = backend().ask(get(&format!("http://me:secret@{at}"))).await;
        let error = error.unwrap_err();
        assert!(error.never_sent(), "{error:?}");
        assert_eq!(error.to_string(), format!("could not reach `{at}`"));
    }
}
