//! What links say, besides what [`lattice_provider_sdk::lock`] lists and
//! [`EtcdOptions::read`] reads.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `prefix` | what the keys of locks begin with | `lattice/lock/`, the lattice's name and `/` |

use std::time::Duration;

use lattice_core::LatticeName;
use lattice_etcd::EtcdOptions;
use lattice_provider_sdk::lock::Limits;
use lattice_provider_sdk::{InvalidSetting, Settings};

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
    pub fn read(settings: &Settings, lattice: &LatticeName) -> Result<Self, InvalidSetting> {
        let usual = || format!("lattice/lock/{lattice}/");
        Ok(Self {
            etcd: EtcdOptions::read(settings)?,
            prefix: settings.text("prefix").map_or_else(usual, str::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lattice_has_locks_of_its_own_unless_the_link_says_otherwise() {
        let prefix = |lattice: &str, says: &[(&str, &str)]| {
            let says = Settings::from_texts(says.iter().copied(), []);
            let lattice = LatticeName::new(lattice).unwrap();
            LineSettings::read(&says, &lattice).unwrap().prefix
        };
        assert_eq!(prefix("shop", &[]), "lattice/lock/shop/");
        assert_eq!(prefix("shop", &[("prefix", "ours/")]), "ours/");
    }
}
