//! Keys that sign: given as a seed or a file, or kept in a folder under a name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lattice_claims::{KeyKind, PublicKey, SigningKey};

use crate::dirs;
use crate::error::{CliError, Code, Result};
use crate::files::write_new_private;
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
    /// Whether it is a project that is signed, whose keys 1.x has in another folder.
    #[arg(skip)]
    pub(crate) of_project: bool,
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

    /// A key that is there: where no folder was named it may be one of 1.x, whose issuers stay the
    /// same. Projects are signed with those first, all else with them last.
    fn read(&self, name: &str) -> std::result::Result<SigningKey, Unread> {
        let own = self.folder().map_err(Unread::Other)?.join(name);
        let named = self.given().is_some() || (!self.of_project && dirs::are_keys_elsewhere());
        let folder_of_1x = dirs::keys_of_1x().filter(|_| !named);
        let Some(of_1x) = folder_of_1x.map(|folder| folder.join(name)) else {
            return read_file(&own);
        };
        let (first, last) = match self.of_project {
            true => (of_1x, own),
            false => (own, of_1x),
        };
        match read_file(&first) {
            Err(Unread::Missing) => read_file(&last),
            read => read,
        }
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

    /// The same for a project that names no folder of keys.
    pub(crate) fn for_project(&self) -> Self {
        let mut keys = self.clone();
        keys.keys.of_project = true;
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
        match self.keys.read(&name) {
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

/// The name of the user as it is, which files of 1.x have too, unless no file can have it.
fn user() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    match user.is_empty() || user.starts_with('.') || user.contains('/') {
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
    let written = create_private(folder)
        .and_then(|()| write_new_private(file, key.seed().expose().as_bytes()));
    match written {
        Ok(()) => {}
        // Another command has just made it, and signs with it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && file.is_file() => {
            return read_key(file).and_then(|key| of_kind(key, kind));
        }
        Err(error) => return Err(not_written(file, &error)),
    }
    ui.notice(&format!(
        "made the {kind} key {} and keeps its seed in `{}`",
        key.public_key(),
        file.display()
    ));
    Ok(key)
}

fn not_written(file: &Path, error: &io::Error) -> CliError {
    CliError::io(
        format!("could not write the key `{}`", file.display()),
        error,
    )
    .hint("name a folder you may write to with `--directory`")
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

/// The key in a file that is there.
fn read_key(file: &Path) -> Result<SigningKey> {
    read_file(file).map_err(|unread| match unread {
        Unread::Other(error) => error,
        Unread::Missing => {
            let text = format!("the key `{}` was taken away", file.display());
            CliError::new(Code::FileNotFound, text).hint("run the command again")
        }
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
    use crate::files::write_private;
    use crate::output::{Format, Surroundings};

    #[test]
    fn a_key_that_another_command_makes_meanwhile_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ada_account.nk");
        let ui = Ui::new(Format::Text, false, String::new(), Surroundings::detect());
        // Both have found none before.
        let make = || make(folder.path(), &file, KeyKind::Account, &ui).unwrap();
        let (first, second) = (make(), make());
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(read_key(&file).unwrap().public_key(), first.public_key());
    }

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
