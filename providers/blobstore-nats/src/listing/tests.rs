//! Listings during which something happens, on a real NATS.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_nats::jetstream::object_store;
use futures::TryStreamExt as _;
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::nats::NatsBackend;

use super::*;
use crate::container::Nats;

const COUNT: usize = 600;
const IDLE: Duration = Duration::from_secs(10);

/// A container with objects of which there are descriptions only.
async fn container() -> (NatsBox, Container) {
    let server = NatsBox::start().await.unwrap();
    let backend = NatsBackend::on(server.client().await.unwrap(), None);
    let nats = Arc::new(Nats::new(backend, None));
    let config = object_store::Config {
        bucket: "c".to_owned(),
        ..object_store::Config::default()
    };
    let jetstream = nats.backend.jetstream();
    jetstream.create_object_store(config).await.unwrap();
    let container = Container::of(&nats, "c", IDLE).await.unwrap();
    for number in 0..COUNT {
        describe(&container, number, false).await;
    }
    (server, container)
}

async fn describe(container: &Container, number: usize, deleted: bool) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    let text = format!("{{\"name\":\"{number}\",\"deleted\":{deleted}}}");
    let jetstream = container.nats.backend.jetstream();
    let sent = jetstream.publish_with_headers(format!("$O.c.M.{number}"), headers, text.into());
    sent.await.unwrap().await.unwrap();
}

fn all(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    let names = numbers.into_iter().map(|number| number.to_string());
    names.collect()
}

/// All names of a listing, of which none comes twice.
async fn rest(first: Vec<String>, names: Names) -> BTreeSet<String> {
    let pages: Vec<Vec<String>> = names.try_collect().await.unwrap();
    let came: Vec<String> = pages.into_iter().flatten().chain(first).collect();
    let count = came.len();
    let came = BTreeSet::from_iter(came);
    assert_eq!(came.len(), count, "a name came twice");
    came
}

#[tokio::test]
async fn what_is_replaced_and_deleted_meanwhile_is_named_once_or_not() {
    let (_server, container) = container().await;
    let mut names = names(container.clone(), IDLE).await.unwrap();
    let first = names.try_next().await.unwrap().unwrap();
    assert_eq!(first.len(), PAGE);
    // Others come before those that are replaced.
    for number in COUNT..COUNT + 50 {
        describe(&container, number, false).await;
    }
    for number in (0..COUNT).step_by(3) {
        describe(&container, number, number % 2 == 1).await;
    }
    let came = rest(first, names).await;
    let kept = (0..COUNT + 50).filter(|n| *n < PAGE || *n >= COUNT || n % 3 > 0 || n % 2 == 0);
    assert_eq!(came, all(kept));
}

#[tokio::test]
async fn a_batch_that_ends_before_all_came_is_no_end() {
    let (_server, container) = container().await;
    let mut listing = Listing::open(container, IDLE).await.unwrap();
    let mut came = 0;
    loop {
        // As if the server had counted too few, or none.
        listing.pending = listing.pending.saturating_sub(590);
        match listing.page().await.unwrap() {
            Some(names) => came += names.len(),
            None => break,
        }
    }
    assert_eq!(came, COUNT);
}

#[tokio::test]
async fn a_listing_that_cannot_go_on_is_an_error() {
    let (mut server, container) = container().await;
    for restart in [false, true] {
        let mut names = names(container.clone(), IDLE).await.unwrap();
        names.try_next().await.unwrap().unwrap();
        if restart {
            server.restart().await.unwrap();
            while !container.nats.backend.is_connected() {
                tokio::task::yield_now().await;
            }
        } else {
            let jetstream = container.nats.backend.jetstream();
            let stream = jetstream.get_stream("OBJ_c").await.unwrap();
            let consumers: Vec<_> = stream.consumer_names().try_collect().await.unwrap();
            for consumer in consumers {
                stream.delete_consumer(&consumer).await.unwrap();
            }
        }
        let ended = names.try_collect::<Vec<_>>().await;
        assert!(matches!(ended, Err(BlobError::Unavailable(_))), "{ended:?}");
    }
}
