//! Credentials for registries, as clients put them.

use lattice_control::types::RegistryCredentials;
use parking_lot::RwLock;

/// Keeps the credentials of each registry. Images are read from files only so far, so that nothing
/// asks for them yet; they are kept because whoever put them was told so.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    credentials: RwLock<RegistryCredentials>,
}

impl Registries {
    /// Replaces the credentials of the registries that are named, and returns how many are known.
    pub(crate) fn put(&self, credentials: RegistryCredentials) -> usize {
        let mut known = self.credentials.write();
        known.extend(credentials);
        known.len()
    }
}
