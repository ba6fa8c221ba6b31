//! Links of core NATS that go or change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for other programs on the same NATS"
)]

mod support;

use std::pin::pin;
use std::time::Duration;

use async_nats::RequestErrorKind;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats_box::{Middleman, NatsBox, taken_in};
use messaging_nats::MessagingNats;
use support::{Lattice, PATIENCE, Said, until};

/// It would take messages of its queue group, and hand them to nobody.
#[tokio::test]
async fn no_subscription_is_left_where_the_connection_breaks_as_the_link_goes() {
    let other = NatsBox::start().await.unwrap();
    let middleman = Middleman::before(other.port).await.unwrap();
    middleman.hang_up_on(b"UNSUB ");
    let url = middleman.instead_of(&other.url);
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let cluster = ("cluster_uris", &*url);
    // Keeps the connection when the other link is gone.
    let publisher = lattice.target("publisher", &[cluster]).await;
    lattice.ready().await;
    let config = [cluster, ("subscriptions", "a")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    publisher.publish("a", b"1").await.unwrap();
    assert_eq!(heard.next().await.text(), "1");
    let nats = other.client().await.unwrap();
    let mut round = nats.subscribe("round").await.unwrap();
    taken_in(&nats).await.unwrap();
    let before = middleman.connections();
    lattice.unlink().await;
    until(async || (middleman.connections() > before).then_some(())).await;
    // A connection subscribes anew before it publishes anything.
    until(async || {
        publisher.publish("round", b"").await.ok()?;
        let next = tokio::time::timeout(Duration::from_millis(200), round.next());
        next.await.ok().flatten()
    })
    .await;
    let nobody = nats.request("a", "2".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
}

/// One message is under way for as long as the link from before is waited for.
#[tokio::test]
async fn a_link_that_changes_is_subscribed_all_the_while() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let say = |message: &support::Message| match message.text() {
        "slow" => Said::After(Duration::from_secs(60)),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    lattice.source("listener", &[("subscriptions", "a")]).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let inbox = nats.new_inbox();
    let mut told = nats.subscribe(inbox.clone()).await.unwrap();
    nats.publish("a", "slow".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "slow");
    let changed = [("subscriptions", "a,b"), ("max_in_flight", "1")];
    lattice.source("listener", &changed).await;
    let until_new = async { while heard.next().await.text() != "new" {} };
    let mut until_new = pin!(tokio::time::timeout(PATIENCE, until_new));
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            in_time = &mut until_new => break in_time.unwrap(),
            _ = ticks.tick() => {
                let sent = nats.publish_with_reply("a", inbox.clone(), "x".into());
                sent.await.unwrap();
                nats.publish("b", "new".into()).await.unwrap();
            }
        }
    }
    // The server would have said by now that nobody listens.
    taken_in(&nats).await.unwrap();
    assert!(told.next().now_or_never().is_none());
}
