//! Publishes the events of a host.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of events, writing"
)]

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use lattice_core::event::{CloudEvent, Event};
use lattice_core::host::HostInventory;
use lattice_core::{HostId, LatticeName, StringMap, subject};
use tokio::time::timeout;

/// How long publishing may wait for room in the connection's queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// Publishes events in the name of one host. Cheap to clone.
///
/// Publishing never fails: an operation that succeeded stays a success when nobody can be told.
#[derive(Debug, Clone)]
pub struct EventPublisher {
    nats: Client,
    lattice: LatticeName,
    source: HostId,
}

impl EventPublisher {
    /// A publisher for `source`.
    #[must_use]
    pub fn new(nats: Client, lattice: LatticeName, source: HostId) -> Self {
        Self {
            nats,
            lattice,
            source,
        }
    }

    /// Publishes an event with a fresh id and the present time. A failure is logged.
    pub async fn publish(&self, event: Event) {
        let name = event.name().to_owned();
        let envelope = CloudEvent::now(&self.source, event);
        let payload = match encode(envelope, self.nats.max_payload()) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(event = name, %error, "could not encode event");
                return;
            }
        };
        let subject = subject::event::event(&self.lattice, &name);
        match timeout(PATIENCE, self.nats.publish(subject, payload)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = name, %error, "could not publish event"),
            Err(_) => tracing::warn!(event = name, "could not publish event in time"),
        }
    }

    /// Waits until everything published so far has been sent, at most for `deadline`.
    pub async fn flush(&self, deadline: Duration) {
        match timeout(deadline, self.nats.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not flush events"),
            Err(_) => tracing::warn!("could not flush events in time"),
        }
    }
}

/// What annotations of wadm begin with, by which it knows what is its own.
const OF_WADM: &str = "wasmcloud.dev/";

/// How a heartbeat is made shorter, one after the other.
const SHORTER: [(&str, fn(&mut HostInventory)); 4] = [
    ("what hosts of 1.9 leave out", leave_out_additions),
    ("limits", leave_out_limits),
    ("annotations that are not wadm's", leave_out_notes),
    ("annotations", leave_out_annotations),
];

/// The bytes of an event. A heartbeat that NATS would not take tells less: without any, the host would
/// be taken for gone.
fn encode(mut envelope: CloudEvent, max: usize) -> serde_json::Result<Bytes> {
    let mut payload = serde_json::to_vec(&envelope)?;
    for (what, leave_out) in SHORTER {
        let Event::HostHeartbeat(heartbeat) = &mut envelope.event else {
            break;
        };
        let bytes = payload.len();
        if bytes <= max {
            break;
        }
        tracing::warn!(
            bytes,
            max,
            "a heartbeat is too large for NATS and is sent without {what}"
        );
        leave_out(heartbeat);
        payload = serde_json::to_vec(&envelope)?;
    }
    Ok(payload.into())
}

fn leave_out_additions(heartbeat: &mut HostInventory) {
    for component in &mut heartbeat.components {
        component.config.clear();
        (component.version, component.expires) = (None, None);
    }
    for provider in &mut heartbeat.providers {
        (provider.problem, provider.legacy) = (None, false);
        (provider.version, provider.expires) = (None, None);
    }
}

fn leave_out_limits(heartbeat: &mut HostInventory) {
    for component in &mut heartbeat.components {
        component.limits = None;
    }
}

fn leave_out_notes(heartbeat: &mut HostInventory) {
    for annotations in annotations(heartbeat).flatten() {
        annotations.retain(|key, _| key.starts_with(OF_WADM));
    }
}

/// Whoever reads a heartbeat finds annotations, if only an empty map: wadm takes no other.
fn leave_out_annotations(heartbeat: &mut HostInventory) {
    for annotations in annotations(heartbeat) {
        *annotations = Some(StringMap::new());
    }
}

fn annotations(heartbeat: &mut HostInventory) -> impl Iterator<Item = &mut Option<StringMap>> {
    let components = heartbeat.components.iter_mut();
    let providers = heartbeat.providers.iter_mut();
    let of_components = components.map(|component| &mut component.annotations);
    of_components.chain(providers.map(|provider| &mut provider.annotations))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use lattice_core::host::ComponentDescription;
    use lattice_nats_box::{NatsBox, NatsBoxOptions};
    use serde_json::Value;

    use super::*;

    /// Longer than anything here should take on a busy machine.
    const SOON: Duration = Duration::from_secs(30);

    /// What a component of a heartbeat has, in bytes.
    struct Sizes {
        config: usize,
        limit: usize,
        note: usize,
        of_wadm: usize,
    }

    fn heartbeat(sizes: &Sizes) -> Event {
        let text = |key: &str, bytes: usize| (key.to_owned(), "x".repeat(bytes));
        let annotations = [
            text("note", sizes.note),
            text("wasmcloud.dev/appspec", sizes.of_wadm),
        ];
        let component = ComponentDescription {
            id: "a".to_owned(),
            annotations: Some(StringMap::from(annotations)),
            limits: Some(StringMap::from([text("limit", sizes.limit)])),
            config: vec!["x".repeat(sizes.config)],
            ..ComponentDescription::default()
        };
        Event::HostHeartbeat(HostInventory {
            components: vec![component],
            ..HostInventory::default()
        })
    }

    #[tokio::test]
    async fn a_heartbeat_that_is_too_large_for_nats_is_sent_with_less() {
        let nats = NatsBox::start_with(NatsBoxOptions {
            max_payload: Some(4096),
            ..NatsBoxOptions::default()
        })
        .await
        .unwrap();
        let client = nats.client().await.unwrap();
        let mut heartbeats = client
            .subscribe("wasmbus.evt.default.host_heartbeat")
            .await
            .unwrap();
        let source = HostId::new(format!("N{}", "A".repeat(55))).unwrap();
        let publisher = EventPublisher::new(client, LatticeName::default(), source);
        let mut sizes = Sizes {
            config: 10,
            limit: 10,
            note: 10,
            of_wadm: 10,
        };
        let larger: [fn(&mut Sizes); 5] = [
            |_| {},
            |sizes| sizes.config = 5000,
            |sizes| sizes.limit = 5000,
            |sizes| sizes.note = 5000,
            |sizes| sizes.of_wadm = 5000,
        ];
        for (left_out, enlarge) in larger.into_iter().enumerate() {
            enlarge(&mut sizes);
            publisher.publish(heartbeat(&sizes)).await;
            let message = timeout(SOON, heartbeats.next()).await.unwrap().unwrap();
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let component = &event["data"]["components"][0];
            assert_eq!(component["id"], "a");
            assert_eq!(component.get("config").is_some(), left_out < 1);
            assert_eq!(component["limits"].is_object(), left_out < 2);
            assert!(component.get("limits").is_some());
            let annotations = component["annotations"].as_object().unwrap();
            assert_eq!(annotations.contains_key("note"), left_out < 3);
            let is_wadms = annotations.contains_key("wasmcloud.dev/appspec");
            assert_eq!(is_wadms, left_out < 4);
        }
    }
}
