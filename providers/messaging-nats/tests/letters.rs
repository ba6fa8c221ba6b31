//! Dead letters whose subject somebody watches.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for who watches on the same NATS"
)]

mod support;

use async_nats::Subscriber;
use async_nats::jetstream::{self, Context, stream};
use futures::StreamExt as _;
use messaging_nats::MessagingNats;
use support::{Lattice, PATIENCE, Said, until};
use tokio::time::timeout;

const LETTERS: &str = "lattice_dead_ORDERS_carts";

async fn publish(context: &Context, body: &str) {
    let ack = context.publish("orders.new", body.to_owned().into());
    ack.await.unwrap().await.unwrap();
}

/// The letter that is the first one of its stream.
async fn first_letter(context: &Context) -> String {
    let letter = until(async || {
        let letters = context.get_stream(LETTERS).await.ok()?;
        letters.get_raw_message(1).await.ok()
    });
    String::from_utf8(letter.await.payload.to_vec()).unwrap()
}

/// Waits for a letter, behind those that were posted again as no stream had taken them.
async fn hears(monitor: &mut Subscriber, body: &str) {
    let heard = async {
        while let Some(letter) = monitor.next().await {
            if letter.payload == body.as_bytes() {
                return;
            }
        }
        panic!("nothing more comes");
    };
    timeout(PATIENCE, heard).await.unwrap();
}

#[tokio::test]
async fn who_watches_dead_letters_does_not_keep_them_from_being_stored() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let client = lattice.nats.client().await.unwrap();
    let mut monitor = client.subscribe("lattice.dead.>").await.unwrap();
    client.flush().await.unwrap();
    let context = jetstream::new(client);
    let orders = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(orders).await.unwrap();
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "1"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "1").await;
    assert_eq!(first_letter(&context).await, "1");
    hears(&mut monitor, "1").await;
    // The server does not say either that a stream has gone while somebody listens.
    context.delete_stream(LETTERS).await.unwrap();
    publish(&context, "2").await;
    assert_eq!(first_letter(&context).await, "2");
    hears(&mut monitor, "2").await;
}
