//! The sessions that Mosquitto holds for links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_core::provider::HostData;
use lattice_core::{LatticeName, LinkRules, Locality, ResolvedLink, StringMap};
use lattice_provider_sdk::run;
use lattice_services::{Kind, Service};
use messaging_mqtt::MessagingMqtt;
use support::{Component, Heard, Lattice, Said, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

async fn start() -> (Lattice, Service) {
    let broker = Service::start(Kind::Mosquitto).await.unwrap();
    (Lattice::start::<MessagingMqtt>().await, broker)
}

/// Runs the provider of a lattice on a host that was not there before, with one link.
fn run_on_a_new_host(lattice: &Lattice, target: &str, config: &[(&str, &str)]) -> DropGuard {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let link = ResolvedLink {
        source_id: "messages".into(),
        target: target.into(),
        name: "default".into(),
        wit_namespace: "wasmcloud".into(),
        wit_package: "messaging".into(),
        interfaces: vec!["handler".into()],
        source_config: config.iter().map(owned).collect(),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: Locality::default(),
        rules: LinkRules::default(),
        ruled: false,
    };
    let data = HostData {
        host_id: "another".into(),
        lattice_rpc_prefix: LatticeName::default().to_string(),
        lattice_rpc_url: lattice.nats.url.clone().into(),
        provider_key: "messages".into(),
        link_definitions: vec![link],
        ..HostData::default()
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        run::<MessagingMqtt>(data, stopped).await.unwrap();
    });
    stop.drop_guard()
}

#[tokio::test]
async fn a_member_of_a_group_that_is_another_host_after_a_restart_gets_what_came_meanwhile() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders|g")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    lattice.stop_providers().await;
    let mut other = Lattice::start::<MessagingMqtt>().await;
    let publisher = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    for body in ["1", "2"] {
        publisher.publish("orders", body.as_bytes()).await.unwrap();
    }
    let _running = run_on_a_new_host(&lattice, "listener", &config);
    let mut missing = HashSet::from(["1", "2"]);
    while !missing.is_empty() {
        missing.remove(heard.next().await.text());
    }
}

#[tokio::test]
async fn nothing_is_missed_when_a_member_joins_a_group() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders|g")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let mut other = Lattice::start::<MessagingMqtt>().await;
    let publisher = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    lattice.run::<MessagingMqtt>().await;
    all_come(&publisher, &mut heard).await;
}

/// Hears what copies of the provider say of sessions, through a lattice of its own.
async fn overhear(url: &str) -> (Lattice, Heard) {
    let mut lattice = Lattice::start::<MessagingMqtt>().await;
    let heard = lattice.handler("spy", |_| Said::Done).await;
    let config = [("url", url), ("subscriptions", "lattice/sessions/+")];
    lattice.source("spy", &config).await;
    lattice.ready().await;
    (lattice, heard)
}

#[tokio::test]
async fn copies_that_start_at_once_come_to_have_a_session_each() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let (mut spying, mut said) = overhear(&url).await;
    let publisher = spying.target("publisher", &[("url", &url)]).await;
    spying.ready().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders|g")];
    let _running = [(); 3].map(|()| run_on_a_new_host(&lattice, "listener", &config));
    for _ in 0..3 {
        lattice.ready().await;
    }
    let mut claimed = HashSet::new();
    while claimed.len() < 3 {
        let next = said.next().await;
        // Others are questions and their answers.
        if !next.subject.ends_with(".held") {
            claimed.insert(next.subject);
        }
    }
    all_come(&publisher, &mut heard).await;
}

#[tokio::test]
async fn a_copy_that_joins_a_group_is_told_which_session_is_held() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders|g")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let (mut other, mut said) = overhear(&url).await;
    let publisher = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    let _running = run_on_a_new_host(&lattice, "listener", &config);
    while !said.next().await.text().starts_with("held ") {}
    lattice.ready().await;
    all_come(&publisher, &mut heard).await;
}

/// Publishes, and waits until nothing is missing of it.
async fn all_come(publisher: &Component, heard: &mut Heard) {
    let mut missing: HashSet<String> = (0..30).map(|number| number.to_string()).collect();
    for number in 0..30 {
        let body = number.to_string();
        publisher.publish("orders", body.as_bytes()).await.unwrap();
    }
    while !missing.is_empty() {
        missing.remove(heard.next().await.text());
    }
}

/// Stands before a broker. When it is told to, it tells the connections of sessions that others have taken
/// them over, as brokers do that say why they hang up, and hangs up.
async fn stand_before(broker: &Service) -> (String, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let behind = broker.url().replace("mqtt://", "");
    let kicks = Arc::new(Notify::new());
    let kicked = Arc::clone(&kicks);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, behind.clone(), Arc::clone(&kicked)));
        }
    });
    (url, kicks)
}

