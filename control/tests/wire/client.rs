//! What the client makes of answers, silence and absence.

use std::time::Duration;

use futures::StreamExt;
use lattice_control::types::{
    ComponentAuctionRequest, DeleteLinkRequest, ProviderAuctionRequest, ScaleComponentCommand,
    StartProviderCommand, UpdateComponentCommand,
};
use lattice_control::{Client, ClientConfig, ClientError, GatherOptions};
use lattice_core::{ConfigName, LatticeName, Link, LinkKey, Locality, StringMap};
use tokio::time::Instant;

use crate::fake::FakeHost;
use crate::{HOST, client, host, nats_box, other_host, serve};

fn config_name(name: &str) -> ConfigName {
    ConfigName::new(name).unwrap()
}

#[tokio::test]
async fn every_operation_works_over_the_wire() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let client = client(&nats).await;
    let host = host();
    let reference = " file:///a.wasm ".to_owned();
    let scale = ScaleComponentCommand {
        component_id: " a ".into(),
        component_ref: reference.clone(),
        count: 3,
        ..Default::default()
    };
    assert_eq!(client.scale_component(&host, scale).await.unwrap(), "");
    let stop = ScaleComponentCommand {
        component_id: "a".into(),
        ..Default::default()
    };
    assert_eq!(client.scale_component(&host, stop).await.unwrap(), "");
    assert_eq!(api.asked(), ["scale a to 3", "scale a to 0"]);
    let update = UpdateComponentCommand {
        component_id: "a".into(),
        new_component_ref: reference.clone(),
        ..Default::default()
    };
    let text = client.update_component(&host, update).await.unwrap();
    assert!(text.ends_with("to file:///a.wasm"), "{text}");
    let start = StartProviderCommand {
        provider_id: "kv".into(),
        provider_ref: reference,
        ..Default::default()
    };
    client.start_provider(&host, start).await.unwrap();
    client.stop_provider(&host, "kv").await.unwrap();
    assert_eq!(client.inventory(&host).await.unwrap().host_id, HOST);
    client.put_label(&host, " zone ", "a").await.unwrap();
    client.delete_label(&host, "zone").await.unwrap();
    assert!(api.asked().contains(&"label zone=a".to_owned()));
    assert!(client.claims().await.unwrap().is_empty());
    let stopped = client
        .stop_host(&host, Some(Duration::from_secs(2)))
        .await
        .unwrap();
    assert_eq!(stopped, "successfully handled stop host");
    assert!(api.asked().contains(&"stop within Some(2000)".to_owned()));
}

/// A link for `wasi:keyvalue/store`.
fn link(source: &str, target: &str) -> Link {
    Link {
        source_id: source.into(),
        target: target.into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["store".into()],
        source_config: vec![],
        target_config: vec![],
        locality: Locality::default(),
        rules: lattice_core::LinkRules::default(),
        status: vec![],
    }
}

#[tokio::test]
async fn a_link_keeps_its_locality_over_the_wire() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let client = client(&nats).await;
    let near = link("a", "b");
    let spread = Link {
        source_id: "c".into(),
        locality: Locality::Spread,
        ..near.clone()
    };
    client.put_link(&near).await.unwrap();
    client.put_link(&spread).await.unwrap();
    assert_eq!(client.links().await.unwrap(), [near, spread]);
}

#[tokio::test]
async fn links_and_configs_work_over_the_wire() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let client = client(&nats).await;
    let link = link(" a", "b ");
    assert_eq!(
        client.put_link(&link).await.unwrap(),
        "successfully set link"
    );
    assert_eq!(client.links().await.unwrap()[0].source_id, "a");
    let error = client
        .put_link(&Link {
            target: "c".into(),
            ..link
        })
        .await
        .unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("delete it"));
    let key = LinkKey::new("a", "wasi", "keyvalue", "default").unwrap();
    assert_eq!(
        client.delete_link(&key).await.unwrap(),
        "successfully deleted link"
    );
    let config = StringMap::from_iter([("address".to_owned(), "127.0.0.1:8000".to_owned())]);
    client
        .put_config(&config_name("http"), &config)
        .await
        .unwrap();
    assert_eq!(
        client.config(&config_name("http")).await.unwrap(),
        Some(config)
    );
    assert_eq!(client.config(&config_name("nothing")).await.unwrap(), None);
    let deleted = client.delete_config(&config_name("http")).await.unwrap();
    assert_eq!(deleted, "successfully deleted config");
}

