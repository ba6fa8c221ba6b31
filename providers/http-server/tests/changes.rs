//! Links that are served while they change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lattice_core::link::LinkState;
use lattice_core::provider::LinkReport;
use support::{
    Browser, Lattice, PATIENCE, body_at, fetch, free_address, get, link, until_closed, whole,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How the link to a component does next.
async fn told_of(lattice: &mut Lattice, target: &str) -> LinkReport {
    loop {
        let report = lattice.report().await;
        if report.target == target {
            return report;
        }
    }
}

/// The reason for which the link to a component has failed.
async fn failure_of(lattice: &mut Lattice, target: &str) -> String {
    let report = told_of(lattice, target).await;
    assert_eq!(report.state, LinkState::Failed, "{report:?}");
    report.reason.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_changes_is_served_all_the_while() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let with = |number: usize| {
        let cached = format!("max-age={number}");
        link("a", &[("address", &address), ("cache_control", &cached)])
    };
    lattice.put_ready(&with(0)).await;
    let _component = lattice.named("a").await;
    let (is_over, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let asking = |is_kept: bool| {
        let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
        let address = address.clone();
        tokio::spawn(async move {
            let mut browser = Browser::connect(&address).await;
            while !is_over.load(Ordering::SeqCst) {
                if !is_kept {
                    browser = Browser::connect(&address).await;
                }
                let (response, body) = whole(browser.get("/").await).await;
                assert_eq!((response.status().as_u16(), &*body), (200, &b"a"[..]));
                answers.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let (kept, new) = (asking(true), asking(false));
    for number in 1..=50 {
        lattice.put_ready(&with(number)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    for asked in [kept, new] {
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(answers.load(Ordering::SeqCst) > 1);
    let (response, _) = fetch(&address, get("/")).await;
    assert_eq!(response.headers()["cache-control"], "max-age=50");
}

#[tokio::test]
async fn a_value_that_cannot_be_used_leaves_the_old_ones_in_force() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let good = link("a", &[("address", &address), ("cache_control", "no-store")]);
    let bad = link("a", &[("address", &address), ("timeout_ms", "soon")]);
    lattice.put_ready(&good).await;
    let _component = lattice.named("a").await;
    let mut browser = Browser::connect(&address).await;
    for asks_too_much in [false, true] {
        let (wanted, why) = match asks_too_much {
            false => (bad.clone(), "`timeout_ms` is `soon`"),
            true => {
                let values = [("address", &*address), ("require", "websocket")];
                (link("a", &values), "the link requires `websocket`")
            }
        };
        lattice.put(&wanted).await;
        let reason = failure_of(&mut lattice, "a").await;
        assert!(reason.contains(why), "{reason}");
        assert!(
            reason.ends_with("the settings from before are still in force"),
            "{reason}"
        );
        let (response, _) = whole(browser.get("/").await).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    // Back to what is in force already.
    lattice.put_ready(&good).await;
    let (response, _) = whole(browser.get("/").await).await;
    assert_eq!(response.status(), 200);
    // Deleted while it is served as it was before.
    lattice.put(&bad).await;
    failure_of(&mut lattice, "a").await;
    lattice.delete(&bad).await;
    until_closed(&address).await;
}

#[tokio::test]
async fn a_bad_config_of_the_provider_leaves_its_links_as_they_are() {
    let address = free_address();
    let mut lattice = Lattice::start(&[("default_address", &address)]).await;
    lattice.put_ready(&link("a", &[])).await;
    let _component = lattice.named("a").await;
    lattice.put_config(&[("default_address", "nowhere")]).await;
    let reason = failure_of(&mut lattice, "a").await;
    assert!(
        reason.contains("`default_address` is `nowhere`"),
        "{reason}"
    );
    assert_eq!(body_at(&address, "/").await, "a");
    lattice.put_config(&[("default_address", &address)]).await;
    assert_eq!(told_of(&mut lattice, "a").await.state, LinkState::Ready);
}

#[tokio::test]
async fn the_owner_of_an_address_keeps_it_when_its_link_changes() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let with = |target, cached| link(target, &[("address", &*address), ("cache_control", cached)]);
    lattice.put_ready(&with("a", "no-store")).await;
    lattice.put(&with("b", "no-store")).await;
    let reason = failure_of(&mut lattice, "b").await;
    let told = format!("the address {address} is that of component `a`;");
    assert!(reason.starts_with(&told), "{reason}");
    let _components = (lattice.named("a").await, lattice.named("b").await);
    lattice.put(&with("a", "no-cache")).await;
    assert_eq!(told_of(&mut lattice, "a").await.state, LinkState::Ready);
    let (response, body) = fetch(&address, get("/")).await;
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert_eq!(body, "a");
    // Nor does one that waits become the owner by a change.
    lattice.put(&with("b", "no-cache")).await;
    let reason = failure_of(&mut lattice, "b").await;
    assert!(reason.starts_with(&told), "{reason}");
    assert_eq!(body_at(&address, "/").await, "a");
    lattice.delete(&with("a", "no-cache")).await;
    assert_eq!(told_of(&mut lattice, "b").await.state, LinkState::Ready);
    assert_eq!(body_at(&address, "/").await, "b");
}

#[tokio::test]
async fn a_link_does_not_move_to_a_place_that_is_anothers() {
    let mut lattice = Lattice::start(&[]).await;
    let (one, two) = (free_address(), free_address());
    lattice.put_ready(&link("a", &[("address", &one)])).await;
    lattice.put_ready(&link("b", &[("address", &two)])).await;
    let _components = (lattice.named("a").await, lattice.named("b").await);
    lattice.put(&link("b", &[("address", &one)])).await;
    let reason = failure_of(&mut lattice, "b").await;
    assert!(reason.contains("is that of component `a`"), "{reason}");
    assert!(reason.contains("still in force"), "{reason}");
    assert_eq!(body_at(&one, "/").await, "a");
    assert_eq!(body_at(&two, "/").await, "b");
    lattice.delete(&link("a", &[("address", &one)])).await;
    assert_eq!(told_of(&mut lattice, "b").await.state, LinkState::Ready);
    assert_eq!(body_at(&one, "/").await, "b");
    until_closed(&two).await;
}

#[tokio::test]
async fn links_that_leave_an_address_together_keep_their_order() {
    let (old, new) = (free_address(), free_address());
    let mut lattice = Lattice::start(&[("default_address", &old)]).await;
    lattice.put_ready(&link("z", &[])).await;
    lattice.put(&link("a", &[])).await;
    failure_of(&mut lattice, "a").await;
    let _components = (lattice.named("z").await, lattice.named("a").await);
    lattice.put_config(&[("default_address", &new)]).await;
    until_closed(&old).await;
    let over = async { while body_at(&new, "/").await != "z" {} };
    tokio::time::timeout(PATIENCE, over).await.unwrap();
    // The two leave in any order, so that one may have the address for a moment.
    let waits = async {
        let told = format!("the address {new} is that of component `z`;");
        let is_it = |report: LinkReport| report.reason.is_some_and(|why| why.starts_with(&told));
        while !is_it(told_of(&mut lattice, "a").await) {}
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

#[tokio::test]
async fn a_link_moves_to_an_address_that_covers_its_own() {
    let mut lattice = Lattice::start(&[]).await;
    let own = free_address();
    let port = own.rsplit_once(':').unwrap().1;
    let all = format!("0.0.0.0:{port}");
    lattice.put_ready(&link("a", &[("address", &all)])).await;
    let _component = lattice.named("a").await;
    assert_eq!(body_at(&own, "/").await, "a");
    for address in [&own, &all] {
        lattice.put(&link("a", &[("address", address)])).await;
        // Not before whoever is there still has gone.
        while told_of(&mut lattice, "a").await.state != LinkState::Ready {}
        assert_eq!(body_at(&own, "/").await, "a");
    }
}

#[tokio::test]
async fn connections_that_are_treated_in_another_way_end() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let with = |value| link("a", &[("address", &*address), ("disable_keepalive", value)]);
    lattice.put_ready(&with("false")).await;
    let _component = lattice.named("a").await;
    let mut browser = Browser::connect(&address).await;
    let (response, _) = whole(browser.get("/").await).await;
    assert_eq!(response.status(), 200);
    lattice.put_ready(&with("true")).await;
    browser.until_ended().await;
    assert_eq!(body_at(&address, "/").await, "a");
}

#[tokio::test]
async fn connections_that_are_to_end_keep_their_limits() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let with = |limit| link("a", &[("address", &*address), ("header_timeout_ms", limit)]);
    lattice.put_ready(&with("1000")).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    lattice.put_ready(&with("1001")).await;
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("the connection ends").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn connections_outlast_their_link_where_the_next_one_treats_them_alike() {
    for (value, is_alike) in [("false", true), ("true", false)] {
        let mut lattice = Lattice::start(&[]).await;
        let address = free_address();
        let with = |target, value| {
            link(
                target,
                &[("address", &*address), ("disable_keepalive", value)],
            )
        };
        lattice.put_ready(&with("a", "false")).await;
        lattice.put(&with("b", value)).await;
        failure_of(&mut lattice, "b").await;
        let _components = (lattice.named("a").await, lattice.named("b").await);
        let mut browser = Browser::connect(&address).await;
        assert_eq!(whole(browser.get("/").await).await.1, "a");
        lattice.delete(&with("a", "false")).await;
        assert_eq!(told_of(&mut lattice, "b").await.state, LinkState::Ready);
        if is_alike {
            assert_eq!(whole(browser.get("/").await).await.1, "b");
        } else {
            browser.until_ended().await;
            assert_eq!(body_at(&address, "/").await, "b");
        }
    }
}

#[tokio::test]
async fn connections_outlast_links_that_come_and_go_beside_the_first() {
    let address = free_address();
    let config = [("routing_mode", "path"), ("address", &*address)];
    let mut lattice = Lattice::start(&config).await;
    let with = |target: &str, value| {
        let path = format!("/{target}");
        link(target, &[("path", &path), ("disable_keepalive", value)])
    };
    lattice.put_ready(&with("a", "false")).await;
    let _component = lattice.named("a").await;
    let mut browser = Browser::connect(&address).await;
    assert_eq!(whole(browser.get("/a").await).await.1, "a");
    let others: Vec<_> = (0..8).map(|number| format!("b{number}")).collect();
    for other in &others {
        lattice.put_ready(&with(other, "true")).await;
        assert_eq!(whole(browser.get("/a").await).await.1, "a");
    }
    for other in &others {
        lattice.delete(&with(other, "true")).await;
        assert_eq!(whole(browser.get("/a").await).await.1, "a");
    }
}

#[tokio::test]
async fn connections_end_with_the_turn_of_a_link_that_came_before_its_time() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let first = |timeout| {
        let values = [
            ("address", &*address),
            ("disable_keepalive", "true"),
            ("timeout_ms", timeout),
        ];
        link("a", &values)
    };
    lattice.put(&first("soon")).await;
    failure_of(&mut lattice, "a").await;
    lattice.put(&link("b", &[("address", &address)])).await;
    assert_eq!(told_of(&mut lattice, "b").await.state, LinkState::Ready);
    let _components = (lattice.named("a").await, lattice.named("b").await);
    let mut browser = Browser::connect(&address).await;
    assert_eq!(whole(browser.get("/").await).await.1, "b");
    // It was put first, so the place is its own.
    lattice.put(&first("5000")).await;
    browser.until_ended().await;
    assert_eq!(body_at(&address, "/").await, "a");
}
