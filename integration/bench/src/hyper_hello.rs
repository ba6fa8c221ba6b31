//! The least that an HTTP server can do: hyper, one connection a task, an answer from memory.

use std::convert::Infallible;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// As long as that of the component it is compared with.
const ANSWER: &[u8] = b"Hello from here!\n";

/// Answers at `address` until killed.
pub(crate) async fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen at {address}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = service_fn(|_| async {
            let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
            let text = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(CONTENT_TYPE, text);
            Ok::<_, Infallible>(response)
        });
        // Ends with the connection; a client that leaves is no error here.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// Starts the server as a process of its own.
pub(crate) fn start(address: &str) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--hyper", address])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("could not start the hyper server")
}
