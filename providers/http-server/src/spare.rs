//! A place among the open files of the process that is kept for the moment in which there is no other.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};

/// How much of what a client has sent is read before its connection is closed.
const MOST_READ: usize = 4096;

/// Takes in a client that could not be taken in otherwise, only to let it go: left in the system's
/// queue, it would wait without a word.
#[derive(Debug)]
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.renew();
        spare
    }

    /// Takes the place again; it may be somebody else's by now.
    pub(crate) fn renew(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// The client that waits first, if one does, in the place that is kept. Once it is let go, the place
    /// is to be taken again.
    pub(crate) async fn accept(&mut self, socket: &TcpListener) -> Option<TcpStream> {
        drop(self.0.take()?);
        match poll_fn(|cx| Poll::Ready(socket.poll_accept(cx))).await {
            Poll::Ready(Ok((stream, _))) => Some(stream),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }
}

/// Closes a connection at once, with last words for its client if there are any. Nothing is waited for:
/// the client may miss them where it is still sending.
pub(crate) fn dismiss(stream: TcpStream, words: Option<&[u8]>) -> io::Result<()> {
    let mut stream = stream.into_std()?;
    let Some(words) = words else {
        return Ok(());
    };
    // The system throws away an answer to a client that has sent something unread.
    let mut sent = [0; MOST_READ];
    let heard = match stream.read(&mut sent) {
        Ok(heard) => heard,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    tracing::trace!(heard, "lets a client go");
    stream.write_all(words)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_is_told_in_the_place_that_is_kept() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut spare = Spare::new();
        assert!(spare.accept(&socket).await.is_none());
        // Its place is gone, as when somebody else has taken it meanwhile.
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(spare.accept(&socket).await.is_none());
        let until_there = async {
            loop {
                spare.renew();
                if let Some(stream) = spare.accept(&socket).await {
                    break stream;
                }
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        let stream = tokio::time::timeout(patience, until_there).await.unwrap();
        dismiss(stream, Some(b"no room")).unwrap();
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "no room");
    }
}
