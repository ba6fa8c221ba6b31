//! Keys that sign: given as a seed or a file, or kept in a folder under a name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lattice_claims::{KeyKind, PublicKey, SigningKey};

use crate::dirs;
use crate::error::{CliError, Code, Result};
use crate::files::write_private;
use crate::output::Ui;

/// What the name of a file with a seed ends with.
const KEY_FILE: &str = "nk";

/// Where keys are kept.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct FolderArgs {
    /// Folder of keys [default: `keys` in the data folder of wash]
    #[arg(
        long,
        alias = "keys-directory",
        env = "WASH_KEYS",
        value_name = "FOLDER"
    )]
    pub(crate) directory: Option<PathBuf>,
}

impl FolderArgs {
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        match self.given() {
            Some(folder) => Ok(folder.clone()),
            None => dirs::keys(),
        }
    }

    fn given(&self) -> Option<&PathBuf> {
        let given = self.directory.as_ref();
        given.filter(|path| !path.as_os_str().is_empty())
    }

    /// A key of 1.x, where no folder was named: what it signed goes on having the same issuer.
    fn of_1x(&self, file: &str) -> std::result::Result<SigningKey, Unread> {
        let folder = match self.given() {
            Some(_) => None,
            None => dirs::keys_of_1x(),
        };
        read_file(&folder.ok_or(Unread::Missing)?.join(file))
    }
}

/// The keys that a token is made with.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct SigningArgs {
    /// Who signs: a seed, or a file with one [default: a key named after the user]
    #[arg(
        short = 'i',
        long,
        env = "WASH_ISSUER_KEY",
        hide_env_values = true,
        value_name = "SEED|FILE"
    )]
    pub(crate) issuer: Option<String>,
    /// What is signed for: a seed, or a file with one [default: a key of the same name]
    #[arg(
        short = 's',
        long,
        env = "WASH_SUBJECT_KEY",
        hide_env_values = true,
        value_name = "SEED|FILE"
    )]
    pub(crate) subject: Option<String>,
    /// Make no keys that are not there
    #[arg(long)]
    pub(crate) disable_keygen: bool,
    #[command(flatten)]
    pub(crate) keys: FolderArgs,
}

impl SigningArgs {
    /// The same with this folder of keys, if one is named.
    pub(crate) fn in_folder(&self, folder: Option<&Path>) -> Self {
        let mut keys = self.clone();
        if let Some(folder) = folder {
            keys.keys.directory = Some(folder.to_owned());
        }
        keys
    }

    /// The key that signs.
    pub(crate) fn issuer(&self, kind: KeyKind, ui: &Ui) -> Result<SigningKey> {
        // One key of the user for all that they sign, as 1.x has it.
        self.key(self.issuer.as_deref(), &user(), kind, ui)
    }

    /// The key of what is signed for.
    pub(crate) fn subject(&self, name: &str, kind: KeyKind, ui: &Ui) -> Result<SigningKey> {
        self.key(self.subject.as_deref(), name, kind, ui)
    }

    fn key(&self, given: Option<&str>, name: &str, kind: KeyKind, ui: &Ui) -> Result<SigningKey> {
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            return of_kind(read_given(given)?, kind);
        }
        let folder = self.keys.folder()?;
        let name = file_name(name, kind);
        let file = folder.join(&name);
        let read = match read_file(&file) {
            Err(Unread::Missing) => self.keys.of_1x(&name),
            read => read,
        };
        match read {
            Ok(key) => of_kind(key, kind),
            Err(Unread::Missing) if !self.disable_keygen => make(&folder, &file, kind, ui),
            Err(Unread::Missing) => {
                let text = format!("there is no key `{}`", file.display());
                Err(CliError::new(Code::FileNotFound, text)
                    .hint("name a key with `--issuer` or `--subject`, or let wash make one"))
            }
            Err(Unread::Other(error)) => Err(error),
        }
    }
}

fn user() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match user.is_empty() || user.starts_with('.') || !user.chars().all(plain) {
        true => "user".to_owned(),
        false => user,
    }
}

/// The names of kinds are those that 1.x writes into names of files.
fn file_name(name: &str, kind: KeyKind) -> String {
    let kind = match kind {
        KeyKind::Component => "module".to_owned(),
        KeyKind::Provider => "service".to_owned(),
        KeyKind::Host => "server".to_owned(),
        other => other.to_string(),
    };
    format!("{name}_{kind}.{KEY_FILE}")
}

