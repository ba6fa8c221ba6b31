//! A lattice whose hosts keep tables and publish events but run nothing.
//!
//! It speaks through the real control server, so that commands are tested down to the wire. The
//! text of an image decides how it fares: `…missing…` fails, `…silent…` never gets anywhere.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use lattice_control::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand, already_updated,
};
use lattice_control::{
    ControlApi, ControlError, Done, EventPublisher, Outcome, Reply, Server, ServerConfig,
    ServerHandle,
};
use lattice_core::event::{
    ComponentScaleFailed, Event, ProviderStartFailed, ProviderStarted, ProviderStopped,
};
use lattice_core::host::{ComponentDescription, Host, HostInventory, ProviderDescription};
use lattice_core::{ConfigName, ErrorCode, HostId, LatticeName, Link, Locality, StringMap};
use lattice_nats_box::NatsBox;

use super::Home;

mod events;

/// What all hosts share.
#[derive(Debug, Default)]
pub struct Shared {
    pub links: Vec<Link>,
    pub configs: Vec<(String, StringMap)>,
    /// How many more answers about links come from a host of 1.9, which shows no localities.
    pub old_answers: u32,
}

/// A running fake lattice.
pub struct FakeLattice {
    pub nats: NatsBox,
    pub home: Home,
    pub hosts: Vec<Arc<FakeHost>>,
    pub shared: Arc<Mutex<Shared>>,
    _servers: Vec<ServerHandle>,
}

/// One host of it.
pub struct FakeHost {
    pub id: HostId,
    inventory: Mutex<HostInventory>,
    shared: Arc<Mutex<Shared>>,
    events: EventPublisher,
}

/// The id of host number `n`: recognisable and sorted.
pub fn host_id(n: usize) -> HostId {
    let letter = char::from(b'A' + u8::try_from(n).unwrap());
    let id: String = std::iter::once('N')
        .chain(std::iter::repeat_n(letter, 55))
        .collect();
    HostId::new(id).unwrap()
}

