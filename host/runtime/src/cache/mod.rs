//! Compiled code on disk, so that a component is compiled once per engine and not at each start.
//!
//! Compiled code runs without further checks, so a file is believed only when it carries a MAC
//! made with this folder's key. Whoever can read the key can run code in the host anyway: the
//! key is readable for the host's user alone.
//!
//! All hosts of a user share one folder unless told otherwise. Files appear whole, under the name
//! of what they hold, so that it does not matter who of them writes one; a [`Turn`] keeps two of
//! them from compiling the same at once. What comes from other machines is [`signed`].

mod key;
mod lock;
pub(crate) mod signed;
pub(crate) mod trusted;

pub(crate) use key::{CodeKey, CodeKeys};
pub(crate) use lock::Turn;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"latticeC";
const MAC_LEN: usize = 32;
const KEY_FILE: &str = "key";
const SUFFIX: &str = "cwasm";
const LOCK_SUFFIX: &str = "lock";
/// What files are called while they are written.
const PART_PREFIX: &str = "lattice-";
const PART_SUFFIX: &str = "part";
/// Locks and parts of files are left behind by a process that was killed; this old, nobody is at
/// work on them any more.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

type HmacSha256 = Hmac<Sha256>;

/// A folder of compiled code.
pub(crate) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
    max_bytes: u64,
}

impl CodeCache {
    /// Opens the folder, making it and its key when they are not there yet. Where that cannot be, such
    /// as in a folder of another user, code is compiled and not kept: what saves time fails no start.
    pub(crate) fn open_if_possible(dir: &Path, max_bytes: u64) -> Option<Self> {
        Self::open(dir, max_bytes)
            .inspect_err(|error| {
                tracing::warn!(
                    folder = %dir.display(), %error,
                    "the folder of compiled code cannot be used: components are compiled at each start; \
                     let this user own it and what is in it, or name another (`--code-cache-dir`)"
                );
            })
            .ok()
    }

    fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        make_private_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            key: load_or_make_key(dir)?,
            max_bytes,
        })
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

    /// Whether there is a file for a key, whatever it holds.
    pub(crate) fn has(&self, key: CodeKey) -> bool {
        self.path(key).exists()
    }

    /// Waits until nobody else on this machine compiles what the key stands for; `None` when that
    /// takes too long or cannot be told.
    pub(crate) async fn turn(&self, key: CodeKey) -> Option<Turn> {
        Turn::wait(&self.path(key).with_extension(LOCK_SUFFIX)).await
    }

    /// Keeps compiled code. A failure costs a compilation at the next start and no more.
    pub(crate) fn store(&self, key: CodeKey, component: &Component) {
        match component.serialize() {
            Ok(code) => self.store_bytes(key, &code),
            Err(error) => {
                tracing::warn!(error = %format_args!("{error:#}"), "compiled code cannot be kept");
            }
        }
    }

    /// Keeps compiled code that was checked.
    pub(crate) fn store_bytes(&self, key: CodeKey, code: &[u8]) {
        if let Err(error) = self.write(key, code) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code cannot be kept");
        }
        self.prune();
    }

    fn path(&self, key: CodeKey) -> PathBuf {
        self.dir.join(key.to_string()).with_extension(SUFFIX)
    }

    fn mac(&self, key: CodeKey, code: &[u8]) -> HmacSha256 {
        // The key of the entry is covered, so that one entry cannot be put in place of another.
        let mac = HmacSha256::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(MAGIC)
            .chain_update(key.as_bytes())
            .chain_update(code)
    }

    fn verified<'a>(&self, key: CodeKey, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mac, code) = rest.split_at_checked(MAC_LEN)?;
        self.mac(key, code).verify_slice(mac).ok()?;
        Some(code)
    }

    fn write(&self, key: CodeKey, code: &[u8]) -> io::Result<()> {
        // Temporary files are made readable for the owner alone, and stay so when renamed.
        let mut file = tempfile::Builder::new()
            .prefix(PART_PREFIX)
            .suffix(&format!(".{PART_SUFFIX}"))
            .tempfile_in(&self.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.mac(key, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.persist(self.path(key))?;
        Ok(())
    }

    /// Removes the files used longest ago until the rest fits, and what was left behind.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let now = SystemTime::now();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let (path, meta) = (entry.path(), entry.metadata());
            let Ok((modified, len)) = meta.and_then(|meta| Ok((meta.modified()?, meta.len())))
            else {
                continue;
            };
            if path.extension().is_some_and(|ext| ext == SUFFIX) {
                files.push((modified, len, path));
            } else if is_helper(&path) && modified + LEFT_BEHIND < now {
                discard(&path);
            }
        }
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

/// Whether a file is a lock or a part of ours; somebody may have chosen a folder with other files.
fn is_helper(path: &Path) -> bool {
    let text =
        |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str().map(str::to_owned));
    let (Some(stem), Some(extension)) = (text(path.file_stem()), text(path.extension())) else {
        return false;
    };
    match extension.as_str() {
        LOCK_SUFFIX => stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()),
        PART_SUFFIX => stem.starts_with(PART_PREFIX),
        _ => false,
    }
}

/// Opens a file to read it. Nothing but a regular file is opened: to open a pipe is to wait for whoever
/// is at its other end.
fn open_regular(path: &Path) -> io::Result<File> {
    regular(path)?;
    File::open(path)
}

/// Fails where there is something else than a regular file, and where there is nothing.
fn regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        return Ok(());
    }
    let why = format!("`{}` is no regular file", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_if_there(path: &Path) -> Option<Vec<u8>> {
    match read_regular(path) {
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

/// Whether nobody but this process's user can have written or read the file. One of another user is
/// an error: it is not for this process to throw away, which may be root's.
#[cfg(unix)]
fn is_private(file: &File, dir: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = file.metadata()?;
    is_private_of(own_user(dir)?, meta.uid(), meta.mode())
}

/// The user of this process.
#[cfg(unix)]
fn own_user(dir: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    // Who owns a process owns its folder, where the system has such folders. Elsewhere who makes a file
    // owns it; no other place than the folder itself has to be fit for that.
    match fs::metadata("/proc/self") {
        Ok(process) => Ok(process.uid()),
        Err(_) => Ok(tempfile::tempfile_in(dir)?.metadata()?.uid()),
    }
}

#[cfg(unix)]
fn is_private_of(user: u32, owner: u32, mode: u32) -> io::Result<bool> {
    if owner != user {
        let why = format!("its key belongs to another user ({owner})");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(mode & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn load_or_make_key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join(KEY_FILE);
    if let Some(key) = load_key(dir, &path)? {
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
            load_key(dir, &path)?.ok_or_else(|| io::Error::other("the key file vanished"))
        }
        Err(error) => Err(error.error),
    }
}

/// Reads the key. One that others could read or that has the wrong length is thrown away: all
/// files made with it are then compiled again. One of another user is theirs.
fn load_key(dir: &Path, path: &Path) -> io::Result<Option<[u8; 32]>> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut key = Vec::new();
    (&file).take(33).read_to_end(&mut key)?;
    let is_private = is_private(&file, dir)?;
    match <[u8; 32]>::try_from(key) {
        Ok(key) if is_private => Ok(Some(key)),
        _ => {
            tracing::warn!(file = %path.display(), "the key of the compiled code is not private, making a new one");
            fs::remove_file(path)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
