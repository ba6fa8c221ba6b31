//! Credentials files: a user token and the seed that signs for it.

use std::path::Path;

use lattice_core::provider::SecretText;

use super::ConnectionError;

/// What a credentials file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creds {
    /// The signed token of the user.
    pub jwt: SecretText,
    /// The seed of the user's key.
    pub seed: SecretText,
}

impl Creds {
    /// Takes token and seed out of the text of a file: each is the line after its `BEGIN` line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let after = |mark: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| line.starts_with('-') && line.contains(mark))?;
            lines
                .find(|line| !line.is_empty())
                .filter(|line| !line.starts_with('-'))
        };
        Some(Self {
            jwt: SecretText::new(after("BEGIN NATS USER JWT")?),
            seed: SecretText::new(after("BEGIN USER NKEY SEED")?),
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] names the file when it cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Self, ConnectionError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConnectionError::ReadCreds {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or_else(|| ConnectionError::NotCreds {
            path: path.to_owned(),
        })
    }

    /// The text of a file that holds these.
    #[must_use]
    pub fn to_text(&self) -> SecretText {
        let part = |what: &str, text: &SecretText| {
            format!(
                "-----BEGIN {what}-----\n{}\n------END {what}------\n",
                text.expose()
            )
        };
        let (jwt, seed) = (
            part("NATS USER JWT", &self.jwt),
            part("USER NKEY SEED", &self.seed),
        );
        SecretText::new(format!("{jwt}\n{seed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are_written() {
        let creds = Creds {
            jwt: SecretText::new("eyJ0"),
            seed: SecretText::new("SUAB"),
        };
        assert_eq!(Creds::parse(creds.to_text().expose()), Some(creds));
    }

    #[test]
    fn other_texts_are_no_credentials() {
        let begin = "-----BEGIN NATS USER JWT-----\n";
        for text in [
            "",
            "eyJ0",
            begin,
            &format!("{begin}------END NATS USER JWT------"),
        ] {
            assert_eq!(Creds::parse(text), None, "{text}");
        }
    }
}
