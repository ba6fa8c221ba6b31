//! Images: from a reference to the bytes of a component or the program of a provider.

mod abandoned;
mod error;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_claims::archive::{ArchiveLimits, Keep, ProviderArchive, native_target};
use lattice_claims::epoch_seconds;
use lattice_claims::{BuiltinIssuer, ProviderClaims};
use lattice_core::ImageRef;
use lattice_core::reference::{Reference, RegistryRef};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::builtin::{AS_PROCESS, Builtin, Builtins};
use crate::trust::{Artifact, Trust};

pub(crate) use abandoned::remove_abandoned;
use abandoned::{PREFIX, hold};
pub(crate) use error::FetchError;

/// What the host may read.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub(crate) builtins: Builtins,
    /// Who signs for them.
    pub(crate) issuer: Option<Arc<BuiltinIssuer>>,
    pub(crate) allow_files: bool,
    pub(crate) max_component_bytes: u64,
    pub(crate) max_provider_bytes: u64,
}

/// What runs when a provider runs.
pub(crate) enum Program {
    /// An executable.
    File {
        path: PathBuf,
        arguments: Vec<String>,
        /// What was unpacked for it.
        unpacked: Option<Unpacked>,
    },
    /// A part of this program.
    Builtin(Arc<dyn Builtin>),
}

/// A program in a folder among the temporary ones, which is removed with this value. What cleans up
/// there takes away what is old: the file is held open, to be written out again.
pub(crate) struct Unpacked {
    _folder: TempDir,
    file: Arc<File>,
    /// Tells that the folder is not left behind.
    _held: File,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, .. } => f.debug_tuple("File").field(path).finish(),
            Self::Builtin(_) => f.write_str("Builtin"),
        }
    }
}

/// A program that a provider can be started from.
#[derive(Debug)]
pub(crate) struct ProviderProgram {
    pub(crate) program: Program,
    /// What its archive says about it.
    pub(crate) claims: Option<ProviderClaims>,
    /// The token in its archive, or what the host says of a part of itself; it goes into requests for
    /// secrets.
    pub(crate) token: Option<String>,
    /// Whether it is part of the host, in this process or another.
    pub(crate) builtin: bool,
}

impl ProviderProgram {
    /// What it is to the rules for what runs here.
    pub(crate) fn artifact(&self) -> Artifact<'_> {
        if self.builtin {
            Artifact::Builtin
        } else {
            Artifact::provider(self.claims.as_ref())
        }
    }

    /// Sees to it that what was unpacked is there to be started once more.
    pub(crate) async fn keep(&mut self) -> Result<(), FetchError> {
        let Program::File {
            path,
            unpacked: Some(unpacked),
            ..
        } = &mut self.program
        else {
            return Ok(());
        };
        let (place, file) = (path.clone(), Arc::clone(&unpacked.file));
        let again = blocking(move || unpack_again(&place, &file).map_err(FetchError::Unpack));
        if let Some((again, place)) = again.await? {
            let before = path.display();
            tracing::warn!(path = %before, "the program of a provider was gone, and is unpacked again");
            *unpacked = again;
            *path = place;
        }
        Ok(())
    }
}

impl Images {
    /// Reads the bytes of a component.
    pub(crate) async fn component(&self, image: &ImageRef) -> Result<Bytes, FetchError> {
        let path = match Reference::parse(image)? {
            Reference::Builtin(name) => return Err(FetchError::BuiltinComponent { name }),
            Reference::File(path) => self.path("component", path)?,
            Reference::Registry(reference) => return Err(in_registry(&reference)),
        };
        let limit = self.max_component_bytes;
        blocking(move || {
            let file = open(&path, limit)?;
            let mut bytes = Vec::new();
            // One byte more than allowed, in case the file grows meanwhile.
            let read = file.take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|source| FetchError::Read {
                path: path.clone(),
                source,
            })?;
            let size = bytes.len() as u64;
            if size > limit {
                return Err(FetchError::TooLarge { path, size, limit });
            }
            Ok(Bytes::from(bytes))
        })
        .await
    }

    /// Finds the program of a provider, or unpacks it if it may run here.
    pub(crate) async fn provider(
        &self,
        image: &ImageRef,
        trust: &Arc<Trust>,
    ) -> Result<ProviderProgram, FetchError> {
        let path = match Reference::parse(image)? {
            Reference::Builtin(name) => return self.builtin(name),
            Reference::File(path) => self.path("provider", path)?,
            Reference::Registry(reference) => return Err(in_registry(&reference)),
        };
        let limit = self.max_provider_bytes;
        let (trust, image) = (Arc::clone(trust), image.clone());
        blocking(move || {
            let admit = |artifact: &Artifact<'_>| {
                let admitted = trust.admit(image.as_str(), artifact);
                admitted.map_err(|source| FetchError::Refused {
                    image: image.as_str().to_owned(),
                    source,
                })
            };
            let mut file = open(&path, limit)?;
            let kind = recognise(&mut file);
            match kind.map_err(|source| FetchError::Read {
                path: path.clone(),
                source,
            })? {
                Some(FileKind::Program) => {
                    admit(&Artifact::Unsigned)?;
                    program(path, &file)
                }
                Some(FileKind::Archive) => unpack(&path, file, limit, admit),
                None => Err(FetchError::NotAProvider { path }),
            }
        })
        .await
    }

    fn path(&self, what: &'static str, path: PathBuf) -> Result<PathBuf, FetchError> {
        if self.allow_files {
            Ok(path)
        } else {
            Err(FetchError::FilesDisabled { what })
        }
    }

    fn builtin(&self, name: String) -> Result<ProviderProgram, FetchError> {
        match self.builtins.get(&name) {
            Some(builtin) => Ok(ProviderProgram {
                token: self.vouch(&name)?,
                program: match self.builtins.program() {
                    None => Program::Builtin(builtin),
                    Some(program) => Program::File {
                        path: program.to_owned(),
                        arguments: vec![AS_PROCESS.to_owned(), name],
                        unpacked: None,
                    },
                },
                claims: None,
                builtin: true,
            }),
            None => {
                let known: Vec<_> = self.builtins.names().collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                Err(FetchError::NoBuiltin { name, known })
            }
        }
    }
}

