//! Buckets on a real server.

use std::time::Duration;

use futures::StreamExt as _;
use lattice_nats::{CreateBucketError, NewBucket, create_bucket};
use lattice_nats_box::NatsBox;

fn new(name: &str) -> NewBucket {
    NewBucket {
        name: name.into(),
        ..NewBucket::default()
    }
}

#[tokio::test]
async fn a_bucket_keeps_and_forgets_values() {
    let nats = NatsBox::start().await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let bucket = create_bucket(&js, new("b")).await.unwrap();
    bucket.put("k", "v".into()).await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), Some("v".into()));
    bucket.purge("k").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    let settings = &bucket.stream.cached_info().config;
    assert_eq!(
        (settings.max_messages_per_subject, settings.num_replicas),
        (1, 1)
    );
    assert_eq!(settings.max_age, Duration::ZERO);
}

#[tokio::test]
async fn one_that_exists_is_opened_if_it_is_the_same() {
    let nats = NatsBox::start().await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let first = create_bucket(&js, new("b")).await.unwrap();
    first.put("k", "v".into()).await.unwrap();
    let again = create_bucket(&js, new("b")).await.unwrap();
    assert_eq!(again.get("k").await.unwrap(), Some("v".into()));

    let other = NewBucket {
        history: 5,
        ..new("b")
    };
    let refused = create_bucket(&js, other).await.map(drop);
    assert!(
        matches!(refused, Err(CreateBucketError::Create(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_name_that_no_client_could_open_makes_no_stream() {
    let nats = NatsBox::start().await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    for name in ["", "a:b", "a.b", "a b", "ä"] {
        let refused = create_bucket(&js, new(name)).await.map(drop);
        assert!(
            matches!(refused, Err(CreateBucketError::Name(_))),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(js.streams().count().await, 0);
}
