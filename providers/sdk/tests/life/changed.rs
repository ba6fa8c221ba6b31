//! Links that change while they are served, at a provider that can take one in the place of another.

use super::*;

const IN_FORCE: &str = "; the settings from before are still in force";

fn to_counter(v: &str, replace: &str) -> ResolvedLink {
    link("kv", "counter", &[("v", v), ("replace", replace)])
}

/// A provider that serves a link.
async fn serving() -> Host {
    let mut host = Host::start(vec![to_counter("1", "yes")]).await;
    assert_eq!(host.told().await, "put source counter keyvalue default v=1");
    assert_eq!(host.report().await.state, LinkState::Ready);
    host
}

async fn refused(host: &mut Host, why: &str) {
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    assert_eq!(report.reason, Some(format!("{why}{IN_FORCE}")));
}

#[tokio::test]
async fn a_changed_link_takes_the_place_of_the_old_one() {
    let mut host = serving().await;
    for (before, now) in [("1", "2"), ("2", "3")] {
        host.put(&to_counter(now, "yes")).await;
        let replaced = format!("replace source counter v={before} by v={now}");
        assert_eq!(host.told().await, replaced);
        assert_eq!(host.report().await.state, LinkState::Ready);
    }
    host.delete(&to_counter("3", "yes")).await;
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    assert_eq!(host.told().await, "forget source counter keyvalue default");
}

#[tokio::test]
async fn a_change_that_is_refused_leaves_the_old_link_in_force() {
    let mut host = serving().await;
    let bad = to_counter("2", "invalid");
    let answer = host.put_asking(&bad).await;
    let reason = format!("no such thing{IN_FORCE}");
    assert_eq!(
        answer,
        format!(r#"{{"accepted":false,"reason":"{reason}"}}"#)
    );
    refused(&mut host, "no such thing").await;
    assert_eq!(host.health().await.links[0].reason, Some(reason));
    host.expect_quiet("refused").await;
    // What is in force needs nothing to be so again.
    host.put(&to_counter("1", "yes")).await;
    assert_eq!(host.report().await.state, LinkState::Ready);
    host.expect_quiet("back").await;
    host.put(&bad).await;
    refused(&mut host, "no such thing").await;
    host.put(&to_counter("3", "yes")).await;
    assert_eq!(host.told().await, "replace source counter v=1 by v=3");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_link_that_is_deleted_after_a_refusal_is_let_go() {
    let mut host = serving().await;
    let bad = to_counter("2", "invalid");
    host.put(&bad).await;
    refused(&mut host, "no such thing").await;
    host.delete(&bad).await;
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    assert_eq!(host.told().await, "forget source counter keyvalue default");
    assert!(host.health().await.links.is_empty());
}

#[tokio::test]
async fn a_change_that_cannot_be_made_yet_is_made_later() {
    let mut host = serving().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("needed");
    let needs = file.display().to_string();
    let values = [("v", "2"), ("replace", "yes"), ("needs", &*needs)];
    host.put(&link("kv", "counter", &values)).await;
    refused(&mut host, &format!("`{needs}` is missing")).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(host.told().await, "replace source counter v=1 by v=2");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_change_that_takes_long_gives_way_to_the_next_wish() {
    let mut host = serving().await;
    host.put(&to_counter("2", "hang")).await;
    host.expect_quiet("begun").await;
    host.put(&to_counter("3", "yes")).await;
    assert_eq!(host.told().await, "replace source counter v=1 by v=3");
    assert_eq!(host.report().await.state, LinkState::Ready);
    let hangs = to_counter("4", "hang");
    host.put(&hangs).await;
    host.expect_quiet("begun again").await;
    host.delete(&hangs).await;
    assert_eq!(host.told().await, "delete source counter keyvalue default");
}

/// Nobody knows what the provider has made of it.
#[tokio::test]
async fn a_panic_over_a_change_has_the_link_put_anew() {
    let mut host = serving().await;
    host.put(&to_counter("2", "panic")).await;
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    assert_eq!(host.told().await, "put source counter keyvalue default v=2");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_config_that_concerns_the_links_leaves_them_their_places() {
    let mut host = serving().await;
    let config = r#"{"relink":"yes"}"#;
    let subject = host.subjects.config_update();
    host.nats.publish(subject, config.into()).await.unwrap();
    assert_eq!(host.told().await, format!("config {config}"));
    assert_eq!(host.told().await, "replace source counter v=1 by v=1");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_changed_link_is_held_to_what_it_requires() {
    let mut host = serving().await;
    let values = [("v", "2"), ("replace", "yes"), ("require", "ttl")];
    host.put(&link("kv", "counter", &values)).await;
    assert_eq!(host.told().await, "replace source counter v=1 by v=2");
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    let reason = report.reason.unwrap();
    assert!(reason.starts_with("the link requires `ttl`"), "{reason}");
}

#[tokio::test]
async fn links_come_in_the_order_in_which_they_are_told() {
    let of = |peer: &str, v: &str| link(peer, "kv", &[("v", v)]);
    let mut host = Host::start(vec![of("z", "1"), of("a", "1")]).await;
    for _ in 0..2 {
        host.told().await;
    }
    // A change brings nothing new, but one that was deleted comes back.
    host.put(&of("a", "2")).await;
    assert_eq!(host.told().await, "delete target a keyvalue default");
    assert_eq!(host.told().await, "put target a keyvalue default v=2");
    host.delete(&of("z", "1")).await;
    host.put(&of("z", "1")).await;
    let (subject, config) = (host.subjects.config_update(), r#"{"order":"yes"}"#);
    host.nats.publish(subject, config.into()).await.unwrap();
    assert_eq!(host.told().await, format!("config {config}"));
    assert_eq!(host.told().await, "came z a z");
}
