//! A load generator for HTTP that spends as little as possible per request.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::{Tally, closed_loop, on_one_thread};

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, to send the same GET request again and again.
    pub(crate) async fn open(address: &str, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n"),
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends the request without reading the answer.
    pub(crate) async fn send(&mut self) -> Result<()> {
        Ok(self.stream.write_all(self.request.as_bytes()).await?)
    }

    /// Makes one exchange; gives the status.
    pub(crate) async fn exchange(&mut self) -> Result<u16> {
        self.send().await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the connection was closed");
            if let Some(status) = complete(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// Sends GET requests over `connections` keep-alive connections; every answer has to be 200.
pub(crate) async fn get(
    address: &str,
    path: &str,
    connections: usize,
    time: Duration,
) -> Result<Tally> {
    let (address, path) = (address.to_owned(), path.to_owned());
    on_one_thread(move || {
        closed_loop(connections, time, move |tally| {
            again_and_again(address.clone(), path.clone(), tally)
        })
    })
    .await
}

async fn again_and_again(address: String, path: String, mut tally: Tally) -> Result<Tally> {
    let mut connection = Connection::open(&address, &path).await?;
    while tally.goes_on() {
        let status = connection.exchange().await?;
        ensure!(status == 200, "{address}{path} gave status {status}");
        tally.done();
    }
    Ok(tally)
}

/// The status of a response of known length, or in chunks, once all of it is there.
fn complete(response: &[u8]) -> Result<Option<u16>> {
    let Some(head) = response.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&response[..head]).context("head")?;
    let Some(status) = text.strip_prefix("HTTP/1.1 ").and_then(|t| t.get(..3)) else {
        bail!("no HTTP/1.1: {text}");
    };
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse::<usize>())
        .transpose()?;
    let complete = match length {
        Some(length) => response.len() >= head + 4 + length,
        None => response.ends_with(b"0\r\n\r\n"),
    };
    Ok(complete.then(|| status.parse()).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn response_is_complete_with_its_last_byte() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let chunked =
            b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        for (response, status) in [(&sized[..], 200), (&chunked[..], 503)] {
            assert_eq!(complete(response).unwrap(), Some(status));
            for end in 0..response.len() {
                assert_eq!(complete(&response[..end]).unwrap(), None, "{end} bytes");
            }
        }
    }

    #[test]
    fn something_else_is_refused() {
        assert!(complete(b"SMTP ready\r\n\r\n").is_err());
    }
}
