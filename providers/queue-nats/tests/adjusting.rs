//! What a link that is put again changes about its queue, and what it leaves alone.

mod support;

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use queue_nats::QueueNats;
use support::{Error, Lattice, PATIENCE, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_put_again_changes_the_limits_that_it_says_and_nothing_else() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let limited = |most| [("queue", QUEUE), ("max_message_bytes", most)];
    let large = text("x".repeat(2000));
    let worker = lattice.link("worker", "default", &limited("1000")).await;
    let refused = worker.send("", &large).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    // Another link has the queue stay open.
    lattice.link("other", "default", &[("queue", QUEUE)]).await;

    // Somebody who looks after the queue.
    let js = async_nats::jetstream::new(lattice.nats.client().await.unwrap());
    let window = Duration::from_secs(300);
    let stream = js.get_stream("queue_default_jobs").await.unwrap();
    let changed = Config {
        duplicate_window: window,
        ..stream.cached_info().config.clone()
    };
    js.update_stream(&changed).await.unwrap();

    let worker = lattice.put("worker", "default", &limited("10000")).await;
    let until = Instant::now() + PATIENCE;
    while let Err(error) = worker.send("", &large).await {
        assert!(Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stream = js.get_stream("queue_default_jobs").await.unwrap();
    let known = &stream.cached_info().config;
    assert_eq!(known.max_message_size, 10_000);
    assert_eq!(known.duplicate_window, window);
}
