//! The client against a real etcd.

use std::time::Duration;

use anyhow::Result;
use lattice_core::provider::SecretText;
use lattice_etcd::{
    Code, Compare, Delete, Etcd, EtcdError, EtcdOptions, EventKind, Op, Put, Range, Relation,
    SortBy, Txn, Watch,
};
use lattice_services::{Kind, Service};

async fn etcd() -> Result<(Service, Etcd)> {
    let service = Service::start(Kind::Etcd).await?;
    let client = Etcd::new(EtcdOptions::at([service.url()]))?;
    Ok((service, client))
}

#[tokio::test]
async fn keys_are_written_read_in_pages_and_deleted() -> Result<()> {
    let (_service, etcd) = etcd().await?;
    let binary: &[u8] = &[0, 255, b'/', 10];
    for n in 0..5 {
        etcd.put(Put::new(format!("k/{n}"), binary)).await?;
    }
    let page = etcd.range(Range::prefix("k/").limit(2)).await?;
    assert_eq!((page.pairs.len(), page.more, page.count), (2, true, 5));
    assert_eq!(page.pairs[1].key, "k/1");
    assert_eq!(page.pairs[1].value, binary);
    let rest = Range::between("k/1\0", "k0").at_revision(page.revision);
    let rest = etcd.range(rest.keys_only()).await?;
    assert_eq!((rest.pairs.len(), rest.more), (3, false));
    assert!(rest.pairs[0].value.is_empty());
    let last = Range::prefix("").descending(SortBy::Create).limit(1);
    assert_eq!(etcd.range(last).await?.first().unwrap().key, "k/4");
    assert_eq!(etcd.range(Range::prefix("k/").count_only()).await?.count, 5);
    let put = etcd.put(Put::new("k/0", "").with_previous()).await?;
    assert_eq!(put.previous.unwrap().value, binary);
    assert_eq!(etcd.delete(Delete::key("k/9")).await?.count, 0);
    assert_eq!(etcd.delete(Delete::prefix("k/")).await?.count, 5);
    assert!(etcd.range(Range::key("k/0")).await?.first().is_none());
    Ok(())
}

#[tokio::test]
async fn transactions_compare_first() -> Result<()> {
    let (_service, etcd) = etcd().await?;
    let make = || {
        Txn::when(Compare::absent("a"))
            .then(Op::Put(Put::new("a", "1")))
            .otherwise(Op::Range(Range::key("a")))
    };
    let made = etcd.txn(make()).await?;
    assert!(made.succeeded);
    let again = etcd.txn(make()).await?;
    assert!(!again.succeeded);
    let found = again.ranged().unwrap().first().unwrap();
    assert_eq!(found.create_revision, made.revision);
    for (compare, holds) in [
        (Compare::value("a", Relation::Equal, "1"), true),
        (Compare::value("a", Relation::Equal, "2"), false),
        (Compare::value("b", Relation::NotEqual, "2"), false),
        (Compare::lease("a", Relation::Equal, 0), true),
        (
            Compare::mod_revision("a", Relation::Less, made.revision),
            false,
        ),
        (
            Compare::mod_revision("a", Relation::Greater, made.revision - 1),
            true,
        ),
        (Compare::present("a"), true),
    ] {
        let asked = etcd.txn(Txn::when(compare.clone())).await?;
        assert_eq!(asked.succeeded, holds, "{compare:?}");
    }
    Ok(())
}

#[tokio::test]
async fn leases_are_kept_and_end() -> Result<()> {
    let (_service, etcd) = etcd().await?;
    let lease = etcd.grant(Duration::from_millis(1500)).await?;
    assert_eq!(lease.ttl, Duration::from_secs(2));
    etcd.put(Put::new("mine", "").lease(lease.id)).await?;
    assert_eq!(etcd.keep_alive(lease.id).await?, Some(lease.ttl));
    let left = etcd.time_to_live(lease.id).await?.unwrap();
    assert_eq!(left.granted, lease.ttl);
    let mut watch = etcd.watch(Watch::key("mine").deletes_only()).await?;
    let ended = tokio::time::timeout(Duration::from_secs(8), watch.next()).await??;
    assert_eq!(ended.events[0].kind, EventKind::Delete);
    assert_eq!(etcd.keep_alive(lease.id).await?, None);
    assert_eq!(etcd.time_to_live(lease.id).await?, None);
    assert!(!etcd.revoke(lease.id).await?);
    let other = etcd.grant(Duration::from_secs(60)).await?;
    etcd.put(Put::new("mine", "").lease(other.id)).await?;
    assert!(etcd.revoke(other.id).await?);
    assert!(etcd.range(Range::key("mine")).await?.first().is_none());
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_all_changes_since_a_revision() -> Result<()> {
    let (_service, etcd) = etcd().await?;
    let first = etcd.put(Put::new("w/1", "x")).await?.revision;
    etcd.delete(Delete::key("w/1")).await?;
    let mut watch = etcd.watch(Watch::prefix("w/").from_revision(first)).await?;
    etcd.put(Put::new("v", "not watched")).await?;
    let last = etcd.put(Put::new("w/2", "y")).await?.revision;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let events = tokio::time::timeout(Duration::from_secs(5), watch.next()).await??;
        seen.extend(events.events);
    }
    let kinds: Vec<_> = seen.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Put, EventKind::Delete, EventKind::Put]);
    assert_eq!(
        (&seen[0].pair.value[..], seen[2].pair.mod_revision),
        (&b"x"[..], last)
    );
    Ok(())
}

