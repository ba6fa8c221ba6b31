//! Provider archives: a tar, maybe gzipped, of a token and one library per target.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use indexmap::IndexMap;

use crate::claims::{ProviderClaims, ProviderMetadata};
use crate::keys::KeyError;
use crate::token::{self, MAX_TOKEN_BYTES, TokenError};
use crate::wasm::hex_digest;

mod build;

pub use build::ArchiveBuilder;

const TOKEN_ENTRY: &str = "claims.jwt";
const WORLD_ENTRY: &str = "world.wasm";
const LIBRARY_SUFFIX: &str = ".bin";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Targets are `{arch}-{os}`; nothing real comes near this length.
const MAX_TARGET_CHARS: usize = 64;

/// The target of the machine this runs on, such as `x86_64-linux`.
#[must_use]
pub fn native_target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// How much of an archive is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// The largest entry.
    pub entry_bytes: u64,
    /// All entries together, after decompression.
    pub total_bytes: u64,
    /// The number of entries.
    pub entries: usize,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            entry_bytes: 512 << 20,
            total_bytes: 2 << 30,
            entries: 64,
        }
    }
}

/// Which libraries of an archive are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep<'a> {
    /// All of them.
    All,
    /// Only that for one target; the others are skipped unread.
    Target(&'a str),
}

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes are not a tar file, or the source failed.
    #[error("could not read the provider archive")]
    Read(#[source] io::Error),
    /// The archive is over a limit.
    #[error("the provider archive has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// An entry is there twice.
    #[error("the provider archive holds `{entry}` twice")]
    Duplicate {
        /// The name of the entry.
        entry: String,
    },
    /// There is no token.
    #[error("the provider archive holds no `claims.jwt`")]
    NoClaims,
    /// The token is not text.
    #[error("`claims.jwt` in the provider archive is not text")]
    NotText,
    /// The token does not hold.
    #[error("the claims of the provider archive do not hold")]
    Token(#[from] TokenError),
    /// There is no library for the target.
    #[error("the provider archive holds no library for `{target}`, only for: {found}")]
    NoLibrary {
        /// The target wanted.
        target: String,
        /// The targets it has.
        found: String,
    },
    /// The token says nothing about an entry.
    #[error("the claims of the provider archive hold no hash for `{entry}`")]
    NoHash {
        /// The entry.
        entry: String,
    },
    /// An entry is not the one that was signed.
    #[error("hash mismatch, `{entry}` in the provider archive is not the one that was signed")]
    HashMismatch {
        /// The entry.
        entry: String,
    },
    /// A target that no archive can hold.
    #[error("`{target}` is not a target of the form `arch-os`")]
    BadTarget {
        /// The target.
        target: String,
    },
    /// A key is of the wrong kind.
    #[error("could not sign the provider archive")]
    Key(#[from] KeyError),
    /// The sink failed.
    #[error("could not write the provider archive")]
    Write(#[source] io::Error),
}

/// A provider archive in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderArchive {
    /// The token.
    pub token: String,
    /// What it says.
    pub claims: ProviderClaims,
    /// The libraries that were kept, by target.
    pub libraries: IndexMap<String, Vec<u8>>,
    /// The targets of all libraries in the archive.
    pub targets: Vec<String>,
    /// An encoded WIT world.
    pub world: Option<Vec<u8>>,
}

/// What an archive holds before anything is checked.
#[derive(Default)]
struct Entries {
    token: Option<Vec<u8>>,
    libraries: IndexMap<String, Vec<u8>>,
    targets: Vec<String>,
    world: Option<Vec<u8>>,
}

impl ProviderArchive {
    /// Reads an archive and checks the token and the hash of all that is kept.
    ///
    /// # Errors
    ///
    /// Refuses archives over a limit, without a valid token, or with an entry
    /// that the token does not vouch for.
    pub fn read(
        source: impl Read,
        keep: Keep<'_>,
        limits: ArchiveLimits,
        now: u64,
    ) -> Result<Self, ArchiveError> {
        let archive = Self::read_unchecked(source, keep, limits)?;
        archive.verify(now)?;
        Ok(archive)
    }

    /// Reads an archive and checks nothing: for showing what it says, together with what
    /// [`ProviderArchive::verify`] says of it.
    ///
    /// # Errors
    ///
    /// Refuses archives over a limit or without a token that can be read.
    pub fn read_unchecked(
        source: impl Read,
        keep: Keep<'_>,
        limits: ArchiveLimits,
    ) -> Result<Self, ArchiveError> {
        let entries = read_entries(source, keep, limits)?;
        let token = entries.token.ok_or(ArchiveError::NoClaims)?;
        let token = String::from_utf8(token).map_err(|_| ArchiveError::NotText)?;
        let token = token.trim().to_owned();
        let claims = token::decode::<ProviderMetadata>(&token)?;
        let Entries {
            libraries,
            targets,
            world,
            ..
        } = entries;
        Ok(Self {
            token,
            claims,
            libraries,
            targets,
            world,
        })
    }

    /// Checks the token, and the hash of all that was kept.
    ///
    /// # Errors
    ///
    /// Returns the first check that failed.
    pub fn verify(&self, now: u64) -> Result<(), ArchiveError> {
        let claims = token::verify::<ProviderMetadata>(&self.token, now)?;
        let none = IndexMap::new();
        let hashes = claims.metadata.as_ref().map_or(&none, |m| &m.target_hashes);
        for (target, library) in &self.libraries {
            check_hash(hashes, target, library)?;
        }
        match &self.world {
            Some(world) => check_hash(hashes, WORLD_ENTRY, world),
            None => Ok(()),
        }
    }

    /// Takes the library for a target out of the archive.
    ///
    /// # Errors
    ///
    /// Names the targets that are there when this one is not.
    pub fn take_library(&mut self, target: &str) -> Result<Vec<u8>, ArchiveError> {
        self.libraries
            .swap_remove(target)
            .ok_or_else(|| ArchiveError::NoLibrary {
                target: target.to_owned(),
                found: self.targets.join(", "),
            })
    }
}

fn check_hash(
    hashes: &IndexMap<String, String>,
    entry: &str,
    bytes: &[u8],
) -> Result<(), ArchiveError> {
    match hashes.get(entry) {
        None => Err(ArchiveError::NoHash {
            entry: entry.to_owned(),
        }),
        Some(hash) if *hash == hex_digest(bytes) => Ok(()),
        Some(_) => Err(ArchiveError::HashMismatch {
            entry: entry.to_owned(),
        }),
    }
}

/// Ends with an error after a number of bytes, so that a small file that
/// unpacks to a huge one is noticed while it is unpacked.
struct Bounded<R> {
    inner: R,
    left: u64,
}

/// Marks the error of [`Bounded`] among those of the source.
#[derive(Debug, thiserror::Error)]
#[error("the archive unpacks to more than it may")]
struct OverLimit;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(OverLimit)),
        }
        Ok(read)
    }
}

