//! The file with the rules.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::rules::Rules;
use crate::error::{CliError, Code, Result};

/// The largest file of rules.
const MAX_BYTES: u64 = 1 << 20;

/// What the file is like at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    /// Not known everywhere.
    modified: Option<SystemTime>,
    text: String,
    rules: Rules,
}

/// The file that a service goes by while it runs.
#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    /// Other rules that were there at the last look, until the next one finds the same.
    coming: Option<Look>,
}

impl Followed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, coming: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file: gives its rules when they are others than `known`, and have been at the look
    /// before. What is being written can be cut between two rules, and allow then what the rest denies.
    pub(super) fn look(&mut self, known: &Rules) -> Result<Option<Rules>> {
        let before = self.coming.take();
        let now = look(&self.path)?;
        if now.rules == *known {
            return Ok(None);
        }
        if now.text.trim().is_empty() {
            let text = format!("`{}` is empty", self.path.display());
            return Err(CliError::new(Code::InvalidInput, text));
        }
        if before.as_ref() == Some(&now) {
            return Ok(Some(now.rules));
        }
        self.coming = Some(now);
        Ok(None)
    }
}

/// Reads rules from a file.
pub(super) fn read(path: &Path) -> Result<Rules> {
    look(path).map(|look| look.rules)
}

fn look(path: &Path) -> Result<Look> {
    let failed = |error: &std::io::Error| {
        CliError::unread(
            format!("could not read the rules `{}`", path.display()),
            error,
        )
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.len() > MAX_BYTES {
        let text = format!(
            "`{}` is larger than rules may be, {MAX_BYTES} bytes",
            path.display()
        );
        return Err(CliError::new(Code::InvalidInput, text));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let rules = Rules::parse(&text).map_err(|error| {
        CliError::new(
            Code::InvalidInput,
            format!("`{}` holds no rules", path.display()),
        )
        .cause(error)
        .hint("docs/operating.md shows what rules look like")
    })?;
    Ok(Look {
        modified: metadata.modified().ok(),
        text,
        rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "default = \"allow\"\n";
    const EVIL: &str = "[[rule]]\nid = \"evil*\"\ndecision = \"deny\"\n";

    /// A file that is followed, and the rules in it.
    fn followed(folder: &Path, text: &str) -> (Followed, Rules) {
        let path = folder.join("rules.toml");
        std::fs::write(&path, text).unwrap();
        let rules = read(&path).unwrap();
        (Followed::new(path), rules)
    }

    #[test]
    fn rules_count_once_they_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let both = format!("{OPEN}{EVIL}");
        let (mut file, known) = followed(folder.path(), &both);
        assert_eq!(file.look(&known).unwrap(), None);
        // Cut between two rules, and then written to its end.
        let more = format!("{both}[[rule]]\nkind = \"startProvider\"\ndecision = \"deny\"\n");
        for part in [OPEN, &more] {
            std::fs::write(file.path(), part).unwrap();
            assert_eq!(file.look(&known).unwrap(), None, "{part}");
        }
        let rules = file.look(&known).unwrap().unwrap();
        assert_eq!(rules, Rules::parse(&more).unwrap());
        assert_eq!(file.look(&rules).unwrap(), None);
    }

    #[test]
    fn an_empty_file_takes_no_rules_away() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, known) = followed(folder.path(), &format!("{OPEN}{EVIL}"));
        for nothing in ["", "\n"] {
            std::fs::write(file.path(), nothing).unwrap();
            for _ in 0..3 {
                let error = file.look(&known).unwrap_err();
                assert!(error.to_string().contains("is empty"), "{error}");
            }
        }
        std::fs::write(file.path(), OPEN).unwrap();
        assert_eq!(file.look(&known).unwrap(), None);
        assert!(file.look(&known).unwrap().is_some());
    }
}
