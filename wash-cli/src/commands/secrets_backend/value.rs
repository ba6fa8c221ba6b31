//! A value for the backend, from wherever it should not be seen.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use lattice_core::provider::SecretValue;

use crate::error::{CliError, Code, Result};

/// The largest value; a message of NATS has to hold it, sealed and as JSON.
const MOST_BYTES: u64 = 256 * 1024;

/// Where the value is.
#[derive(Args)]
#[group(required = false, multiple = false)]
pub(crate) struct ValueArgs {
    /// The value itself, which other users of this machine can see; better use standard input
    #[arg(
        long,
        env = "SECRET_STRING_VALUE",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    string: Option<String>,
    /// File with the value as text; a line break at its end does not count
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// File with the value as bytes
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl std::fmt::Debug for ValueArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueArgs").finish_non_exhaustive()
    }
}

impl ValueArgs {
    /// Reads the value, from standard input when nothing else is named.
    pub(crate) fn read(self) -> Result<SecretValue> {
        if let Some(text) = self.string {
            return Ok(SecretValue::String(text));
        }
        if let Some(path) = self.binary {
            return from_file(&path).map(SecretValue::Bytes);
        }
        match self.file {
            Some(path) => text(from_file(&path)?),
            None => {
                let input = std::io::stdin().lock();
                text(limited(input, "standard input")?)
            }
        }
    }
}

/// What to say where the value stands among the arguments, and not in the variable.
pub(crate) fn warn_of_argument(words: impl IntoIterator<Item = OsString>) -> Option<&'static str> {
    let mut words = words.into_iter();
    let is_shown = words.any(|word| {
        let word = word.to_string_lossy();
        word == "--string" || word.starts_with("--string=")
    });
    is_shown.then_some(
        "the value stands among the arguments, where every user of this machine can read it while this runs; \
         give it by standard input, by `--file` or by the variable SECRET_STRING_VALUE",
    )
}

fn from_file(path: &std::path::Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| {
        let text = format!("could not read `{name}`");
        CliError::new(Code::FileNotFound, text).caused_by(&error)
    })?;
    limited(file, &name)
}

fn limited(source: impl std::io::Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = source.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| CliError::io(format!("could not read `{name}`"), &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        let text = format!("the value in {name} has more than {MOST_BYTES} bytes");
        return Err(CliError::new(Code::InvalidInput, text)
            .hint("keep the key of large data as a secret, and not the data"));
    }
    if bytes.is_empty() {
        let text = format!("there is no value in {name}");
        return Err(CliError::new(Code::InvalidInput, text).hint(
            "write it there, as in `printf %s \"$PASSWORD\" | wash secrets-backend put KEY`",
        ));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<SecretValue> {
    let mut text = String::from_utf8(bytes).map_err(|_| {
        CliError::new(Code::InvalidInput, "the value is no text")
            .hint("name the file with `--binary`")
    })?;
    let trimmed = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(trimmed);
    Ok(SecretValue::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_at_the_end_is_not_part_of_the_value() {
        let value = text(b"hunter2\r\n".to_vec()).unwrap();
        assert_eq!(value, SecretValue::String("hunter2".to_owned()));
        assert!(text(vec![0xff]).is_err());
        assert!(limited(&b""[..], "here").is_err());
    }

    #[test]
    fn a_value_among_the_arguments_is_warned_of() {
        let warned = |words: &[&str]| {
            let put = ["wash", "secrets-backend", "put", "key"];
            let words = put.iter().chain(words).map(OsString::from);
            warn_of_argument(words).is_some()
        };
        assert!(warned(&["--string", "hunter2"]) && warned(&["--string=hunter2"]));
        assert!(!warned(&[]) && !warned(&["--file", "value"]));
    }
}
