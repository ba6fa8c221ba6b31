//! What links require of their provider, and what callers are told of it.

use super::*;

#[tokio::test]
async fn a_link_that_requires_what_is_not_there_is_refused_by_name() {
    let requires = [("require", "cas, ttl, max-value-bytes>=4096")];
    let mut host = Host::start(vec![link("counter", "kv", &requires)]).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
    assert_eq!(host.told().await, "delete target counter keyvalue default");
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    assert_eq!(
        report.reason.as_deref(),
        Some(
            "the link requires `ttl`, `max-value-bytes>=4096`, which telltale does not have here; \
             it has `cas`, `max-value-bytes=1024`"
        )
    );
    let met = [("require", "cas, max-value-bytes>=1024")];
    host.put(&link("counter", "kv", &met)).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn what_a_backend_lacks_that_has_gone_is_not_final() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone");
    std::fs::write(&file, "").unwrap();
    let path = file.display().to_string();
    let config = [("gone", &*path), ("require", "ttl")];
    let mut host = Host::start(vec![link("counter", "kv", &config)]).await;
    let reason = host.report().await.reason.unwrap();
    assert_eq!(reason, format!("`{path}` is there"));
    std::fs::remove_file(&file).unwrap();
    let reason = host.report().await.reason.unwrap();
    assert!(reason.starts_with("the link requires `ttl`"), "{reason}");
}

#[tokio::test]
async fn a_link_from_the_provider_is_held_to_what_it_requires_too() {
    let from_provider = |required| link("kv", "counter", &[("require", required)]);
    let mut host = Host::start(vec![from_provider("ttl")]).await;
    assert_eq!(host.told().await, "put source counter keyvalue default v=-");
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    let reason = report.reason.unwrap();
    assert!(reason.starts_with("the link requires `ttl`"), "{reason}");
    host.put(&from_provider("cas")).await;
    assert_eq!(host.told().await, "put source counter keyvalue default v=-");
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn callers_are_told_the_features_of_their_link() {
    let mut host = Host::start(vec![link("counter", "kv", &[])]).await;
    host.told().await;
    host.report().await;
    let peer = Peer::new(host.nats.clone(), PeerConfig::default());
    let peer = peer.await.unwrap();
    let prefix = RpcPrefix::new(&host.lattice, &host.provider);
    let ask = async |source: &str| {
        let subject = prefix.invocation("lattice:provider/describe@0.1.0", "describe");
        let call = Invocation::new(subject, Instant::now() + PATIENCE).source(source);
        peer.call(call.link_name("default"), "".into()).await
    };
    let told = ask("counter").await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        &b"\x00\x08telltale"[..],
        &[u8::try_from(version.len()).unwrap()],
        version.as_bytes(),
        b"\x02\x03cas\x03yes\x0fmax-value-bytes\x041024",
    ];
    assert_eq!(told, expected.concat());
    // Whoever imports the interface has a link for it, of which the provider does not hear.
    let mut question = link("counter", "kv", &[]);
    question.wit_namespace = "lattice".into();
    question.wit_package = "provider".into();
    host.put(&question).await;
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Ready);
    assert_eq!(report.wit_package, "provider");
    assert_eq!(ask("counter").await.unwrap(), told);
    host.delete(&question).await;
    host.expect_quiet("of a question").await;
    let refused = ask("stranger").await.unwrap();
    assert_eq!(refused[0], 1, "{refused:?}");
    assert!(refused.windows(8).any(|word| word == b"stranger"));
}

#[tokio::test]
async fn a_backend_that_goes_fails_its_link_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone");
    let path = file.display().to_string();
    let mut host = Host::start(vec![link("counter", "kv", &[("gone", &path)])]).await;
    assert_eq!(host.report().await.state, LinkState::Ready);
    std::fs::write(&file, "").unwrap();
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    assert_eq!(report.reason, Some(format!("`{path}` is there")));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(host.report().await.state, LinkState::Ready);
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
    // It was neither deleted nor put again.
    host.expect_quiet("same").await;
}
