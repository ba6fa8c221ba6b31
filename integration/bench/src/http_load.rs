//! A load generator for HTTP that spends as little as possible per request.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::closed_loop;

/// Sends GET requests over `connections` keep-alive connections.
pub(crate) async fn get(
    address: &str,
    path: &str,
    connections: usize,
    time: Duration,
) -> Result<u64> {
    let until = Instant::now() + time;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    closed_loop(connections, time, |_| {
        let (address, request) = (address.to_owned(), request.clone());
        async move {
            let mut stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = Vec::with_capacity(4096);
            let mut done = 0;
            while Instant::now() < until {
                stream.write_all(request.as_bytes()).await?;
                response(&mut stream, &mut buffer).await?;
                done += 1;
            }
            Ok(done)
        }
    })
    .await
}

/// Reads one response with status 200 and a known length, or in chunks.
async fn response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    loop {
        ensure!(
            stream.read_buf(buffer).await? > 0,
            "the connection was closed"
        );
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).context("head")?;
        ensure!(
            text.starts_with("HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(buffer)
        );
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| value.trim().parse::<usize>())
            .transpose()?;
        let complete = match length {
            Some(length) => buffer.len() >= head + 4 + length,
            None => buffer.ends_with(b"0\r\n\r\n"),
        };
        if complete {
            return Ok(());
        }
    }
}
