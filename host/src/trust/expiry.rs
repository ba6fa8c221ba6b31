//! Tokens that run out while what they vouch for runs.
//!
//! It goes on: to end what serves calls because of a date would turn a forgotten renewal into an
//! outage. It is said once, shows in inventories, and is not started again.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::epoch_seconds;
use lattice_core::event::{ClaimsExpired, Event};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// The longest pause between two looks at the clock, which may be set meanwhile.
const LOOK: Duration = Duration::from_secs(3_600);

/// Tells once when a token has expired, unless what this returns is dropped before. `None` for a
/// token that never does.
pub(crate) fn watch(
    events: &Arc<Events>,
    expires: Option<u64>,
    told: ClaimsExpired,
) -> Option<AbortOnDropHandle<()>> {
    let at = expires?;
    let events = Arc::clone(events);
    let task = tokio::spawn(async move {
        until(at).await;
        tracing::warn!(
            id = told.id,
            image = told.image_ref,
            issuer = told.issuer,
            "the token of what runs here has expired; it goes on and is not started again"
        );
        events.publish(Event::ClaimsExpired(told));
    });
    Some(AbortOnDropHandle::new(task))
}

async fn until(at: u64) {
    loop {
        // A token holds to the end of the second that it names.
        match at.checked_sub(epoch_seconds()) {
            None => return,
            Some(left) => sleep(Duration::from_secs(left + 1).min(LOOK)).await,
        }
    }
}
