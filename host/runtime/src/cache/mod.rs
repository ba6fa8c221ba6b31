//! Compiled code on disk, so that a component is compiled once per engine and not at each start.
//!
//! Compiled code runs without further checks, so a file is believed only when it carries a MAC
//! made with this folder's key. Whoever can read the key can run code in the host anyway: the
//! key is readable for the host's user alone.

mod trusted;

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::RuntimeError;

const MAGIC: &[u8; 8] = b"latticeC";
const MAC_LEN: usize = 32;
const KEY_FILE: &str = "key";
const SUFFIX: &str = "cwasm";

type HmacSha256 = Hmac<Sha256>;

/// A folder of compiled code.
pub(crate) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
    engine_hash: [u8; 32],
    max_bytes: u64,
}

/// What identifies a compilation: the wasm and everything about the engine that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeKey([u8; 32]);

impl CodeCache {
    /// Opens the folder, making it and its key when they are not there yet.
    pub(crate) fn open(dir: &Path, engine: &Engine, max_bytes: u64) -> Result<Self, RuntimeError> {
        let fail = |source| RuntimeError::Cache {
            path: dir.to_owned(),
            source,
        };
        make_private_dir(dir).map_err(fail)?;
        let key = load_or_make_key(dir).map_err(fail)?;
        let mut hasher = ShaHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            dir: dir.to_owned(),
            key,
            engine_hash: hasher.0.finalize().into(),
            max_bytes,
        })
    }

    pub(crate) fn key_for(&self, wasm: &[u8]) -> CodeKey {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(wasm));
        hash.update(self.engine_hash);
        CodeKey(hash.finalize().into())
    }

    /// Returns the compiled code for a key, if there is a file that this folder's owner made.
    ///
    /// A file that was tampered with or comes from elsewhere is reported, removed and ignored.
    pub(crate) fn load(&self, engine: &Engine, key: CodeKey) -> Option<Component> {
        let path = self.path(key);
        let bytes = read_if_there(&path)?;
        let Some(code) = self.verified(key, &bytes) else {
            tracing::warn!(file = %path.display(), "compiled code is not authentic, compiling again");
            discard(&path);
            return None;
        };
        match trusted::load(engine, code) {
            Ok(component) => {
                touch(&path);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), error = %format_args!("{error:#}"),
                    "compiled code cannot be loaded, compiling again");
                discard(&path);
                None
            }
        }
    }

    /// Keeps compiled code. A failure costs a compilation at the next start and no more.
    pub(crate) fn store(&self, key: CodeKey, component: &Component) {
        let written = component
            .serialize()
            .map_err(|error| io::Error::other(format!("{error:#}")))
            .and_then(|code| self.write(key, &code));
        if let Err(error) = written {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code cannot be kept");
        }
        self.prune();
    }

    fn path(&self, CodeKey(key): CodeKey) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(name).with_extension(SUFFIX)
    }

    fn mac(&self, CodeKey(key): CodeKey, code: &[u8]) -> HmacSha256 {
        // The key of the entry is covered, so that one entry cannot be put in place of another.
        let mac = HmacSha256::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(MAGIC).chain_update(key).chain_update(code)
    }

    fn verified<'a>(&self, key: CodeKey, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mac, code) = rest.split_at_checked(MAC_LEN)?;
        self.mac(key, code).verify_slice(mac).ok()?;
        Some(code)
    }

    fn write(&self, key: CodeKey, code: &[u8]) -> io::Result<()> {
        // Temporary files are made readable for the owner alone, and stay so when renamed.
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.mac(key, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.persist(self.path(key))?;
        Ok(())
    }

    /// Removes the files used longest ago until the rest fits.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ext| ext == SUFFIX))
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= self.max_bytes {
                return;
            }
            discard(&path);
            total -= len;
        }
    }
}

fn read_if_there(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "compiled code cannot be read");
            None
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(file = %path.display(), %error, "could not remove compiled code");
    }
}

/// Marks a file as used now.
fn touch(path: &Path) {
    let touched = File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(file = %path.display(), %error, "could not mark compiled code as used");
    }
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// Whether nobody but this process's user can have written or read the file.
#[cfg(unix)]
fn is_private(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of a file just made is the user of this process.
    let own = tempfile::tempfile()?.metadata()?.uid();
    let meta = file.metadata()?;
    Ok(meta.mode() & 0o077 == 0 && meta.uid() == own)
}

#[cfg(not(unix))]
fn is_private(_: &File) -> io::Result<bool> {
    Ok(true)
}

fn load_or_make_key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join(KEY_FILE);
    if let Some(key) = load_key(&path)? {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        // Another host was faster; its key counts.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            load_key(&path)?.ok_or_else(|| io::Error::other("the key file vanished"))
        }
        Err(error) => Err(error.error),
    }
}

/// Reads the key. One that others could read or that has the wrong length is thrown away: all
/// files made with it are then compiled again.
fn load_key(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut key = Vec::new();
    (&file).take(33).read_to_end(&mut key)?;
    match <[u8; 32]>::try_from(key) {
        Ok(key) if is_private(&file)? => Ok(Some(key)),
        _ => {
            tracing::warn!(file = %path.display(), "the key of the compiled code is not private, making a new one");
            fs::remove_file(path)?;
            Ok(None)
        }
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
mod tests;
