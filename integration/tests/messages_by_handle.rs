//! Components whose messages are resources, linked by the package that they import and export.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use lattice_codec::Reader;
use lattice_integration::{Lattice, call, text, until};
use lattice_rpc::Peer;
use serde_json::json;

const IMPORTS: &str = "wasi:messaging/producer,request-reply";
const EXPORT: &str = "wasi:messaging/incoming-handler";

/// A component that asks and one that answers, beside a provider, not yet linked.
async fn start() -> Result<(Lattice, Peer)> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "asker", "messages-by-handle", 10).await?;
    lattice.run(0, "answerer", "messages-by-handle", 10).await?;
    lattice
        .provide(0, "messages", "messaging-nats-provider", &[])
        .await?;
    let subjects = json!({ "subscriptions": "topic" });
    lattice.config("subjects", subjects).await?;
    let peer = lattice.peer().await?;
    Ok((lattice, peer))
}

async fn run(peer: &Peer, what: &str) -> Result<String> {
    let answer = call(peer, "asker", "run", text(what), 10_000).await?;
    Ok(Reader::new(answer).string()?)
}

/// Asks until there is an answer, which the links may take a moment for.
async fn ask(peer: &Peer) -> Result<String> {
    until(async || {
        let answer = run(peer, "ask all").await?;
        match answer.contains("=?") {
            true => Ok(answer),
            false => bail!("{answer}"),
        }
    })
    .await
}

#[tokio::test]
async fn links_of_either_package_carry_metadata_both_ways() -> Result<()> {
    for (imports, export) in [
        (IMPORTS, EXPORT),
        (
            "wasmcloud:messaging/consumer",
            "wasmcloud:messaging/handler",
        ),
        (IMPORTS, "wasmcloud:messaging/handler"),
    ] {
        let (lattice, peer) = start().await?;
        lattice.link("asker", "messages", imports, &[], &[]).await?;
        lattice
            .link("answerer", "messages", imports, &[], &[])
            .await?;
        lattice
            .link("messages", "answerer", export, &["subjects"], &[])
            .await?;
        let answer = ask(&peer).await?;
        let wanted = r#"=? with (Some("text/plain"), Some([("key", "value")]))"#;
        ensure!(answer.ends_with(wanted), "{imports}, {export}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_says_that_it_takes_metadata() -> Result<()> {
    let (_lattice, peer) = start().await?;
    let offered = "lattice:messaging/producer@0.1.0.offered";
    let answer = call(&peer, "messages", offered, Bytes::new(), 10_000).await?;
    ensure!(answer.is_empty(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_component_chooses_among_links_of_its_own_package() -> Result<()> {
    let (lattice, peer) = start().await?;
    lattice.link("asker", "messages", IMPORTS, &[], &[]).await?;
    until(async || match &*run(&peer, "send").await? {
        "Ok(())" => Ok(()),
        other => bail!("{other}"),
    })
    .await?;
    let refused = run(&peer, "send by the chosen link").await?;
    ensure!(refused.contains("`chosen`"), "{refused}");
    let link = json!({
        "source_id": "asker", "target": "messages", "name": "chosen", "wit_namespace": "wasi",
        "wit_package": "messaging", "interfaces": ["producer"],
    });
    lattice.ctl_ok("link.put", link).await?;
    until(
        async || match &*run(&peer, "send by the chosen link").await? {
            "Ok(())" => Ok(()),
            other => bail!("{other}"),
        },
    )
    .await
}
