//! Receiving without losing what nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicGetOptions};
use lapin::types::FieldTable;
use lattice_provider_sdk::queue::{QueueError, ReceiveOptions};
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::leases::{REQUEUE, fresh};
use crate::publish_line::{ANSWER_WITHIN, lost};
use crate::queue::Queue;

/// For how long messages are fetched one by one: what is there by then is returned.
const FETCH_WITHIN: Duration = Duration::from_secs(1);
/// How much later than its wait a receive may get its turn to fetch. Together they are shorter than what the
/// server is given to answer, after which nobody waits any more.
const TURN_WITHIN: Duration = Duration::from_millis(2500);
/// How many bytes one receive takes, besides one message of any size.
const BYTES_AT_ONCE: usize = 16 << 20;

/// Deliveries that go back to their queue unless they are taken.
#[derive(Debug, Default)]
pub(crate) struct Got(Vec<Delivery>);

impl Got {
    pub(crate) fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.0)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|delivery| delivery.data.len()).sum()
    }
}

impl Drop for Got {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.0);
        if !left.is_empty() {
            tokio::spawn(async move {
                for delivery in left {
                    // When that cannot be said the connection is gone, and gives them back.
                    delivery.acker.nack(REQUEUE).await.ok();
                }
            });
        }
    }
}

/// Where fetching ends.
#[derive(Debug)]
struct Bounds<'a> {
    messages: usize,
    bytes: usize,
    /// When it has to have begun.
    turn_by: Instant,
    /// Cancelled when nobody waits for it any more.
    left: &'a CancellationToken,
}

impl Bounds<'_> {
    /// Whether one more is fetched by who has so much.
    fn allow(&self, messages: usize, bytes: usize, until: Instant) -> bool {
        let has_room = messages < self.messages && bytes < self.bytes;
        has_room && !self.left.is_cancelled() && Instant::now() < until
    }

    /// Waits to be the one who fetches; `None` when nobody waits for that any more.
    async fn turn<'m>(
        &self,
        fetching: &'m Mutex<()>,
    ) -> Result<Option<MutexGuard<'m, ()>>, QueueError> {
        tokio::select! {
            biased;
            () = self.left.cancelled() => Ok(None),
            turn = fetching.lock() => Ok(Some(turn)),
            () = sleep_until(self.turn_by) => Err(QueueError::unavailable(
                "too many others receive from the queue at the same time",
            )),
        }
    }
}

/// Takes what is there, up to `room` bytes and one message, or waits for a first message. What arrives
/// after the caller has given up goes back, for which the work is done by a task of its own that ends
/// soon after the wait.
pub(crate) async fn receive(
    queue: &Arc<Queue>,
    channel: Channel,
    want: ReceiveOptions,
    room: usize,
) -> Result<Got, QueueError> {
    let (sender, receiver) = oneshot::channel();
    let queue = Arc::clone(queue);
    let left = CancellationToken::new();
    let _leaves = left.clone().drop_guard();
    tokio::spawn(async move {
        let got = get(&queue, &channel, want, room, &left).await;
        // Dropped when nobody waits.
        sender.send(got).ok();
    });
    let limit = want.wait + ANSWER_WITHIN;
    match tokio::time::timeout(limit, receiver).await {
        Ok(Ok(got)) => got,
        _ => Err(QueueError::unavailable(format!(
            "RabbitMQ gave no messages within {limit:?}"
        ))),
    }
}

async fn get(
    queue: &Queue,
    channel: &Channel,
    want: ReceiveOptions,
    room: usize,
    left: &CancellationToken,
) -> Result<Got, QueueError> {
    let until = Instant::now() + want.wait;
    let bounds = Bounds {
        messages: want.max,
        bytes: room.min(BYTES_AT_ONCE),
        turn_by: until + TURN_WITHIN,
        left,
    };
    let mut got = Got::default();
    fetch(queue, channel, &bounds, &mut got).await?;
    if got.0.is_empty() && Instant::now() < until && !left.is_cancelled() {
        let wait = async {
            tokio::select! {
                () = left.cancelled() => {}
                () = sleep_until(until) => {}
            }
        };
        wait_for_one(queue, channel, wait, &mut got).await?;
        if !got.0.is_empty() {
            // What came first is not lost when asking for more fails.
            fetch(queue, channel, &bounds, &mut got).await.ok();
        }
    }
    Ok(got)
}

