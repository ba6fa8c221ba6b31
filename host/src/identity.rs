//! Who the host is.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::SigningKey;
use lattice_core::{HostId, InvalidId, LatticeName, uptime};
use tokio::time::Instant;

/// The version that hosts report. Peers of the 1.x generation compare it with theirs, so it is
/// the one whose interface is kept, with our own as build metadata.
pub const VERSION: &str = concat!("1.9.2+lattice-", env!("CARGO_PKG_VERSION"));

/// What never changes while a host runs.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: HostId,
    pub(crate) friendly_name: String,
    pub(crate) lattice: LatticeName,
    started: Instant,
}

impl Identity {
    pub(crate) fn new(
        key: &Arc<SigningKey>,
        friendly_name: Option<String>,
        lattice: LatticeName,
    ) -> Result<Self, InvalidId> {
        Ok(Self {
            id: HostId::new(key.public_key())?,
            friendly_name: friendly_name.unwrap_or_else(made_up_name),
            lattice,
            started: Instant::now(),
        })
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn uptime_human(&self) -> String {
        uptime::human(self.uptime())
    }
}

const ADJECTIVES: [&str; 24] = [
    "amber", "brave", "calm", "damp", "early", "fleet", "green", "hardy", "icy", "jolly", "keen",
    "late", "mild", "noble", "odd", "plain", "quiet", "rapid", "silent", "tidy", "upper", "vivid",
    "wild", "young",
];
const NOUNS: [&str; 24] = [
    "anchor", "bridge", "cloud", "dune", "ember", "field", "grove", "harbor", "island", "jungle",
    "kettle", "lantern", "mountain", "night", "ocean", "pebble", "quarry", "river", "summit",
    "thicket", "upland", "valley", "willow", "yard",
];

/// A name of the form `icy-mountain-1234`, for people who look at several hosts.
fn made_up_name() -> String {
    let mut random = [0_u8; 4];
    if getrandom::fill(&mut random).is_err() {
        // Names need not be unique; ids are.
        return "plain-host-0".to_owned();
    }
    let [adjective, noun, high, low] = random;
    let number = u16::from_be_bytes([high, low]) % 10_000;
    format!(
        "{}-{}-{number:04}",
        ADJECTIVES[usize::from(adjective) % ADJECTIVES.len()],
        NOUNS[usize::from(noun) % NOUNS.len()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_have_three_parts() {
        let name = made_up_name();
        let parts: Vec<_> = name.split('-').collect();
        assert_eq!(parts.len(), 3);
        assert!(parts[2].bytes().all(|b| b.is_ascii_digit()));
    }
}
