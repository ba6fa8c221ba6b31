//! A small HTTP client for tests.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// One keep-alive connection.
#[derive(Debug)]
pub struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl HttpClient {
    /// Connects to `address`, `host:port`.
    ///
    /// # Errors
    ///
    /// Fails when nobody listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address: address.to_owned(),
        })
    }

    /// Sends a request; the `host` header is added.
    ///
    /// # Errors
    ///
    /// Fails when the connection breaks, or after 30 s.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        request.headers_mut().insert("host", self.address.parse()?);
        let exchange = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(
                parts,
                body.collect().await?.to_bytes(),
            ))
        };
        tokio::time::timeout(Duration::from_secs(30), exchange)
            .await
            .context("no response")?
    }

    /// Sends a GET request.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::send`].
    pub async fn get(&mut self, path: &str) -> Result<Response<Bytes>> {
        self.send(Request::get(path).body(Full::default())?).await
    }
}

/// Begins a request, `head` being all its lines but the `host` header, and leaves the rest to the
/// caller, who may read the answer or leave.
///
/// # Errors
///
/// Fails when nobody listens at `address`.
pub async fn begin(address: &str, head: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{head}\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Sends one GET request on a connection of its own; gives status and text.
///
/// # Errors
///
/// As [`HttpClient::send`].
pub async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let response = HttpClient::connect(address).await?.get(path).await?;
    let status = response.status().as_u16();
    Ok((
        status,
        String::from_utf8_lossy(response.body()).into_owned(),
    ))
}
