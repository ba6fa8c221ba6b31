//! Requests about configs and registries.

use lattice_control::types::RegistryCredentials;
use lattice_control::{ControlError, Done, Outcome, Reply};
use lattice_core::event::{ConfigChanged, Event};
use lattice_core::{ConfigName, ErrorCode, StringMap};
use lattice_store::StoreError;

use super::HostApi;

impl HostApi {
    pub(super) async fn get_config(&self, name: &ConfigName) -> Reply<StringMap> {
        match self.store.configs().get(name).await {
            Ok(Some(config)) => Ok(Outcome::Data(config)),
            Ok(None) => Ok(Outcome::message("Configuration not found")),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn set_config(&self, name: &ConfigName, config: &StringMap) -> Done {
        self.store
            .configs()
            .put(name, config)
            .await
            .map_err(|error| failed(&error))?;
        let config_name = name.as_str().to_owned();
        self.events
            .publish(Event::ConfigSet(ConfigChanged { config_name }));
        Ok(Outcome::message("successfully put config"))
    }

    pub(super) async fn remove_config(&self, name: &ConfigName) -> Done {
        self.store
            .configs()
            .delete(name)
            .await
            .map_err(|error| failed(&error))?;
        let config_name = name.as_str().to_owned();
        self.events
            .publish(Event::ConfigDeleted(ConfigChanged { config_name }));
        Ok(Outcome::message("successfully deleted config"))
    }

    pub(super) fn keep_registries(&self, credentials: RegistryCredentials) -> Done {
        let known = self.registries.put(credentials).map_err(|error| {
            if let Some(untold) = self.registries.refusals.turn() {
                tracing::warn!(%error, untold, "refused credentials of registries");
            }
            ControlError::from_error(ErrorCode::BadRequest, &error)
                .with_hint("put those that are used, one after the other")
        })?;
        if let Some(untold) = self.registries.taken.turn() {
            tracing::warn!(
                known,
                untold,
                "credentials of registries have no effect: images are files so far"
            );
        }
        Ok(Outcome::message("successfully put registries"))
    }
}

fn failed(error: &StoreError) -> ControlError {
    let refusal = ControlError::from_error(error.code(), error);
    match error.hint() {
        Some(hint) => refusal.with_hint(hint),
        None => refusal,
    }
}