#[tokio::test]
async fn a_link_that_is_stored_is_deleted_whatever_its_names_are() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let client = client(&nats).await;
    let stored = Link {
        name: "a\tb".into(),
        wit_package: "keyvalue@0.2.0".into(),
        ..link("a", "b")
    };
    let request = DeleteLinkRequest::of(&stored);
    assert!(request.means(&stored) && !request.means(&link("a", "b")));
    client.delete_stored_link(&request).await.unwrap();
    assert_eq!(api.asked(), ["delete a wasi:keyvalue@0.2.0 a\tb"]);
    let nobody = DeleteLinkRequest {
        source_id: "a.b".into(),
        ..request
    };
    let error = client.delete_stored_link(&nobody).await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidName(_)), "{error:?}");
}

#[tokio::test]
async fn bad_names_are_refused_before_anything_is_sent() {
    let nats = nats_box().await;
    let client = client(&nats).await;
    let blank = ScaleComponentCommand {
        component_id: " ".into(),
        ..Default::default()
    };
    let error = client.scale_component(&host(), blank).await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidName(_)), "{error:?}");
    assert!(client.stop_provider(&host(), "a.b").await.is_err());
    assert!(client.put_label(&host(), " ", "v").await.is_err());
    let no_image = StartProviderCommand {
        provider_id: "a".into(),
        ..Default::default()
    };
    let error = client.start_provider(&host(), no_image).await.unwrap_err();
    assert!(error.to_string().contains("image reference"), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_there_and_one_that_is_silent_are_told_apart() {
    let nats = nats_box().await;
    let config = ClientConfig {
        timeout: Duration::from_millis(300),
        ..ClientConfig::default()
    };
    let client = Client::new(nats.client().await.unwrap(), config);
    let error = client.inventory(&host()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NoResponders { .. }),
        "{error:?}"
    );
    assert!(error.is_unreachable() && error.to_string().contains(HOST));
    let silent = nats.client().await.unwrap();
    let mut requests = silent.subscribe("wasmbus.ctl.v1.default.>").await.unwrap();
    // A round trip: now the server knows the subscription.
    silent.request("nobody", "".into()).await.unwrap_err();
    let error = client.inventory(&host()).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert!(requests.next().await.is_some());
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_told_apart() {
    let nats = nats_box().await;
    let odd = nats.client().await.unwrap();
    let mut requests = odd.subscribe("wasmbus.ctl.v1.default.>").await.unwrap();
    odd.request("nobody", "".into()).await.unwrap_err();
    let client = client(&nats).await;
    let answers = async {
        for answer in ["oops", r#"{"success":true,"message":""}"#] {
            let request = requests.next().await.unwrap();
            odd.publish(request.reply.unwrap(), answer.into())
                .await
                .unwrap();
        }
    };
    let asks = async { (client.claims().await, client.claims().await) };
    let ((first, second), ()) = futures::join!(asks, answers);
    assert!(
        matches!(first, Err(ClientError::BadReply { .. })),
        "{first:?}"
    );
    assert!(
        matches!(second, Err(ClientError::NoData { .. })),
        "{second:?}"
    );
}

#[tokio::test]
async fn all_hosts_answer_a_ping_and_a_lattice_without_hosts_is_empty() {
    let nats = nats_box().await;
    let client = client(&nats).await;
    assert!(
        client
            .ping(GatherOptions::default())
            .await
            .unwrap()
            .is_empty()
    );
    let (one, other) = (FakeHost::new(HOST), FakeHost::new(other_host().as_str()));
    let _servers = (
        serve(&nats, host(), &one).await,
        serve(&nats, other_host(), &other).await,
    );
    let both = GatherOptions {
        max_replies: Some(2),
        ..GatherOptions::default()
    };
    let mut ids: Vec<_> = client
        .ping(both)
        .await
        .unwrap()
        .into_iter()
        .map(|h| h.id)
        .collect();
    ids.sort();
    assert_eq!(ids, [HOST.to_owned(), other_host().to_string()]);
    let short = GatherOptions {
        max_bytes: Some(1),
        ..GatherOptions::default()
    };
    assert_eq!(client.ping(short).await.unwrap().len(), 1);
    let settled = GatherOptions {
        quiet: Some(Duration::from_secs(2)),
        ..GatherOptions::default()
    };
    let begun = Instant::now();
    assert_eq!(client.ping(settled).await.unwrap().len(), 2);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the silence after the answers ends the collection"
    );
}

