//! The profile of a user of AWS's tools: keys and a region in `~/.aws/credentials` and
//! `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lattice_core::provider::SecretText;

use super::AwsKeys;

/// The profile of whoever names none.
const USUAL: &str = "default";

/// Values by lower-case name.
type Values = BTreeMap<String, String>;

/// There is no profile of the name that is said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile `{name}` in `{credentials}` and `{config}`")]
pub struct NoProfile {
    /// What is said.
    pub name: String,
    /// Where it may be.
    pub credentials: String,
    /// And where else.
    pub config: String,
}

impl NoProfile {
    /// What should be said instead.
    #[must_use]
    pub fn expected(&self) -> String {
        format!("a profile in `{}` or `{}`", self.credentials, self.config)
    }
}

/// What a profile says.
#[derive(Clone, Default)]
pub(super) struct Profile {
    values: Values,
    files: ProfileFiles,
}

/// Where a profile is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct ProfileFiles {
    name: String,
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl ProfileFiles {
    /// Those that are meant, and whether the profile is named.
    fn of(value: &impl Fn(&str) -> Option<String>) -> (Self, bool) {
        let file = |key: &str, name: &str| {
            let in_home = || Some(Path::new(&value("HOME")?).join(".aws").join(name));
            value(key).map(PathBuf::from).or_else(in_home)
        };
        let named = value("AWS_PROFILE");
        let is_named = named.is_some();
        let files = Self {
            name: named.unwrap_or_else(|| USUAL.to_owned()),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: file("AWS_CONFIG_FILE", "config"),
        };
        (files, is_named)
    }

    /// What they say of the profile by now, if it is there.
    fn values(&self) -> Option<Values> {
        let name = &self.name;
        let of = |path: &Option<PathBuf>, titles: &[String]| {
            let text = std::fs::read_to_string(path.as_ref()?).ok()?;
            section(&text, titles)
        };
        let in_config = match name.as_str() {
            // The longer form goes before the other one.
            USUAL => vec![format!("profile {name}"), name.clone()],
            _ => vec![format!("profile {name}")],
        };
        let found = [
            of(&self.config, &in_config),
            of(&self.credentials, std::slice::from_ref(name)),
        ];
        if found.iter().all(Option::is_none) {
            return None;
        }
        // The file of keys goes before the other one.
        Some(found.into_iter().flatten().flatten().collect())
    }

    /// The keys that the profile has by now. Reads the files, which may take long.
    pub(super) fn keys(self) -> Option<AwsKeys> {
        let values = self.values()?;
        Profile {
            values,
            files: self,
        }
        .keys()
    }
}

