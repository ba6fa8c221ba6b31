//! Links that are deleted, and what is left of them.

use super::*;

#[tokio::test]
async fn a_deletion_followed_by_a_put_leaves_the_new_link() {
    let mut host = Host::start(vec![link("counter", "kv", &[("v", "0")])]).await;
    host.told().await;
    for v in ["1", "2", "3"] {
        let next = link("counter", "kv", &[("v", v)]);
        host.delete(&link("counter", "kv", &[])).await;
        host.put(&next).await;
        assert_eq!(host.told().await, "delete target counter keyvalue default");
        let put = format!("put target counter keyvalue default v={v}");
        assert_eq!(host.told().await, put);
    }
    host.delete(&link("counter", "kv", &[])).await;
    assert_eq!(host.told().await, "delete target counter keyvalue default");
    let empty = async { while !host.health().await.links.is_empty() {} };
    tokio::time::timeout(PATIENCE, empty).await.unwrap();
}

/// Calls that were on their way to it are served, and a link that comes back meanwhile is not begun anew.
#[tokio::test]
async fn a_deleted_link_is_kept_for_a_short_time() {
    let own = link("counter", "kv", &[("v", "1")]);
    let mut host = Host::start(vec![own.clone()]).await;
    host.told().await;
    assert_eq!(host.report().await.state, LinkState::Ready);
    host.delete(&own).await;
    let gone = async { while !host.health().await.links.is_empty() {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    host.put(&own).await;
    assert_eq!(host.report().await.state, LinkState::Ready);
    host.expect_quiet("kept").await;
    // Who says again that it is gone does not keep it for longer.
    let began = Instant::now();
    let told = loop {
        host.delete(&own).await;
        let soon = Duration::from_millis(100);
        if let Ok(told) = tokio::time::timeout(soon, host.told()).await {
            break told;
        }
        assert!(began.elapsed() < PATIENCE, "the link is kept for ever");
    };
    assert_eq!(told, "delete target counter keyvalue default");
    assert!(began.elapsed() > Duration::from_secs(1), "not kept at all");
    host.put(&own).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=1");
}

/// What a backend keeps for it outlasts a change of the link, and a deletion that is taken back.
#[tokio::test]
async fn a_link_from_the_provider_is_forgotten_when_it_is_gone_for_good() {
    let own = link("kv", "counter", &[("v", "1")]);
    let mut host = Host::start(vec![own.clone()]).await;
    host.told().await;
    host.put(&link("kv", "counter", &[("v", "2")])).await;
    for expected in ["delete source counter", "put source counter"] {
        let told = host.told().await;
        assert!(told.starts_with(expected), "{told}");
    }
    for _ in 0..2 {
        host.delete(&own).await;
        assert_eq!(host.told().await, "delete source counter keyvalue default");
        host.put(&own).await;
        let told = host.told().await;
        assert_eq!(told, "put source counter keyvalue default v=1");
    }
    host.delete(&own).await;
    let began = Instant::now();
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    assert_eq!(host.told().await, "forget source counter keyvalue default");
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "forgotten at once"
    );
    // One that was never taken has left something behind in another life, maybe.
    let wrong = link("kv", "counter", &[("behave", "invalid")]);
    host.put(&wrong).await;
    while host.report().await.state != LinkState::Failed {}
    host.delete(&wrong).await;
    assert_eq!(host.told().await, "forget source counter keyvalue default");
}

#[tokio::test]
async fn a_link_to_the_provider_that_was_never_taken_is_forgotten_when_it_is_gone() {
    let mut host = Host::start(Vec::new()).await;
    let wrong = link("counter", "kv", &[("behave", "invalid"), ("keeps", "1")]);
    host.put(&wrong).await;
    while host.report().await.state != LinkState::Failed {}
    host.expect_quiet("refused").await;
    host.delete(&wrong).await;
    assert_eq!(host.told().await, "forget target counter keyvalue default");
}

/// Other processes of the provider go on with what the backend keeps for it.
#[tokio::test]
async fn a_link_that_only_this_process_does_without_is_not_forgotten() {
    let (kept, gone) = (link("kv", "kept", &[]), link("kv", "gone", &[]));
    let mut host = Host::start(vec![kept.clone(), gone.clone()]).await;
    for _ in 0..2 {
        host.told().await;
    }
    host.withdraw(&kept).await;
    assert_eq!(host.told().await, "delete source kept keyvalue default");
    host.delete(&gone).await;
    assert_eq!(host.told().await, "delete source gone keyvalue default");
    assert_eq!(host.told().await, "forget source gone keyvalue default");
    host.expect_quiet("withdrawn").await;
    host.put(&kept).await;
    assert_eq!(host.told().await, "put source kept keyvalue default v=-");
    host.withdraw(&kept).await;
    assert_eq!(host.told().await, "delete source kept keyvalue default");
    // Until it is deleted for all.
    host.delete(&kept).await;
    assert_eq!(host.told().await, "forget source kept keyvalue default");
}

#[tokio::test]
async fn a_provider_that_ends_forgets_links_that_are_gone_already() {
    let (gone, kept) = (link("kv", "gone", &[]), link("kv", "kept", &[]));
    let mut host = Host::start(vec![gone.clone(), kept]).await;
    for _ in 0..2 {
        host.told().await;
    }
    host.delete(&gone).await;
    assert_eq!(host.told().await, "delete source gone keyvalue default");
    host.stop.cancel();
    assert_eq!(host.told().await, "forget source gone keyvalue default");
    assert_eq!(host.told().await, "shutdown");
}
