//! What pages of keys cost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "writes to a bucket, and hears what its server tells of it"
)]

use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt as _;
use keyvalue_nats::KeyValueNats;
use lattice_keyvalue_suite::Lattice;
use lattice_nats::NewBucket;

const KEYS: usize = 10_000;

/// Keys that make several pages.
fn key(number: usize) -> String {
    format!("{number:05}-{}", "k".repeat(200))
}

async fn fill(context: &jetstream::Context) {
    let bucket = NewBucket {
        name: "many".into(),
        ..NewBucket::default()
    };
    lattice_nats::create_bucket(context, bucket).await.unwrap();
    for some in (0..KEYS).collect::<Vec<_>>().chunks(500) {
        let mut stored = Vec::new();
        for number in some {
            let subject = format!("$KV.many.{}", key(*number));
            stored.push(context.publish(subject, "1".into()).await.unwrap());
        }
        futures::future::try_join_all(stored.into_iter().map(IntoFuture::into_future))
            .await
            .unwrap();
    }
}

/// Each time that the keys of a bucket are read a consumer is made for it, of which the server tells.
#[tokio::test]
async fn a_listing_of_many_pages_reads_the_bucket_once() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let nats = lattice.nats.client().await.unwrap();
    fill(&jetstream::new(nats.clone())).await;
    let told = "$JS.EVENT.ADVISORY.CONSUMER.CREATED.KV_many.*";
    let mut told = nats.subscribe(told).await.unwrap();
    nats.flush().await.unwrap();
    let kv = lattice.link("cart", "default", &[("bucket", "many")]).await;
    let (mut keys, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = kv.list_keys("default", cursor).await.unwrap();
        keys.extend(page.keys);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort_unstable();
    assert!(keys == (0..KEYS).map(key).collect::<Vec<_>>(), "other keys");
    assert!(pages > 3, "{pages}");
    // Another listing begins anew, and is told of after all that was before.
    kv.list_keys("default", None).await.unwrap();
    for _ in 0..2 {
        told.next().await.unwrap();
    }
    let more = tokio::time::timeout(Duration::from_millis(300), told.next());
    assert!(more.await.is_err(), "the bucket was read for each page");
}
