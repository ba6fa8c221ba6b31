//! Receipts as components see them.
//!
//! What a backend knows a delivery by is often easy to guess, such as a number. A receipt is that
//! text with a code in front which only the provider can make, over the component, the link, the
//! queue, the process that has received, and the text: a receipt of another link, or one that was made
//! up, is refused unseen.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::backend::QueueError;
use crate::link::ProviderLink;

/// How much of the code is kept: 128 bits.
const CODE: usize = 16;

/// What receipts are sealed with.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiptKey([u8; 32]);

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptKey")
    }
}

impl ReceiptKey {
    /// A key made from something that is hard to guess, such as the password of the backend.
    #[must_use]
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"receipts of lattice:queue\0");
        hash.update(secret);
        Self(hash.finalize().into())
    }

    /// A key that this process alone knows, for backends whose deliveries nobody else can settle.
    #[must_use]
    pub fn of_this_process() -> Self {
        static OWN: std::sync::OnceLock<ReceiptKey> = std::sync::OnceLock::new();
        // A fresh seed of the kind that nkeys makes is as random as a key has to be.
        let seed = || nkeys::XKey::new().seed().unwrap_or_default();
        OWN.get_or_init(|| Self::of(seed())).clone()
    }
}

/// What a receipt is good for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The queue that the delivery is of.
    pub(crate) queue: &'a str,
    /// The process that has received it, where that makes a difference.
    pub(crate) home: &'a str,
}

/// Who may use a receipt: the link that the delivery came through.
#[derive(Debug)]
pub(crate) struct Holder {
    component: String,
    link: String,
}

impl Holder {
    pub(crate) fn of(link: &ProviderLink) -> Self {
        Self {
            component: link.peer.to_string(),
            link: link.name.to_string(),
        }
    }

    fn code(&self, key: &ReceiptKey, scope: Scope<'_>, own: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        for part in [&self.component, &self.link, scope.queue, scope.home] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(own);
        Some(mac)
    }

    /// The receipt for a delivery that the backend knows as `own`.
    pub(crate) fn seal(&self, key: &ReceiptKey, scope: Scope<'_>, own: &str) -> String {
        let code = self.code(key, scope, own.as_bytes());
        let code = code.map(|mac| mac.finalize().into_bytes());
        let mut bytes = Vec::with_capacity(CODE + own.len());
        bytes.extend_from_slice(code.as_ref().map_or(&[0; CODE], |code| &code[..CODE]));
        bytes.extend_from_slice(own.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the backend knows the delivery by.
    pub(crate) fn open(
        &self,
        key: &ReceiptKey,
        scope: Scope<'_>,
        receipt: &str,
    ) -> Result<String, QueueError> {
        let foreign = || QueueError::invalid("the receipt is none of this link and queue");
        let bytes = URL_SAFE_NO_PAD.decode(receipt).map_err(|_| foreign())?;
        let (code, own) = bytes.split_at_checked(CODE).ok_or_else(foreign)?;
        let expected = self.code(key, scope, own).ok_or_else(foreign)?;
        expected
            .verify_truncated_left(code)
            .map_err(|_| foreign())?;
        String::from_utf8(own.to_vec()).map_err(|_| foreign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(component: &str, link: &str) -> Holder {
        Holder {
            component: component.into(),
            link: link.into(),
        }
    }

    #[test]
    fn a_receipt_opens_where_it_was_made_and_nowhere_else() {
        let (key, own) = (ReceiptKey::of("secret"), "$JS.ACK.1.2");
        let worker = holder("worker", "default");
        let scope = |queue, home| Scope { queue, home };
        let jobs = scope("jobs", "here");
        let receipt = worker.seal(&key, jobs, own);
        assert_eq!(worker.open(&key, jobs, &receipt), Ok(own.to_owned()));
        let foreign = [
            holder("other", "default").open(&key, jobs, &receipt),
            holder("worker", "other").open(&key, jobs, &receipt),
            // The parts are told apart by their lengths.
            holder("workerd", "efault").open(&key, jobs, &receipt),
            worker.open(&key, scope("job", "here"), &receipt),
            worker.open(&key, scope("jobs", "there"), &receipt),
            worker.open(&ReceiptKey::of("else"), jobs, &receipt),
            worker.open(&key, jobs, own),
            worker.open(&key, jobs, ""),
            worker.open(&key, jobs, &URL_SAFE_NO_PAD.encode([0; 40])),
        ];
        for refused in foreign {
            assert!(matches!(refused, Err(QueueError::Invalid(_))));
        }
    }

    #[test]
    fn the_key_of_a_process_stays() {
        let own = ReceiptKey::of_this_process();
        assert_eq!(own, ReceiptKey::of_this_process());
        assert_ne!(own, ReceiptKey::of(""));
        assert_eq!(format!("{own:?}"), "ReceiptKey");
    }
}
