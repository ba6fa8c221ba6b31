//! A host that answers like the recorded one and remembers what it was asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use lattice_control::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};
use lattice_control::{ControlApi, ControlError, Done, Outcome, Reply};
use lattice_core::host::{Host, HostInventory};
use lattice_core::{ConfigName, ErrorCode, Link, StringMap};
use tokio::sync::Semaphore;

/// The component id that makes a scale command or a bid wait for [`FakeHost::release`].
pub(crate) const SLOW: &str = "slow";
/// The component id that makes a scale command or a bid panic.
pub(crate) const PANIC: &str = "panic";

pub(crate) struct FakeHost {
    pub(crate) id: String,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) links: Mutex<Vec<Link>>,
    pub(crate) started: AtomicUsize,
    gate: Semaphore,
}

impl FakeHost {
    pub(crate) fn new(id: &str) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            id: id.to_owned(),
            asked: Mutex::default(),
            links: Mutex::default(),
            started: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    }

    /// Lets slow commands finish.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// Waits until this many slow commands are under way.
    pub(crate) async fn slow_ones(&self, count: usize) {
        crate::soon("slow commands", async {
            while self.started.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Does what an id asks for that is made for it.
    async fn obey(&self, id: &str) {
        assert_ne!(id, PANIC);
        if id == SLOW {
            self.started.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
        }
    }

    fn note(&self, text: impl Into<String>) {
        self.asked.lock().unwrap().push(text.into());
    }
}

fn message(text: &str) -> Done {
    Ok(Outcome::message(text))
}

#[async_trait]
impl ControlApi for FakeHost {
    async fn auction_component(
        &self,
        request: ComponentAuctionRequest,
    ) -> Option<ComponentAuctionAck> {
        self.obey(&request.component_id).await;
        self.note(format!("auction {}", request.component_id));
        (request
            .constraints
            .get("zone")
            .is_none_or(|zone| zone == "a"))
        .then(|| ComponentAuctionAck {
            component_ref: request.component_ref,
            component_id: request.component_id,
            host_id: self.id.clone(),
            constraints: request.constraints,
        })
    }

    async fn auction_provider(
        &self,
        request: ProviderAuctionRequest,
    ) -> Option<ProviderAuctionAck> {
        (request.provider_id != "running").then(|| ProviderAuctionAck {
            host_id: self.id.clone(),
            provider_ref: request.provider_ref,
            provider_id: request.provider_id,
            constraints: request.constraints,
        })
    }

    async fn scale_component(&self, command: ScaleComponentCommand) -> Done {
        self.obey(&command.component_id).await;
        self.note(format!(
            "scale {} to {}",
            command.component_id, command.count
        ));
        Ok(Outcome::bare())
    }

    async fn update_component(&self, command: UpdateComponentCommand) -> Done {
        let (id, new) = (command.component_id, command.new_component_ref);
        let old = "file:///components/http_keyvalue_counter.wasm";
        message(&format!("component {id} updating from {old} to {new}"))
    }

    async fn start_provider(&self, command: StartProviderCommand) -> Done {
        let asked = format!("start {}", command.provider_id);
        if self.asked().contains(&asked) {
            let text = "provider with that ID is already running";
            return Err(ControlError::new(ErrorCode::AlreadyRunning, text));
        }
        self.note(asked);
        message("successfully started provider")
    }

    async fn stop_provider(&self, command: StopProviderCommand) -> Done {
        if command.provider_id == "nothing" {
            let text = "provider with that ID is not running";
            return Err(ControlError::new(ErrorCode::NotRunning, text));
        }
        message("successfully stopped provider")
    }

    async fn inventory(&self) -> Reply<HostInventory> {
        Ok(Outcome::Data(HostInventory {
            host_id: self.id.clone(),
            ..Default::default()
        }))
    }

    async fn ping(&self) -> Reply<Host> {
        Ok(Outcome::Data(Host {
            id: self.id.clone(),
            ..Host::default()
        }))
    }

    async fn stop_host(&self, command: StopHostCommand) -> Done {
        self.note(format!("stop within {:?}", command.timeout));
        message("successfully handled stop host")
    }

    async fn put_label(&self, label: HostLabel) -> Done {
        self.note(format!("label {}={}", label.key, label.value));
        message("successfully put label")
    }

    async fn delete_label(&self, _label: HostLabelIdentifier) -> Done {
        message("successfully deleted label")
    }

    async fn claims(&self) -> Reply<Vec<ClaimsMap>> {
        Ok(Outcome::Data(Vec::new()))
    }

    async fn links(&self) -> Reply<Vec<Link>> {
        Ok(Outcome::Data(self.links.lock().unwrap().clone()))
    }

    async fn put_link(&self, link: Link) -> Done {
        let mut links = self.links.lock().unwrap();
        if links.iter().any(|other| link.conflicts_with(other)) {
            let text = "link already exists with different target, consider deleting the existing \
                        link or using a different link name";
            return Err(ControlError::new(ErrorCode::Conflict, text).with_hint("delete it"));
        }
        links.push(link);
        message("successfully set link")
    }

    async fn delete_link(&self, request: DeleteLinkRequest) -> Done {
        let (namespace, package) = (request.wit_namespace, request.wit_package);
        let (source, name) = (request.source_id, request.name);
        self.note(format!("delete {source} {namespace}:{package} {name}"));
        message("successfully deleted link")
    }

    async fn config(&self, name: ConfigName) -> Reply<StringMap> {
        if name == "nothing" {
            return Ok(Outcome::message("Configuration not found"));
        }
        let address = ("address".to_owned(), "127.0.0.1:8000".to_owned());
        Ok(Outcome::Data(StringMap::from_iter([address])))
    }

    async fn put_config(&self, _name: ConfigName, _config: StringMap) -> Done {
        message("successfully put config")
    }

    async fn delete_config(&self, _name: ConfigName) -> Done {
        message("successfully deleted config")
    }

    async fn put_registries(&self, credentials: RegistryCredentials) -> Done {
        self.note(format!("registries {}", credentials.len()));
        message("successfully put registries")
    }
}
