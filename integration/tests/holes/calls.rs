//! What a guest sees of its links (R7, R8).

use anyhow::{Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use lattice_codec::{Reader, write};
use lattice_integration::{ECHO, Lattice, call, params, text, texts, until};
use lattice_rpc::{Peer, ServeHandle};
use serde_json::json;

use crate::support::stand_in;

/// Answers every text with its own name.
async fn named(peer: &Peer, id: &'static str) -> Result<ServeHandle> {
    stand_in(peer, id, ECHO, move |call| async move {
        // A late answer makes calls over different links meet each other.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let _sent = call.responder.reply(text(id)).await;
    })
    .await
}

#[tokio::test]
async fn a_chosen_link_is_not_seen_by_calls_at_the_same_time() -> Result<()> {
    const OVER: &str = "test:caller/relay@0.1.0.text-over-link";
    const PLAIN: &str = "test:caller/relay@0.1.0.text";
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "caller", "caller", 100).await?;
    let fakes = lattice.peer().await?;
    let mut serving = Vec::new();
    for (link, id) in [("default", "plain"), ("a", "one"), ("b", "two")] {
        serving.push(named(&fakes, id).await?);
        let link = json!({
            "source_id": "caller", "target": id, "name": link, "wit_namespace": "test",
            "wit_package": "probe", "interfaces": ["echo"],
        });
        lattice.ctl_ok("link.put", link).await?;
    }
    let peer = lattice.peer().await?;
    until(async || {
        Ok(call(&peer, "caller", PLAIN, text("x"), 5000)
            .await
            .map(drop)?)
    })
    .await?;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..240 {
        let peer = peer.clone();
        calls.spawn(async move {
            let (function, params, expected) = match n % 3 {
                0 => (PLAIN, text("x"), text("plain")),
                1 => (OVER, texts(&["a", "x"]), outcome("one")),
                _ => (OVER, texts(&["b", "x"]), outcome("two")),
            };
            let answer = call(&peer, "caller", function, params, 20_000).await?;
            ensure!(answer == expected, "{n}: {answer:?}");
            Ok(())
        });
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(())
}

fn outcome(value: &str) -> Bytes {
    params(|out| {
        out.put_u8(0);
        write::string(out, value);
    })
}

/// Each function of the probe's key-value interface with parameters of its own.
fn keyvalue_calls() -> Vec<(&'static str, Bytes)> {
    let after = |first: &[&str], fill: fn(&mut BytesMut)| {
        params(|out| {
            first.iter().for_each(|text| write::string(out, text));
            fill(out);
        })
    };
    let keys: fn(&mut BytesMut) = |out| {
        write::uleb(out, 1);
        write::string(out, "k");
    };
    let pairs: fn(&mut BytesMut) = |out| {
        write::uleb(out, 1);
        write::string(out, "k");
        write::bytes(out, b"v");
    };
    [
        ("get", texts(&["b", "k"])),
        ("set", after(&["b", "k"], |out| write::bytes(out, b"v"))),
        ("delete", texts(&["b", "k"])),
        ("exists", texts(&["b", "k"])),
        ("list-keys", after(&["b"], |out| out.put_u8(0))),
        ("increment", after(&["b", "k"], |out| write::uleb(out, 1))),
        ("get-many", after(&["b"], keys)),
        ("set-many", after(&["b"], pairs)),
        ("delete-many", after(&["b"], keys)),
    ]
    .into()
}

/// Every function gives the guest an error value that says `expected`.
async fn all_are_values(peer: &Peer, expected: &str) -> Result<()> {
    for (function, params) in keyvalue_calls() {
        let name = format!("test:probe/keyvalue@0.1.0.{function}");
        let answer = call(peer, "probe", &name, params, 5000).await?;
        let mut reader = Reader::new(answer);
        ensure!(reader.u8()? == 1, "{function} is no error");
        let message = reader.string()?;
        ensure!(message.contains(expected), "{function}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn every_keyvalue_function_gives_its_error_as_a_value() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    all_are_values(&peer, "not found").await?;
    // A link to something that does not run, then to a provider that refuses.
    let keyvalue = "wasi:keyvalue/store,atomics,batch";
    lattice.link("probe", "nowhere", keyvalue, &[], &[]).await?;
    until(async || all_are_values(&peer, "nowhere").await).await?;
    lattice
        .ctl_ok(
            "link.del",
            json!({
                "source_id": "probe", "name": "default",
                "wit_namespace": "wasi", "wit_package": "keyvalue",
            }),
        )
        .await?;
    lattice.provide_store(0).await?;
    lattice
        .config("absent", json!({ "bucket": "no-such-bucket" }))
        .await?;
    lattice
        .link("probe", "kv", keyvalue, &[], &["absent"])
        .await?;
    until(async || all_are_values(&peer, "no working link").await).await
}
