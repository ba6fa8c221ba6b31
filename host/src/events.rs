//! What the host tells the lattice.

use std::time::Duration;

use lattice_control::EventPublisher;
use lattice_core::event::Event;
use lattice_rpc::throttle::LogThrottle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How many events may wait while NATS is slow or away.
pub(crate) const QUEUE: usize = 1_024;

#[derive(Debug)]
enum Item {
    Event(Box<Event>),
    /// Answered when everything before it is on its way.
    Flush(Duration, oneshot::Sender<()>),
}

/// Publishes events in their order.
///
/// Publishing neither waits nor fails: no operation of the host depends on whether somebody
/// hears of it.
#[derive(Debug)]
pub(crate) struct Events {
    queue: mpsc::Sender<Item>,
    /// Of the lines about events that were dropped.
    dropped: LogThrottle,
    _task: AbortOnDropHandle<()>,
}

impl Events {
    pub(crate) fn start(publisher: EventPublisher) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let task = tokio::spawn(send_all(publisher, items));
        Self {
            queue,
            dropped: LogThrottle::default(),
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Puts an event in line. It is dropped when too many wait, of which a log line tells now and then.
    pub(crate) fn publish(&self, event: Event) {
        let name = event.name().to_owned();
        if let Err(error) = self.queue.try_send(Item::Event(Box::new(event)))
            && let Some(untold) = self.dropped.turn()
        {
            tracing::error!(event = name, %error, untold, "dropped an event");
        }
    }

    /// Waits until everything published so far has been sent.
    pub(crate) async fn flush(&self, within: Duration) {
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Item::Flush(within, done)).await.is_ok() {
                // The task has ended when this fails, and with it every event.
                let _ended = flushed.await;
            }
        };
        if timeout(within, flush).await.is_err() {
            tracing::warn!("the last events were not sent in time");
        }
    }
}

async fn send_all(publisher: EventPublisher, mut items: mpsc::Receiver<Item>) {
    while let Some(item) = items.recv().await {
        match item {
            Item::Event(event) => publisher.publish(*event).await,
            Item::Flush(within, done) => {
                publisher.flush(within).await;
                // Whoever asked may have given up.
                let _unheard = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::StringMap;
    use lattice_core::event::LabelsChanged;

    use crate::logged::lines;

    #[tokio::test(start_paused = true)]
    async fn events_that_nobody_takes_fill_no_log() {
        let (queue, _items) = mpsc::channel(1);
        let events = Events {
            queue,
            dropped: LogThrottle::default(),
            _task: AbortOnDropHandle::new(tokio::spawn(async {})),
        };
        let event = || {
            Event::LabelsChanged(LabelsChanged {
                host_id: String::new(),
                labels: StringMap::new(),
            })
        };
        let written = lines(|| (0..1000).for_each(|_| events.publish(event())));
        assert_eq!(written, 1);
    }
}
