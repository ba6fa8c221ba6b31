//! Requests about providers.

use lattice_control::types::{
    ProviderAuctionAck, ProviderAuctionRequest, StartProviderCommand, StopProviderCommand,
};
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::{ComponentId, ErrorCode, ImageRef};

use super::HostApi;
use super::limits::check_told;
use crate::providers::ProviderError;

impl HostApi {
    /// Bids when the labels fit and no provider with this id runs here.
    pub(super) fn bid_for_provider(
        &self,
        request: ProviderAuctionRequest,
    ) -> Option<ProviderAuctionAck> {
        let id = ComponentId::new(&request.provider_id).ok()?;
        if !self.labels.satisfy(&request.constraints) || self.providers.has(&id) {
            return None;
        }
        Some(ProviderAuctionAck {
            host_id: self.identity.id.as_str().to_owned(),
            provider_ref: request.provider_ref,
            provider_id: request.provider_id,
            constraints: request.constraints,
        })
    }

    /// Accepts a start command; the work follows.
    pub(super) fn start(&self, command: StartProviderCommand) -> Done {
        let id = ComponentId::new(&command.provider_id)?;
        let image = ImageRef::new(&command.provider_ref)?;
        check_told(&id, "annotations", &command.annotations)?;
        check_told(&id, "names of configs", &command.config)?;
        self.providers
            .start(id, image, command.annotations, command.config)
            .map_err(refused)?;
        Ok(Outcome::message("successfully started provider"))
    }

    pub(super) async fn stop_one(&self, command: StopProviderCommand) -> Done {
        let id = ComponentId::new(&command.provider_id)?;
        self.providers.stop(&id).await.map_err(refused)?;
        Ok(Outcome::message("successfully stopped provider"))
    }
}

fn refused(error: ProviderError) -> ControlError {
    let code = match error {
        ProviderError::AlreadyRunning => ErrorCode::AlreadyRunning,
        ProviderError::NotRunning => ErrorCode::NotRunning,
        ProviderError::Stopping => ErrorCode::ShuttingDown,
    };
    ControlError::from_error(code, &error)
}