impl Images {
    /// What the host says of a part of itself, where it has a key for that.
    fn vouch(&self, name: &str) -> Result<Option<String>, FetchError> {
        let token = self.issuer.as_ref();
        let token = token.map(|issuer| issuer.token(name, epoch_seconds()));
        token.transpose().map_err(|source| FetchError::Vouch {
            name: name.to_owned(),
            source,
        })
    }
}

fn in_registry(reference: &RegistryRef) -> FetchError {
    FetchError::Registry {
        reference: reference.to_string(),
    }
}

/// How many images are read at the same time.
pub(crate) const MAX_READS: usize = 64;
/// How long one more waits for its turn.
const READ_SOON: Duration = Duration::from_secs(30);
/// The threads are the process's. A read from a mount that hangs cannot be ended, and keeps its thread:
/// without a bound everything else that needs one would come to wait.
pub(crate) static READS: Semaphore = Semaphore::const_new(MAX_READS);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    // The semaphore is never closed, so that an error is a timeout.
    let Ok(Ok(turn)) = timeout(READ_SOON, READS.acquire()).await else {
        return Err(FetchError::Stuck);
    };
    let work = move || {
        let _turn = turn;
        work()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only when the process ends; nobody will see this.
        Err(ended) => Err(FetchError::Unpack(io::Error::other(ended))),
    }
}

fn open(path: &Path, limit: u64) -> Result<File, FetchError> {
    let failed = |source| FetchError::Read {
        path: path.to_owned(),
        source,
    };
    // Looked at before it is opened, because opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(FetchError::NotAFile {
            path: path.to_owned(),
        });
    }
    let size = metadata.len();
    if size > limit {
        return Err(FetchError::TooLarge {
            path: path.to_owned(),
            size,
            limit,
        });
    }
    File::open(path).map_err(failed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Archive,
    Program,
}

/// Where a tar file says that it is one.
const TAR_MARK: std::ops::Range<usize> = 257..262;

fn recognise(file: &mut File) -> io::Result<Option<FileKind>> {
    let mut head = Vec::with_capacity(512);
    Read::by_ref(file).take(512).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(kind_of(&head))
}

fn kind_of(head: &[u8]) -> Option<FileKind> {
    const PROGRAMS: [&[u8]; 5] = [
        b"\x7fELF",
        b"#!",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"\xfe\xed\xfa\xcf",
    ];
    if PROGRAMS.iter().any(|magic| head.starts_with(magic)) {
        return Some(FileKind::Program);
    }
    let archive = head.starts_with(&[0x1f, 0x8b]) || head.get(TAR_MARK) == Some(b"ustar");
    archive.then_some(FileKind::Archive)
}

fn program(path: PathBuf, file: &File) -> Result<ProviderProgram, FetchError> {
    let metadata = file.metadata();
    let metadata = metadata.map_err(|source| FetchError::Read {
        path: path.clone(),
        source,
    })?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(FetchError::NotExecutable { path });
    }
    Ok(ProviderProgram {
        program: Program::File {
            path,
            arguments: Vec::new(),
            unpacked: None,
        },
        claims: None,
        token: None,
        builtin: false,
    })
}

fn unpack(
    path: &Path,
    file: File,
    limit: u64,
    admit: impl FnOnce(&Artifact<'_>) -> Result<(), FetchError>,
) -> Result<ProviderProgram, FetchError> {
    let refused = |source| FetchError::Archive {
        path: path.to_owned(),
        source,
    };
    let target = native_target();
    let limits = ArchiveLimits {
        entry_bytes: limit,
        ..ArchiveLimits::default()
    };
    let reader = io::BufReader::new(file);
    let mut archive = ProviderArchive::read(reader, Keep::Target(&target), limits, epoch_seconds())
        .map_err(refused)?;
    admit(&Artifact::provider(Some(&archive.claims)))?;
    let library = archive.take_library(&target).map_err(refused)?;
    let (unpacked, path) = write_program(&library[..]).map_err(FetchError::Unpack)?;
    Ok(ProviderProgram {
        program: Program::File {
            path,
            arguments: Vec::new(),
            unpacked: Some(unpacked),
        },
        claims: Some(archive.claims),
        token: Some(archive.token),
        builtin: false,
    })
}

fn write_program(mut library: impl Read) -> io::Result<(Unpacked, PathBuf)> {
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
    let held = hold(folder.path())?;
    let path = folder.path().join("provider");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&path)?;
    io::copy(&mut library, &mut file)?;
    // Nothing runs that is open for writing.
    drop(file);
    let unpacked = Unpacked {
        file: Arc::new(File::open(&path)?),
        _folder: folder,
        _held: held,
    };
    Ok((unpacked, path))
}

/// Writes an unpacked program out again, in another place, if it is no longer where it was: somebody
/// else may have put something there.
fn unpack_again(path: &Path, mut file: &File) -> io::Result<Option<(Unpacked, PathBuf)>> {
    let open = file.metadata()?;
    let is_there = std::fs::symlink_metadata(path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (open.dev(), open.ino()));
    if is_there {
        return Ok(None);
    }
    file.rewind()?;
    write_program(file).map(Some)
}

#[cfg(test)]
mod tests;
