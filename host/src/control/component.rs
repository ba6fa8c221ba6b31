//! Requests about components.

use lattice_control::types::{
    ComponentAuctionAck, ComponentAuctionRequest, ScaleComponentCommand, UpdateComponentCommand,
    already_updated,
};
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::{ComponentId, ErrorCode, ImageRef};

use super::HostApi;
use super::limits::check_told;
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
            return Ok(Outcome::message(already_updated(id.as_str(), new)));
        }
        let image = ImageRef::new(new)?;
        let reply = Outcome::message(format!("component {id} updating from {old} to {new}"));
        let accepted = self.components.update(id, image, command);
        accepted.map_err(|error| refused(&error))?;
        Ok(reply)
    }
}

fn refused(error: &ScaleError) -> ControlError {
    let refusal = ControlError::from_error(error.code(), error);
    match error.hint() {
        Some(hint) => refusal.with_hint(hint),
        None => refusal,
    }
}
