//! Writing provider archives.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use indexmap::IndexMap;

use super::{ArchiveError, LIBRARY_SUFFIX, TOKEN_ENTRY, WORLD_ENTRY, is_target};
use crate::claims::{Claims, ProviderMetadata};
use crate::component::{ValidTimes, expect_kind};
use crate::keys::{KeyKind, PublicKey, SigningKey};
use crate::wasm::hex_digest;

/// Collects libraries and writes them as a signed archive.
#[derive(Debug, Clone, Default)]
pub struct ArchiveBuilder {
    metadata: ProviderMetadata,
    libraries: IndexMap<String, Vec<u8>>,
    world: Option<Vec<u8>>,
}

impl ArchiveBuilder {
    /// An archive that says this about its provider; hashes are filled in.
    #[must_use]
    pub fn new(metadata: ProviderMetadata) -> Self {
        Self {
            metadata,
            ..Self::default()
        }
    }

    /// Adds the library for a target, in place of an earlier one.
    ///
    /// # Errors
    ///
    /// Returns [`ArchiveError::BadTarget`] for names no archive can hold.
    pub fn library(mut self, target: &str, library: Vec<u8>) -> Result<Self, ArchiveError> {
        if !is_target(target) {
            return Err(ArchiveError::BadTarget {
                target: target.chars().take(80).collect(),
            });
        }
        self.libraries.insert(target.to_owned(), library);
        Ok(self)
    }

    /// Adds an encoded WIT world.
    #[must_use]
    pub fn world(mut self, world: Vec<u8>) -> Self {
        self.world = Some(world);
        self
    }

    /// Signs and writes the archive. The same input gives the same bytes apart
    /// from the token.
    ///
    /// # Errors
    ///
    /// Fails without a library, for keys of the wrong kind, and when the sink does.
    pub fn write(
        self,
        sink: impl Write,
        gzip: bool,
        issuer: &SigningKey,
        subject: &SigningKey,
        times: ValidTimes,
    ) -> Result<(), ArchiveError> {
        expect_kind(subject, KeyKind::Provider)?;
        self.write_for(sink, gzip, issuer, &subject.public_key(), times)
    }

    /// Signs and writes the archive of a provider whose public key is all that there is, such as
    /// that of an archive to which something is added.
    ///
    /// # Errors
    ///
    /// As [`ArchiveBuilder::write`].
    pub fn write_for(
        mut self,
        sink: impl Write,
        gzip: bool,
        issuer: &SigningKey,
        subject: &str,
        times: ValidTimes,
    ) -> Result<(), ArchiveError> {
        let token = self.sign(issuer, subject, times)?;
        if gzip {
            let encoder = GzEncoder::new(sink, Compression::default());
            let encoder = self
                .write_tar(encoder, &token)
                .map_err(ArchiveError::Write)?;
            encoder
                .finish()
                .and_then(|mut sink| sink.flush())
                .map_err(ArchiveError::Write)
        } else {
            let sink = self.write_tar(sink, &token);
            sink.and_then(|mut sink| sink.flush())
                .map_err(ArchiveError::Write)
        }
    }

    fn sign(
        &mut self,
        issuer: &SigningKey,
        subject: &str,
        times: ValidTimes,
    ) -> Result<String, ArchiveError> {
        expect_kind(issuer, KeyKind::Account)?;
        PublicKey::parse(subject)?.expect_kind(KeyKind::Provider)?;
        if self.libraries.is_empty() {
            return Err(ArchiveError::NoLibrary {
                target: "any".into(),
                found: "none".into(),
            });
        }
        let mut metadata = std::mem::take(&mut self.metadata);
        metadata.target_hashes = self
            .libraries
            .iter()
            .map(|(target, library)| (target.clone(), hex_digest(library)))
            .chain(
                self.world
                    .iter()
                    .map(|world| (WORLD_ENTRY.to_owned(), hex_digest(world))),
            )
            .collect();
        let mut claims = Claims::new(subject.to_owned(), metadata, times.now);
        claims.expires = times.expires;
        claims.not_before = times.not_before;
        Ok(claims.sign(issuer)?)
    }

    fn write_tar<W: Write>(&self, sink: W, token: &str) -> io::Result<W> {
        let mut tar = tar::Builder::new(sink);
        append(&mut tar, TOKEN_ENTRY, token.as_bytes(), 0o644)?;
        for (target, library) in &self.libraries {
            append(
                &mut tar,
                &format!("{target}{LIBRARY_SUFFIX}"),
                library,
                0o755,
            )?;
        }
        if let Some(world) = &self.world {
            append(&mut tar, WORLD_ENTRY, world, 0o644)?;
        }
        tar.into_inner()
    }
}

pub(super) fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}