#[tokio::test]
async fn refusals_come_with_code_and_words() -> Result<()> {
    let (_service, etcd) = etcd().await?;
    let error = etcd.put(Put::new("", "x")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::INVALID_ARGUMENT));
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("key is not provided"), "{error}");
    let error = etcd.range(Range::key("a").at_revision(999)).await;
    assert_eq!(error.unwrap_err().code(), Some(Code::OUT_OF_RANGE));
    for size in [1_600_000, 3_000_000] {
        let error = etcd.put(Put::new("big", vec![0; size])).await.unwrap_err();
        assert!(
            error.is_too_large() && !error.may_have_happened(),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn another_endpoint_is_taken_when_one_is_gone() -> Result<()> {
    let (service, _) = etcd().await?;
    // Nobody listens on the port of a listener that is gone.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await?
        .local_addr()?;
    let both = EtcdOptions::at([format!("http://{gone}"), service.url().to_string()]);
    let etcd = Etcd::new(both)?;
    etcd.put(Put::new("a", "1")).await?;
    assert!(etcd.range(Range::key("a")).await?.first().is_some());
    let alone = Etcd::new(EtcdOptions::at([gone.to_string()]))?;
    let error = alone.put(Put::new("a", "1")).await.unwrap_err();
    assert!(
        error.is_unavailable() && !error.may_have_happened(),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_dead_etcd_is_an_error_and_a_living_one_is_found_again() -> Result<()> {
    let (mut service, etcd) = etcd().await?;
    etcd.put(Put::new("a", "1")).await?;
    let mut watch = etcd.watch(Watch::key("a")).await?;
    service.kill();
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.next()).await?;
    assert!(ended.unwrap_err().is_unavailable());
    assert!(
        etcd.range(Range::key("a"))
            .await
            .unwrap_err()
            .is_unavailable()
    );
    service.start_again().await?;
    assert_eq!(etcd.range(Range::key("a")).await?.count, 1);
    Ok(())
}

#[tokio::test]
async fn a_silent_etcd_is_given_up() -> Result<()> {
    let service = Service::start(Kind::Etcd).await?;
    let mut options = EtcdOptions::at([service.url()]);
    options.answer_limit = Duration::from_millis(300);
    let etcd = Etcd::new(options)?;
    etcd.status().await?;
    service.freeze()?;
    let error = etcd.put(Put::new("a", "1")).await.unwrap_err();
    assert!(matches!(error, EtcdError::NoAnswer { .. }), "{error:?}");
    assert!(error.may_have_happened());
    service.thaw()?;
    Ok(())
}

/// Turns logins on, through the gateway itself.
async fn lock_up(url: &str) -> Result<()> {
    let http = lattice_backend_http::HttpBackend::new(Default::default())?;
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"top"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("user/add", r#"{"name":"me","password":"word"}"#),
        ("role/add", r#"{"name":"mine"}"#),
        (
            "role/grant",
            r#"{"name":"mine","perm":{"permType":"READWRITE","key":"bQ==","range_end":"bg=="}}"#,
        ),
        ("user/grant", r#"{"user":"me","role":"mine"}"#),
        ("auth/enable", "{}"),
    ] {
        let path = match path {
            "auth/enable" => path.to_owned(),
            other => format!("auth/{other}"),
        };
        let request = http::Request::post(format!("{url}/v3/{path}")).body(body.into())?;
        let answer = http.ask(request).await?;
        anyhow::ensure!(answer.status().is_success(), "{path}: {:?}", answer.body());
    }
    Ok(())
}

#[tokio::test]
async fn a_user_may_do_what_the_role_allows() -> Result<()> {
    let (service, anyone) = etcd().await?;
    lock_up(&service.url().to_string()).await?;
    let error = anyone.put(Put::new("m", "1")).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    let with = |word: &str| {
        let mut options = EtcdOptions::at([service.url()]);
        options.login = Some(("me".to_owned(), SecretText::new(word)));
        Etcd::new(options)
    };
    let me = with("word")?;
    me.put(Put::new("m", "1")).await?;
    let error = me.put(Put::new("z", "1")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::PERMISSION_DENIED));
    let error = with("wrong")?.put(Put::new("m", "1")).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    Ok(())
}
