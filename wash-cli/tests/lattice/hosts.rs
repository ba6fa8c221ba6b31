//! Hosts, their inventories, labels and claims.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::common::expect;
use crate::common::fake::{FakeLattice, host_id};
use crate::named;

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_listed_as_text_and_json() {
    let lattice = FakeLattice::start(2).await;
    let text = named(lattice.wash("get hosts").await);
    let rows: Vec<&str> = text.stdout.lines().collect();
    assert_eq!(rows.len(), 3, "{text}");
    let words = |row: &str| {
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(rows[0]).join(" "),
        "Host ID Friendly name Uptime (seconds)"
    );
    assert_eq!(words(rows[1]), ["[HOST1]", "icy-hill-1", "60"]);
    assert_eq!(words(rows[2]), ["[HOST2]", "icy-hill-2", "60"]);
    let json = lattice.wash("get hosts -o json").await.ok().json();
    assert_eq!(
        (json["success"].clone(), json["api"].clone()),
        (true.into(), "wash/v1".into())
    );
    let host = &json["hosts"][1];
    assert_eq!(host["id"], host_id(1).as_str());
    assert_eq!(host["friendly_name"], "icy-hill-2");
    assert_eq!(host["labels"]["zone"], "z2");
    assert_eq!(host["lattice"], "default");
    assert_eq!(host["uptime_seconds"], 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_lattice_lists_nothing_and_refuses_changes() {
    let lattice = FakeLattice::start(0).await;
    expect(
        &lattice.wash("get hosts").await,
        "
-- stdout
No hosts answered on lattice 'default'; start one with `wash up -d`
-- exit 0",
    );
    expect(
        &lattice.wash("get inventory").await,
        "
-- stderr
error[WASH0031]: no host answered on lattice 'default'
hint: start one with `wash up -d`, or pick a context with `wash ctx use`
-- exit 6",
    );
    expect(
        &lattice.wash("link put a b wasi:keyvalue/store").await,
        "
-- stderr
error[WASH0031]: no host answered on lattice 'default'
  caused by: no responders on wasmbus.ctl.v1.default.link.put
hint: start one with `wash up -d`, or pick a context with `wash ctx use`
-- exit 6",
    );
    let unknown = lattice.wash(&format!("get inventory {}", host_id(7))).await;
    assert_eq!(unknown.code, Some(3), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_of_one_host_and_of_all() {
    let lattice = FakeLattice::start(2).await;
    lattice.hosts[0].runs_component("counter", "file:///c.wasm");
    lattice.hosts[1].runs_provider("kv", "/bin/kv");
    expect(
        &named(lattice.wash("get inventory hill-1").await),
        "
-- stdout
Host [HOST1] (icy-hill-1)
Labels: zone=z1
Component ID  Name  Max count  Image
counter             1          file:///c.wasm
No providers
-- exit 0",
    );
    let json = lattice.wash("get inventory -o json").await.ok().json();
    assert_eq!(json["inventories"][0]["components"][0]["id"], "counter");
    assert_eq!(
        json["inventories"][0]["components"][0]["limits"],
        serde_json::Value::Null
    );
    assert_eq!(
        json["inventories"][1]["providers"][0]["image_ref"],
        "/bin/kv"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_fits_several_hosts_lists_them() {
    let lattice = FakeLattice::start(2).await;
    expect(
        &named(lattice.wash("get inventory icy").await),
        "
-- stderr
error[WASH0021]: `icy` fits 2 hosts
  caused by: [HOST1] icy-hill-1
  caused by: [HOST2] icy-hill-2
hint: give the full id, or more of the name
-- exit 3",
    );
    expect(
        &named(lattice.wash("stop host nobody -t 300").await),
        "
-- stderr
error[WASH0020]: no host fits `nobody`
  caused by: there is [HOST1] icy-hill-1
  caused by: there is [HOST2] icy-hill-2
hint: `wash get hosts` lists the hosts
-- exit 3",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_late_is_the_one_that_its_name_means() {
    let lattice = FakeLattice::start(2).await;
    let late = ("late".to_owned(), String::new());
    lattice.hosts[0].inventory().friendly_name = "edge-12".into();
    lattice.hosts[1].inventory().friendly_name = "edge-1".into();
    lattice.hosts[1].inventory().labels.extend([late]);
    lattice.wash("label edge-1 a=1").await.ok();
    let labelled = |host: usize| lattice.hosts[host].inventory().labels.contains_key("a");
    assert_eq!([labelled(0), labelled(1)], [false, true]);
    // A part of both names, of which one comes late.
    let refused = lattice.wash("label edge b=1").await;
    assert_eq!(refused.code, Some(3), "{refused}");
    lattice.hosts[0].inventory().friendly_name = "edge-1".into();
    let refused = lattice.wash("stop host edge-1").await;
    assert_eq!(refused.code, Some(3), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_is_watched_until_a_signal() {
    let lattice = FakeLattice::start(1).await;
    let mut command = tokio::process::Command::from(lattice.home.command());
    let mut child = command
        .args(["get", "inventory", "-w", "100ms"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lattice.hosts[0].runs_component("first", "file:///c.wasm");
    for id in ["first", "second"] {
        let seen = async { while !lines.next_line().await.unwrap().unwrap().starts_with(id) {} };
        tokio::time::timeout(Duration::from_secs(20), seen)
            .await
            .unwrap();
        lattice.hosts[0].runs_component("second", "file:///c.wasm");
    }
    std::process::Command::new("kill")
        .args(["-INT", &child.id().unwrap().to_string()])
        .status()
        .unwrap();
    // What is still being printed must find a reader.
    while lines.next_line().await.unwrap().is_some() {}
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_set_and_deleted() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &named(lattice.wash("label icy a=1,b=2").await),
        "-- stdout\nHost [HOST1] labeled with a=1, b=2\n-- exit 0",
    );
    assert_eq!(lattice.hosts[0].inventory().labels["b"], "2");
    expect(
        &named(lattice.wash("tag icy --delete a b").await),
        "-- stdout\nHost [HOST1] unlabeled with a, b\n-- exit 0",
    );
    assert!(!lattice.hosts[0].inventory().labels.contains_key("a"));
    lattice.wash("label icy bare").await.ok();
    assert_eq!(lattice.hosts[0].inventory().labels["bare"], "");
    assert_eq!(lattice.wash("label icy =x").await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_and_secrets_are_put_with_the_words_of_1x() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &lattice.wash("config put web port=80").await,
        "-- stdout\nConfiguration 'web' put successfully.\n-- exit 0",
    );
    expect(
        &lattice.wash("secrets put db nats-kv db/password").await,
        "-- stdout\nSecret 'db' put successfully.\n-- exit 0",
    );
    let config = lattice.wash("config get web -o json").await.ok().json();
    assert_eq!(config, serde_json::json!({"port": "80"}));
    // Only that of a config stands alone.
    let secret = lattice.wash("secrets get db -o json").await.ok().json();
    assert_eq!(secret["success"], true, "{secret}");
    assert_eq!(secret["backend"], "nats-kv", "{secret}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_a_table() {
    let lattice = FakeLattice::start(1).await;
    let json = lattice.wash("get claims -o json").await.ok().json();
    assert_eq!(json["claims"][0]["subject"], "MABC");
    assert!(
        lattice
            .wash("get claims")
            .await
            .ok()
            .stdout
            .contains("demo  MABC")
    );
}
