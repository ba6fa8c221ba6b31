//! States of links.

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::{ComponentId, HostId, LatticeName, LinkKey, LinkStatus};
use lattice_nats_box::Middleman;
use lattice_store::{LatticeStore, StoreOptions};

use crate::{link, raw, soon, started};

fn host(letter: char) -> HostId {
    let text: String = std::iter::once('N')
        .chain(std::iter::repeat_n(letter, 55))
        .collect();
    HostId::new(text).unwrap()
}

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

fn key(name: &str) -> LinkKey {
    LinkKey::new("a", "wasi", "keyvalue", name).unwrap()
}

#[tokio::test]
async fn reported_states_appear_on_their_links() {
    let (_nats, store) = started().await;
    let (one, other) = (store.reporter(host('A')), store.reporter(host('B')));
    one.report(&key("default"), &id("b"), LinkState::Pending, None);
    one.report(
        &key("default"),
        &id("b"),
        LinkState::Failed,
        Some("no such host".into()),
    );
    other.report(&key("default"), &id("b"), LinkState::Ready, None);
    other.report(
        &key("second.name"),
        &id("elsewhere"),
        LinkState::Ready,
        None,
    );
    soon("writes", async {
        futures::join!(one.settled(), other.settled())
    })
    .await;
    let mut links = [link("a", "b", "default"), link("a", "c", "second.name")];
    store.status().attach(&mut links).await.unwrap();
    let expected = |host: HostId, state, reason: Option<&str>| LinkStatus {
        endpoint: "b".into(),
        host_id: host.to_string(),
        state,
        reason: reason.map(str::to_owned),
    };
    assert_eq!(
        links[0].status,
        [
            expected(host('A'), LinkState::Failed, Some("no such host")),
            expected(host('B'), LinkState::Ready, None)
        ]
    );
    assert_eq!(links[1].status, []);
}

