//! Seeds that are given as they are, or by the file that holds them.

use std::io;
use std::path::PathBuf;

use lattice_claims::{KeyError, KeyKind, SigningKey};
use lattice_core::provider::SecretText;

/// Every seed has so many characters.
const SEED_CHARS: usize = 58;

/// So many of its characters in a row are taken for a seed, whatever stands around them.
const LEAST_OF_SEED: usize = 40;

/// Why there is no key.
#[derive(Debug)]
pub(super) enum SeedError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not the seed of such a key.
    Key(KeyError),
}

/// The key of a seed, or of the one that is in the file which is named. Blanks and quotes around either,
/// as variables from files have them, are not part of it.
pub(super) fn key(given: &str, kind: KeyKind) -> Result<SigningKey, SeedError> {
    let given = given.trim().trim_matches(['"', '\'']).trim();
    let seed = match is_file(given) {
        false => SecretText::new(given),
        true => {
            let read = std::fs::read_to_string(given);
            let text = read.map_err(|source| SeedError::Read {
                path: given.into(),
                source,
            })?;
            SecretText::new(text.trim())
        }
    };
    let key = SigningKey::from_seed(seed.expose()).and_then(|key| key.expect_kind(kind));
    key.map_err(SeedError::Key)
}

/// Whether a value is a path. One that looks like a seed is never told in an error, as paths are.
fn is_file(given: &str) -> bool {
    let is_text = given.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_seed = is_text && (given.len() == SEED_CHARS || given.starts_with('S'));
    // One with something beside it: a comment, a second line. Public keys, after which files are called,
    // begin with other letters.
    let is_base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    let mut runs = given.split(|c: char| !is_base32(c));
    let holds_seed = runs.any(|run| run.starts_with('S') && run.len() >= LEAST_OF_SEED);
    !(is_seed || holds_seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_come_as_they_are_and_in_files() {
        let own = SigningKey::generate(KeyKind::Cluster);
        let seed = own.seed();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.nk");
        std::fs::write(&path, format!("{}\n", seed.expose())).unwrap();
        for given in [seed.expose(), &path.display().to_string()] {
            let found = key(given, KeyKind::Cluster).unwrap();
            assert_eq!(found.public_key(), own.public_key());
            assert!(matches!(
                key(given, KeyKind::Account),
                Err(SeedError::Key(_))
            ));
        }
        let missing = key("/nowhere/x.nk", KeyKind::Cluster);
        assert!(matches!(missing, Err(SeedError::Read { .. })));
        for around in [
            ("", "\n"),
            (" ", ""),
            ("\"", "\""),
            ("'", "'\n"),
            ("\"", "\n\""),
        ] {
            let given = format!("{}{}{}", around.0, seed.expose(), around.1);
            let found = key(&given, KeyKind::Cluster).unwrap();
            assert_eq!(found.public_key(), own.public_key(), "{around:?}");
        }
        let named = format!("/nowhere/A{}.nk", "S".repeat(55));
        let missing = key(&named, KeyKind::Account);
        assert!(matches!(missing, Err(SeedError::Read { .. })));
        // What may be a part of a seed, or holds one, is not taken for a path.
        let cut = &seed.expose()[..40];
        for given in [
            cut.to_owned(),
            format!("{cut}\n#"),
            format!("seed={}", seed.expose()),
        ] {
            let cut = key(&given, KeyKind::Cluster);
            assert!(matches!(cut, Err(SeedError::Key(_))), "{given}");
        }
    }
}
