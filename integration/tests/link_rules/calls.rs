//! Which functions are called at all, of every capability and of other components.

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use lattice_codec::{Reader, write};
use lattice_integration::{Lattice, call, text, until};
use serde_json::json;

use crate::scene::{Road, Scene, server};

/// Nobody is there, so that what passes the rules finds nobody.
#[tokio::test]
async fn every_capability_tells_a_denial_in_its_own_error() -> Result<()> {
    let of = Scene::start(Road::Bus).await?;
    for (interface, rules) in [
        (
            "wasmcloud:messaging/consumer",
            json!({"subject": ["orders.*"]}),
        ),
        (
            "lattice:queue/producer,consumer",
            json!({"within": ["jobs"], "read_only": true}),
        ),
        ("lattice:sql/sql", json!({"read_only": true})),
        ("lattice:lock/lock", json!({"prefix": ["mine/"]})),
        ("lattice:schedule/scheduler", json!({"prefix": ["mine/"]})),
    ] {
        of.link("nobody", interface, Road::Bus, rules).await?;
    }
    for (what, names, words) in [
        ("publish", &["orders.1"][..], "does not serve"),
        ("publish", &["users.1"], "the rule `subject`"),
        ("publish", &["orders.1", "admin.stop"], "the rule `subject`"),
        ("publish", &["orders.>"], "the rule `subject`"),
        ("request", &["users.1"], "the rule `subject`"),
        ("depth", &["jobs"], "Unavailable"),
        ("depth", &["other"], "AccessDenied"),
        ("send", &["jobs"], "AccessDenied"),
        ("receive", &["jobs"], "AccessDenied"),
        ("query", &["shop", "SELECT 1"], "Unavailable"),
        (
            "query",
            &["shop", "SELECT 1e1INTO OUTFILE '/x'"],
            "AccessDenied",
        ),
        (
            "query",
            &["shop", "DELETE FROM t RETURNING *"],
            "AccessDenied",
        ),
        ("query", &["shop", "SELECT 1; DROP TABLE t"], "AccessDenied"),
        ("execute", &["shop", "SELECT 1"], "AccessDenied"),
        ("inspect", &["", "mine/1"], "Unavailable"),
        ("acquire", &["", "other/1"], "AccessDenied"),
        ("put-job", &["mine/1"], "Unavailable"),
        ("put-job", &["other/1"], "AccessDenied"),
        ("delete-job", &["other/1"], "AccessDenied"),
    ] {
        of.refused(what, names, words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_component_calls_those_functions_of_another_that_its_link_allows() -> Result<()> {
    // The other one runs beside it, and then on another host.
    for host in [0, 1] {
        let lattice = Lattice::start(host + 1).await?;
        lattice.run(host, "probe", "probe", 10).await?;
        lattice.run_caller("probe", 10).await?;
        let peer = lattice.peer().await?;
        let relay = |function: &str| format!("test:caller/relay@0.1.0.{function}");
        let of = Scene {
            peer: lattice.peer().await?,
            lattice,
        };
        let interfaces = "test:probe/echo,behave,keyvalue,types";
        let rules = json!({"allow": ["text"]});
        let reply = of
            .put("caller", "probe", interfaces, Road::Socket, rules)
            .await?;
        ensure!(reply["success"] == true, "{reply}");
        let named = "the rule `allow` of the link `caller -> test:probe (default)`";
        // A function whose error is a text is told in it, as soon as the host knows of the link.
        let words = until(async || {
            let refused = call(&peer, "caller", &relay("refuse"), text("no"), 20_000).await?;
            let mut reader = Reader::new(refused);
            ensure!(reader.result_is_err()?);
            let words = reader.string()?;
            ensure!(words.contains(named), "{words}");
            Ok(words)
        })
        .await?;
        ensure!(
            words.contains("`--allow refuse` would let it through"),
            "{words}"
        );
        let echoed = call(&peer, "caller", &relay("text"), text("hi"), 20_000).await?;
        ensure!(echoed == text("hi"));
        // One that has no error ends its caller.
        let mut milliseconds = BytesMut::new();
        write::uleb(&mut milliseconds, 1);
        let trapped = call(
            &peer,
            "caller",
            &relay("sleep"),
            milliseconds.freeze(),
            20_000,
        )
        .await;
        let error = trapped.err().context("slept")?.to_string();
        ensure!(error.contains(named), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_linked_is_not_reached() -> Result<()> {
    let of = Scene::start(Road::Inside).await?;
    of.lattice.provide_store(0).await?;
    of.lattice
        .provide(0, "client", "http-client-provider", &[])
        .await?;
    let (address, _server) = server("200 OK").await?;
    let http = ["GET", "http", &address, "/"];
    for (what, names) in [
        ("get", &["", "a"][..]),
        ("get-many", &["", "a"]),
        ("publish", &["a"]),
        ("list-objects", &["a"]),
        ("http", &http),
    ] {
        of.refused(what, names, "not found for instance").await?;
    }
    // A link for one interface of a package is none for another.
    of.link("kv", "wasi:keyvalue/store", Road::Inside, json!({}))
        .await?;
    of.does("get", &["", "a"]).await?;
    of.refused("get-many", &["", "a"], "not found for instance")
        .await?;
    of.refused("increment", &["", "a"], "not found for instance")
        .await?;
    Ok(())
}
