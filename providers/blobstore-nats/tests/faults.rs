//! What becomes of calls when the NATS behind a link goes away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../blobstore-fs/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use blobstore_nats::BlobstoreNats;
use bytes::Bytes;
use lattice_core::link::LinkState;
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port};
use support::{Component, Lattice, until};
use tokio::time::Instant;

/// A lattice with a NATS of its own behind the link.
async fn apart(config: &[(&str, &str)]) -> (Lattice, NatsBox, Component) {
    let nats = NatsBox::start().await.unwrap();
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let mut values = vec![("cluster_uri", nats.url.as_str())];
    values.extend(config);
    let blobs = lattice.link("app", &values).await;
    blobs.create("c").await.unwrap();
    (lattice, nats, blobs)
}

async fn messages(nats: &NatsBox) -> u64 {
    let context = async_nats::jetstream::new(nats.client().await.unwrap());
    let stream = context.get_stream("OBJ_c").await.unwrap();
    stream.cached_info().state.messages
}

#[tokio::test]
async fn a_link_fails_while_nats_is_away_and_works_again_afterwards() {
    let (mut lattice, mut nats, blobs) = apart(&[]).await;
    blobs.set("c", "kept", b"kept").await.unwrap();
    nats.stop();
    let report = lattice.report_of(LinkState::Failed).await;
    let why = report.reason.unwrap_or_default();
    assert!(why.contains("no connection to NATS"), "{why}");
    let began = Instant::now();
    for error in [
        blobs.get("c", "kept").await.unwrap_err(),
        blobs.set("c", "o", b"x").await.unwrap_err(),
        blobs.list("c", None, None).await.unwrap_err(),
        blobs.exists("c").await.unwrap_err(),
    ] {
        assert!(error.contains("no connection to NATS"), "{error}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "errors come at once"
    );
    nats.restart().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(blobs.get("c", "kept").await.unwrap(), b"kept");
    assert!(!blobs.has("c", "o").await.unwrap());
}

#[tokio::test]
async fn a_link_that_cannot_be_served_says_why() {
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let nobody = format!("nats://127.0.0.1:{}", free_port().unwrap());
    let private = NatsBoxOptions::private("shop", "sesame");
    let private = NatsBox::start_with(private).await.unwrap();
    let url = |login: &str| private.url.replace("//", &format!("//{login}@"));
    let wrong = url("shop:wr0ng");
    let refused = "authorization violation";
    for (source, config, wanted) in [
        ("a", ("cluster_uri", nobody.as_str()), "could not connect"),
        ("b", ("js_domain", "elsewhere"), ""),
        ("c", ("storage_type", "tape"), "`storage_type` is `tape`"),
        ("d", ("client_seed", "no seed"), "credentials"),
        ("e", ("require", "ranges=skip"), "ranges=skip"),
        ("f", ("cluster_uri", wrong.as_str()), refused),
    ] {
        let began = Instant::now();
        lattice.put(source, &[config]).await;
        let report = lattice.report_of(LinkState::Failed).await;
        let why = report.reason.unwrap_or_default();
        assert!(why.contains(wanted), "{source}: {why}");
        assert!(!why.contains("wr0ng"), "{source}: {why}");
        assert!(began.elapsed() < Duration::from_secs(8), "{source}: {why}");
    }
    let right = url("shop:sesame");
    let blobs = lattice.link("g", &[("cluster_uri", &right)]).await;
    blobs.create("c").await.unwrap();
}

#[tokio::test]
async fn a_write_in_the_middle_of_which_nats_dies_fails_and_leaves_nothing() {
    let (_lattice, mut nats, blobs) = apart(&[("max_write_wait", "2")]).await;
    blobs.set("c", "o", b"before").await.unwrap();
    let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
    writer.write(Bytes::from(vec![1; 900_000])).await.unwrap();
    until(async || messages(&nats).await > 5).await;
    nats.stop();
    let rest = async {
        // The writer is held back, or told, as soon as nobody takes the data.
        for _ in 0..100 {
            if writer.write(Bytes::from(vec![1; 100_000])).await.is_err() {
                break;
            }
        }
    };
    let mut written = std::pin::pin!(blobs.written(call));
    let written = tokio::select! {
        written = &mut written => written,
        () = rest => written.await,
    };
    let error = written.unwrap_err();
    assert!(error.contains("the backend did not do it"), "{error}");
    nats.restart().await.unwrap();
    let back = || async {
        blobs
            .get("c", "o")
            .await
            .is_ok_and(|data| data == b"before")
    };
    until(back).await;
    // What was stored of it is purged once there is somebody to do it.
    until(async || messages(&nats).await == 2).await;
}

#[tokio::test]
async fn a_read_in_the_middle_of_which_nats_dies_is_an_error() {
    let (_lattice, mut nats, blobs) = apart(&[]).await;
    blobs.set("c", "o", &vec![5; 40 << 20]).await.unwrap();
    for blobs in [blobs.clone(), blobs.old()] {
        let mut reading = blobs.open("c", "o", 0, u64::MAX).await.unwrap();
        reading.next().await.unwrap().unwrap();
        nats.stop();
        let mut len = 0;
        let ended = loop {
            match reading.next().await {
                Some(Ok(piece)) => len += piece.len(),
                Some(Err(error)) => break Err(error),
                None => break reading.end().await,
            }
        };
        let error = ended.unwrap_err();
        assert!(len < 40 << 20, "{error}");
        nats.restart().await.unwrap();
        let whole = || async { blobs.get("c", "o").await.is_ok_and(|d| d.len() == 40 << 20) };
        until(whole).await;
    }
}

/// Nobody listens where NATS leads what is stored, as when the servers of a container choose a leader.
#[tokio::test]
async fn a_container_for_which_nobody_answers_is_not_said_to_be_gone() {
    let options = NatsBoxOptions {
        extra_config: "mappings { \"$O.c.C.>\": \"nowhere.>\" }\n".to_owned(),
        ..NatsBoxOptions::default()
    };
    let nats = NatsBox::start_with(options).await.unwrap();
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let blobs = lattice.link("app", &[("cluster_uri", &nats.url)]).await;
    blobs.create("c").await.unwrap();
    let error = blobs.set("c", "o", b"x").await.unwrap_err();
    assert!(error.contains("the backend did not do it"), "{error}");
    blobs.delete_container("c").await.unwrap();
    let error = blobs.set("c", "o", b"x").await.unwrap_err();
    assert!(error.contains("there is no container"), "{error}");
}
