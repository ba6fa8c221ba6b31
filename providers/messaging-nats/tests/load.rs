//! Many messages, with everything around them failing at times: none is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, Consumer, pull};
use async_nats::jetstream::{self, Context, stream};
use lattice_nats_box::NatsBoxOptions;
use support::{Lattice, Said, until};

const MESSAGES: u32 = 10_000;
const PROGRAM: &str = env!("CARGO_BIN_EXE_messaging-nats-provider");

async fn publish_all(context: Context) {
    for number in 0..MESSAGES {
        let mut sent = false;
        while !sent {
            // One that was taken although its confirmation was lost is known by its id.
            let message = jetstream::message::PublishMessage::build()
                .message_id(number.to_string())
                .payload(number.to_string().into());
            let ack = context.send_publish("orders.new", message).await;
            sent = match ack {
                Ok(ack) => ack.await.is_ok(),
                Err(_) => false,
            };
        }
    }
}

async fn is_drained(context: &Context) -> Option<()> {
    let consumer: Consumer<pull::Config> = context
        .get_consumer_from_stream("carts", "ORDERS")
        .await
        .ok()?;
    let info: &consumer::Info = consumer.cached_info();
    let is_drained = info.num_pending == 0 && info.num_ack_pending == 0;
    (is_drained && info.delivered.stream_sequence >= u64::from(MESSAGES)).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_ten_thousand_is_lost() {
    let mut lattice = Lattice::empty(NatsBoxOptions::default()).await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    // One attempt in eight fails, by an error, a trap, or a host without room.
    let calls = AtomicU32::new(0);
    let done: Arc<parking_lot::Mutex<HashMap<u32, u32>>> = Arc::default();
    let counts = Arc::clone(&done);
    let say = move |message: &support::Message| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        match call.wrapping_mul(2_654_435_761) >> 24 {
            0..12 => Said::Error("not now"),
            12..24 => Said::Trap("wasm trap"),
            24..32 => Said::Overloaded,
            _ => {
                let number = message.text().parse().unwrap();
                *counts.lock().entry(number).or_default() += 1;
                Said::Done
            }
        }
    };
    let _heard = lattice.handler("cart", say).await;
    let mut provider = lattice.spawn(PROGRAM).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("ack_wait_ms", "2000"),
        ("max_deliver", "20"),
        ("backoff", "20,100"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publishing = tokio::spawn(publish_all(context.clone()));
    let so_far = || done.lock().len();
    // Killed when so many are done: the provider, NATS, and both in turn.
    for (step, at) in [500, 1500, 3000, 5000, 7000].into_iter().enumerate() {
        until(async || (so_far() >= at).then_some(())).await;
        if step % 2 == 0 {
            provider.kill().await.unwrap();
            provider = lattice.spawn(PROGRAM).await;
        } else {
            lattice.nats.stop();
            tokio::time::sleep(Duration::from_millis(300)).await;
            lattice.nats.restart().await.unwrap();
        }
    }
    tokio::time::timeout(Duration::from_secs(120), publishing)
        .await
        .unwrap()
        .unwrap();
    until(async || (so_far() >= MESSAGES as usize).then_some(())).await;
    until(async || is_drained(&context).await).await;
    let done = done.lock();
    let missing: Vec<_> = (0..MESSAGES).filter(|n| !done.contains_key(n)).collect();
    assert!(missing.is_empty(), "lost {missing:?}");
    let repeated: u32 = done.values().map(|times| times - 1).sum();
    println!("{MESSAGES} messages, {repeated} of them repeated");
    assert!(repeated < MESSAGES / 10, "{repeated} repeated");
}
