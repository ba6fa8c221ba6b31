//! A compiled guest that sends requests, and one that takes a connection over.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lattice_integration::Lattice;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A server that ends with its test.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const LIMIT: Duration = Duration::from_secs(30);

/// A server that sends back the body it was sent, with its method and a header.
async fn mirror() -> Result<(String, Running)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let running = tokio::spawn(async move {
        let answer = |request: Request<Incoming>| async move {
            let method = request.method().to_string();
            let body = request.into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let response = Response::builder().header("x-method", method);
            Ok::<_, Infallible>(response.body(Full::new(body)).expect("a response"))
        };
        while let Ok((stream, _)) = listener.accept().await {
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                // How it ends is the client's business.
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    Ok((url, Running(running)))
}

/// A server that says the beginning of a response and no more.
async fn stalling() -> Result<(String, Running)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let running = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // What comes before the request is no answer to it.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_buf(&mut head).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let part = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
            let _ = stream.write_all(part).await;
            held.push(stream);
        }
    });
    Ok((url, Running(running)))
}

/// Sends a request and reads until the connection ends: status, and all that came.
async fn ask(address: &str, head: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let text =
        format!("{head}\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, answer))
}

/// A guest behind an HTTP server and in front of an HTTP client.
async fn linked() -> Result<(Lattice, String)> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    // More than a slow look-up of a name takes.
    let settings = json!({ "timeout_ms": "25000" });
    let address = lattice.serve_http_with(0, "probe", settings).await?;
    lattice
        .provide(0, "client", "http-client-provider", &[])
        .await?;
    let outgoing = "wasi:http/outgoing-handler";
    lattice.link("probe", "client", outgoing, &[], &[]).await?;
    // Once one request has gone out, the link is known at both of its ends.
    let (url, _server) = mirror().await?;
    let path = format!("/fetch?{url}/");
    lattice.until_status(&address, &path, 200).await?;
    Ok((lattice, address))
}

#[tokio::test]
async fn a_guest_sends_requests_and_sees_what_goes_wrong() -> Result<()> {
    let (_lattice, address) = linked().await?;
    let (url, _server) = mirror().await?;
    let body = vec![b'z'; 3_000_000];
    let (status, answer) = ask(&address, &format!("PUT /fetch?{url}/x HTTP/1.1"), &body).await?;
    ensure!(status == 200, "{status}");
    ensure!(answer.contains("x-method: PUT"));
    // Framed in chunks, so that only the letters are counted.
    let letters = answer.bytes().filter(|byte| *byte == b'z').count();
    ensure!(letters == body.len(), "{letters}");

    // Bound and never listening: nobody else gets the port, and nobody is let in.
    let bound = TcpSocket::new_v4()?;
    bound.bind("127.0.0.1:0".parse()?)?;
    let nobody = bound.local_addr()?;
    let head = format!("GET /fetch?http://{nobody}/ HTTP/1.1");
    let (status, answer) = ask(&address, &head, b"").await?;
    ensure!(
        status == 502 && answer.contains("ConnectionRefused"),
        "{answer}"
    );
    let (_, answer) = ask(&address, "GET /fetch?ftp://a/ HTTP/1.1", b"").await?;
    ensure!(answer.contains("HttpProtocolError"), "{answer}");
    let unknown = "GET /fetch?http://there-is-none.invalid/ HTTP/1.1";
    let (_, answer) = ask(&address, unknown, b"").await?;
    ensure!(answer.contains("DnsError"), "{answer}");

    // Long enough for the head also on a busy machine; only the rest does not come.
    let (url, _server) = stalling().await?;
    let head = format!("GET /fetch?{url}/ HTTP/1.1\r\nx-timeout-ms: 2000");
    let (status, answer) = ask(&address, &head, b"").await?;
    ensure!(status == 200, "{answer}");
    ensure!(answer.contains("part"), "{answer}");
    ensure!(answer.contains("ConnectionReadTimeout"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_link_says_where_requests_may_go() -> Result<()> {
    let (lattice, address) = linked().await?;
    let (url, _server) = mirror().await?;
    let head = format!("GET /fetch?{url}/ HTTP/1.1");
    lattice.config("narrow", json!({ "allow": "*" })).await?;
    let outgoing = "wasi:http/outgoing-handler";
    for (allow, expected) in [
        ("*", "DestinationIpProhibited"),
        ("other.example", "HttpRequestDenied"),
        (&url, "x-method: GET"),
    ] {
        lattice.config("narrow", json!({ "allow": allow })).await?;
        lattice
            .link("probe", "client", outgoing, &[], &["narrow"])
            .await?;
        let changed = async {
            loop {
                let (_, answer) = ask(&address, &head, b"").await?;
                if answer.contains(expected) {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        tokio::time::timeout(LIMIT, changed)
            .await
            .context(expected)??;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_takes_a_connection_over() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(0, "probe").await?;
    lattice.until_status(&address, "/", 200).await?;
    let values = json!({ "address": address, "websocket": "true", "timeout_ms": "60000" });
    lattice.config("http-probe", values).await?;
    let asked = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let upgraded = async {
        loop {
            let Ok(mut stream) = TcpStream::connect(&address).await else {
                continue;
            };
            stream.write_all(asked).await?;
            let mut head = [0; 12];
            let read = stream.read_exact(&mut head).await;
            if read.is_ok() && head.ends_with(b" 101") {
                return Ok::<_, anyhow::Error>(stream);
            }
        }
    };
    let mut stream = tokio::time::timeout(LIMIT, upgraded)
        .await
        .context("no upgrade")??;
    let mut seen = String::new();
    for text in ["<one>", "<two>"] {
        stream.write_all(text.as_bytes()).await?;
        let echoed = async {
            while !seen.ends_with(text) {
                seen.push(char::from(stream.read_u8().await?));
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::time::timeout(LIMIT, echoed)
            .await
            .context("no echo")??;
    }
    ensure!(seen.contains("sec-websocket-accept"), "{seen}");
    stream.shutdown().await?;
    let mut rest = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await??;
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}
