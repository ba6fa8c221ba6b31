//! The keys of the backend: from a variable, or from a file that is made when there is none.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lattice_claims::CurveKey;

use crate::error::{CliError, Code, Result};

/// A key as it may be named on the command line.
pub(crate) struct KeySource<'a> {
    /// What it is for.
    pub(crate) what: &'static str,
    pub(crate) seed: Option<&'a String>,
    pub(crate) file: Option<&'a PathBuf>,
}

impl KeySource<'_> {
    /// The key, if it is named anywhere.
    pub(crate) fn read(&self) -> Result<Option<CurveKey>> {
        if let Some(seed) = self.seed.filter(|seed| !seed.is_empty()) {
            return self.parse(seed).map(Some);
        }
        let Some(path) = self.file else {
            return Ok(None);
        };
        match std::fs::read_to_string(path) {
            Ok(text) => self.parse(&text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path).map(Some),
            Err(error) => {
                let text = format!("could not read the key file `{}`", path.display());
                Err(CliError::io(text, &error))
            }
        }
    }

    fn parse(&self, seed: &str) -> Result<CurveKey> {
        CurveKey::from_seed(seed).map_err(|error| {
            let text = format!("the {} key is not the seed of a curve key", self.what);
            CliError::new(Code::InvalidInput, text)
                .caused_by(&error)
                .hint("such a seed has 58 characters and starts with `SX`")
        })
    }
}

/// Writes a fresh key that only its owner can read.
fn make(path: &Path) -> Result<CurveKey> {
    let key = CurveKey::generate();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", key.seed().expose()));
    written.map_err(|error| {
        let text = format!("could not write the key file `{}`", path.display());
        CliError::io(text, &error)
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = KeySource {
            what: "encryption",
            seed: None,
            file: Some(&path),
        };
        let first = source.read().unwrap().unwrap().public_key();
        assert_eq!(source.read().unwrap().unwrap().public_key(), first);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&path).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
        let bad = "SUABC".to_owned();
        let source = KeySource {
            seed: Some(&bad),
            ..source
        };
        let error = source.read().unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
    }
}
