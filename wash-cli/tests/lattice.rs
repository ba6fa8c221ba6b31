//! Commands against a lattice of hosts that answer over a real NATS server.

mod common;

use std::time::Duration;

use common::fake::{FakeLattice, host_id};
use common::{Outcome, expect};
use lattice_core::link::{LinkState, LinkStatus};
use tokio::io::{AsyncBufReadExt, BufReader};

fn named(outcome: Outcome) -> Outcome {
    let ids = [(0, "[HOST1]"), (1, "[HOST2]"), (2, "[HOST3]")];
    ids.into_iter().fold(outcome, |outcome, (n, name)| {
        outcome.without(host_id(n).as_str(), name)
    })
}

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
async fn a_component_starts_where_it_is_told_and_says_so() {
    let lattice = FakeLattice::start(2).await;
    expect(
        &named(
            lattice
                .wash("start component /c.wasm counter --host-id icy-hill-2 --max 5")
                .await,
        ),
        "
-- stdout
Component [counter] (ref: [file:///c.wasm]) started on host [[HOST2]]
-- exit 0",
    );
    assert_eq!(
        lattice.hosts[1].component("counter").unwrap().max_instances,
        5
    );
    let json = lattice
        .wash("start component /d.wasm d -c zone=z1 -o json")
        .await
        .ok()
        .json();
    assert_eq!(json["component_ref"], "file:///d.wasm");
    assert_eq!(json["component_id"], "d");
    assert_eq!(json["host_id"], host_id(0).as_str());
    assert_eq!(json["command"], "start component");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_bidders_the_least_busy_host_is_taken() {
    let lattice = FakeLattice::start(2).await;
    lattice.hosts[0].runs_provider("other", "/bin/other");
    lattice.wash("start component /c.wasm counter").await.ok();
    assert!(lattice.hosts[1].component("counter").is_some());
    lattice.hosts[1].runs_provider("x", "/bin/x");
    lattice.hosts[1].runs_provider("y", "/bin/y");
    lattice.wash("start component /c.wasm counter").await.ok();
    assert!(
        lattice.hosts[0].component("counter").is_none(),
        "starting again changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_image_under_the_same_id_is_refused_unless_it_is_meant() {
    let lattice = FakeLattice::start(1).await;
    lattice.wash("start component /c.wasm counter").await.ok();
    expect(
        &named(lattice.wash("start component /d.wasm counter").await),
        "
-- stderr
error[WASH0040]: component `counter` already runs with another image on host `[HOST1]`
  caused by: it runs `file:///c.wasm`, not `file:///d.wasm`
hint: replace its image with `wash update component counter file:///d.wasm`, or add `--allow-update`
-- exit 4",
    );
    let image = || lattice.hosts[0].component("counter").unwrap().image_ref;
    assert_eq!(image(), "file:///c.wasm");
    lattice
        .wash("start component /d.wasm counter --allow-update")
        .await
        .ok();
    assert_eq!(image(), "file:///d.wasm");
    lattice
        .wash("start component /d.wasm counter --max 9")
        .await
        .ok();
    assert_eq!(
        lattice.hosts[0].component("counter").unwrap().max_instances,
        9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_starts_at_once_the_slower_one_is_told_what_runs() {
    let lattice = FakeLattice::start(1).await;
    let slower = lattice.wash("start component /outrun.wasm counter").await;
    assert_eq!(slower.code, Some(4), "{slower}");
    assert!(
        slower
            .stderr
            .contains("it runs `file:///quick.wasm`, not `file:///outrun.wasm`"),
        "{slower}"
    );
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
async fn a_start_that_fails_or_never_ends_is_an_error() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &named(lattice.wash("start component /missing.wasm c").await),
        "
-- stderr
error[WASH0025]: component `c` could not be scaled on host `[HOST1]`
  caused by: no such file
hint: the host looks for the file on its own machine: check the path, and run `wash build` first if the component has not been built
-- exit 3",
    );
    expect(
        &named(lattice.wash("start provider /missing kv").await),
        "
-- stderr
error[WASH0025]: provider `kv` could not be started on host `[HOST1]`
  caused by: no such file
hint: the host looks for the file on its own machine: check the path, and run `wash build` first if the component has not been built
-- exit 3",
    );
    let known = lattice.wash("start component /missing-known.wasm c").await;
    assert!(
        known.stderr.contains("WASH0041") && known.stderr.contains("hint: ask the host\n"),
        "a host knows better than its text: {known}"
    );
    let silent = named(lattice.wash("start component /silent.wasm c -t 300").await);
    assert_eq!(silent.code, Some(5), "{silent}");
    assert!(silent.stderr.contains("WASH0050"), "{silent}");
    let skipped = named(
        lattice
            .wash("start component /silent.wasm c --skip-wait")
            .await,
    );
    expect(
        &skipped,
        "
-- stdout
Start component [file:///silent.wasm] request received on host [[HOST1]]
-- exit 0",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_bids_for_labels_nobody_has() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &lattice
            .wash("start provider /bin/kv kv -c zone=moon --auction-timeout-ms 200")
            .await,
        "
-- stderr
error[WASH0026]: no host can run provider `kv`
  caused by: no host bids that has the labels zone=moon
hint: a host runs a provider id only once; `wash get inventory` shows labels and providers
-- exit 3",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_their_text_and_their_exit_code() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("kv", "/bin/kv");
    expect(
        &named(
            lattice
                .wash("start provider /bin/kv kv --host-id icy")
                .await,
        ),
        "
-- stderr
error[WASH0040]: could not start provider `kv` on host `[HOST1]`
  caused by: provider with that ID is already running
-- exit 4",
    );
    let label = named(lattice.wash("label icy hostcore.os=plan9").await);
    assert_eq!(label.code, Some(4), "{label}");
    let json = lattice
        .wash("label icy a=1,hostcore.os=plan9 -o json")
        .await;
    assert_eq!(json.code, Some(4), "{json}");
    assert_eq!(json.json()["processed"], serde_json::json!([["a", "1"]]));
    assert_eq!(json.json()["success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_takes_both_forms() {
    let lattice = FakeLattice::start(2).await;
    lattice
        .wash("start component /c.wasm counter --host-id icy-hill-1")
        .await
        .ok();
    lattice
        .wash("start component /c.wasm counter --host-id icy-hill-2")
        .await
        .ok();
    expect(
        &named(
            lattice
                .wash("scale component icy-hill-2 /c.wasm counter --max-instances 7")
                .await,
        ),
        "
-- stdout
Component [counter] (ref: [file:///c.wasm]) scaled on host [[HOST2]] to 7 max concurrent instances
-- exit 0",
    );
    lattice
        .wash("scale component /c.wasm counter -c 50")
        .await
        .ok();
    for host in &lattice.hosts {
        assert_eq!(host.component("counter").unwrap().max_instances, 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_needs_one_host_or_all() {
    let lattice = FakeLattice::start(2).await;
    for host in &lattice.hosts {
        host.runs_component("counter", "file:///c.wasm");
    }
    let ambiguous = named(lattice.wash("stop component counter").await);
    assert_eq!(ambiguous.code, Some(3), "{ambiguous}");
    assert!(ambiguous.stderr.contains("runs on 2 hosts"), "{ambiguous}");
    lattice
        .wash("stop component counter --host-id icy-hill-1")
        .await
        .ok();
    assert!(lattice.hosts[0].component("counter").is_none());
    expect(
        &named(lattice.wash("stop component counter").await),
        "
-- stdout
Component [counter] stopped on host [[HOST2]]
-- exit 0",
    );
    let gone = lattice.wash("stop component counter -t 300").await;
    assert_eq!(gone.code, Some(3), "{gone}");
    assert!(
        gone.stderr.contains("no host runs component `counter`"),
        "{gone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_and_a_host_are_stopped() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("kv", "/bin/kv");
    let json = lattice.wash("stop provider kv -o json").await.ok().json();
    assert_eq!(json["provider_id"], "kv");
    assert!(!lattice.hosts[0].has_provider("kv"));
    expect(
        &named(lattice.wash("stop host icy").await),
        "-- stdout\nHost [HOST1] stopped\n-- exit 0",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_every_host() {
    let lattice = FakeLattice::start(2).await;
    for host in &lattice.hosts {
        host.runs_component("counter", "file:///c.wasm");
    }
    expect(
        &lattice.wash("update component counter /d.wasm").await,
        "
-- stdout
component counter updating from file:///c.wasm to file:///d.wasm
-- exit 0",
    );
    for host in &lattice.hosts {
        assert_eq!(
            host.component("counter").unwrap().image_ref,
            "file:///d.wasm"
        );
    }
    let again = lattice.wash("update component counter /d.wasm").await.ok();
    assert!(again.stdout.contains("already updated"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_scaled_over_hosts() {
    let lattice = FakeLattice::start(3).await;
    lattice.hosts[2].runs_component("busy", "file:///b.wasm");
    let two = named(lattice.wash("scale provider /bin/kv kv --replicas 2").await).ok();
    assert_eq!(two.stdout.lines().count(), 3, "{two}");
    let running = |lattice: &FakeLattice| -> Vec<bool> {
        lattice
            .hosts
            .iter()
            .map(|host| host.has_provider("kv"))
            .collect()
    };
    assert_eq!(running(&lattice), [true, true, false]);
    let json = lattice
        .wash("scale provider /bin/kv kv --per-host -o json")
        .await
        .ok()
        .json();
    assert_eq!(
        (json["desired"].clone(), json["running"].clone()),
        (3.into(), 3.into())
    );
    assert_eq!(running(&lattice), [true, true, true]);
    lattice
        .wash("scale provider /bin/kv kv --replicas 0 -c zone=z2")
        .await
        .ok();
    assert_eq!(running(&lattice), [true, false, true]);
    let short = lattice
        .wash("scale provider /bin/kv kv --replicas 5 -o json")
        .await;
    assert_eq!(short.code, Some(7), "{short}");
    let json = short.json();
    assert_eq!(
        (json["desired"].clone(), json["running"].clone()),
        (5.into(), 3.into())
    );
    lattice
        .wash("scale provider /bin/kv kv --replicas 0")
        .await
        .ok();
    assert_eq!(running(&lattice), [false, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_is_named() {
    let lattice = FakeLattice::start(1).await;
    let outcome = named(
        lattice
            .wash("scale provider /missing kv --per-host -o json")
            .await,
    );
    assert_eq!(outcome.code, Some(3), "nothing was done: {outcome}");
    let json = outcome.json();
    assert_eq!(json["error"]["code"], "WASH0025");
    let hint = json["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("check the path"), "{hint}");
    assert_eq!(json["hosts"][0]["state"], "failed");
    assert!(
        json["hosts"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("no such file")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_put_in_both_forms_shown_and_deleted() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &lattice
            .wash("link put counter kv wasi keyvalue --interface store --interface atomics")
            .await,
        "-- stdout\nPublished link (counter) -> (kv) successfully\n-- exit 0",
    );
    lattice
        .wash("link put http counter wasi:http/incoming-handler@0.2.2")
        .await
        .ok();
    {
        let mut shared = lattice.shared.lock().unwrap();
        assert_eq!(shared.links[0].interfaces, ["store", "atomics"]);
        assert_eq!(shared.links[1].interfaces, ["incoming-handler"]);
        shared.links[0].status.push(LinkStatus {
            endpoint: "kv".into(),
            host_id: host_id(0).to_string(),
            state: LinkState::Failed,
            reason: Some("no such bucket".into()),
        });
    }
    expect(
        &named(lattice.wash("link query").await),
        "
-- stdout
Source ID  Target   Interface(s)                 Name     State
counter    kv       wasi:keyvalue/store,atomics  default  failed
http       counter  wasi:http/incoming-handler   default  unknown
counter -> kv: kv failed on host [HOST1]: no such bucket
-- exit 0",
    );
    let json = lattice.wash("get links -o json").await.ok().json();
    assert_eq!(json["links"][0]["wit_package"], "keyvalue");
    assert_eq!(json["links"][0]["status"][0]["state"], "failed");
    let deleted = lattice
        .wash("link del counter wasi keyvalue -o json")
        .await
        .ok()
        .json();
    assert_eq!(
        (deleted["existed"].clone(), deleted["link_name"].clone()),
        (true.into(), "default".into())
    );
    let again = lattice.wash("link del counter wasi:keyvalue").await.ok();
    assert!(again.stdout.contains("no such link"), "{again}");
    let unasked = lattice.wash("link del --all").await;
    assert_eq!(unasked.code, Some(2), "{unasked}");
    lattice.wash("link del --all --force").await.ok();
    assert!(lattice.shared.lock().unwrap().links.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_with_an_unknown_config_is_refused() {
    let lattice = FakeLattice::start(1).await;
    let outcome = lattice
        .wash("link put a b wasi:keyvalue/store --target-config none")
        .await;
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert!(
        outcome.stderr.contains("Configuration none not found"),
        "{outcome}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_are_stored_shown_and_deleted() {
    let lattice = FakeLattice::start(1).await;
    let stored = lattice
        .wash("config put redis url=redis://127.0.0.1:6379 b=2 -o json")
        .await;
    assert_eq!(stored.ok().json()["success"], true);
    expect(
        &lattice.wash("config get redis").await,
        "-- stdout\nurl=redis://127.0.0.1:6379\nb=2\n-- exit 0",
    );
    let bare = lattice.wash("config get redis -o json").await.ok().json();
    assert_eq!(
        bare,
        serde_json::json!({ "url": "redis://127.0.0.1:6379", "b": "2" })
    );
    lattice.wash("config delete redis").await.ok();
    expect(
        &lattice.wash("config get redis").await,
        "
-- stderr
error[WASH0024]: there is no config `redis`
hint: store it with `wash config put redis key=value`
-- exit 3",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_set_and_deleted() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &named(lattice.wash("label icy a=1,b=2").await),
        "-- stdout\nHost [HOST1] labeled with a=1, b=2\n-- exit 0",
    );
    assert_eq!(lattice.hosts[0].inventory().labels["b"], "2");
    lattice.wash("tag icy --delete a b").await.ok();
    assert!(!lattice.hosts[0].inventory().labels.contains_key("a"));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_serves_is_told_apart() {
    let lattice = FakeLattice::start(1).await;
    expect(
        &lattice.wash("call nobody test:demo/sink.read key").await,
        "
-- stderr
error[WASH0022]: nobody in the lattice serves `test:demo/sink.read` of `nobody`
  caused by: nobody serves `default.nobody.wrpc.0.0.1.test:demo/sink.read`
hint: `wash get inventory` shows what runs, `wash inspect FILE` what a component exports
-- exit 3",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn putting_a_link_waits_for_the_provider_and_tells_of_its_refusal() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("kv", "/bin/kv");
    let taken = lattice
        .wash("link put counter kv wasi:keyvalue/store -o json")
        .await
        .ok()
        .json();
    assert_eq!(taken["status"][0]["state"], "ready", "{taken}");
    let again = lattice
        .wash("link put counter kv wasi:keyvalue/store -o json")
        .await
        .ok()
        .json();
    assert_eq!(
        again["status"],
        serde_json::json!([]),
        "nothing to wait for"
    );
    lattice.wash("config put bad bucket=none").await.ok();
    expect(
        &named(
            lattice
                .wash("link put a kv wasi:keyvalue/store --target-config bad")
                .await,
        ),
        "
-- stderr
error[WASH0040]: the link is stored, but provider `kv` does not take it
  caused by: kv on host [HOST1]: no such bucket
hint: the provider tries again when its config changes, or by itself; `wash get links` shows the state
-- exit 4",
    );
    let unasked = lattice
        .wash("link put b kv wasi:keyvalue/store --target-config bad --no-wait")
        .await;
    assert_eq!(unasked.code, Some(0), "{unasked}");
}
