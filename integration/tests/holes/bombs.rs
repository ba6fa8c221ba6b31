//! Lengths that promise more than there is (R4): nothing is reserved for them, nobody ends.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_integration::{HANDLE, Lattice, call, subject, text, until, usage, with_tail};
use lattice_rpc::{CallError, Peer, PeerConfig};
use tokio::time::Instant;

use crate::support::{answers_at_once, stand_in};

/// The largest count that fits, in front of 21 bytes: 26 in all.
const BOMB: [u8; 26] = {
    let mut bytes = [0x01; 26];
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]] = [0xff, 0xff, 0xff, 0xff, 0x0f];
    bytes
};

/// How much a process may grow over the bombs, which promise 4 GiB and more each.
const GROWTH: u64 = 64 << 20;

/// Sends a payload as a 1.9 caller does, and waits for the end of the answer: an empty result.
async fn refused(lattice: &Lattice, target: String, payload: Bytes) -> Result<()> {
    let inbox = lattice.client.new_inbox();
    let mut incoming = lattice.client.subscribe(format!("{inbox}.>")).await?;
    let root = format!("{inbox}.1");
    lattice
        .client
        .publish_with_reply(target.clone(), root.clone(), payload)
        .await?;
    let limit = Instant::now() + lattice_integration::STEP;
    while let Ok(Some(message)) = tokio::time::timeout_at(limit, incoming.next()).await {
        if let Some(server) = &message.reply {
            // The parameters end here; what is missing does not come.
            lattice
                .client
                .publish(format!("{server}.params"), Bytes::new())
                .await?;
        }
        if message.subject.ends_with(".results") {
            ensure!(
                message.payload.is_empty(),
                "{target} answered {:?}",
                message.payload
            );
            return Ok(());
        }
    }
    anyhow::bail!("{target} did not refuse the bomb")
}

#[tokio::test]
async fn length_bombs_in_parameters_do_not_harm_the_host() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    answers_at_once(&peer, "probe").await?;
    let pid = lattice.hosts[0].pid().unwrap();
    let before = usage(pid)?.resident;
    for function in [
        "text", "bytes", "texts", "numbers", "nested", "people", "shapes",
    ] {
        let target = subject("probe", &format!("test:probe/echo@0.1.0.{function}"));
        refused(&lattice, target, Bytes::from_static(&BOMB)).await?;
    }
    let handler = subject("probe", "test:probe/keyvalue@0.1.0.set-many");
    refused(&lattice, handler, with_tail(&["b"], &BOMB)).await?;
    assert_eq!(lattice.hosts[0].pid(), Some(pid));
    assert!(usage(pid)?.resident < before + GROWTH);
    answers_at_once(&peer, "probe").await
}

#[tokio::test]
async fn length_bombs_in_parameters_do_not_harm_a_provider() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.provide_store(0).await?;
    let pid = lattice.hosts[0].provider_pid("keyvalue-nats-provider")?;
    let before = usage(pid)?.resident;
    for (function, first) in [
        ("store@0.2.0-draft.get", &["b"][..]),
        ("store@0.2.0-draft.set", &["b", "k"][..]),
        ("batch@0.2.0-draft.get-many", &["b"][..]),
        ("batch@0.2.0-draft.set-many", &["b"][..]),
        ("batch@0.2.0-draft.delete-many", &["b"][..]),
        ("atomics@0.2.0-draft.increment", &[][..]),
    ] {
        let target = subject("kv", &format!("wrpc:keyvalue/{function}"));
        refused(&lattice, target, with_tail(first, &BOMB)).await?;
    }
    assert_eq!(
        lattice.hosts[0].provider_pid("keyvalue-nats-provider")?,
        pid
    );
    assert!(usage(pid)?.resident < before + GROWTH);
    Ok(())
}

/// Answers every call of a function with the bomb.
async fn bomber(peer: &Peer, id: &str, function: &str) -> Result<lattice_rpc::ServeHandle> {
    stand_in(peer, id, function, |call| async move {
        // The caller may be gone by then, which is not what is tested.
        let _sent = call.responder.reply(Bytes::from_static(&BOMB)).await;
    })
    .await
}

#[tokio::test]
async fn length_bombs_in_answers_are_errors_of_the_call() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let fake = Peer::new(lattice.nats.client().await?, PeerConfig::default()).await?;
    let mut serving = Vec::new();
    for function in ["echo@0.1.0.text", "echo@0.1.0.bytes"] {
        serving.push(bomber(&fake, "bomber", &format!("test:probe/{function}")).await?);
    }
    serving.push(bomber(&fake, "web", HANDLE).await?);
    lattice.run_caller("bomber", 10).await?;
    let peer = lattice.peer().await?;
    let pid = lattice.hosts[0].pid().unwrap();
    for function in ["text", "bytes"] {
        let function = format!("test:caller/relay@0.1.0.{function}");
        until(
            async || match call(&peer, "caller", &function, text("x"), 5000).await {
                Err(CallError::Remote(e)) if e.message.contains("not found") => Err(e.into()),
                Err(CallError::Remote(e)) => {
                    assert!(e.message.contains("malformed"), "{e:?}");
                    Ok(())
                }
                other => panic!("{other:?}"),
            },
        )
        .await?;
    }
    // An HTTP server reads answers, too.
    let address = lattice.serve_http(0, "web").await?;
    let server = lattice.hosts[0].provider_pid("http-server-provider")?;
    until(async || {
        let (status, text) = lattice_integration::get(&address, "/").await?;
        ensure!(status == 502 || status == 500, "{status} {text}");
        Ok(())
    })
    .await?;
    assert_eq!(
        lattice.hosts[0].provider_pid("http-server-provider")?,
        server
    );
    assert_eq!(lattice.hosts[0].pid(), Some(pid));
    Ok(())
}