fn read_entries(
    mut source: impl Read,
    keep: Keep<'_>,
    limits: ArchiveLimits,
) -> Result<Entries, ArchiveError> {
    let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
    let head = source.by_ref().take(GZIP_MAGIC.len() as u64);
    { head }
        .read_to_end(&mut magic)
        .map_err(ArchiveError::Read)?;
    let gzipped = magic == GZIP_MAGIC;
    let whole = io::Cursor::new(magic).chain(source);
    // Headers and padding come on top of the entries.
    let left = limits
        .total_bytes
        .saturating_add(limits.entries as u64 * 1024 + 10_240);
    if gzipped {
        untar(
            Bounded {
                inner: MultiGzDecoder::new(whole),
                left,
            },
            keep,
            limits,
        )
    } else {
        untar(Bounded { inner: whole, left }, keep, limits)
    }
}

fn untar(
    source: impl Read,
    keep: Keep<'_>,
    limits: ArchiveLimits,
) -> Result<Entries, ArchiveError> {
    let mut archive = tar::Archive::new(source);
    let mut entries = Entries::default();
    let failed = |error| read_error(error, limits);
    // Raw, because the names of providers are short and the extensions for
    // long names are read into memory without a bound.
    for (index, entry) in archive.entries().map_err(failed)?.raw(true).enumerate() {
        let mut entry = entry.map_err(failed)?;
        if index >= limits.entries {
            let limit = limits.entries as u64;
            return Err(ArchiveError::TooLarge {
                what: "entries",
                limit,
            });
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let Ok(name) = std::str::from_utf8(name).map(str::to_owned) else {
            continue;
        };
        entries.add(&name, &mut entry, keep, limits)?;
    }
    Ok(entries)
}

fn read_error(error: io::Error, limits: ArchiveLimits) -> ArchiveError {
    let over = error.get_ref().is_some_and(contains_over_limit);
    if over {
        ArchiveError::TooLarge {
            what: "bytes",
            limit: limits.total_bytes,
        }
    } else {
        ArchiveError::Read(error)
    }
}

/// `tar` wraps the errors of its source, so the mark is looked for below.
fn contains_over_limit(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    if error.is::<OverLimit>() {
        return true;
    }
    let mut source = error.source();
    for _ in 0..8 {
        let Some(cause) = source else { return false };
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if cause.is::<OverLimit>() || wrapped.is_some_and(|inner| inner.is::<OverLimit>()) {
            return true;
        }
        source = cause.source();
    }
    false
}

impl Entries {
    fn add(
        &mut self,
        name: &str,
        entry: &mut tar::Entry<'_, impl Read>,
        keep: Keep<'_>,
        limits: ArchiveLimits,
    ) -> Result<(), ArchiveError> {
        let duplicate = || ArchiveError::Duplicate {
            entry: name.to_owned(),
        };
        if name == TOKEN_ENTRY {
            let limit = limits.entry_bytes.min(MAX_TOKEN_BYTES as u64);
            let token = read_entry(entry, limit, limits)?;
            return put_once(&mut self.token, token).ok_or_else(duplicate);
        }
        if name == WORLD_ENTRY {
            let world = read_entry(entry, limits.entry_bytes, limits)?;
            return put_once(&mut self.world, world).ok_or_else(duplicate);
        }
        let Some(target) = name.strip_suffix(LIBRARY_SUFFIX).filter(|t| is_target(t)) else {
            return Ok(());
        };
        if self.targets.iter().any(|known| known == target) {
            return Err(duplicate());
        }
        self.targets.push(target.to_owned());
        if keep == Keep::All || keep == Keep::Target(target) {
            let library = read_entry(entry, limits.entry_bytes, limits)?;
            self.libraries.insert(target.to_owned(), library);
        }
        Ok(())
    }
}

fn put_once(slot: &mut Option<Vec<u8>>, value: Vec<u8>) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

fn is_target(text: &str) -> bool {
    text.len() <= MAX_TARGET_CHARS
        && text.contains('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn read_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    limit: u64,
    limits: ArchiveLimits,
) -> Result<Vec<u8>, ArchiveError> {
    let too_large = ArchiveError::TooLarge {
        what: "bytes in one entry",
        limit,
    };
    if entry.size() > limit {
        return Err(too_large);
    }
    // The size in the header is a claim; memory follows what really arrives.
    let mut bytes = Vec::new();
    entry
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| read_error(e, limits))?;
    if bytes.len() as u64 > limit {
        return Err(too_large);
    }
    if (bytes.len() as u64) < entry.size() {
        return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