#[tokio::test]
async fn only_hosts_that_qualify_bid() {
    let nats = nats_box().await;
    let client = client(&nats).await;
    let request = ComponentAuctionRequest {
        component_id: "a".into(),
        component_ref: "file:///a.wasm".into(),
        constraints: StringMap::from_iter([("zone".to_owned(), "a".to_owned())]),
    };
    let nobody = client
        .auction_component(request.clone(), GatherOptions::first())
        .await;
    assert!(
        matches!(nobody, Err(ClientError::NoResponders { .. })),
        "{nobody:?}"
    );
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let bids = client
        .auction_component(request.clone(), GatherOptions::first())
        .await
        .unwrap();
    assert_eq!((bids.len(), bids[0].host_id.as_str()), (1, HOST));
    let brief = GatherOptions {
        timeout: Some(Duration::from_millis(300)),
        ..GatherOptions::default()
    };
    let elsewhere = ComponentAuctionRequest {
        constraints: StringMap::from_iter([("zone".to_owned(), "b".to_owned())]),
        ..request
    };
    let begun = Instant::now();
    assert!(
        client
            .auction_component(elsewhere, brief)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "silence is waited for"
    );
    let running = ProviderAuctionRequest {
        provider_id: "running".into(),
        provider_ref: "file:///p".into(),
        ..Default::default()
    };
    assert!(
        client
            .auction_provider(running, brief)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn one_odd_bid_does_not_hide_the_others() {
    let nats = nats_box().await;
    let odd = nats.client().await.unwrap();
    let mut requests = odd
        .subscribe("wasmbus.ctl.v1.default.host.ping")
        .await
        .unwrap();
    odd.request("nobody", "".into()).await.unwrap_err();
    let client = client(&nats).await;
    let answers = async {
        let inbox = requests.next().await.unwrap().reply.unwrap();
        for answer in ["", "oops", r#"{"success":false,"message":"no"}"#] {
            odd.publish(inbox.clone(), answer.into()).await.unwrap();
        }
        let good = r#"{"success":true,"message":"","response":{"id":"N1","friendly_name":"f","labels":{},"lattice":"default","uptime_seconds":1}}"#;
        odd.publish(inbox, good.into()).await.unwrap();
    };
    let (hosts, ()) = futures::join!(client.ping(GatherOptions::first()), answers);
    assert_eq!(hosts.unwrap()[0].id, "N1");
}

#[tokio::test]
async fn lattices_and_prefixes_are_kept_apart() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let other_lattice = ClientConfig::new(LatticeName::new("other").unwrap());
    let other_prefix = ClientConfig {
        topic_prefix: "elsewhere.ctl".parse().unwrap(),
        ..ClientConfig::default()
    };
    for config in [other_lattice, other_prefix] {
        let client = Client::new(nats.client().await.unwrap(), config);
        assert!(
            client
                .ping(GatherOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
    }
}
