//! A box starts, keeps its data over a restart and is gone when dropped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::time::Duration;

use futures::StreamExt;
use lattice_nats::NewBucket;
use lattice_nats_box::{NatsBox, NatsBoxOptions};

#[tokio::test]
async fn two_boxes_are_strangers() {
    let one = NatsBox::start().await.expect("first server");
    let other = NatsBox::start().await.expect("second server");
    assert_ne!(one.port, other.port);
    let mut heard = other
        .client()
        .await
        .unwrap()
        .subscribe("news")
        .await
        .unwrap();
    let mut own = one.client().await.unwrap().subscribe("news").await.unwrap();
    let client = one.client().await.unwrap();
    // The subscription was written on another connection: make sure the server has it.
    tokio::time::timeout(Duration::from_secs(10), async {
        while tokio::time::timeout(Duration::from_millis(50), own.next())
            .await
            .is_err()
        {
            client.publish("news", "x".into()).await.unwrap();
        }
    })
    .await
    .expect("own subscriber hears the news");
    let silence = tokio::time::timeout(Duration::from_millis(50), heard.next()).await;
    assert!(silence.is_err(), "the other server must not hear it");
}

#[tokio::test]
async fn stored_values_survive_a_restart_and_not_a_wipe() {
    let mut nats = NatsBox::start().await.expect("server");
    let url = nats.url.clone();
    put(&nats, "kept").await;
    nats.restart().await.expect("restart");
    assert_eq!(nats.url, url);
    assert_eq!(get(&nats).await.as_deref(), Some("kept"));
    nats.restart_wiped()
        .await
        .expect("restart with an empty store");
    assert_eq!(get(&nats).await, None);
}

#[tokio::test]
async fn a_dropped_box_no_longer_listens() {
    let nats = NatsBox::start().await.expect("server");
    let port = nats.port;
    drop(nats);
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn options_reach_the_server() {
    let options = NatsBoxOptions {
        max_payload: Some(4096),
        ..NatsBoxOptions::default()
    };
    let nats = NatsBox::start_with(options).await.expect("server");
    let client = nats.client().await.unwrap();
    assert_eq!(client.server_info().max_payload, 4096);
}

async fn put(nats: &NatsBox, value: &str) {
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let new = NewBucket {
        name: "b".into(),
        ..NewBucket::default()
    };
    let bucket = lattice_nats::create_bucket(&js, new).await.unwrap();
    bucket.put("k", value.to_owned().into()).await.unwrap();
}

async fn get(nats: &NatsBox) -> Option<String> {
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let bucket = js.get_key_value("b").await.ok()?;
    let value = bucket.get("k").await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}
