//! Hosts: their end, their labels, their buckets, their health (weaknesses 11, 22, 30, 33, 37).

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use lattice_core::Locality;
use lattice_integration::{
    HANDLE, Lattice, SLEEP, STEP, call, free_port, get, number, program, until,
};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn a_host_that_ends_lets_calls_finish_and_asks_providers_to_end() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    // Calls are watched on NATS.
    lattice.locality = Locality::Spread;
    lattice.run(0, "web", "http-probe", 10).await?;
    let address = lattice.serve_http(0, "web").await?;
    lattice.until_status(&address, "/", 200).await?;
    let mut asked = lattice
        .client
        .subscribe("wasmbus.rpc.default.httpserver.default.shutdown")
        .await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    let mut calls = lattice.calls("web", HANDLE).await?;
    let slow = tokio::spawn(async move { get(&address, "/wait/1500").await });
    calls.begun(1).await?;
    let status = lattice.hosts[0].terminate(STEP).await?;
    ensure!(status.success(), "{status}: {}", lattice.hosts[0].log());
    assert_eq!(slow.await??, (200, "waited\n".to_owned()));
    let request = tokio::time::timeout(Duration::from_secs(1), asked.next()).await?;
    let request: Value = serde_json::from_slice(&request.unwrap().payload)?;
    assert_eq!(request["host_id"], lattice.host(0));
    Ok(())
}

#[tokio::test]
async fn the_time_that_a_stop_command_gives_is_in_milliseconds() -> Result<()> {
    let mut lattice = Lattice::start_host(&["--drain-timeout-ms", "600000"]).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    call(&peer, "probe", SLEEP, number(1), 5000).await?;
    let mut calls = lattice.calls("probe", SLEEP).await?;
    let sleeping =
        tokio::spawn(async move { call(&peer, "probe", SLEEP, number(60_000), 60_000).await });
    calls.begun(1).await?;
    let stop = format!("host.stop.{}", lattice.host(0));
    let before = Instant::now();
    lattice.ctl_ok(&stop, json!({ "timeout": 500 })).await?;
    lattice.hosts[0].wait(STEP).await?;
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    // The call that was cut off is told so.
    let error = sleeping.await?.unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(6), "{error}");
    Ok(())
}

#[tokio::test]
async fn labels_of_the_machine_cannot_be_changed_or_deleted() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let host = lattice.host(0);
    let labels = async || -> Result<Value> {
        let inventory = lattice.inventory(0).await?;
        Ok(inventory["labels"].clone())
    };
    let before = labels().await?;
    for key in ["hostcore.os", "hostcore.arch", "HOSTCORE.OSFAMILY"] {
        let put = json!({ "key": key, "value": "other" });
        for (verb, body) in [("put", put), ("del", json!({ "key": key }))] {
            let reply = lattice.ctl(&format!("label.{verb}.{host}"), body).await?;
            assert_eq!(reply["success"], false, "{verb} {key}: {reply}");
        }
    }
    assert_eq!(labels().await?, before);
    Ok(())
}

#[tokio::test]
async fn the_number_of_copies_of_a_bucket_can_be_chosen() -> Result<()> {
    let nats = lattice_nats_box::NatsBox::start().await?;
    let host = tokio::process::Command::new(program("lattice-host")?)
        .args([
            "--nats-port",
            &nats.port.to_string(),
            "--store-replicas",
            "3",
        ])
        .kill_on_drop(true)
        .output();
    // A single server cannot keep three; it is asked for them all the same.
    let output = tokio::time::timeout(STEP, host).await??;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("replicas") && text.contains("hint"), "{text}");
    Ok(())
}

#[tokio::test]
async fn every_bucket_has_as_many_copies_as_were_chosen() -> Result<()> {
    let routes = [free_port()?, free_port()?, free_port()?];
    let targets = routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\""));
    let start = |name: &'static str, port: u16| {
        NatsBox::start_with(NatsBoxOptions {
            extra_config: format!(
                "server_name: {name}\ncluster {{ name: box, listen: \"127.0.0.1:{port}\", \
                 routes: [{}] }}\n",
                targets.join(", ")
            ),
            ..NatsBoxOptions::default()
        })
    };
    let servers = tokio::try_join!(
        start("one", routes[0]),
        start("two", routes[1]),
        start("three", routes[2])
    )?;
    let streams = async_nats::jetstream::new(servers.0.client().await?);
    // A cluster takes streams once it has a leader.
    until(async || {
        let names: Vec<String> = streams.stream_names().try_collect().await?;
        Ok(names)
    })
    .await?;
    let port = servers.0.port.to_string();
    let mut host = tokio::process::Command::new(program("lattice-host")?)
        .args(["--nats-port", &port, "--store-replicas", "3"])
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    for bucket in ["LATTICEDATA_default", "CONFIGDATA_default"] {
        let found = until(async || {
            let mut stream = streams.get_stream(format!("KV_{bucket}")).await?;
            let found = stream.info().await?.clone();
            // Who leads them is elected once they are there.
            let others = found
                .cluster
                .as_ref()
                .map_or(0, |cluster| cluster.replicas.len());
            ensure!(others >= 2, "{bucket}: {others} copies beside the leader");
            Ok(found)
        })
        .await?;
        assert_eq!(found.config.num_replicas, 3, "{bucket}");
    }
    host.kill().await?;
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_holds_up_no_health_request() -> Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let _lattice = Lattice::start_host(&["--http-admin", &address]).await?;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(&address).await?);
    }
    let before = Instant::now();
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            get(&address, path).await?,
            (200, r#"{"status":"ok"}"#.to_owned())
        );
    }
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    Ok(())
}
