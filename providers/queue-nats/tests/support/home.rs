//! What stands in for a copy of the provider that has received messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::{IncomingCall, Limiter, Peer, RemoteError, ServeHandle, ServeOptions};

use super::PATIENCE;

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It has no room.
    Overloaded,
    /// It stops.
    Stopping,
    /// It has not the link.
    Unlinked,
    /// It has done what it was asked.
    Done,
    /// Nothing, for as long as anybody waits.
    Nothing,
}

/// A home of receipts.
pub struct Home {
    asked: Arc<AtomicUsize>,
    _serving: ServeHandle,
}

impl Home {
    /// Stands in for the copy that gave a receipt, which says one after the other and then the last again.
    pub(super) async fn of(
        receipt: &str,
        (peer, provider): (&Peer, &ComponentId),
        says: &'static [Says],
    ) -> Self {
        let (home, _) = receipt.split_once('.').expect("a home");
        let prefix = RpcPrefix::new(&LatticeName::default(), provider);
        let instance = format!("lattice:queue/home-{home}");
        let subject = prefix.invocation(&instance, "lease");
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
            default_deadline: Duration::from_secs(5),
            longest_deadline: Duration::from_secs(600),
            relief: lattice_rpc::Relief::default(),
            takes: None,
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let handler = move |call| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            answer(call, says[number.min(says.len() - 1)])
        };
        let served = peer.serve(&subject, prefix.queue_group(), options, handler);
        let serving = served.await.expect("served");
        peer.confirm(PATIENCE).await.expect("a connection");
        Self {
            asked,
            _serving: serving,
        }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(call: IncomingCall, says: Says) {
    let code = match says {
        Says::Done => {
            // The case of success, and an empty text.
            let done = Bytes::from_static(&[0, 0]);
            call.responder.reply(done).await.ok();
            return;
        }
        Says::Nothing => {
            tokio::time::sleep(PATIENCE).await;
            return;
        }
        Says::Overloaded => RemoteError::OVERLOADED,
        Says::Stopping => RemoteError::STOPPING,
        Says::Unlinked => "no-link",
    };
    call.responder.fail(RemoteError::new(code, "no")).await.ok();
}