#[tokio::test]
async fn a_process_far_from_the_store_that_wrote_no_state_comes_to_tell_of_them() {
    let (nats, store) = started().await;
    let status = LinkStatus {
        endpoint: "b".into(),
        host_id: host('A').to_string(),
        state: LinkState::Ready,
        reason: None,
    };
    let key = key("default");
    store.status().put(&key, &status).await.unwrap();
    let middleman = Middleman::before(nats.port).await.unwrap();
    let client = async_nats::connect(middleman.instead_of(&nats.url));
    let client = client.await.unwrap();
    let lattice = LatticeName::default();
    let far = LatticeStore::open(client, &lattice, StoreOptions::default());
    let far = far.await.unwrap();
    // Opening the bucket and reading it take longer than the first answer waits.
    middleman.delay_answers(Duration::from_millis(150));
    let mut links = [link("a", "b", "default")];
    soon("states", async {
        // Answers without states, some of them with an error, come before.
        while links[0].status.is_empty() {
            let _early = far.status().attach(&mut links).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(links[0].status, [status]);
}

#[tokio::test]
async fn answers_at_the_same_time_all_have_the_states() {
    let (_nats, store) = started().await;
    let status = LinkStatus {
        endpoint: "b".into(),
        host_id: host('A').to_string(),
        state: LinkState::Ready,
        reason: None,
    };
    let key = key("default");
    store.status().put(&key, &status).await.unwrap();
    let (mut one, mut other) = ([link("a", "b", "default")], [link("a", "b", "default")]);
    let (first, second) = futures::join!(
        store.status().attach(&mut one),
        store.status().attach(&mut other)
    );
    first.and(second).unwrap();
    assert_eq!(one[0].status, [status]);
    assert_eq!(other[0].status, one[0].status);
}

#[tokio::test]
async fn states_go_with_their_link_their_provider_and_their_host() {
    let (_nats, store) = started().await;
    let reporter = store.reporter(host('A'));
    for (name, endpoint) in [("one", "b"), ("two", "b"), ("three", "c"), ("four", "c")] {
        reporter.report(&key(name), &id(endpoint), LinkState::Ready, None);
    }
    let known = async || {
        soon("writes", reporter.settled()).await;
        let mut names: Vec<String> = store
            .status()
            .all()
            .await
            .unwrap()
            .into_keys()
            .map(|key| key.name.to_string())
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(known().await, "four one three two");
    reporter.forget_link(&key("one"));
    assert_eq!(known().await, "four three two");
    reporter.forget_endpoint(&id("c"));
    assert_eq!(known().await, "two");
    reporter.clear(Duration::from_secs(20)).await;
    assert_eq!(known().await, "");
}

#[tokio::test]
async fn states_are_written_when_nats_is_back() {
    let (mut nats, store) = started().await;
    let reporter = store.reporter(host('A'));
    nats.stop();
    reporter.report(&key("default"), &id("b"), LinkState::Ready, None);
    nats.restart().await.unwrap();
    soon("writes", reporter.settled()).await;
    assert_eq!(
        store.status().all().await.unwrap()[&key("default")].len(),
        1
    );
}

#[tokio::test]
async fn states_are_written_again_when_their_bucket_was_lost() {
    let (mut nats, store) = started().await;
    let reporter = store.reporter(host('A'));
    reporter.report(&key("default"), &id("b"), LinkState::Ready, None);
    soon("writes", reporter.settled()).await;
    nats.restart_wiped().await.unwrap();
    soon("the state is back", async {
        let is_back = async || {
            let states = store.status().all().await.unwrap_or_default();
            states.contains_key(&key("default"))
        };
        while !is_back().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_removes_what_it_reported_before_it_was_killed() {
    let (_nats, store) = started().await;
    let (killed, other) = (store.reporter(host('A')), store.reporter(host('B')));
    for name in ["gone", "kept"] {
        killed.report(&key(name), &id("b"), LinkState::Ready, None);
    }
    other.report(&key("gone"), &id("b"), LinkState::Ready, None);
    soon("writes", async {
        futures::join!(killed.settled(), other.settled())
    })
    .await;
    drop(killed);
    let again = store.reporter(host('A'));
    again.report(&key("kept"), &id("b"), LinkState::Pending, None);
    soon("the former state is gone", async {
        loop {
            let states = store.status().all().await.unwrap();
            let of = |name: &str| -> Vec<(String, LinkState)> {
                let states = states.get(&key(name)).into_iter().flatten();
                states
                    .map(|status| (status.host_id.clone(), status.state))
                    .collect()
            };
            let gone = of("gone") == [(host('B').to_string(), LinkState::Ready)];
            let kept = of("kept") == [(host('A').to_string(), LinkState::Pending)];
            if gone && kept {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn states_of_a_lost_host_disappear_and_those_of_a_live_one_stay() {
    let (nats, _store) = started().await;
    let options = StoreOptions {
        status_max_age: Duration::from_secs(2),
        ..StoreOptions::default()
    };
    let client = nats.client().await.unwrap();
    let lattice = LatticeName::default();
    let store = LatticeStore::open(client, &lattice, options).await.unwrap();
    let live = store.reporter(host('A'));
    live.report(&key("live"), &id("b"), LinkState::Ready, None);
    let lost = store.reporter(host('B'));
    lost.report(&key("lost"), &id("b"), LinkState::Ready, None);
    soon("writes", async {
        futures::join!(live.settled(), lost.settled())
    })
    .await;
    drop(lost);
    let bucket = raw(&nats, "LATTICESTATUS_default").await;
    assert_eq!(
        bucket.stream.cached_info().config.max_age,
        Duration::from_secs(2)
    );
    soon("the lost state is gone", async {
        while store
            .status()
            .all()
            .await
            .unwrap()
            .contains_key(&key("lost"))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(
        store
            .status()
            .all()
            .await
            .unwrap()
            .contains_key(&key("live"))
    );
}