fn make(folder: &Path, file: &Path, kind: KeyKind, ui: &Ui) -> Result<SigningKey> {
    let key = SigningKey::generate(kind);
    create_private(folder)
        .and_then(|()| write_private(file, key.seed().expose().as_bytes()))
        .map_err(|error| {
            CliError::io(
                format!("could not write the key `{}`", file.display()),
                &error,
            )
            .hint("name a folder you may write to with `--directory`")
        })?;
    ui.notice(&format!(
        "made the {kind} key {} and keeps its seed in `{}`",
        key.public_key(),
        file.display()
    ));
    Ok(key)
}

/// A folder that only its owner may look into.
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

enum Unread {
    Missing,
    Other(CliError),
}

fn read_file(file: &Path) -> std::result::Result<SigningKey, Unread> {
    let text = fs::read_to_string(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Other(CliError::io(
            format!("could not read the key `{}`", file.display()),
            &error,
        )),
    })?;
    SigningKey::from_seed(&text).map_err(|error| {
        let text = format!("`{}` holds no seed", file.display());
        Unread::Other(CliError::new(Code::InvalidInput, text).caused_by(&error))
    })
}

/// A key given as a seed, or as a file with one.
pub(crate) fn read_given(given: &str) -> Result<SigningKey> {
    match read_file(Path::new(given)) {
        Ok(key) => Ok(key),
        Err(Unread::Other(error)) => Err(error),
        // The text is not shown: it may be a seed with a typing error.
        Err(Unread::Missing) => SigningKey::from_seed(given).map_err(|error| {
            CliError::new(Code::Usage, "the key is neither a seed nor a file with one")
                .caused_by(&error)
                .hint("a seed has 58 characters and begins with `S`; `wash keys gen` makes one")
        }),
    }
}

/// The public key behind a text: one already, or a seed, or a file with one.
pub(crate) fn public_of(given: &str) -> Result<String> {
    match PublicKey::parse(given) {
        Ok(key) => Ok(key.as_text()),
        Err(_) => read_given(given).map(|key| key.public_key()),
    }
}

fn of_kind(key: SigningKey, kind: KeyKind) -> Result<SigningKey> {
    key.expect_kind(kind).map_err(|error| {
        CliError::new(Code::Usage, "the key is of another kind than is needed")
            .caused_by(&error)
            .hint("`wash keys gen` makes keys of each kind")
    })
}

/// The names of the keys in a folder, without what the names of their files end with.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let text = format!("could not read the folder `{}`", folder.display());
            return Err(CliError::io(text, &error));
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_key = path.extension().is_some_and(|end| end == KEY_FILE);
            let name = path.file_stem().filter(|_| is_key)?;
            Some(name.to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

/// The key of this name in a folder.
pub(crate) fn named(folder: &Path, name: &str) -> Result<SigningKey> {
    let stem = name.strip_suffix(&format!(".{KEY_FILE}")).unwrap_or(name);
    if stem.is_empty() || stem.contains('/') {
        let text = format!("`{name}` is not the name of a key");
        return Err(CliError::new(Code::Usage, text).hint("`wash keys list` shows the names"));
    }
    match read_file(&folder.join(format!("{stem}.{KEY_FILE}"))) {
        Ok(key) => Ok(key),
        Err(Unread::Other(error)) => Err(error),
        Err(Unread::Missing) => {
            let text = format!("there is no key `{stem}` in `{}`", folder.display());
            Err(CliError::new(Code::FileNotFound, text).hint("`wash keys list` shows the names"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_name_file_or_seed() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(KeyKind::Component);
        let file = folder.path().join(file_name("cart", KeyKind::Component));
        write_private(&file, key.seed().expose().as_bytes()).unwrap();
        fs::write(folder.path().join("README"), "x").unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["cart_module"]);
        let found = named(folder.path(), "cart_module.nk").unwrap();
        assert_eq!(found.public_key(), key.public_key());
        for given in [
            file.to_str().unwrap(),
            key.seed().expose(),
            &key.public_key(),
        ] {
            assert_eq!(public_of(given).unwrap(), key.public_key());
        }
        assert!(names(Path::new("/nowhere")).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_key_is_not_repeated() {
        let seed = SigningKey::generate(KeyKind::Account).seed();
        let broken = seed.expose().replace(&seed.expose()[20..21], "1");
        let error = read_given(&broken).unwrap_err();
        assert!(!format!("{error:?}").contains(&broken[30..]));
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "", "none"] {
            assert!(named(folder.path(), name).is_err());
        }
    }
}
