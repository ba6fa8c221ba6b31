//! Heartbeats that NATS takes, however much runs on a host.

use bytes::Bytes;
use lattice_core::StringMap;
use lattice_core::event::{CloudEvent, Event};
use lattice_core::host::HostInventory;

/// What annotations of wadm begin with, by which it knows what is its own.
const OF_WADM: &str = "wasmcloud.dev/";

/// Takes something out of a heartbeat that has so many bytes too many.
type LeaveOut = fn(&mut HostInventory, usize);

/// How a heartbeat is made shorter, one after the other.
const SHORTER: [(&str, LeaveOut); 4] = [
    ("what hosts of 1.9 leave out", leave_out_additions),
    ("limits", leave_out_limits),
    ("annotations that are not wadm's", leave_out_notes),
    ("annotations of some", leave_out_annotations),
];

/// The bytes of an event.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) payload: Bytes,
    /// What these tell nothing of. When there is something, they may be too many all the same.
    pub(super) left_out: Vec<&'static str>,
}

/// The bytes of an event. A heartbeat that NATS would not take tells less: without any, the host would
/// be taken for gone.
pub(super) fn encode(mut envelope: CloudEvent, max: usize) -> serde_json::Result<Encoded> {
    let mut payload = serde_json::to_vec(&envelope)?;
    let mut left_out = Vec::new();
    for (what, leave_out) in SHORTER {
        let Event::HostHeartbeat(heartbeat) = &mut envelope.event else {
            break;
        };
        if payload.len() <= max {
            break;
        }
        leave_out(heartbeat, payload.len() - max);
        left_out.push(what);
        payload = serde_json::to_vec(&envelope)?;
    }
    let payload = payload.into();
    Ok(Encoded { payload, left_out })
}

fn leave_out_additions(heartbeat: &mut HostInventory, _: usize) {
    for component in &mut heartbeat.components {
        component.config.clear();
        (component.version, component.expires) = (None, None);
    }
    for provider in &mut heartbeat.providers {
        (provider.problem, provider.legacy) = (None, false);
        (provider.version, provider.expires) = (None, None);
    }
}

fn leave_out_limits(heartbeat: &mut HostInventory, _: usize) {
    for component in &mut heartbeat.components {
        component.limits = None;
    }
}

fn leave_out_notes(heartbeat: &mut HostInventory, _: usize) {
    for annotations in annotations(heartbeat).flatten() {
        annotations.retain(|key, _| key.starts_with(OF_WADM));
    }
}

/// Whoever reads a heartbeat finds annotations, if only an empty map: wadm takes no other. What is without
/// them wadm starts elsewhere once more, so they go for no more than has to be.
fn leave_out_annotations(heartbeat: &mut HostInventory, mut over: usize) {
    for annotations in annotations(heartbeat) {
        if over == 0 {
            return;
        }
        let before = length(annotations.as_ref());
        *annotations = Some(StringMap::new());
        over = over.saturating_sub(before.saturating_sub(length(annotations.as_ref())));
    }
}

/// How many bytes annotations are in a heartbeat.
fn length(annotations: Option<&StringMap>) -> usize {
    serde_json::to_vec(&annotations).map_or(0, |text| text.len())
}

/// Those of components and then those of providers, of each the last ones first.
fn annotations(heartbeat: &mut HostInventory) -> impl Iterator<Item = &mut Option<StringMap>> {
    let components = heartbeat.components.iter_mut().rev();
    let providers = heartbeat.providers.iter_mut().rev();
    let of_components = components.map(|component| &mut component.annotations);
    of_components.chain(providers.map(|provider| &mut provider.annotations))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use lattice_core::host::ComponentDescription;
    use lattice_core::{HostId, LatticeName};
    use lattice_nats_box::{NatsBox, NatsBoxOptions};
    use serde_json::Value;
    use tokio::time::timeout;

    use super::*;
    use crate::EventPublisher;

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

    fn source() -> HostId {
        HostId::new(format!("N{}", "A".repeat(55))).unwrap()
    }

    #[test]
    fn all_that_was_left_out_is_told_even_when_that_was_not_enough() {
        let sizes = Sizes {
            config: 10,
            limit: 5000,
            note: 10,
            of_wadm: 10,
        };
        let event = CloudEvent::now(&source(), heartbeat(&sizes));
        let whole = serde_json::to_vec(&event).unwrap();
        let encoded = encode(event.clone(), whole.len()).unwrap();
        assert!(encoded.left_out.is_empty());
        assert_eq!(encoded.payload, whole);
        let all = SHORTER.map(|(what, _)| what);
        let shorter = encode(event.clone(), 4096).unwrap();
        assert_eq!(shorter.left_out, all[..2]);
        assert!(shorter.payload.len() <= 4096);
        let too_large = encode(event, 100).unwrap();
        assert_eq!(too_large.left_out, all);
        assert!(too_large.payload.len() > 100);
    }

    #[test]
    fn as_many_as_there_is_room_for_keep_what_wadm_knows_its_own_by() {
        let note = ("wasmcloud.dev/scaler".to_owned(), "x".repeat(100));
        let component = |id: usize| ComponentDescription {
            id: id.to_string(),
            annotations: Some(StringMap::from([note.clone()])),
            ..ComponentDescription::default()
        };
        let heartbeat = Event::HostHeartbeat(HostInventory {
            components: (0..10).map(component).collect(),
            ..HostInventory::default()
        });
        let event = CloudEvent::now(&source(), heartbeat);
        // There is room for one of them less, and for half of another.
        let max = serde_json::to_vec(&event).unwrap().len() - 180;
        let encoded = encode(event, max).unwrap();
        assert!(encoded.payload.len() <= max);
        let told: Value = serde_json::from_slice(&encoded.payload).unwrap();
        let components = told["data"]["components"].as_array().unwrap();
        let has_note = |told: &&Value| told["annotations"]["wasmcloud.dev/scaler"].is_string();
        assert_eq!(components.iter().take_while(has_note).count(), 8);
        let mut rest = components[8..].iter();
        assert!(rest.all(|told| told["annotations"] == serde_json::json!({})));
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
        let publisher = EventPublisher::new(client, LatticeName::default(), source());
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
