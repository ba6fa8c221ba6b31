//! One method per operation.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::event::EventKind;
use lattice_core::host::{Host, HostInventory};
use lattice_core::id::IdRule;
use lattice_core::record::{keep_rules, restore_rules};
use lattice_core::subject::ControlOp;
use lattice_core::{
    ComponentId, ConfigName, CtlResponse, HostId, ImageRef, InvalidId, Link, LinkKey, StringMap,
};

use super::{Client, ClientError, EventStream, GatherOptions, encode, operation};
use crate::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};

impl Client {
    /// Collects the hosts that are there. A lattice without hosts gives an empty list.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn ping(&self, options: GatherOptions) -> Result<Vec<Host>, ClientError> {
        match self
            .gather(&ControlOp::HostPing, Bytes::new(), options)
            .await
        {
            Err(ClientError::NoResponders { .. }) => Ok(Vec::new()),
            result => result,
        }
    }

    /// Collects bids for a component.
    ///
    /// # Errors
    ///
    /// Fails with [`ClientError::NoResponders`] when the lattice has no hosts, and when a name
    /// breaks a rule or NATS cannot be reached.
    pub async fn auction_component(
        &self,
        mut request: ComponentAuctionRequest,
        options: GatherOptions,
    ) -> Result<Vec<ComponentAuctionAck>, ClientError> {
        request.component_id = entity(&request.component_id)?;
        request.component_ref = image(&request.component_ref)?;
        let op = ControlOp::ComponentAuction;
        self.gather(&op, encode(&op, &request)?, options).await
    }

    /// Collects bids for a provider.
    ///
    /// # Errors
    ///
    /// See [`Client::auction_component`].
    pub async fn auction_provider(
        &self,
        mut request: ProviderAuctionRequest,
        options: GatherOptions,
    ) -> Result<Vec<ProviderAuctionAck>, ClientError> {
        request.provider_id = entity(&request.provider_id)?;
        request.provider_ref = image(&request.provider_ref)?;
        let op = ControlOp::ProviderAuction;
        self.gather(&op, encode(&op, &request)?, options).await
    }

    /// Starts, scales or stops a component.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn scale_component(
        &self,
        host: &HostId,
        mut command: ScaleComponentCommand,
    ) -> Result<String, ClientError> {
        command.component_id = entity(&command.component_id)?;
        // A stop needs no image.
        if command.count > 0 || !command.component_ref.trim().is_empty() {
            command.component_ref = image(&command.component_ref)?;
        }
        command.host_id = host.to_string();
        self.change(ControlOp::ComponentScale(host.clone()), &command)
            .await
    }

    /// Replaces the image of a running component.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn update_component(
        &self,
        host: &HostId,
        mut command: UpdateComponentCommand,
    ) -> Result<String, ClientError> {
        command.component_id = entity(&command.component_id)?;
        command.new_component_ref = image(&command.new_component_ref)?;
        command.host_id = host.to_string();
        self.change(ControlOp::ComponentUpdate(host.clone()), &command)
            .await
    }

    /// Starts a provider.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn start_provider(
        &self,
        host: &HostId,
        mut command: StartProviderCommand,
    ) -> Result<String, ClientError> {
        command.provider_id = entity(&command.provider_id)?;
        command.provider_ref = image(&command.provider_ref)?;
        command.host_id = host.to_string();
        self.change(ControlOp::ProviderStart(host.clone()), &command)
            .await
    }

    /// Stops a provider.
    ///
    /// # Errors
    ///
    /// Fails when the id breaks a rule, nobody answers or the host refuses.
    pub async fn stop_provider(&self, host: &HostId, id: &str) -> Result<String, ClientError> {
        let command = StopProviderCommand {
            host_id: host.to_string(),
            provider_id: entity(id)?,
        };
        self.change(ControlOp::ProviderStop(host.clone()), &command)
            .await
    }

    /// Asks a host what it runs.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn inventory(&self, host: &HostId) -> Result<HostInventory, ClientError> {
        self.ask(ControlOp::HostGet(host.clone())).await
    }

    /// Stops a host; without `within` the host decides how long it takes.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn stop_host(
        &self,
        host: &HostId,
        within: Option<Duration>,
    ) -> Result<String, ClientError> {
        let timeout = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let command = StopHostCommand {
            host_id: host.to_string(),
            timeout,
        };
        self.change(ControlOp::HostStop(host.clone()), &command)
            .await
    }

    /// Sets a label of a host.
    ///
    /// # Errors
    ///
    /// Fails when the key is blank, nobody answers or the host refuses.
    pub async fn put_label(
        &self,
        host: &HostId,
        key: &str,
        value: &str,
    ) -> Result<String, ClientError> {
        let label = HostLabel {
            key: not_blank("label key", key)?,
            value: value.to_owned(),
        };
        self.change(ControlOp::LabelPut(host.clone()), &label).await
    }

    /// Deletes a label of a host.
    ///
    /// # Errors
    ///
    /// Fails when the key is blank, nobody answers or the host refuses.
    pub async fn delete_label(&self, host: &HostId, key: &str) -> Result<String, ClientError> {
        let label = HostLabelIdentifier {
            key: not_blank("label key", key)?,
        };
        self.change(ControlOp::LabelDelete(host.clone()), &label)
            .await
    }

    /// Asks for all claims.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn claims(&self) -> Result<Vec<ClaimsMap>, ClientError> {
        self.ask(ControlOp::ClaimsGet).await
    }

    /// Asks for all links.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn links(&self) -> Result<Vec<Link>, ClientError> {
        let mut links: Vec<Link> = self.ask(ControlOp::LinkGet).await?;
        // A host of 1.9 answers with the records as they are stored.
        links.iter_mut().for_each(restore_rules);
        Ok(links)
    }

    /// Stores a link.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn put_link(&self, link: &Link) -> Result<String, ClientError> {
        let mut link = Link {
            status: Vec::new(),
            ..link.clone()
        };
        for name in [
            &mut link.source_id,
            &mut link.target,
            &mut link.name,
            &mut link.wit_namespace,
            &mut link.wit_package,
        ] {
            *name = name.trim().to_owned();
        }
        link.check()?;
        // It may be a host of 1.9 that stores it.
        keep_rules(&mut link).map_err(|source| ClientError::Encode {
            operation: operation(&ControlOp::LinkPut),
            source,
        })?;
        self.change(ControlOp::LinkPut, &link).await
    }

    /// Deletes a link.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn delete_link(&self, link: &LinkKey) -> Result<String, ClientError> {
        self.change(ControlOp::LinkDelete, &DeleteLinkRequest::new(link))
            .await
    }

    /// Deletes a link by the names that it is stored with, also by those that no link would be put with:
    /// hosts of 1.9 store any.
    ///
    /// # Errors
    ///
    /// Fails when the source is not an id, nobody answers or the host refuses.
    pub async fn delete_stored_link(
        &self,
        request: &DeleteLinkRequest,
    ) -> Result<String, ClientError> {
        ComponentId::new(&request.source_id)?;
        self.change(ControlOp::LinkDelete, request).await
    }

    /// Reads a config; `None` when there is no such one.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn config(&self, name: &ConfigName) -> Result<Option<StringMap>, ClientError> {
        let op = ControlOp::ConfigGet(name.clone());
        let response: CtlResponse<StringMap> = self.request(&op, Bytes::new()).await?;
        Ok(response.response)
    }

    /// Stores a config in place of the one that was there.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn put_config(
        &self,
        name: &ConfigName,
        config: &StringMap,
    ) -> Result<String, ClientError> {
        self.change(ControlOp::ConfigPut(name.clone()), config)
            .await
    }

    /// Deletes a config, whether or not it is there.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn delete_config(&self, name: &ConfigName) -> Result<String, ClientError> {
        let op = ControlOp::ConfigDelete(name.clone());
        let response: CtlResponse<StringMap> = self.request(&op, Bytes::new()).await?;
        Ok(response.message)
    }

    /// Sends credentials of registries to every host, without waiting for answers.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn put_registries(
        &self,
        credentials: &RegistryCredentials,
    ) -> Result<(), ClientError> {
        let op = ControlOp::RegistryPut;
        let payload = encode(&op, credentials)?;
        self.publish(&op, None, payload).await
    }

    /// Subscribes to events of the given kinds; to all when none are given.
    ///
    /// When this returns, NATS delivers every such event to the stream.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn events(&self, kinds: &[EventKind]) -> Result<EventStream, ClientError> {
        EventStream::subscribe(&self.nats, &self.config, kinds).await
    }
}

fn entity(text: &str) -> Result<String, InvalidId> {
    ComponentId::new(text.trim()).map(String::from)
}

fn image(text: &str) -> Result<String, InvalidId> {
    ImageRef::new(text.trim()).map(String::from)
}

fn not_blank(kind: &'static str, text: &str) -> Result<String, InvalidId> {
    let text = text.trim();
    if text.is_empty() {
        let rule = IdRule::Empty;
        return Err(InvalidId {
            kind,
            text: String::new(),
            rule,
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_blank_ones_refused() {
        assert_eq!(entity(" a ").unwrap(), "a");
        assert_eq!(image("\tfile:///a.wasm\n").unwrap(), "file:///a.wasm");
        assert!(entity(" ").is_err() && image("").is_err());
        let error = not_blank("label key", "  ").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`` is not a valid label key: it is empty"
        );
    }
}
