//! What is known of the hosts of 1.9.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use bytes::Bytes;
use lattice_core::CtlResponse;
use lattice_core::host::ComponentDescription;
use lattice_nats_box::NatsBox;
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::identity::VERSION;

const OLD: &str = "1.9.1";

fn host_id(letter: char) -> HostId {
    HostId::new(format!("N{}", letter.to_string().repeat(55))).unwrap()
}

fn id() -> ComponentId {
    ComponentId::new("a").unwrap()
}

fn image(text: &str) -> ImageRef {
    ImageRef::new(text).unwrap()
}

fn pinged(host: &HostId, version: Option<&str>) -> Host {
    Host {
        id: host.to_string(),
        version: version.map(str::to_owned),
        ..Host::default()
    }
}

fn inventory(version: &str, image: &str) -> HostInventory {
    HostInventory {
        version: version.to_owned(),
        components: vec![ComponentDescription {
            id: "a".to_owned(),
            image_ref: image.to_owned(),
            max_instances: 10,
            ..ComponentDescription::default()
        }],
        ..HostInventory::default()
    }
}

#[test]
fn a_host_runs_a_component_if_it_is_of_1_9_and_has_the_same_image_under_its_id() {
    let of = |inventory: &HostInventory| runs(inventory, &id(), &image("x:1"));
    assert!(of(&inventory(OLD, "x:1")));
    assert!(!of(&inventory(OLD, "x:2")) && !of(&inventory(VERSION, "x:1")));
    let mut stopped = inventory(OLD, "x:1");
    stopped.components[0].max_instances = 0;
    assert!(!of(&stopped) && !of(&HostInventory::default()));
}

#[tokio::test(start_paused = true)]
async fn only_hosts_of_1_9_are_kept_in_mind_each_once_and_not_too_many() {
    let mut known = Known::new();
    let (old, ours) = (host_id('A'), host_id('B'));
    known.found(vec![
        pinged(&old, Some(OLD)),
        pinged(&ours, Some(VERSION)),
        pinged(&old, Some(OLD)),
        pinged(&host_id('C'), None),
        Host::default(),
    ]);
    assert_eq!(known.hosts, [old, host_id('C')]);
    let many = (0..200).map(|n| {
        let id = format!(
            "N{:A>55}",
            format!("{n:03}").replace(['0', '1', '8', '9'], "B")
        );
        HostId::new(id).unwrap()
    });
    known.found(many.map(|id| pinged(&id, Some(OLD))).collect());
    assert!(known.hosts.len() <= MOST_HOSTS && known.hosts.len() > 10);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_looked_for_ever_more_rarely_where_there_are_none() {
    let mut known = Known::new();
    let mut looked = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(600) {
        if known.begin_to_look() {
            looked += 1;
            known.found(Vec::new());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((10..=15).contains(&looked), "{looked}");
    known.found(vec![pinged(&host_id('A'), Some(OLD))]);
    assert_eq!(known.backoff.delay(), FIRST_PAUSE);
}

/// A host that answers pings and tells its inventory, until it is dropped.
async fn answer(
    nats: &async_nats::Client,
    host: &HostId,
    version: &str,
    runs: &str,
) -> AbortOnDropHandle<()> {
    fn reply(data: impl Serialize) -> Bytes {
        serde_json::to_vec(&CtlResponse::data(data)).unwrap().into()
    }
    let ping = reply(pinged(host, Some(version)));
    let inventory = reply(inventory(version, runs));
    let get = format!("wasmbus.ctl.v1.default.host.get.{host}");
    let pings = nats.subscribe("wasmbus.ctl.v1.default.host.ping");
    let (pings, gets) = (pings.await.unwrap(), nats.subscribe(get).await.unwrap());
    lattice_nats_box::taken_in(nats).await.unwrap();
    let nats = nats.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let pings = pings.map(|asked| (asked, ping.clone()));
        let gets = gets.map(|asked| (asked, inventory.clone()));
        let mut asked = stream::select(pings, gets);
        while let Some((asked, answer)) = asked.next().await {
            nats.publish(asked.reply.unwrap(), answer).await.unwrap();
        }
    }))
}

async fn beside(nats: &NatsBox, image: &str) -> Beside {
    let (nats, prefix) = (nats.client().await.unwrap(), TopicPrefix::default());
    let hosts = OldHosts::new(nats, LatticeName::default(), prefix);
    let beside = Beside::new(Arc::new(hosts), id());
    beside.serve_image(Some(ImageRef::new(image).unwrap()));
    beside
}

#[tokio::test]
async fn who_runs_the_same_is_found_and_no_longer_when_it_is_gone() {
    let nats = NatsBox::start().await.unwrap();
    let client = nats.client().await.unwrap();
    let nobody = beside(&nats, "x:1").await;
    assert!(!nobody.serve().await);
    let _ours = answer(&client, &host_id('A'), VERSION, "x:1").await;
    let _updated = answer(&client, &host_id('B'), OLD, "x:2").await;
    assert!(!beside(&nats, "x:1").await.serve().await);
    let same = answer(&client, &host_id('C'), OLD, "x:1").await;
    let beside = beside(&nats, "x:1").await;
    assert!(beside.serve().await && beside.serve().await);
    // It was looked for just before.
    assert!(!nobody.serve().await);
    // While the image here changes nobody serves the same.
    let before = beside.serve_image(None);
    assert!(!beside.serve().await);
    beside.serve_image(before);
    assert!(beside.serve().await);
    drop(same);
    assert!(!beside.serve().await);
}

#[tokio::test]
async fn a_change_of_the_image_that_is_given_up_leaves_the_one_that_was_served() {
    let nats = NatsBox::start().await.unwrap();
    let beside = beside(&nats, "x:1").await;
    let served = || beside.state.lock().image.clone();
    let image = |text: &str| Some(ImageRef::new(text).unwrap());
    let changing = beside.change();
    assert_eq!(served(), None);
    drop(changing);
    assert_eq!(served(), image("x:1"));
    beside.change().done(image("x:2"));
    assert_eq!(served(), image("x:2"));
}
