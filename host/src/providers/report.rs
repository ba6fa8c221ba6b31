//! The events about providers.

use lattice_core::event::{
    Event, ProviderClaimsInfo, ProviderStartFailed, ProviderStarted, ProviderStopped,
};
use lattice_core::id::DEFAULT_NAME;
use lattice_core::reply::message_chain;

use super::ProviderDeps;
use super::error::StartProviderError;
use super::slot::Slot;

pub(crate) fn started(deps: &ProviderDeps, slot: &Slot, claims: Option<ProviderClaimsInfo>) {
    let id = slot.id.as_str();
    tracing::info!(
        provider = id,
        image = slot.image.as_str(),
        "started a provider"
    );
    deps.events.publish(Event::ProviderStarted(ProviderStarted {
        host_id: deps.identity.id.as_str().to_owned(),
        image_ref: slot.image_ref().to_owned(),
        provider_id: id.to_owned(),
        annotations: slot.annotations.clone(),
        instance_id: id.to_owned(),
        public_key: id.to_owned(),
        link_name: DEFAULT_NAME.to_owned(),
        claims,
    }));
}

pub(crate) fn start_failed(deps: &ProviderDeps, slot: &Slot, error: &StartProviderError) {
    let text = message_chain(error);
    let image = slot.image.as_str();
    tracing::error!(
        provider = slot.id.as_str(),
        image,
        "could not start a provider: {text}"
    );
    deps.events
        .publish(Event::ProviderStartFailed(ProviderStartFailed {
            provider_ref: image.to_owned(),
            provider_id: slot.id.as_str().to_owned(),
            host_id: deps.identity.id.as_str().to_owned(),
            error: text,
            code: Some(error.code()),
            hint: error.hint().map(str::to_owned),
            link_name: DEFAULT_NAME.to_owned(),
        }));
}

pub(crate) fn stopped(deps: &ProviderDeps, slot: &Slot) {
    let id = slot.id.as_str();
    tracing::info!(provider = id, "stopped a provider");
    deps.events.publish(Event::ProviderStopped(ProviderStopped {
        host_id: deps.identity.id.as_str().to_owned(),
        provider_id: id.to_owned(),
        annotations: slot.annotations.clone(),
        reason: "stop".to_owned(),
        instance_id: id.to_owned(),
        public_key: id.to_owned(),
        link_name: DEFAULT_NAME.to_owned(),
    }));
}
