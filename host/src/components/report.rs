//! The events about components.

use lattice_claims::component_info;
use lattice_core::ComponentId;
use lattice_core::event::{ComponentScaleFailed, ComponentScaled, Event};
use lattice_core::reply::message_chain;
use lattice_core::text::clipped_bytes;

use super::ComponentDeps;
use super::entry::Wanted;
use super::error::ScaleError;
use super::running::Running;

/// A component runs with a maximum, or was stopped, of this image.
pub(crate) fn scaled_event(
    deps: &ComponentDeps,
    id: &ComponentId,
    running: &Running,
    image: &str,
    max_instances: u32,
) -> Event {
    let claims = running
        .code()
        .claims
        .as_ref()
        .map(|verified| &verified.claims);
    Event::ComponentScaled(ComponentScaled {
        component_id: id.as_str().to_owned(),
        image_ref: image.to_owned(),
        max_instances,
        host_id: deps.identity.id.as_str().to_owned(),
        annotations: running.annotations().clone(),
        public_key: claims.map(|claims| claims.subject.clone()),
        claims: claims.map(component_info),
    })
}

pub(crate) fn scaled(
    deps: &ComponentDeps,
    id: &ComponentId,
    running: &Running,
    image: &str,
    max_instances: u32,
) {
    deps.events
        .publish(scaled_event(deps, id, running, image, max_instances));
}

/// What did not run still does not run.
pub(crate) fn scaled_to_zero(deps: &ComponentDeps, id: &ComponentId, wanted: &Wanted) {
    deps.events.publish(Event::ComponentScaled(ComponentScaled {
        component_id: id.as_str().to_owned(),
        image_ref: wanted.image.clone(),
        max_instances: 0,
        host_id: deps.identity.id.as_str().to_owned(),
        annotations: wanted.annotations.clone(),
        ..ComponentScaled::default()
    }));
}

/// The longest text of an error in an event, in bytes: NATS takes no message of any length, and an error
/// may list whatever a file imports.
const MAX_ERROR: usize = 16 << 10;

/// A component does not run as it was asked to.
pub(crate) fn failed(deps: &ComponentDeps, id: &ComponentId, wanted: &Wanted, error: &ScaleError) {
    let text = clipped_bytes(&message_chain(error), MAX_ERROR).to_owned();
    tracing::error!(
        component = id.as_str(),
        image = wanted.image,
        count = wanted.count,
        "could not scale a component: {text}"
    );
    deps.events
        .publish(Event::ComponentScaleFailed(ComponentScaleFailed {
            component_id: id.as_str().to_owned(),
            image_ref: wanted.image.clone(),
            max_instances: wanted.count,
            host_id: deps.identity.id.as_str().to_owned(),
            annotations: wanted.annotations.clone(),
            error: text,
            code: Some(error.code()),
            hint: error.hint().map(str::to_owned),
            public_key: error.public_key().map(str::to_owned),
        }));
}
