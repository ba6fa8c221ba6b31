//! Links, and the configs that they name.

use std::time::Duration;

use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::road::RoadReport;
use lattice_core::{Link, Locality, Road, RoadCounts, Why};
use tokio::time::timeout;

use crate::common::expect;
use crate::common::fake::{FakeLattice, host_id};
use crate::named;

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
async fn a_link_says_how_near_its_calls_stay_and_wide_shows_how_they_went() {
    let lattice = FakeLattice::start(2).await;
    let put = |flags: &str| {
        let line = format!("link put counter kv wasi:keyvalue/store {flags}");
        let lattice = &lattice;
        async move { lattice.wash(&line).await }
    };
    put("").await.ok();
    assert_eq!(
        lattice.shared.lock().unwrap().links[0].locality,
        Locality::PreferLocal
    );
    lattice.wash("link del counter wasi:keyvalue").await.ok();
    let json = put("--locality spread -o json").await.ok().json();
    assert_eq!(json["locality"], "spread");
    let json = lattice.wash("link query -o json").await.ok().json();
    assert_eq!(json["links"][0]["locality"], "spread");
    assert_eq!(json["links"][0].get("roads"), None, "{json}");
    for (host, why) in [(0, Why::Nearest), (1, Why::Spread)] {
        let counts = RoadCounts::default();
        counts.count(Road::Process, why);
        counts.count(Road::Bus, Why::Spread);
        let report = RoadReport {
            source_id: "counter".into(),
            target: "kv".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            name: "default".into(),
            roads: counts.report(),
        };
        lattice.hosts[host].inventory().roads.push(report);
    }
    expect(
        &lattice.wash("get links -o wide").await,
        "
-- stdout
Source ID  Target  Interface(s)         Name     Locality  Roads
counter    kv      wasi:keyvalue/store  default  spread    process 2 (nearest, spread), bus 2 (spread)
-- exit 0",
    );
    let json = lattice.wash("get links -o json").await.ok().json();
    let roads = &json["links"][0]["roads"];
    assert_eq!(
        (&roads["process"], &roads["socket"], &roads["bus"]),
        (&2.into(), &0.into(), &2.into())
    );
    assert_eq!(roads["last"], "bus");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_has_reported_that_is_gone_does_not_count() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("kv", "/bin/kv");
    let put = "link put counter kv wasi:keyvalue/store -o json";
    lattice.wash(put).await.ok();
    let report = |host: usize, state: LinkState| {
        let status = LinkStatus {
            endpoint: "kv".into(),
            host_id: host_id(host).to_string(),
            state,
            reason: None,
        };
        lattice.shared.lock().unwrap().links[0].status.push(status);
    };
    // This one was killed.
    report(7, LinkState::Failed);
    expect(
        &lattice.wash("get links").await,
        "
-- stdout
Source ID  Target  Interface(s)         Name     State
counter    kv      wasi:keyvalue/store  default  unknown
-- exit 0",
    );
    let again = lattice.wash(put).await.ok().json();
    assert_eq!(again["status"][0]["state"], "ready", "{again}");
    report(0, LinkState::Ready);
    let json = lattice.wash("get links -o json").await.ok().json();
    let status = &json["links"][0]["status"];
    assert_eq!(status.as_array().unwrap().len(), 1, "{json}");
    assert_eq!(status[0]["state"], "ready");
    let known = lattice.wash(put).await.ok().json();
    assert_eq!(known["status"], *status, "nothing to wait for");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_waited_for_as_long_as_an_answer_may_take() {
    let lattice = FakeLattice::start(1).await;
    lattice.hosts[0].runs_provider("mute", "/bin/mute");
    for line in [
        "link put counter mute wasi:keyvalue/store -t 60000",
        "get links -o json -t 60000",
    ] {
        let outcome = timeout(Duration::from_secs(30), lattice.wash(line)).await;
        assert!(outcome.is_ok(), "`{line}` waits");
        outcome.unwrap().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locality_that_is_not_stored_is_told() {
    let lattice = FakeLattice::start(1).await;
    let put = "link put counter kv wasi:keyvalue/store --locality spread";
    // It is stored; only some of those who answer do not know.
    lattice.shared.lock().unwrap().old_answers = 3;
    lattice.wash(put).await.ok();
    assert_eq!(lattice.shared.lock().unwrap().old_answers, 0);
    lattice.wash("link del counter wasi:keyvalue").await.ok();
    let old = ("old".to_owned(), "yes".to_owned());
    lattice.hosts[0].inventory().labels.extend([old]);
    expect(
        &lattice.wash(put).await,
        "
-- stderr
error[WASH0040]: the link is stored without its locality, which its host does not know
hint: delete it with `wash link del`, or put it in a lattice of hosts of this version
-- exit 4",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_1_9_are_deleted_whatever_their_names_are() {
    let lattice = FakeLattice::start(1).await;
    lattice
        .wash("link put counter kv wasi:keyvalue/store")
        .await
        .ok();
    {
        let mut shared = lattice.shared.lock().unwrap();
        let known = shared.links[0].clone();
        for (source, package) in [("counter", "keyvalue@0.2.0"), ("a.b", "keyvalue")] {
            shared.links.push(Link {
                source_id: source.into(),
                wit_package: package.into(),
                ..known.clone()
            });
        }
    }
    expect(
        &lattice.wash("link del counter wasi keyvalue@0.2.0").await,
        "
-- stdout
Deleted link for counter on wasi:keyvalue@0.2.0 (default) successfully
-- exit 0",
    );
    // The source of this one is no id, by which hosts find the record.
    let outcome = lattice.wash("link del --all --force -o json").await;
    assert_eq!(outcome.code, Some(7), "{outcome}");
    let json = outcome.json();
    assert_eq!(json["error"]["message"], "1 of 2 links were not deleted");
    assert_eq!(json["deleted"][0]["source_id"], "counter", "{outcome}");
    assert_eq!(json["failed"][0]["source_id"], "a.b", "{outcome}");
    let reason = json["failed"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("could not delete the link a.b -> wasi:keyvalue (default)"),
        "{outcome}"
    );
    assert_eq!(lattice.shared.lock().unwrap().links.len(), 1);
    let alone = lattice.wash("link del --all --force -o json").await;
    assert_eq!(alone.code, Some(2), "{alone}");
    assert_eq!(alone.json()["failed"][0]["source_id"], "a.b", "{alone}");
}
