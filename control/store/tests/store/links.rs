//! Specs and links.

use lattice_core::record::{ComponentSpec, StoredClaims, StoredProviderClaims};
use lattice_core::{ComponentId, ErrorCode, LinkKey};
use lattice_store::{DeletedLink, LatticeStore, PutLinkError, StoreError};

use crate::{config, config_name, link, raw, soon, started, store};

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

#[tokio::test]
async fn records_have_the_format_of_the_recording() {
    let (nats, store) = started().await;
    store
        .links()
        .ensure_spec(&id("blob"), "file:///components/http_blobstore.wasm")
        .await
        .unwrap();
    store
        .configs()
        .put(&config_name("fs"), &config("v"))
        .await
        .unwrap();
    let mut new = link("blob", "fs", "default");
    new.wit_package = "blobstore".into();
    new.interfaces = ["blobstore", "container", "types"]
        .map(str::to_owned)
        .to_vec();
    new.target_config = vec!["fs".into()];
    store.put_link(&new).await.unwrap();
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    let record = bucket.get("COMPONENT_blob").await.unwrap().unwrap();
    assert_eq!(
        std::str::from_utf8(&record).unwrap(),
        r#"{"url":"file:///components/http_blobstore.wasm","links":[{"source_id":"blob","target":"fs","name":"default","wit_namespace":"wasi","wit_package":"blobstore","interfaces":["blobstore","container","types"],"source_config":[],"target_config":["fs"]}]}"#
    );
}

#[tokio::test]
async fn a_link_may_come_before_its_source() {
    let (_nats, store) = started().await;
    store.links().put(&link("a", "b", "default")).await.unwrap();
    store
        .links()
        .ensure_spec(&id("a"), "file:///a.wasm")
        .await
        .unwrap();
    let spec = store.links().spec(&id("a")).await.unwrap().unwrap();
    assert_eq!((spec.url.as_str(), spec.links.len()), ("", 1));
}

#[tokio::test]
async fn configs_that_do_not_exist_are_named_all_at_once() {
    let (_nats, store) = started().await;
    let mut new = link("a", "b", "default");
    new.source_config = vec!["one".into()];
    new.target_config = vec!["SECRET_two".into()];
    let error = store.put_link(&new).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::MissingConfig);
    assert_eq!(
        error.to_string(),
        "Failed to validate configuration and secrets. Configuration one not found in config \
         store, Secret reference SECRET_two not found in config store"
    );
    assert!(store.links().spec(&id("a")).await.unwrap().is_none());
    store
        .configs()
        .put(&config_name("one"), &config("v"))
        .await
        .unwrap();
    store
        .configs()
        .put(&config_name("SECRET_two"), &config("v"))
        .await
        .unwrap();
    store.put_link(&new).await.unwrap();
}

#[tokio::test]
async fn conflicts_are_refused_and_name_the_other_link() {
    let (_nats, store) = started().await;
    store.put_link(&link("a", "b", "default")).await.unwrap();
    let error = store
        .put_link(&link("a", "c", "default"))
        .await
        .unwrap_err();
    let PutLinkError::Conflict { existing } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(existing.target, "b");
    store.put_link(&link("a", "c", "second")).await.unwrap();
    let replaced = store.put_link(&link("a", "b", "default")).await.unwrap();
    assert_eq!(replaced, Some(link("a", "b", "default")));
    assert_eq!(
        store
            .links()
            .spec(&id("a"))
            .await
            .unwrap()
            .unwrap()
            .links
            .len(),
        2
    );
}

