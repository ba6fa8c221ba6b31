//! A connection that takes its time.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How much one read takes.
const PIECE: usize = 16 << 10;
/// How many pieces are under way in one direction; the sender waits when there are more.
const UNDER_WAY: usize = 64;

/// Listens at a port of its own and passes on to another, later. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens, at the loopback address.
    pub(crate) port: u16,
    task: AbortHandle,
}

impl Proxy {
    /// One in front of a port, by which each direction takes longer by `delay`.
    pub(crate) async fn before(port: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let task = tokio::spawn(accept(listener, port, delay));
        Ok(Self {
            port: own,
            task: task.abort_handle(),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // With it end the connections, which it owns.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, delay: Duration) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, port, delay));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, port: u16, delay: Duration) -> std::io::Result<()> {
    let service = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_service, to_service) = service.into_split();
    // An end of one direction closes that one only, as on a plain connection.
    let there = pass(from_client, to_service, delay);
    let back = pass(from_service, to_client, delay);
    tokio::try_join!(there, back).map(drop)
}

/// Passes on until the end, each piece when its time has come.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
) -> std::io::Result<()> {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let size = from.read(&mut piece).await?;
            piece.truncate(size);
            let is_end = size == 0 || pieces.send((Instant::now() + delay, piece)).await.is_err();
            if is_end {
                return std::io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_is_late_and_whole() {
        let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = service.local_addr().unwrap().port();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = service.accept().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
        });
        let delay = Duration::from_millis(30);
        let proxy = Proxy::before(port, delay).await.unwrap();
        let begun = Instant::now();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port))
            .await
            .unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3_000_000).collect();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.unwrap();
        echo.await.unwrap();
        assert!(came == sent, "{} bytes came", came.len());
        assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
    }
}
