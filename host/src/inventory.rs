//! What the host says about itself.

use std::sync::Arc;

use lattice_core::host::{Host, HostInventory};

use crate::components::Components;
use crate::identity::{Identity, VERSION};
use crate::labels::Labels;
use crate::links::LinkTable;
use crate::providers::Providers;
use crate::strict::StrictProof;

/// Puts together what the owners of the host's parts tell.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) identity: Arc<Identity>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) components: Arc<Components>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) links: Arc<LinkTable>,
    pub(crate) ctl_url: String,
    pub(crate) rpc_url: String,
    pub(crate) js_domain: Option<String>,
    /// Whether it lets in no legacy peer, and what shows that to others.
    pub(crate) strict: bool,
    pub(crate) strict_proof: Option<StrictProof>,
}

impl Inventory {
    /// What runs here now, with the roads that calls have taken from here.
    pub(crate) async fn with_roads(&self) -> HostInventory {
        let mut roads = self.links.roads();
        roads.extend(self.providers.roads().await);
        HostInventory {
            roads,
            ..self.full()
        }
    }

    /// What runs here now.
    pub(crate) fn full(&self) -> HostInventory {
        HostInventory {
            components: self.components.describe(),
            providers: self.providers.describe(),
            host_id: self.identity.id.as_str().to_owned(),
            friendly_name: self.identity.friendly_name.clone(),
            labels: self.labels.all(),
            version: VERSION.to_owned(),
            uptime_human: self.identity.uptime_human(),
            uptime_seconds: self.identity.uptime().as_secs(),
            roads: Vec::new(),
            strict: self.strict,
            strict_proof: None,
        }
    }

    /// The same for all who listen.
    pub(crate) fn heartbeat(&self) -> HostInventory {
        HostInventory {
            strict_proof: self.strict_proof.as_ref().and_then(StrictProof::token),
            ..self.full()
        }
    }

    /// The answer to a ping.
    pub(crate) fn brief(&self) -> Host {
        Host {
            rpc_host: Some(self.rpc_url.clone()),
            ctl_host: Some(self.ctl_url.clone()),
            friendly_name: self.identity.friendly_name.clone(),
            id: self.identity.id.as_str().to_owned(),
            js_domain: self.js_domain.clone(),
            labels: self.labels.all(),
            lattice: self.identity.lattice.as_str().to_owned(),
            uptime_human: Some(self.identity.uptime_human()),
            uptime_seconds: self.identity.uptime().as_secs(),
            version: Some(VERSION.to_owned()),
            strict: self.strict,
        }
    }
}
