//! The end of a connection whose client may still be sending.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long the last words to a client may take, or how long and how far it is heard out.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_HEARD: u64 = 256 * 1024;

/// Tells a client the last words, if there are any, closes the stream, and reads for a moment what the client
/// sends: the system throws away an answer to a client that has sent something unread.
pub(crate) async fn farewell<S>(mut stream: S, words: Option<&[u8]>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let told = async {
        if let Some(words) = words {
            stream.write_all(words).await?;
        }
        stream.shutdown().await?;
        discard(stream).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, told).await {
        tracing::debug!(%error, "could not take leave of a client");
    }
}

/// The second half of a [`farewell`], for a stream that is closed already.
pub(crate) async fn hear_out(stream: impl AsyncRead + Unpin) {
    if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, discard(stream)).await {
        tracing::debug!(%error, "could not hear a client out");
    }
}

async fn discard(stream: impl AsyncRead + Unpin) -> io::Result<u64> {
    let mut rest = stream.take(MOST_HEARD);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_without_end_has_its_answer_and_is_let_go() {
        for words in [Some(b"no room".as_slice()), None] {
            let (stream, mut client) = tokio::io::duplex(1024);
            let begun = Instant::now();
            let talk = async {
                let mut told = Vec::new();
                client.read_to_end(&mut told).await.unwrap();
                while client.write_all(&[0; 1024]).await.is_ok() {}
                told
            };
            let ((), told) = tokio::join!(farewell(stream, words), talk);
            assert_eq!(told, words.unwrap_or_default());
            assert!(begun.elapsed() < LAST_WORDS, "{:?}", begun.elapsed());
        }
    }
}
