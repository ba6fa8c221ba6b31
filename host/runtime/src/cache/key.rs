//! What identifies a compilation.

use std::fmt;
use std::hash::{Hash as _, Hasher};

use lattice_claims::PublicKey;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

/// The wasm and everything about the engine that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeKey([u8; 32]);

impl CodeKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of the same code as somebody else has compiled and signed it.
    pub(crate) fn of_issuer(self, issuer: &PublicKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(issuer.as_text());
        Self(hash.finalize().into())
    }
}

/// In hexadecimal, as names of files and entries have it.
impl fmt::Display for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The keys of one engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeKeys {
    engine_hash: [u8; 32],
}

impl CodeKeys {
    /// Two engines have the same keys if each can run what the other compiles: the hash covers the
    /// version of wasmtime, the target, the features of the CPU that code may use, and every
    /// setting that changes code.
    pub(crate) fn of(engine: &Engine) -> Self {
        let mut hasher = ShaHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self {
            engine_hash: hasher.0.finalize().into(),
        }
    }

    pub(crate) fn key_for(&self, wasm: &[u8]) -> CodeKey {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(wasm));
        hash.update(self.engine_hash);
        CodeKey(hash.finalize().into())
    }
}

/// Feeds what is hashed into SHA-256, so that the digest is the same in every process.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(head)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Config;

    use super::*;

    fn key(config: &Config) -> CodeKey {
        CodeKeys::of(&Engine::new(config).unwrap()).key_for(b"wasm")
    }

    #[test]
    fn engines_alike_have_the_same_keys() {
        let keys = CodeKeys::of(&Engine::default());
        assert_eq!(keys.key_for(b"wasm"), key(&Config::new()));
        assert_ne!(keys.key_for(b"other"), key(&Config::new()));
    }

    #[test]
    fn settings_that_change_code_change_keys() {
        let mut config = Config::new();
        config.epoch_interruption(true);
        assert_ne!(key(&config), key(&Config::new()));
    }

    // A target that is named has the features that every CPU of its kind has; without one the
    // engine takes those of this machine.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn features_of_the_cpu_are_part_of_keys() {
        if !std::arch::is_x86_feature_detected!("sse4.1") {
            return;
        }
        let mut plain = Config::new();
        plain.target("x86_64-unknown-linux-gnu").unwrap();
        assert_ne!(key(&plain), key(&Config::new()));
    }
}
