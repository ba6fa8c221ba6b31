//! Compiled code that hosts give one another.
//!
//! The runtime signs and checks; where entries are kept is the host's business. Whoever keeps them
//! need not be trusted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lattice_claims::{PublicKey, SigningKey};
use wasmtime::component::Component as Code;

use crate::SealCodeError;
use crate::cache::{CodeKey, signed};

/// How a runtime shares compiled code with those of other hosts.
///
/// Code of an issuer runs in this process without further checks: an issuer can do whatever this
/// process can.
#[derive(Debug, Clone)]
pub struct CodeSharing {
    /// Where entries are kept.
    pub store: Arc<dyn CodeStore>,
    /// Signs what this runtime compiles. `None` gives nothing to others.
    pub signer: Option<Arc<SigningKey>>,
    /// Whose code this runtime uses, in the order in which it looks.
    pub issuers: Vec<PublicKey>,
}

/// Keeps entries for a lattice.
#[async_trait]
pub trait CodeStore: fmt::Debug + Send + Sync {
    /// Reads an entry of at most `max_bytes`. `None` when there is none or it cannot be had:
    /// then the code is compiled, so that waiting for long helps nobody.
    ///
    /// The future may be dropped before it is done.
    async fn get(&self, name: &CodeName, max_bytes: usize) -> Option<Bytes>;

    /// Takes in what this host has compiled, to be sealed and kept in the background. Returns at
    /// once; an offer may be left alone.
    fn offer(&self, offer: CodeOffer);
}

/// What an entry is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodeName {
    /// The public key of who signed it.
    pub issuer: String,
    /// What was compiled and for which engine, in hexadecimal.
    pub key: String,
}

impl CodeName {
    pub(crate) fn new(issuer: String, key: CodeKey) -> Self {
        let key = key.to_string();
        Self { issuer, key }
    }
}

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.issuer, self.key)
    }
}

/// Compiled code for other hosts. It shares its memory with the component that runs.
pub struct CodeOffer {
    key: CodeKey,
    code: Code,
    signer: Arc<SigningKey>,
    /// Whether it was compiled before, and others may have it.
    was_kept: bool,
}

impl CodeOffer {
    /// What has just been compiled.
    pub(crate) fn new(key: CodeKey, code: Code, signer: Arc<SigningKey>) -> Self {
        let was_kept = false;
        Self {
            key,
            code,
            signer,
            was_kept,
        }
    }

    /// What this machine has compiled before and kept.
    pub(crate) fn kept(key: CodeKey, code: Code, signer: Arc<SigningKey>) -> Self {
        let was_kept = true;
        Self {
            was_kept,
            ..Self::new(key, code, signer)
        }
    }

    /// Whether this machine has compiled it before and kept it: an entry of that name, which may be there
    /// already, is as good.
    #[must_use]
    pub fn was_kept(&self) -> bool {
        self.was_kept
    }

    /// What the entry is to be called.
    pub fn name(&self) -> CodeName {
        CodeName::new(self.signer.public_key(), self.key)
    }

    /// Makes the entry. Takes its time, so it is for a thread that may be busy.
    ///
    /// # Errors
    ///
    /// [`SealCodeError`] when it becomes too large or cannot be signed.
    pub fn seal(&self) -> Result<Bytes, SealCodeError> {
        let code = self.code.serialize().map_err(SealCodeError::Code)?;
        signed::seal(self.key, &code, &self.signer).map(Bytes::from)
    }
}

impl fmt::Debug for CodeOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeOffer")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
