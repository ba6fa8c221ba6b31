//! What only one provider process may read.

use std::sync::Arc;

use lattice_claims::{CurveKey, SealError};
use lattice_core::provider::SecretMap;

/// Seals secrets of a host for one provider process.
#[derive(Debug, Clone)]
pub(crate) struct Sealer {
    host: Arc<CurveKey>,
    reader: Arc<CurveKey>,
}

impl Sealer {
    /// Seals from `host` for the process with the key `provider`.
    pub(crate) fn new(host: &Arc<CurveKey>, provider: &Arc<CurveKey>) -> Self {
        Self {
            host: Arc::clone(host),
            reader: Arc::clone(provider),
        }
    }

    /// Seals secrets; nothing for no secrets.
    pub(crate) fn seal(&self, secrets: &SecretMap) -> Result<Option<Vec<u8>>, SealError> {
        self.host.seal_secrets(secrets, &self.reader)
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::provider::SecretValue;

    use super::*;

    #[test]
    fn the_process_opens_what_the_host_sealed() {
        let (host, provider) = (CurveKey::generate(), CurveKey::generate());
        let (host, provider) = (Arc::new(host), Arc::new(provider));
        let sealer = Sealer::new(&host, &provider);
        assert_eq!(sealer.seal(&SecretMap::new()).unwrap(), None);
        let value = SecretValue::String("hunter2".to_owned());
        let secrets = SecretMap::from_iter([("db".to_owned(), value)]);
        let sealed = sealer.seal(&secrets).unwrap().unwrap();
        let sender = CurveKey::from_public_key(&host.public_key()).unwrap();
        let opened = provider.open_secrets(Some(&sealed), &sender).unwrap();
        assert_eq!(opened, secrets);
        assert!(
            CurveKey::generate()
                .open_secrets(Some(&sealed), &sender)
                .is_err()
        );
    }
}