#[tokio::test]
async fn names_of_several_tokens_are_refused_by_name() {
    let (_nats, store) = started().await;
    let error = store
        .put_link(&link("a.b", "c", "default"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidId);
    assert!(error.to_string().contains("`a.b`"), "{error}");
    assert!(error.hint().unwrap().contains("no dots"));
    let mut dotted = link("a", "b", "default");
    dotted.target_config = vec!["x.y".into()];
    let error = store.put_link(&dotted).await.unwrap_err();
    assert!(error.to_string().contains("`x.y`"), "{error}");
}

#[tokio::test]
async fn deletion_tells_what_it_found() {
    let (_nats, store) = started().await;
    let key = LinkKey::new("a", "wasi", "keyvalue", "default").unwrap();
    let links = store.links();
    assert_eq!(links.delete(&key).await.unwrap(), DeletedLink::NoSpec);
    let new = link("a", "b", "default");
    links.put(&new).await.unwrap();
    assert_eq!(links.delete(&key).await.unwrap(), DeletedLink::Removed(new));
    assert_eq!(links.delete(&key).await.unwrap(), DeletedLink::NoMatch);
}

#[tokio::test]
async fn two_hosts_that_link_one_source_at_the_same_time_lose_nothing() {
    let (nats, one) = started().await;
    let other = store(&nats).await;
    let put_all = async |store: LatticeStore, side: &str| {
        let puts = (0..100).map(|n| {
            let (store, link) = (store.clone(), link("a", "b", &format!("{side}{n}")));
            async move { store.links().put(&link).await }
        });
        futures::future::join_all(puts).await
    };
    let results = soon("puts", async {
        futures::join!(put_all(one.clone(), "left"), put_all(other, "right"))
    })
    .await;
    for result in results.0.into_iter().chain(results.1) {
        result.unwrap();
    }
    let spec = one.links().spec(&id("a")).await.unwrap().unwrap();
    assert_eq!(spec.links.len(), 200);
}

#[tokio::test]
async fn puts_and_deletes_of_two_hosts_do_not_undo_each_other() {
    let (nats, one) = started().await;
    let other = store(&nats).await;
    for n in 0..30 {
        one.links()
            .put(&link("a", "b", &format!("old{n}")))
            .await
            .unwrap();
    }
    let deletes = async {
        for n in 0..30 {
            let key = LinkKey::new("a", "wasi", "keyvalue", &format!("old{n}")).unwrap();
            let deleted = one.links().delete(&key).await.unwrap();
            assert!(matches!(deleted, DeletedLink::Removed(_)));
        }
    };
    let puts = async {
        for n in 0..30 {
            other
                .links()
                .put(&link("a", "b", &format!("new{n}")))
                .await
                .unwrap();
        }
    };
    soon("changes", async { futures::join!(deletes, puts) }).await;
    let spec = one.links().spec(&id("a")).await.unwrap().unwrap();
    assert_eq!(spec.links.len(), 30);
    assert!(spec.links.iter().all(|link| link.name.starts_with("new")));
}

#[tokio::test]
async fn a_deleted_spec_can_be_written_again() {
    let (nats, store) = started().await;
    store.links().put(&link("a", "b", "default")).await.unwrap();
    raw(&nats, "LATTICEDATA_default")
        .await
        .delete("COMPONENT_a")
        .await
        .unwrap();
    assert!(store.links().spec(&id("a")).await.unwrap().is_none());
    store.links().put(&link("a", "c", "default")).await.unwrap();
    store.links().delete_spec(&id("a")).await.unwrap();
    store
        .links()
        .ensure_spec(&id("a"), "file:///a.wasm")
        .await
        .unwrap();
    assert_eq!(
        store.links().spec(&id("a")).await.unwrap().unwrap().url,
        "file:///a.wasm"
    );
}

#[tokio::test]
async fn a_spec_that_was_deleted_since_is_not_written_back() {
    let (_nats, store) = started().await;
    let known = ComponentSpec {
        links: vec![link("a", "b", "default")],
        ..ComponentSpec::default()
    };
    let links = store.links();
    links
        .restore(&id("a"), 0, || Some(known.clone()))
        .await
        .unwrap();
    assert_eq!(links.spec(&id("a")).await.unwrap(), Some(known.clone()));
    links.delete_spec(&id("a")).await.unwrap();
    links
        .restore(&id("a"), 0, || Some(known.clone()))
        .await
        .unwrap();
    assert_eq!(links.spec(&id("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_spec_that_was_deleted_in_an_older_copy_of_the_store_only_is_written_back() {
    let (nats, store) = started().await;
    let known = ComponentSpec {
        links: vec![link("a", "b", "default")],
        ..ComponentSpec::default()
    };
    let links = store.links();
    links.put(&known.links[0]).await.unwrap();
    links.delete_spec(&id("a")).await.unwrap();
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    let deletion = bucket.entry("COMPONENT_a").await.unwrap().unwrap().revision;
    let (a, told) = (id("a"), || Some(known.clone()));
    links.restore(&a, deletion - 1, told).await.unwrap();
    assert_eq!(links.spec(&a).await.unwrap(), None);
    links.restore(&a, deletion, told).await.unwrap();
    assert_eq!(links.spec(&id("a")).await.unwrap(), Some(known.clone()));
}

#[tokio::test]
async fn a_record_that_is_no_spec_is_not_overwritten() {
    let (nats, store) = started().await;
    raw(&nats, "LATTICEDATA_default")
        .await
        .put("COMPONENT_a", "oops".into())
        .await
        .unwrap();
    let error = store
        .links()
        .put(&link("a", "b", "default"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PutLinkError::Store(StoreError::Malformed { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("COMPONENT_a"));
}

#[tokio::test]
async fn claims_are_kept_under_their_subject() {
    let (nats, store) = started().await;
    let claims = StoredClaims::Provider(StoredProviderClaims {
        issuer: "A".into(),
        name: "kv".into(),
        revision: "1".into(),
        subject: "VABC".into(),
        version: "0.1.0".into(),
        config_schema: None,
        expires: None,
    });
    store.claims().put(&claims).await.unwrap();
    let bucket = raw(&nats, "LATTICEDATA_default").await;
    let revision = bucket.entry("CLAIMS_VABC").await.unwrap().unwrap().revision;
    store.claims().put(&claims).await.unwrap();
    assert_eq!(
        bucket.entry("CLAIMS_VABC").await.unwrap().unwrap().revision,
        revision
    );
    assert_eq!(store.claims().get("VABC").await.unwrap(), Some(claims));
    store.claims().delete("VABC").await.unwrap();
    assert_eq!(store.claims().get("VABC").await.unwrap(), None);
    assert!(store.claims().get("a.b").await.is_err());
}
