//! Providers inside the host: one process, the same behaviour, and no call on the bus.

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{Event, HANDLE, Lattice, Monitored, STEP, STORE, get, until};
use serde_json::json;

async fn inside() -> Result<Lattice> {
    let mut lattice = Lattice::start(1).await?;
    lattice.inside = true;
    Ok(lattice)
}

#[tokio::test]
async fn the_counter_counts_in_one_process_without_a_call_on_the_bus() -> Result<()> {
    let lattice = inside().await?;
    lattice.run_counter(0, &[0], 10).await?;
    let mut handled = lattice.calls("counter", HANDLE).await?;
    let increment = "wrpc:keyvalue/atomics@0.2.0-draft.increment";
    let mut counted = lattice.calls("kv", increment).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/hello", 200).await?;
    for n in 2..=20 {
        assert_eq!(
            get(&address, "/hello").await?,
            (200, format!("Counter /hello: {n}\n"))
        );
    }
    ensure!(
        lattice.hosts[0]
            .provider_pid("http-server-provider")
            .is_err(),
        "the provider is a process"
    );
    assert!(handled.none().await? && counted.none().await?);
    let inventory = lattice.inventory(0).await?;
    let images: Vec<_> = inventory["providers"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|provider| provider["image_ref"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(images, ["http-server", "keyvalue-nats"]);
    Ok(())
}

#[tokio::test]
async fn isolated_providers_are_processes_of_the_same_program() -> Result<()> {
    let mut lattice = Lattice::start_host(&["--isolated"]).await?;
    lattice.inside = true;
    lattice.run_counter(0, &[0], 10).await?;
    let increment = "wrpc:keyvalue/atomics@0.2.0-draft.increment";
    let mut counted = lattice.calls("kv", increment).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/hello", 200).await?;
    assert!(!counted.none().await?);
    lattice.hosts[0].provider_pid("lattice-host")?;
    Ok(())
}

#[tokio::test]
async fn a_provider_inside_is_stopped_and_started_again() -> Result<()> {
    let lattice = inside().await?;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    let host = lattice.host(0);
    let stop = |id: &str| json!({"provider_id": id, "host_id": host});
    let stopping = format!("provider.stop.{host}");
    lattice.ctl_ok(&stopping, stop("kv")).await?;
    lattice.until_status(&address, "/x", 500).await?;
    lattice.provide_store(0).await?;
    lattice.until_status(&address, "/x", 200).await?;
    lattice.ctl_ok(&stopping, stop("httpserver")).await?;
    until(async || {
        let open = tokio::net::TcpStream::connect(&address).await.is_ok();
        ensure!(!open, "the port is still open");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn lives_inside_the_host_leave_no_task_and_no_subscription() -> Result<()> {
    let mut bed = Monitored::start().await?;
    bed.lattice.inside = true;
    let lattice = &bed.lattice;
    lattice.run_counter(0, &[], 10).await?;
    let host = lattice.host(0);
    let one_life = async || -> Result<()> {
        lattice.provide_store(0).await?;
        let address = lattice.serve_http(0, "counter").await?;
        lattice.until_status(&address, "/x", 200).await?;
        let unlink = json!({
            "source_id": "httpserver", "name": "default",
            "wit_namespace": "wasi", "wit_package": "http",
        });
        lattice.ctl_ok("link.del", unlink).await?;
        for id in ["kv", "httpserver"] {
            let mark = lattice.events.len();
            let stop = json!({"provider_id": id, "host_id": host});
            lattice
                .ctl_ok(&format!("provider.stop.{host}"), stop)
                .await?;
            let stopped = |event: &Event| event.name == "provider_stopped";
            lattice.events.wait_after(mark, stopped, STEP).await?;
        }
        Ok(())
    };
    // What is made once and kept for later lives is no leak.
    one_life().await?;
    let (tasks, subscriptions) = (bed.tasks().await?, bed.settled_subscriptions().await?);
    for _ in 0..5 {
        one_life().await?;
    }
    bed.tasks_back_at(tasks).await?;
    bed.subscriptions_back_at(subscriptions).await
}

#[tokio::test]
async fn a_link_moves_between_stores_inside_and_outside() -> Result<()> {
    let mut lattice = inside().await?;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    let redis = lattice.redis().await?;
    lattice.config("redis", json!({ "url": redis.url })).await?;
    for (id, inside, count) in [("kv2", true, 1), ("kv3", false, 3)] {
        lattice.inside = inside;
        lattice
            .provide(0, id, "keyvalue-redis-provider", &[])
            .await?;
        let link = json!({
            "source_id": "counter", "name": "default",
            "wit_namespace": "wasi", "wit_package": "keyvalue",
        });
        lattice.ctl_ok("link.del", link).await?;
        lattice.link("counter", id, STORE, &[], &["redis"]).await?;
        for n in count..count + 2 {
            let text = lattice.until_status(&address, "/x", 200).await?;
            assert_eq!(text, format!("Counter /x: {n}\n"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_memory_of_the_host_keeps_counts_beyond_a_link() -> Result<()> {
    let lattice = inside().await?;
    lattice.run_counter(0, &[], 10).await?;
    lattice
        .provide(0, "kv", "keyvalue-memory-provider", &[])
        .await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    let link = json!({
        "source_id": "counter", "name": "default",
        "wit_namespace": "wasi", "wit_package": "keyvalue",
    });
    lattice.ctl_ok("link.del", link).await?;
    lattice.until_status(&address, "/x", 500).await?;
    lattice.link("counter", "kv", STORE, &[], &[]).await?;
    let text = lattice.until_status(&address, "/x", 200).await?;
    assert_eq!(text, "Counter /x: 2\n");
    Ok(())
}

#[tokio::test]
async fn a_builtin_that_is_not_there_is_refused_with_those_that_are() -> Result<()> {
    let lattice = inside().await?;
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "provider_id": "x", "provider_ref": "wasmcloud+builtin://nothing", "host_id": host, "config": [],
    });
    lattice
        .ctl_ok(&format!("provider.start.{host}"), command)
        .await?;
    let failed = |event: &lattice_integration::Event| event.name == "provider_start_failed";
    let event = lattice.events.wait_after(mark, failed, STEP).await?;
    let error = event.data("error");
    for name in [
        "`nothing`",
        "http-server",
        "keyvalue-memory",
        "keyvalue-redis",
    ] {
        assert!(error.contains(name), "{error}");
    }
    Ok(())
}
