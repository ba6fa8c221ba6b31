//! What a host of the fake lattice tells.

use std::time::Duration;

use lattice_core::event::{ComponentScaled, Event, HostStopped, LinkStatusChanged};
use lattice_core::link::LinkState;
use lattice_core::{Link, StringMap};

use super::FakeHost;

/// How long a host drains that has the label `slow`.
const DRAINS: Duration = Duration::from_millis(1500);

/// After how long a host answers that has the label `late`.
const LATE: Duration = Duration::from_millis(600);

impl FakeHost {
    /// A host with the label `late` answers after those that are near.
    pub(super) async fn takes_its_time(&self) {
        if self.has_label("late") {
            tokio::time::sleep(LATE).await;
        }
    }

    /// The provider at the target's end takes a link, unless it is given the config `bad`; one called
    /// `mute` says nothing.
    pub(super) async fn report(&self, link: Link) {
        if !self.has_provider(&link.target) || link.target == "mute" {
            return;
        }
        let bad = link.target_config.iter().any(|name| name == "bad");
        let event = Event::LinkStatusChanged(LinkStatusChanged {
            endpoint: link.target.clone(),
            host_id: self.id.to_string(),
            state: if bad {
                LinkState::Failed
            } else {
                LinkState::Ready
            },
            reason: bad.then(|| "no such bucket".to_owned()),
            source_id: link.source_id,
            target: link.target,
            name: link.name,
            wit_namespace: link.wit_namespace,
            wit_package: link.wit_package,
        });
        self.events.publish(event).await;
    }

    /// Tells that a component runs so often; an image named `quiet` leaves that to the test.
    pub async fn scaled(&self, id: &str, image: &str, count: u32) {
        let event = Event::ComponentScaled(ComponentScaled {
            component_id: id.into(),
            image_ref: image.into(),
            max_instances: count,
            host_id: self.id.to_string(),
            annotations: StringMap::new(),
            public_key: None,
            claims: None,
        });
        self.events.publish(event).await;
    }

    /// Tells that it has stopped, if it has the label `slow` a while after the request.
    pub(super) async fn says_goodbye(&self) {
        let event = Event::HostStopped(HostStopped {
            labels: StringMap::new(),
            reason: None,
        });
        if !self.has_label("slow") {
            self.events.publish(event).await;
            return;
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DRAINS).await;
            events.publish(event).await;
        });
    }
}
