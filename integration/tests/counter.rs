//! The counter example: HTTP in, key-value out, over a real bus.

use anyhow::Result;
use lattice_integration::{HostOptions, Lattice, STEP, STORE, get};
use serde_json::json;

#[tokio::test]
async fn the_counter_counts() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    let first = lattice.until_status(&address, "/hello", 200).await?;
    assert_eq!(first, "Counter /hello: 1\n");
    assert_eq!(
        get(&address, "/hello").await?,
        (200, "Counter /hello: 2\n".into())
    );
    assert_eq!(
        get(&address, "/other").await?,
        (200, "Counter /other: 1\n".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_call_crosses_hosts() -> Result<()> {
    let lattice = Lattice::start(2).await?;
    lattice.run_counter(0, &[1], 10).await?;
    let address = lattice.serve_http(1, "counter").await?;
    for n in 1..=5 {
        let text = lattice.until_status(&address, "/hello", 200).await?;
        assert_eq!(text, format!("Counter /hello: {n}\n"));
    }
    Ok(())
}

#[tokio::test]
async fn a_running_component_is_given_another_store_by_its_link() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    lattice.until_status(&address, "/x", 200).await?;

    let redis = lattice.redis().await?;
    lattice.config("redis", json!({ "url": redis.url })).await?;
    lattice
        .provide(0, "kv2", "keyvalue-redis-provider", &[])
        .await?;
    let link = json!({
        "source_id": "counter", "name": "default",
        "wit_namespace": "wasi", "wit_package": "keyvalue",
    });
    lattice.ctl_ok("link.del", link).await?;
    lattice.until_status(&address, "/x", 500).await?;
    lattice
        .link("counter", "kv2", STORE, &[], &["redis"])
        .await?;
    let text = lattice.until_status(&address, "/x", 200).await?;
    assert_eq!(text, "Counter /x: 1\n");
    Ok(())
}

#[tokio::test]
async fn concurrent_increments_lose_nothing() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run_counter(0, &[0], 64).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/n", 200).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let address = address.clone();
        tasks.spawn(async move {
            for _ in 0..25 {
                let (status, text) = get(&address, "/n").await?;
                anyhow::ensure!(status == 200, "{status}: {text}");
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    assert_eq!(get(&address, "/n").await?.1, "Counter /n: 202\n");
    Ok(())
}

#[tokio::test]
async fn a_component_calls_another_through_a_custom_interface() -> Result<()> {
    let lattice = Lattice::start(2).await?;
    lattice.run(0, "client", "http-greeter-client", 10).await?;
    lattice.run(1, "greeter", "greeter", 10).await?;
    lattice
        .link("client", "greeter", "example:greet/greeter", &[], &[])
        .await?;
    let address = lattice.serve_http(0, "client").await?;
    assert_eq!(
        lattice.until_status(&address, "/Ada", 200).await?,
        "Hello, Ada!\n"
    );
    Ok(())
}

#[tokio::test]
async fn an_update_switches_to_the_new_code() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "web", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "web").await?;
    let hello = lattice.until_status(&address, "/", 200).await?;
    let host = lattice.host(0);
    let new = lattice_integration::component("http-probe")?;
    let mark = lattice.events.len();
    let reply = lattice
        .ctl_ok(
            &format!("component.update.{host}"),
            json!({ "component_id": "web", "new_component_ref": new, "host_id": host }),
        )
        .await?;
    assert!(
        reply["message"]
            .as_str()
            .unwrap()
            .starts_with("component web updating from")
    );
    let scaled = |event: &lattice_integration::Event| {
        event.name == "component_scaled" && event.data("image_ref") == new
    };
    lattice.events.wait_after(mark, scaled, STEP).await?;
    for _ in 0..50 {
        let (status, text) = get(&address, "/").await?;
        assert_eq!(
            (status, text.as_str()),
            (200, "ok\n"),
            "the old code said {hello:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn labels_steer_auctions() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    let labels = [("zone".to_owned(), "edge".to_owned())].into();
    let edge = lattice
        .add_host(HostOptions {
            labels,
            ..HostOptions::default()
        })
        .await?;
    let ask = json!({
        "component_ref": "file:///x.wasm", "component_id": "x", "constraints": { "zone": "edge" },
    });
    let ack = lattice.ctl("component.auction", ask).await?;
    assert_eq!(ack["response"]["host_id"], lattice.host(edge));
    assert_eq!(ack["response"]["component_id"], "x");
    Ok(())
}
