//! What the host does when it is asked.

mod component;
mod config;
mod host;
mod label;
mod limits;
mod link;
mod provider;

use std::sync::Arc;

use async_nats::Client;
use async_trait::async_trait;
use lattice_control::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};
use lattice_control::{ControlApi, Done, Outcome, Reply};
use lattice_core::host::{Host, HostInventory};
use lattice_core::{ConfigName, Link, StringMap};
use lattice_store::LatticeStore;
use tokio::sync::watch;

use crate::claims::ClaimsTable;
use crate::components::Components;
use crate::events::Events;
use crate::host::StopRequest;
use crate::identity::Identity;
use crate::inventory::Inventory;
use crate::labels::Labels;
use crate::links::LinkTable;
use crate::providers::Providers;
use crate::registries::Registries;
use crate::sync::Unwritten;

/// Answers control requests with the help of the owners of the host's parts.
#[derive(Debug)]
pub(crate) struct HostApi {
    pub(crate) identity: Arc<Identity>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) components: Arc<Components>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) links: Arc<LinkTable>,
    pub(crate) claims: Arc<ClaimsTable>,
    /// What of a lost store is still to be written back.
    pub(crate) unwritten: Unwritten,
    pub(crate) registries: Registries,
    pub(crate) store: LatticeStore,
    pub(crate) events: Arc<Events>,
    pub(crate) inventory: Arc<Inventory>,
    /// The connection for calls, on which old providers are told about links.
    pub(crate) rpc: Client,
    pub(crate) stop: watch::Sender<Option<StopRequest>>,
}

#[async_trait]
impl ControlApi for HostApi {
    async fn auction_component(
        &self,
        request: ComponentAuctionRequest,
    ) -> Option<ComponentAuctionAck> {
        self.bid_for_component(request)
    }

    async fn auction_provider(
        &self,
        request: ProviderAuctionRequest,
    ) -> Option<ProviderAuctionAck> {
        self.bid_for_provider(request)
    }

    async fn scale_component(&self, command: ScaleComponentCommand) -> Done {
        self.scale(command)
    }

    async fn update_component(&self, command: UpdateComponentCommand) -> Done {
        self.update(command)
    }

    async fn start_provider(&self, command: StartProviderCommand) -> Done {
        self.start(command)
    }

    async fn stop_provider(&self, command: StopProviderCommand) -> Done {
        self.stop_one(command).await
    }

    async fn inventory(&self) -> Reply<HostInventory> {
        Ok(Outcome::Data(self.inventory.with_roads().await))
    }

    async fn ping(&self) -> Reply<Host> {
        Ok(Outcome::Data(self.inventory.brief()))
    }

    async fn stop_host(&self, command: StopHostCommand) -> Done {
        self.request_stop(&command)
    }

    async fn put_label(&self, label: HostLabel) -> Done {
        self.set_label(&label)
    }

    async fn delete_label(&self, label: HostLabelIdentifier) -> Done {
        self.remove_label(&label)
    }

    async fn claims(&self) -> Reply<Vec<ClaimsMap>> {
        Ok(Outcome::Data(self.claims.all()))
    }

    async fn links(&self) -> Reply<Vec<Link>> {
        Ok(Outcome::Data(self.all_links().await))
    }

    async fn put_link(&self, link: Link) -> Done {
        self.store_link(link).await
    }

    async fn delete_link(&self, request: DeleteLinkRequest) -> Done {
        self.remove_link(request).await
    }

    async fn config(&self, name: ConfigName) -> Reply<StringMap> {
        self.get_config(&name).await
    }

    async fn put_config(&self, name: ConfigName, config: StringMap) -> Done {
        self.set_config(&name, &config).await
    }

    async fn delete_config(&self, name: ConfigName) -> Done {
        self.remove_config(&name).await
    }

    async fn put_registries(&self, credentials: RegistryCredentials) -> Done {
        self.keep_registries(credentials)
    }
}
