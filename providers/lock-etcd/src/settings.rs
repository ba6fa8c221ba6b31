//! What links say, besides what [`lattice_provider_sdk::lock`] lists and
//! [`EtcdOptions::read`] reads.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `prefix` | what the keys of locks begin with | `lattice/lock/` |

use std::time::Duration;

use lattice_etcd::EtcdOptions;
use lattice_provider_sdk::lock::Limits;
use lattice_provider_sdk::{InvalidSetting, Settings};

const PREFIX: &str = "lattice/lock/";
/// etcd's own shortest lease, with the election time that it has by default.
const SHORTEST: Duration = Duration::from_secs(2);

/// Which keys of which etcd.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LineSettings {
    /// The etcd.
    pub etcd: EtcdOptions,
    /// What the keys of locks begin with.
    pub prefix: String,
}

impl LineSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            etcd: EtcdOptions::read(settings)?,
            prefix: settings.text("prefix").unwrap_or(PREFIX).to_owned(),
        })
    }
}

/// Reads the bounds of leases.
///
/// # Errors
///
/// [`InvalidSetting`] names the value.
pub fn limits(settings: &Settings) -> Result<Limits, InvalidSetting> {
    Limits::read(settings, SHORTEST)
}
