//! Starting, scaling and stopping providers.

use crate::common::expect;
use crate::common::fake::{FakeLattice, host_id};
use crate::named;

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
async fn a_provider_and_a_host_are_stopped() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("kv", "/bin/kv");
    let json = lattice.wash("stop provider kv -o json").await.ok().json();
    assert_eq!(json["provider_id"], "kv");
    let result = json["result"].as_str().unwrap();
    assert!(
        result.starts_with("Provider [kv] stopped successfully"),
        "{result}"
    );
    assert!(!lattice.hosts[0].has_provider("kv"));
    expect(
        &named(lattice.wash("stop host icy").await),
        "-- stdout\nHost [HOST1] acknowledged stop request and stopped\n-- exit 0",
    );
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
async fn a_host_that_drains_is_waited_for_longer_than_for_an_answer() {
    let lattice = FakeLattice::start(1).await;
    let slow = ("slow".to_owned(), "yes".to_owned());
    lattice.hosts[0].inventory().labels.extend([slow]);
    let stop = format!("stop host {} -t 500", host_id(0));
    expect(
        &named(lattice.wash(&stop).await),
        "-- stdout\nHost [HOST1] acknowledged stop request and stopped\n-- exit 0",
    );
}
