//! Requests about components.

use lattice_control::types::{
    ComponentAuctionAck, ComponentAuctionRequest, ScaleComponentCommand, UpdateComponentCommand,
};
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::{ComponentId, ErrorCode, ImageRef};
use serde::Serialize;

use super::HostApi;
use crate::components::ScaleError;

impl HostApi {
    /// Bids when the labels fit, also for a component that runs here already: old clients find
    /// the host to update in this way. Only providers may run once.
    pub(super) fn bid_for_component(
        &self,
        request: ComponentAuctionRequest,
    ) -> Option<ComponentAuctionAck> {
        if ComponentId::new(&request.component_id).is_err()
            || !self.labels.satisfy(&request.constraints)
        {
            return None;
        }
        Some(ComponentAuctionAck {
            component_ref: request.component_ref,
            component_id: request.component_id,
            host_id: self.identity.id.as_str().to_owned(),
            constraints: request.constraints,
        })
    }

    /// Accepts a scale command; the work follows.
    pub(super) fn scale(&self, command: ScaleComponentCommand) -> Done {
        let id = ComponentId::new(&command.component_id)?;
        check_told(&id, "annotations", &command.annotations)?;
        check_told(&id, "limits", &command.component_limits)?;
        check_told(&id, "names of configs", &command.config)?;
        let other = self
            .components
            .status(&id)
            .filter(|running| command.count > 0 && running.image.as_str() != command.component_ref);
        let reply = other.map_or_else(Outcome::bare, |running| {
            let (old, new) = (running.image, &command.component_ref);
            Outcome::message(if command.allow_update {
                format!("component `{id}` is scaled and updated from {old} to {new} then")
            } else {
                format!(
                    "component `{id}` runs {old}, which stays: it is scaled and not updated to {new}"
                )
            })
        });
        let accepted = self.components.scale(id, command);
        accepted.map_err(|error| refused(&error))?;
        Ok(reply)
    }

    /// Accepts an update command; the work follows.
    pub(super) fn update(&self, command: UpdateComponentCommand) -> Done {
        let id = ComponentId::new(&command.component_id)?;
        check_told(&id, "annotations", &command.annotations)?;
        let Some(running) = self.components.status(&id) else {
            let text = format!("component {id} not found");
            return Err(ControlError::new(ErrorCode::NotRunning, text)
                .with_hint("start it first, or name the host that runs it"));
        };
        let (old, new) = (running.image, command.new_component_ref.as_str());
        // What is under way may end with another image: then this one is put in line.
        if old.as_str() == new && self.components.is_idle(&id) {
            return Ok(Outcome::message(format!(
                "component {id} already updated to {new}"
            )));
        }
        let image = ImageRef::new(new)?;
        let reply = Outcome::message(format!("component {id} updating from {old} to {new}"));
        let accepted = self.components.update(id, image, command);
        accepted.map_err(|error| refused(&error))?;
        Ok(reply)
    }
}

/// How long each thing that a command says may be in JSON: hosts tell it in every heartbeat, for which
/// NATS has a limit.
const MAX_BYTES: usize = 64 << 10;

/// Refuses what is too long to be told all the time.
pub(super) fn check_told(
    id: &ComponentId,
    what: &str,
    told: &impl Serialize,
) -> Result<(), ControlError> {
    // Texts always encode.
    let bytes = serde_json::to_vec(told).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let text =
        format!("the {what} of `{id}` have {bytes} bytes, more than the {MAX_BYTES} they may have");
    let hint = "these are short notes and names; keep what is longer in a config";
    Err(ControlError::new(ErrorCode::BadRequest, text).with_hint(hint))
}

fn refused(error: &ScaleError) -> ControlError {
    let refusal = ControlError::from_error(error.code(), error);
    match error.hint() {
        Some(hint) => refusal.with_hint(hint),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::StringMap;

    use super::*;

    #[test]
    fn what_is_too_long_for_heartbeats_is_refused_by_name() {
        let id = ComponentId::new("cart").unwrap();
        let annotated = |bytes: usize| {
            let annotations = StringMap::from([("note".to_owned(), "x".repeat(bytes))]);
            check_told(&id, "annotations", &annotations)
        };
        annotated(1000).unwrap();
        let refused = annotated(MAX_BYTES).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.message.starts_with("the annotations of `cart`"));
        assert!(refused.hint.is_some());
    }
}