/// Takes what is there, within the bounds.
async fn fetch(
    queue: &Queue,
    channel: &Channel,
    bounds: &Bounds<'_>,
    got: &mut Got,
) -> Result<(), QueueError> {
    let Some(_one_at_a_time) = bounds.turn(&queue.fetching).await? else {
        return Ok(());
    };
    let until = Instant::now() + FETCH_WITHIN;
    while bounds.allow(got.0.len(), got.bytes(), until) {
        let options = BasicGetOptions::default();
        // Not cut off in the middle: nobody would have what it gets.
        let next = channel.basic_get(queue.name.as_str().into(), options);
        match next.await {
            Ok(Some(message)) => got.0.push(message.delivery),
            Ok(None) => break,
            Err(error) if got.0.is_empty() => return Err(lost(error)),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Waits for one message until `over`: the channel lets each consumer have one at a time.
async fn wait_for_one(
    queue: &Queue,
    channel: &Channel,
    over: impl Future<Output = ()>,
    got: &mut Got,
) -> Result<(), QueueError> {
    let tag = format!("lattice-{}", fresh());
    let consume = channel.basic_consume(
        queue.name.as_str().into(),
        tag.as_str().into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consume.await.map_err(lost)?;
    tokio::select! {
        biased;
        next = consumer.next() => got.0.extend(next.and_then(Result::ok)),
        () = over => {}
    }
    let cancelled = channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default());
    cancelled.await.map_err(lost).ok();
    // What was on its way when it was cancelled is there by now.
    let rest = Duration::from_millis(100);
    while let Ok(Some(Ok(delivery))) = tokio::time::timeout(rest, consumer.next()).await {
        got.0.push(delivery);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(left: &CancellationToken) -> Bounds<'_> {
        Bounds {
            messages: 10,
            bytes: 1000,
            turn_by: Instant::now() + TURN_WITHIN,
            left,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fetching_ends_with_what_was_wanted_its_bytes_and_its_time() {
        let left = CancellationToken::new();
        let bounds = bounds(&left);
        let until = Instant::now() + FETCH_WITHIN;
        assert!(bounds.allow(9, 999, until));
        assert!(!bounds.allow(10, 999, until));
        assert!(!bounds.allow(9, 1000, until));
        tokio::time::advance(FETCH_WITHIN).await;
        assert!(!bounds.allow(1, 1, until));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_given_up_fetches_nothing_and_waits_for_no_turn() {
        let (fetching, left) = (Mutex::default(), CancellationToken::new());
        let bounds = bounds(&left);
        let turn = bounds.turn(&fetching).await;
        assert!(matches!(turn, Ok(Some(_))), "{turn:?}");
        let begun = Instant::now();
        left.cancel();
        assert!(matches!(bounds.turn(&fetching).await, Ok(None)));
        assert!(!bounds.allow(0, 0, begun + FETCH_WITHIN));
        drop(turn);
        // Also where it is free.
        assert!(matches!(bounds.turn(&fetching).await, Ok(None)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_behind_others_has_a_turn_in_time() {
        let (fetching, left) = (Mutex::default(), CancellationToken::new());
        let bounds = bounds(&left);
        let begun = Instant::now();
        let other = || async {
            let _turn = fetching.lock().await;
            tokio::time::sleep(FETCH_WITHIN).await;
        };
        let last = async {
            tokio::task::yield_now().await;
            bounds.turn(&fetching).await
        };
        let (turn, (), ()) = tokio::join!(last, other(), other());
        assert!(matches!(turn, Ok(Some(_))), "{turn:?}");
        let waited = begun.elapsed();
        assert!(waited >= 2 * FETCH_WITHIN, "{waited:?}");
        // Whoever waits for its messages is still there then.
        let longest = TURN_WITHIN + FETCH_WITHIN;
        assert!(longest < ANSWER_WITHIN, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_an_error_while_somebody_waits_for_it() {
        let (fetching, left) = (Mutex::default(), CancellationToken::new());
        let bounds = bounds(&left);
        let _turn = fetching.lock().await;
        let none = bounds.turn(&fetching).await;
        assert!(matches!(none, Err(QueueError::Unavailable(_))), "{none:?}");
    }
}
