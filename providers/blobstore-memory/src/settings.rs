//! What a link says.
//!
//! | value | where | default | meaning |
//! |---|---|---|---|
//! | `store` | link | the component's id | which containers these are; links of the same store share them |
//! | `max_bytes` | link, provider | 67108864, which is 64 MiB | how much a container may hold |
//! | `max_total_bytes` | provider | 268435456, which is 256 MiB | how much all containers may hold together |
//!
//! Those of every blob provider come on top; see [`lattice_provider_sdk::blobstore`].

use lattice_provider_sdk::blobstore::{BlobSettings, MAX_NAME};
use lattice_provider_sdk::{InvalidSetting, ProviderLink, Session, Settings};

use crate::room::OVERHEAD;

/// How much a container may hold.
const CONTAINER: u64 = 64 << 20;
/// How much all containers may.
const TOTAL: u64 = 256 << 20;
/// The largest bound; sums of such bounds are far from the end of the numbers.
const MOST: u64 = 1 << 50;

/// The settings of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemorySettings {
    pub(crate) store: String,
    pub(crate) max_bytes: u64,
    pub(crate) max_total_bytes: u64,
    pub(crate) shared: BlobSettings,
}

impl MemorySettings {
    pub(crate) fn of(session: &Session, link: &ProviderLink) -> Result<Self, InvalidSetting> {
        let settings = Settings::of(session, link);
        let own = Settings::of_provider(session);
        Ok(Self {
            store: settings
                .link_text("store")
                .unwrap_or(link.peer.as_str())
                .to_owned(),
            max_bytes: settings.number("max_bytes", CONTAINER, 1..=MOST)?,
            max_total_bytes: own.number("max_total_bytes", TOTAL, 1..=MOST)?,
            shared: BlobSettings::of(session, link)?,
        })
    }

    /// The largest object there is room for in an empty container, whatever the two are called.
    pub(crate) fn largest(&self) -> u64 {
        let room = self.max_bytes.min(self.max_total_bytes);
        let room = room.saturating_sub(2 * (OVERHEAD + MAX_NAME as u64));
        self.shared.max_object_bytes.min(room)
    }
}
