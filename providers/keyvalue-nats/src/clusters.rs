//! Connections that links share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::cluster::{Cluster, ConnectError};
use crate::settings::ClusterSettings;

type Slot = OnceCell<Arc<Cluster>>;

/// One connection for all links that say the same, for as long as one of them is there.
#[derive(Default)]
pub(crate) struct Clusters {
    slots: Mutex<HashMap<ClusterSettings, Weak<Slot>>>,
}

/// Holds a connection that may be shared.
pub(crate) struct Shared {
    // The slot is what others find the connection by.
    _slot: Arc<Slot>,
    pub(crate) cluster: Arc<Cluster>,
}

impl Clusters {
    /// The connection for the settings; made if there is none.
    pub(crate) async fn get(
        &self,
        settings: &ClusterSettings,
        own: &async_nats::Client,
        name: &str,
    ) -> Result<Shared, ConnectError> {
        let slot = self.slot(settings);
        let connect = async { Cluster::connect(settings, own, name).await.map(Arc::new) };
        let cluster = Arc::clone(slot.get_or_try_init(|| connect).await?);
        Ok(Shared {
            _slot: slot,
            cluster,
        })
    }

    fn slot(&self, settings: &ClusterSettings) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(settings).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot::new());
        slots.insert(settings.clone(), Arc::downgrade(&slot));
        slot
    }
}
