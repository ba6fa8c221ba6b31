//! Events from the publisher to the stream.

use lattice_control::{Client, ClientConfig, EventPublisher};
use lattice_core::event::{ConfigChanged, Event, EventKind, HostStopped};
use lattice_core::{HostId, LatticeName};

use crate::fake::FakeHost;
use crate::{DEADLINE, HOST, client, host, nats_box, serve, soon};

fn config_set(name: &str) -> Event {
    Event::ConfigSet(ConfigChanged {
        config_name: name.into(),
    })
}

#[tokio::test]
async fn events_arrive_with_their_host_and_in_order() {
    let nats = nats_box().await;
    let mut all = client(&nats).await.events(&[]).await.unwrap();
    let mut some = client(&nats)
        .await
        .events(&[EventKind::ConfigSet])
        .await
        .unwrap();
    let lattice = LatticeName::default();
    let publisher = EventPublisher::new(nats.client().await.unwrap(), lattice, host());
    publisher
        .publish(Event::HostStopped(HostStopped::default()))
        .await;
    publisher.publish(config_set("a")).await;
    publisher.publish(config_set("b")).await;
    let first = soon("an event", all.next()).await.unwrap();
    assert_eq!(
        (first.source.as_str(), first.event.name()),
        (HOST, "host_stopped")
    );
    assert!(first.timestamp().is_some());
    for name in ["a", "b"] {
        assert_eq!(
            soon("an event", all.next()).await.unwrap().event,
            config_set(name)
        );
        assert_eq!(
            soon("an event", some.next()).await.unwrap().event,
            config_set(name)
        );
    }
    assert_eq!(all.missed(), 0);
}

#[tokio::test]
async fn an_event_can_be_waited_for_and_odd_messages_are_skipped() {
    let nats = nats_box().await;
    let mut events = client(&nats).await.events(&[]).await.unwrap();
    let raw = nats.client().await.unwrap();
    raw.publish("wasmbus.evt.default.config_set", "oops".into())
        .await
        .unwrap();
    let lattice = LatticeName::default();
    let publisher = EventPublisher::new(raw, lattice, host());
    publisher.publish(config_set("a")).await;
    publisher.publish(config_set("b")).await;
    let found = events
        .wait_for(DEADLINE, |event| match event.event {
            Event::ConfigSet(data) if data.config_name == "b" => Some(event.source),
            _ => None,
        })
        .await;
    assert_eq!(found.as_deref(), Some(HOST));
    let nothing = events
        .wait_for(std::time::Duration::from_millis(50), Some)
        .await;
    assert!(nothing.is_none());
}

#[tokio::test]
async fn events_of_other_lattices_are_not_heard_and_lost_connections_fail_nothing() {
    let mut nats = nats_box().await;
    let lattice = LatticeName::new("other").unwrap();
    let config = ClientConfig::new(lattice);
    let other = Client::new(nats.client().await.unwrap(), config);
    let mut events = other.events(&[]).await.unwrap();
    let id: HostId = host();
    let publisher = EventPublisher::new(nats.client().await.unwrap(), LatticeName::default(), id);
    publisher.publish(config_set("a")).await;
    publisher.flush(DEADLINE).await;
    assert!(
        events
            .wait_for(std::time::Duration::from_millis(50), Some)
            .await
            .is_none()
    );
    nats.stop();
    publisher.publish(config_set("b")).await;
}

#[tokio::test]
async fn a_listener_to_everything_keeps_nobody_from_serving_and_reading() {
    let nats = nats_box().await;
    let recorder = nats.client().await.unwrap();
    let _all = recorder.subscribe(">").await.unwrap();
    recorder.flush().await.unwrap();
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let mut events = client(&nats).await.events(&[]).await.unwrap();
    let lattice = LatticeName::default();
    let publisher = EventPublisher::new(nats.client().await.unwrap(), lattice, host());
    publisher.publish(config_set("a")).await;
    assert_eq!(
        soon("an event", events.next()).await.unwrap().event,
        config_set("a")
    );
}
