//! Provider processes that have died, at this host or another.
//!
//! A call over NATS that such a process had taken in, and not confirmed to its caller yet, is known
//! to nobody: without word of the death its caller would wait until its deadline.

use std::time::Duration;

use lattice_control::{Client, EventStream};
use lattice_core::event::{Event, EventKind};
use lattice_core::{Backoff, LatticeName};
use lattice_rpc::Peer;
use tokio_util::task::AbortOnDropHandle;

/// The pauses after a subscription that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells `peer` of providers that have died, until what this returns is dropped. The word of a
/// death that is told while NATS is away is lost; deadlines take its place.
pub(crate) fn follow(client: Client, peer: Peer) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut backoff = Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let pause = backoff.delay();
            match client.events(&[EventKind::ProviderExited]).await {
                Ok(events) => return pass_on(events, client.lattice(), &peer).await,
                Err(error) => {
                    tracing::warn!(%error, "does not hear of providers that die; tries again in {pause:?}");
                }
            }
            tokio::time::sleep(pause).await;
        }
    }))
}

async fn pass_on(mut events: EventStream, lattice: &LatticeName, peer: &Peer) {
    while let Some(event) = events.next().await {
        if let Event::ProviderExited(exited) = event.event {
            peer.has_died(lattice, &exited.provider_id);
        }
    }
}
