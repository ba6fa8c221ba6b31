//! Receiving without losing what nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicGetOptions};
use lapin::types::FieldTable;
use lattice_provider_sdk::queue::{QueueError, Want};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::leases::{REQUEUE, fresh};
use crate::line::{ANSWER_WITHIN, lost};
use crate::queue::Queue;

/// Deliveries that go back to their queue unless they are taken.
#[derive(Debug, Default)]
pub(crate) struct Got(Vec<Delivery>);

impl Got {
    pub(crate) fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.0)
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

/// Takes what is there, or waits for a first message. What arrives after the caller has given up
/// goes back, for which the work is done by a task of its own that ends soon after the wait.
pub(crate) async fn receive(queue: &Arc<Queue>, want: Want) -> Result<Got, QueueError> {
    let (sender, receiver) = oneshot::channel();
    let queue = Arc::clone(queue);
    let left = CancellationToken::new();
    let _leaves = left.clone().drop_guard();
    tokio::spawn(async move {
        let got = get(&queue, want, &left).await;
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

async fn get(queue: &Queue, want: Want, left: &CancellationToken) -> Result<Got, QueueError> {
    let until = Instant::now() + want.wait;
    let mut got = Got::default();
    fetch(queue, want.max, &mut got).await?;
    if got.0.is_empty() && Instant::now() < until {
        let wait = async {
            tokio::select! {
                () = left.cancelled() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        };
        wait_for_one(queue, wait, &mut got).await?;
        if !got.0.is_empty() {
            // What came first is not lost when asking for more fails.
            fetch(queue, want.max, &mut got).await.ok();
        }
    }
    Ok(got)
}

/// Takes what is there until there are `max`.
async fn fetch(queue: &Queue, max: usize, got: &mut Got) -> Result<(), QueueError> {
    let _one_at_a_time = queue.fetching.lock().await;
    while got.0.len() < max {
        let options = BasicGetOptions::default();
        let next = queue.channel.basic_get(queue.name.as_str().into(), options);
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
    over: impl Future<Output = ()>,
    got: &mut Got,
) -> Result<(), QueueError> {
    let tag = format!("lattice-{}", fresh());
    let consume = queue.channel.basic_consume(
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
    let cancelled = queue
        .channel
        .basic_cancel(tag.as_str().into(), BasicCancelOptions::default());
    cancelled.await.map_err(lost).ok();
    // What was on its way when it was cancelled is there by now.
    let rest = Duration::from_millis(100);
    while let Ok(Some(Ok(delivery))) = tokio::time::timeout(rest, consumer.next()).await {
        got.0.push(delivery);
    }
    Ok(())
}