impl FakeLattice {
    /// Starts hosts `icy-hill-1`, `icy-hill-2`, … with labels `zone=z1`, `zone=z2`, …
    pub async fn start(count: usize) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut hosts = Vec::new();
        let mut servers = Vec::new();
        for n in 0..count {
            let client = nats.client().await.unwrap();
            let id = host_id(n);
            let events = EventPublisher::new(client.clone(), LatticeName::default(), id.clone());
            let number = n + 1;
            let inventory = HostInventory {
                host_id: id.to_string(),
                friendly_name: format!("icy-hill-{number}"),
                labels: [("zone".to_owned(), format!("z{number}"))].into(),
                version: "1.9.2+lattice-0.0.0".into(),
                uptime_human: "1m".into(),
                uptime_seconds: 60,
                ..HostInventory::default()
            };
            let inventory = Mutex::new(inventory);
            let shared = Arc::clone(&shared);
            let host = Arc::new(FakeHost {
                id: id.clone(),
                inventory,
                shared,
                events,
            });
            let config = ServerConfig::new(LatticeName::default(), id);
            servers.push(Server::start(client, config, host.clone()).await.unwrap());
            hosts.push(host);
        }
        let home = Home::at_port(nats.port);
        Self {
            nats,
            home,
            hosts,
            shared,
            _servers: servers,
        }
    }

    /// Runs `wash` without holding up the hosts, which live in this process.
    pub async fn wash(&self, line: &str) -> super::Outcome {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        self.run(args).await
    }

    async fn run(&self, args: Vec<String>) -> super::Outcome {
        let mut command = self.home.command();
        command.args(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        super::Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

impl FakeHost {
    pub fn inventory(&self) -> MutexGuard<'_, HostInventory> {
        self.inventory.lock().unwrap()
    }

    pub fn runs_component(&self, id: &str, image: &str) {
        let component = ComponentDescription {
            id: id.into(),
            image_ref: image.into(),
            max_instances: 1,
            annotations: Some(StringMap::new()),
            ..ComponentDescription::default()
        };
        self.inventory().components.push(component);
    }

    pub fn runs_provider(&self, id: &str, image: &str) {
        let provider = ProviderDescription {
            id: id.into(),
            image_ref: Some(image.into()),
            annotations: Some(StringMap::new()),
            ..ProviderDescription::default()
        };
        self.inventory().providers.push(provider);
    }

    pub fn component(&self, id: &str) -> Option<ComponentDescription> {
        self.inventory()
            .components
            .iter()
            .find(|component| component.id == id)
            .cloned()
    }

    pub fn has_provider(&self, id: &str) -> bool {
        self.inventory()
            .providers
            .iter()
            .any(|provider| provider.id == id)
    }

    fn has_label(&self, label: &str) -> bool {
        self.inventory().labels.contains_key(label)
    }

    /// A host with the label `broken` changes nothing.
    fn check(&self) -> Result<(), ControlError> {
        if self.has_label("broken") {
            let text = "the host is broken";
            return Err(ControlError::new(ErrorCode::Internal, text));
        }
        Ok(())
    }

    fn fits(&self, constraints: &StringMap) -> bool {
        let inventory = self.inventory();
        constraints
            .iter()
            .all(|(key, value)| inventory.labels.get(key) == Some(value))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// A host with the label `old` stores no localities, as those of 1.9.
    fn store(&self, mut link: Link) -> Result<(), ControlError> {
        if self.has_label("old") {
            link.locality = Locality::default();
        }
        let mut shared = self.shared();
        let known = |name: &str| shared.configs.iter().any(|(known, _)| known == name);
        if let Some(missing) = link.config_names().find(|name| !known(name)) {
            let text = format!(
                "Failed to validate configuration and secrets. \
                 Configuration {missing} not found in config store"
            );
            return Err(ControlError::new(ErrorCode::MissingConfig, text));
        }
        shared.links.push(link);
        Ok(())
    }
}

#[async_trait]
impl ControlApi for FakeHost {
    async fn auction_component(
        &self,
        request: ComponentAuctionRequest,
    ) -> Option<ComponentAuctionAck> {
        self.fits(&request.constraints)
            .then(|| ComponentAuctionAck {
                host_id: self.id.to_string(),
                component_ref: request.component_ref,
                component_id: request.component_id,
                constraints: request.constraints,
            })
    }

    async fn auction_provider(
        &self,
        request: ProviderAuctionRequest,
    ) -> Option<ProviderAuctionAck> {
        let bids = self.fits(&request.constraints) && !self.has_provider(&request.provider_id);
        bids.then(|| ProviderAuctionAck {
            host_id: self.id.to_string(),
            provider_ref: request.provider_ref,
            provider_id: request.provider_id,
            constraints: request.constraints,
        })
    }

    async fn scale_component(&self, command: ScaleComponentCommand) -> Done {
        self.check()?;
        let (id, image) = (command.component_id, command.component_ref);
        if image.contains("silent") {
            return Ok(Outcome::bare());
        }
        if image.contains("outrun") {
            // Another command came first, with another image, which stays.
            self.runs_component(&id, "file:///quick.wasm");
            self.scaled(&id, "file:///quick.wasm", command.count).await;
            return Ok(Outcome::bare());
        }
        if image.contains("missing") {
            // Hosts of 1.9 send neither code nor hint.
            let known = image.contains("known");
            let image_code = known.then_some(ErrorCode::ImageInvalid);
            let image_hint = known.then(|| "ask the host".to_owned());
            let event = Event::ComponentScaleFailed(ComponentScaleFailed {
                component_id: id,
                image_ref: image,
                max_instances: command.count,
                host_id: self.id.to_string(),
                annotations: StringMap::new(),
                error: "no such file".into(),
                code: image_code,
                hint: image_hint,
                public_key: None,
            });
            self.events.publish(event).await;
            return Ok(Outcome::bare());
        }
        self.inventory()
            .components
            .retain(|component| component.id != id);
        if command.count > 0 {
            self.runs_component(&id, &image);
            let mut inventory = self.inventory();
            let component = inventory.components.last_mut().unwrap();
            component.max_instances = command.count;
            component.config = command.config;
        }
        self.scaled(&id, &image, command.count).await;
        Ok(Outcome::bare())
    }

    async fn update_component(&self, command: UpdateComponentCommand) -> Done {
        self.check()?;
        let id = command.component_id;
        let Some(component) = self.component(&id) else {
            let text = format!("component {id} not found");
            return Err(ControlError::new(ErrorCode::NotFound, text));
        };
        let (old, new) = (component.image_ref, command.new_component_ref);
        if old == new {
            return Ok(Outcome::message(already_updated(&id, &new)));
        }
        let max = component.max_instances;
        self.inventory()
            .components
            .retain(|component| component.id != id);
        self.runs_component(&id, &new);
        if !new.contains("quiet") {
            self.scaled(&id, &new, max).await;
            self.scaled(&id, &new, 0).await;
        }
        Ok(Outcome::message(format!(
            "component {id} updating from {old} to {new}"
        )))
    }

    async fn start_provider(&self, command: StartProviderCommand) -> Done {
        let (id, image) = (command.provider_id, command.provider_ref);
        if self.has_provider(&id) {
            let text = "provider with that ID is already running";
            return Err(ControlError::new(ErrorCode::AlreadyRunning, text));
        }
        if image.contains("silent") {
            return Ok(Outcome::message("successfully started provider"));
        }
        let event = if image.contains("missing") {
            Event::ProviderStartFailed(ProviderStartFailed {
                provider_ref: image,
                provider_id: id,
                host_id: self.id.to_string(),
                error: "no such file".into(),
                code: None,
                hint: None,
                link_name: "default".into(),
            })
        } else {
            self.runs_provider(&id, &image);
            Event::ProviderStarted(ProviderStarted {
                host_id: self.id.to_string(),
                image_ref: image.trim_start_matches("file://").into(),
                provider_id: id.clone(),
                annotations: StringMap::new(),
                instance_id: id.clone(),
                public_key: id,
                link_name: "default".into(),
                claims: None,
            })
        };
        self.events.publish(event).await;
        Ok(Outcome::message("successfully started provider"))
    }

    async fn stop_provider(&self, command: StopProviderCommand) -> Done {
        let id = command.provider_id;
        if !self.has_provider(&id) {
            let text = "provider with that ID is not running";
            return Err(ControlError::new(ErrorCode::NotRunning, text));
        }
        self.inventory()
            .providers
            .retain(|provider| provider.id != id);
        let event = Event::ProviderStopped(ProviderStopped {
            host_id: self.id.to_string(),
            provider_id: id.clone(),
            annotations: StringMap::new(),
            reason: "stop".into(),
            instance_id: id.clone(),
            public_key: id,
            link_name: "default".into(),
        });
        self.events.publish(event).await;
        Ok(Outcome::message("successfully stopped provider"))
    }

    async fn inventory(&self) -> Reply<HostInventory> {
        Ok(Outcome::Data(FakeHost::inventory(self).clone()))
    }

    async fn ping(&self) -> Reply<Host> {
        self.takes_its_time().await;
        let inventory = FakeHost::inventory(self).clone();
        Ok(Outcome::Data(Host {
            friendly_name: inventory.friendly_name,
            id: inventory.host_id,
            labels: inventory.labels,
            lattice: "default".into(),
            uptime_human: Some(inventory.uptime_human),
            uptime_seconds: inventory.uptime_seconds,
            version: Some(inventory.version),
            ..Host::default()
        }))
    }

    async fn stop_host(&self, _command: StopHostCommand) -> Done {
        self.says_goodbye().await;
        Ok(Outcome::message("successfully handled stop host"))
    }

    async fn put_label(&self, label: HostLabel) -> Done {
        if label.key.starts_with("hostcore.") {
            let text = "hostcore.* labels cannot be set dynamically";
            return Err(ControlError::new(ErrorCode::Forbidden, text));
        }
        FakeHost::inventory(self)
            .labels
            .insert(label.key, label.value);
        Ok(Outcome::message("successfully put label"))
    }

    async fn delete_label(&self, label: HostLabelIdentifier) -> Done {
        FakeHost::inventory(self).labels.shift_remove(&label.key);
        Ok(Outcome::message("successfully deleted label"))
    }

    async fn claims(&self) -> Reply<Vec<ClaimsMap>> {
        let claims = [
            ("name", "demo"),
            ("subject", "MABC"),
            ("issuer", "AABC"),
            ("version", "1"),
        ];
        let claims = claims.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Outcome::Data(vec![claims.into()]))
    }

    async fn links(&self) -> Reply<Vec<Link>> {
        let mut shared = self.shared();
        let mut links = shared.links.clone();
        if shared.old_answers > 0 {
            shared.old_answers -= 1;
            for link in &mut links {
                link.locality = Locality::default();
            }
        }
        Ok(Outcome::Data(links))
    }

    async fn put_link(&self, link: Link) -> Done {
        self.store(link.clone())?;
        self.report(link).await;
        Ok(Outcome::message("successfully set link"))
    }

    async fn delete_link(&self, request: DeleteLinkRequest) -> Done {
        self.shared().links.retain(|link| !request.means(link));
        Ok(Outcome::message("successfully deleted link"))
    }

    async fn config(&self, name: ConfigName) -> Reply<StringMap> {
        let shared = self.shared();
        match shared
            .configs
            .iter()
            .find(|(known, _)| known == name.as_str())
        {
            Some((_, config)) => Ok(Outcome::Data(config.clone())),
            None => Ok(Outcome::message("Configuration not found")),
        }
    }

    async fn put_config(&self, name: ConfigName, config: StringMap) -> Done {
        let mut shared = self.shared();
        shared.configs.retain(|(known, _)| known != name.as_str());
        shared.configs.push((name.to_string(), config));
        Ok(Outcome::message("successfully put config"))
    }

    async fn delete_config(&self, name: ConfigName) -> Done {
        self.shared()
            .configs
            .retain(|(known, _)| known != name.as_str());
        Ok(Outcome::message("successfully deleted config"))
    }

    async fn put_registries(&self, _credentials: RegistryCredentials) -> Done {
        Ok(Outcome::message("successfully put registries"))
    }
}