impl Profile {
    /// Reads the profile that is meant; an empty one where none is named and none is there.
    pub(super) fn read(value: &impl Fn(&str) -> Option<String>) -> Result<Self, NoProfile> {
        let (files, is_named) = ProfileFiles::of(value);
        let values = files.values();
        if is_named && values.is_none() {
            let shown = |path: &Option<PathBuf>| match path {
                Some(path) => path.display().to_string(),
                None => "no home".to_owned(),
            };
            return Err(NoProfile {
                credentials: shown(&files.credentials),
                config: shown(&files.config),
                name: files.name,
            });
        }
        Ok(Self {
            values: values.unwrap_or_default(),
            files,
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        let text = self.values.get(name).map(String::as_str);
        text.filter(|text| !text.is_empty())
    }

    pub(super) fn region(&self) -> Option<String> {
        self.text("region").map(str::to_owned)
    }

    /// Keys that are there. Those that a profile has lent by others are not.
    pub(super) fn keys(&self) -> Option<AwsKeys> {
        let id = self.text("aws_access_key_id")?;
        let secret = self.text("aws_secret_access_key")?;
        Some(AwsKeys {
            token: self.text("aws_session_token").map(SecretText::new),
            files: Some(self.files.clone()),
            ..AwsKeys::new(id, secret)
        })
    }
}

/// The values below the first of some titles that is there.
fn section(text: &str, titles: &[String]) -> Option<Values> {
    titles.iter().find_map(|title| {
        let mut found: Option<Values> = None;
        let mut is_within = false;
        for line in text.lines() {
            let plain = uncommented(line).trim_end();
            if let Some(name) = titled(plain) {
                is_within = name == *title;
                if is_within {
                    found.get_or_insert_default();
                }
                continue;
            }
            // What is set in belongs to the value above.
            let is_own = is_within && !plain.starts_with(char::is_whitespace);
            if let (true, Some((key, value))) = (is_own, plain.split_once('=')) {
                let key = key.trim().to_ascii_lowercase();
                found
                    .get_or_insert_default()
                    .insert(key, value.trim().to_owned());
            }
        }
        found
    })
}

/// The title of a section, with one blank where there may be several.
fn titled(line: &str) -> Option<String> {
    let title = line.trim_start().strip_prefix('[')?.strip_suffix(']')?;
    Some(title.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A line without its comment, which begins it or follows a blank.
fn uncommented(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if matches!(c, '#' | ';') && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: &str = "\
# of the tools
[default]
region = eu-west-1 ; near
s3 =
  region = nested
[profile  shop]
Region=eu-north-1
aws_access_key_id = in-config
aws_secret_access_key = c
";
    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = usual
aws_secret_access_key = a#b
[shop]
aws_access_key_id = shop
aws_secret_access_key = k==
aws_session_token = t
[half]
aws_access_key_id = alone
";

    /// Files in a home of their own.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config"), CONFIG).unwrap();
        std::fs::write(folder.join("credentials"), CREDENTIALS).unwrap();
        home
    }

    fn read(home: &Path, said: &[(&str, &str)]) -> Result<Profile, NoProfile> {
        let home = home.display().to_string();
        Profile::read(&|name: &str| {
            let said = said.iter().find(|(key, _)| *key == name);
            let said = said.map(|(_, text)| (*text).to_owned());
            said.or_else(|| (name == "HOME").then(|| home.clone()))
        })
    }

    #[test]
    fn keys_and_region_of_a_profile_are_found_in_both_files() {
        let home = home();
        let usual = read(home.path(), &[]).unwrap();
        assert_eq!(usual.region().as_deref(), Some("eu-west-1"));
        let keys = usual.keys().unwrap();
        assert_eq!((&*keys.id, keys.secret.expose()), ("usual", "a#b"));
        let shop = read(home.path(), &[("AWS_PROFILE", "shop")]).unwrap();
        assert_eq!(shop.region().as_deref(), Some("eu-north-1"));
        let keys = shop.keys().unwrap();
        assert_eq!((&*keys.id, keys.secret.expose()), ("shop", "k=="));
        assert_eq!(keys.token.unwrap().expose(), "t");
        let half = read(home.path(), &[("AWS_PROFILE", "half")]).unwrap();
        assert_eq!((half.keys(), half.region()), (None, None));
    }

    #[test]
    fn files_may_be_elsewhere() {
        let (home, empty) = (home(), tempfile::tempdir().unwrap());
        let path = home.path().join(".aws/credentials").display().to_string();
        let said = [("AWS_SHARED_CREDENTIALS_FILE", &*path)];
        let found = read(empty.path(), &said).unwrap();
        assert_eq!(found.keys().unwrap().id, "usual");
        assert_eq!(found.region(), None);
    }

    #[test]
    fn a_profile_that_is_named_has_to_be_there() {
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path(), &[]).unwrap().keys().is_none());
        let error = read(home().path(), &[("AWS_PROFILE", "nobody")]).err();
        let error = error.unwrap().to_string();
        assert!(
            error.contains("`nobody`") && error.contains(".aws/config"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in "[\\[\\]=#; a\n]{0,60}") {
            let _ = section(&text, &["a".to_owned()]);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-z_]{1,9}", value in "[a-zA-Z0-9/+=]{1,20}") {
            let found = section(&format!("[a]\n{key} = {value}\n"), &["a".to_owned()]);
            prop_assert_eq!(found.unwrap().remove(&key), Some(value));
        }
    }
}
