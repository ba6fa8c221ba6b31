//! Credentials for registries, as clients put them.

use lattice_control::types::RegistryCredentials;
use lattice_core::text::clipped;
use lattice_rpc::throttle::LogThrottle;
use parking_lot::RwLock;

/// How many registries are kept.
const MAX_REGISTRIES: usize = 256;
/// How long what is kept of one may be, in bytes, its name included.
const MAX_BYTES: usize = 16 << 10;

/// Why credentials were not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RegistryError {
    #[error(
        "credentials of {MAX_REGISTRIES} registries are kept, and those of `{name}` would be more"
    )]
    TooMany { name: String },
    #[error(
        "the credentials of registry `{name}` have {bytes} bytes, more than the {MAX_BYTES} they may have"
    )]
    TooLarge { name: String, bytes: usize },
}

/// Keeps the credentials of each registry. Images are read from files only so far, so that nothing
/// asks for them yet; they are kept because whoever put them was told so.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    credentials: RwLock<RegistryCredentials>,
    /// Of the lines about credentials that were refused; nobody gets a reply.
    pub(crate) refusals: LogThrottle,
    /// Of the lines about those that were taken: whoever may put them can do so as often as they like.
    pub(crate) taken: LogThrottle,
}

impl Registries {
    /// Replaces the credentials of the registries that are named, all or none of them, and returns how
    /// many are known.
    pub(crate) fn put(&self, credentials: RegistryCredentials) -> Result<usize, RegistryError> {
        for (name, credential) in &credentials {
            let password = credential
                .password
                .as_ref()
                .map_or(0, |text| text.expose().len());
            let token = credential
                .token
                .as_ref()
                .map_or(0, |text| text.expose().len());
            let user = credential.username.as_ref().map_or(0, String::len);
            let bytes = name.len() + password + token + user + credential.registry_type.len();
            if bytes > MAX_BYTES {
                let name = shortened(name);
                return Err(RegistryError::TooLarge { name, bytes });
            }
        }
        let mut known = self.credentials.write();
        let mut new = credentials.keys().filter(|name| !known.contains_key(*name));
        if let Some(name) = new.nth(MAX_REGISTRIES.saturating_sub(known.len())) {
            let name = shortened(name);
            return Err(RegistryError::TooMany { name });
        }
        known.extend(credentials);
        Ok(known.len())
    }
}

/// As much of a name as a message repeats.
fn shortened(name: &str) -> String {
    clipped(name, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_control::types::RegistryCredential;

    fn credentials(names: impl Iterator<Item = usize>) -> RegistryCredentials {
        let named = names.map(|name| (name.to_string(), RegistryCredential::default()));
        named.collect()
    }

    #[test]
    fn more_registries_than_are_kept_are_refused_by_name() {
        let registries = Registries::default();
        let all = || credentials(0..MAX_REGISTRIES);
        assert_eq!(registries.put(all()), Ok(MAX_REGISTRIES));
        assert_eq!(registries.put(all()), Ok(MAX_REGISTRIES));
        let refused = registries.put(credentials(0..=MAX_REGISTRIES)).unwrap_err();
        let name = MAX_REGISTRIES.to_string();
        assert_eq!(refused, RegistryError::TooMany { name });
    }

    #[test]
    fn credentials_of_any_size_are_not_kept() {
        let large = RegistryCredential {
            username: Some("x".repeat(MAX_BYTES)),
            ..RegistryCredential::default()
        };
        let large = [("ghcr.io".to_owned(), large)].into_iter().collect();
        let refused = Registries::default().put(large).unwrap_err();
        assert!(refused.to_string().contains("`ghcr.io`"), "{refused}");
    }
}
