//! The regular report of the host.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::event::Event;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;
use crate::inventory::Inventory;
use crate::memory::MemoryWatch;

/// Publishes the inventory each interval, for the first time one interval from now, and looks at the
/// memory of the host.
pub(crate) fn start(
    inventory: Arc<Inventory>,
    events: Arc<Events>,
    interval: Duration,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut memory = MemoryWatch::new();
        loop {
            ticks.tick().await;
            let full = inventory.heartbeat();
            let high = memory.look(&full.host_id, || inventory.providers.inside());
            if let Some(high) = high {
                events.publish(Event::HostMemoryHigh(high));
            }
            events.publish(Event::HostHeartbeat(full));
        }
    }))
}
