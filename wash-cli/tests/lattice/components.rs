//! Starting, scaling, updating, stopping and calling components.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::common::expect;
use crate::common::fake::{FakeHost, FakeLattice, host_id};
use crate::named;

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
async fn a_scale_keeps_the_configs_that_a_component_has_unless_others_are_named() {
    let lattice = FakeLattice::start(1).await;
    let config = || lattice.hosts[0].component("counter").unwrap().config;
    lattice
        .wash("start component /c.wasm counter --config a --config b")
        .await
        .ok();
    for (flags, expected) in [
        ("/c.wasm counter -c 5", vec!["a", "b"]),
        ("icy /c.wasm counter -c 6", vec!["a", "b"]),
        ("icy /c.wasm counter --config d", vec!["d"]),
        ("/c.wasm counter --config e --config f", vec!["e", "f"]),
        ("/c.wasm counter --no-config", vec![]),
    ] {
        let line = format!("scale component {flags}");
        lattice.wash(&line).await.ok();
        assert_eq!(config(), expected, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_asked_for_goes_before_the_timeout_for_answers() {
    let lattice = FakeLattice::start(1).await;
    let late = lattice
        .wash("scale component icy /silent.wasm counter -t 1000 --wait-timeout-ms 300")
        .await;
    assert_eq!(late.code, Some(5), "{late}");
    for said in [
        "no such event came within 300ms",
        "wait longer with `--wait-timeout-ms`",
    ] {
        assert!(late.stderr.contains(said), "{late}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_one_host_is_done_on_the_others_and_both_are_told() {
    let lattice = FakeLattice::start(3).await;
    for host in &lattice.hosts {
        host.runs_component("counter", "file:///c.wasm");
    }
    let broken = ("broken".to_owned(), "yes".to_owned());
    lattice.hosts[0].inventory().labels.extend([broken]);
    for command in [
        "scale component /c.wasm counter --max 7",
        "update component counter /d.wasm",
        "stop component counter --all",
    ] {
        let outcome = named(lattice.wash(&format!("{command} -o json")).await);
        assert_eq!(outcome.code, Some(7), "{outcome}");
        let json = outcome.json();
        let done = serde_json::json!(["[HOST2]", "[HOST3]"]);
        assert_eq!(json["hosts"], done, "{outcome}");
        assert_eq!(json["failed"][0]["host_id"], "[HOST1]", "{outcome}");
        let reason = json["failed"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("the host is broken"), "{outcome}");
    }
    let runs = |host: &Arc<FakeHost>| host.component("counter").is_some();
    let left: Vec<bool> = lattice.hosts.iter().map(runs).collect();
    assert_eq!(left, [true, false, false]);
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
async fn hosts_tell_of_an_update_in_any_order() {
    let lattice = FakeLattice::start(2).await;
    let image = "file:///quiet.wasm";
    for host in &lattice.hosts {
        host.runs_component("counter", "file:///c.wasm");
    }
    let told = async {
        let runs = |host: &Arc<FakeHost>| host.component("counter").unwrap().image_ref == image;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !lattice.hosts.iter().all(runs) {
            assert!(Instant::now() < deadline, "no host was told to update");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for host in lattice.hosts.iter().rev() {
            host.scaled("counter", image, 1).await;
        }
    };
    let (outcome, ()) = tokio::join!(lattice.wash("update component counter /quiet.wasm"), told);
    outcome.ok();
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
