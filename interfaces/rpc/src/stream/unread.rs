//! Streams whose reader takes no more.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{ByteReader, ByteWriter};
use crate::error::{CallError, RemoteError};
use crate::exchange::UNREAD;
use crate::peer::DeferredSend;

impl ByteReader {
    /// Notes that all has been read, as the data itself says: that no more is read needs no word.
    pub(crate) fn has_all(&mut self) {
        self.has_all = true;
    }
}

impl Drop for ByteReader {
    /// A writer that waits for credit would else do so for as long as its call goes on.
    fn drop(&mut self) {
        if self.has_all {
            return;
        }
        if let Some(place) = self.guard.exchange.leave_unread(&self.path) {
            self.guard.peer.send_later(DeferredSend {
                payload: Bytes::from(UNREAD.to_string()),
                ..DeferredSend::empty(place)
            });
        }
    }
}

impl ByteWriter {
    /// Whether the other end reads no more of the stream.
    pub(crate) fn is_unread(&self) -> bool {
        self.guard.exchange.is_unread(&self.path)
    }

    /// Resolves when the other end reads no more of the stream, or the call has come to an end: says why
    /// nothing more is to be sent.
    pub(crate) fn left(&self) -> impl Future<Output = CallError> + Send + use<> {
        let (exchange, path) = (Arc::clone(&self.guard.exchange), self.path.clone());
        async move {
            let left = poll_fn(|cx| exchange.poll_credit(&path, UNREAD, cx)).await;
            left.err().unwrap_or(CallError::Cancelled)
        }
    }

    /// Lets others go on before more is taken that nobody reads. What has no end ends with the time of its
    /// call.
    pub(crate) async fn waste(&self) -> Result<(), CallError> {
        tokio::task::yield_now().await;
        match self.deadline {
            Some(at) if Instant::now() < at => Ok(()),
            _ => Err(CallError::Cancelled),
        }
    }

    /// Why nothing more is to be sent, if that is so.
    pub(super) fn stopped(&self) -> Option<CallError> {
        let unread = || self.is_unread().then_some(CallError::Cancelled);
        self.guard.exchange.stopped().or_else(unread)
    }

    /// The reader takes nothing any more: it is told that this is not the end of the stream.
    pub(super) fn stalled(&mut self) -> CallError {
        let buffered = usize::try_from(self.sent - self.credit).unwrap_or(usize::MAX);
        let error = CallError::SlowReader { buffered };
        if let Some(reader) = self.guard.exchange.remote() {
            let told = RemoteError::new(RemoteError::FAILED, error.to_string());
            self.guard.peer.send_later(DeferredSend {
                headers: Some(told.headers()),
                payload: told.payload(),
                ..DeferredSend::empty(reader.root)
            });
        }
        self.broke_off();
        error
    }
}