async fn pass(mut client: TcpStream, behind: String, kicked: Arc<Notify>) {
    let mut server = TcpStream::connect(behind).await.unwrap();
    let mut first = vec![0; 4096];
    let size = client.read(&mut first).await.unwrap();
    server.write_all(&first[..size]).await.unwrap();
    // What publishes has another name.
    let is_session = first.windows(8).any(|part| part == b"lattice.");
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = kicked.notified(), if is_session => {
            client.write_all(&[0xe0, 2, 0x8e, 0]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_member_whose_session_is_taken_over_by_nobody_who_keeps_it_goes_on_with_it() {
    let (mut lattice, broker) = start().await;
    let (url, kicks) = stand_before(&broker).await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    let slow = |_: &_| Said::After(Duration::from_secs(60));
    let mut heard = lattice.handler("listener", slow).await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders|g"),
        ("timeout_ms", "60000"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    publisher.publish("orders", b"held").await.unwrap();
    assert_eq!(heard.next().await.text(), "held");
    kicks.notify_waiters();
    // The session still has it.
    assert_eq!(heard.next().await.text(), "held");
}

#[tokio::test]
async fn a_link_that_is_deleted_leaves_a_session_that_another_copy_has() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let (mut other, mut said) = overhear(&url).await;
    let publisher = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("client_id", "mine"),
    ];
    let _first = lattice.handler("listener", |_| Said::Done).await;
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let mut heard = other.handler("listener", |_| Said::Done).await;
    other.source("listener", &config).await;
    other.ready().await;
    lattice.unlink().await;
    while !said.next().await.text().starts_with("held ") {}
    for number in 0..10 {
        let body = number.to_string();
        publisher.publish("orders", body.as_bytes()).await.unwrap();
        assert_eq!(heard.next().await.text(), body);
    }
}

#[tokio::test]
async fn a_copy_that_stands_by_takes_up_at_once_what_another_lets_go() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut other = Lattice::start::<MessagingMqtt>().await;
    let publisher = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("client_id", "mine"),
    ];
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let _second = other.handler("listener", |_| Said::Done).await;
    other.source("listener", &config).await;
    other.ready().await;
    other.unlink().await;
    until_all_come(&publisher, &mut heard).await;
}

/// Publishes until nothing is missing of what is published.
async fn until_all_come(publisher: &Component, heard: &mut Heard) {
    let mut round = 0;
    until(async || {
        round += 1;
        for number in 0..6 {
            let body = format!("{round}.{number}");
            publisher.publish("orders", body.as_bytes()).await.unwrap();
        }
        let all = async {
            let mut missing: HashSet<_> = (0..6).map(|n| format!("{round}.{n}")).collect();
            while !missing.is_empty() {
                missing.remove(heard.next().await.text());
            }
        };
        tokio::time::timeout(Duration::from_secs(1), all).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_deleted_takes_no_share_of_its_group() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("one", |_| Said::Done).await;
    let _other = lattice.handler("two", |_| Said::Done).await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    for id in ["one", "two"] {
        let config = [("url", &*url), ("subscriptions", "orders|g")];
        lattice.source(id, &config).await;
        lattice.ready().await;
    }
    lattice.unlink().await;
    // It is let go a moment later. With it, every other message would be missing.
    until_all_come(&publisher, &mut heard).await;
}

#[tokio::test]
async fn a_link_that_changes_keeps_what_its_session_holds_and_hears_what_it_names_alone() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    for (id, client_id) in [("named", Some("mine")), ("unnamed", None)] {
        let can = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&can);
        let say = move |_: &_| match asked.load(Ordering::SeqCst) {
            true => Said::Done,
            false => Said::Error("not yet"),
        };
        let mut heard = lattice.handler(id, say).await;
        let config = |subscriptions| {
            let mut config = vec![
                ("url", &*url),
                ("subscriptions", subscriptions),
                ("max_deliver", "1000"),
                ("max_in_flight", "1"),
                ("backoff", "50"),
            ];
            config.extend(client_id.map(|name| ("client_id", name)));
            config
        };
        lattice.source(id, &config("a,b")).await;
        lattice.ready().await;
        publisher.publish("a", b"held").await.unwrap();
        assert_eq!(heard.next().await.text(), "held");
        lattice.source(id, &config("c,a")).await;
        lattice.ready().await;
        // What was tried under the old subscriptions.
        while heard.now().is_some() {}
        can.store(true, Ordering::SeqCst);
        assert_eq!(heard.next().await.text(), "held");
        publisher.publish("b", b"not named").await.unwrap();
        publisher.publish("c", b"last").await.unwrap();
        let mut next = heard.next().await;
        while next.text() == "held" {
            next = heard.next().await;
        }
        assert_eq!(next.text(), "last");
        lattice.unlink().await;
    }
}
