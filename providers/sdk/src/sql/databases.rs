//! Which databases a link lets its component name.

use std::collections::BTreeMap;

use super::SqlError;
use crate::settings::{InvalidSetting, Settings};

/// The longest name that is looked at.
const LONGEST_NAME: usize = 128;

/// The databases of one link by the names that its component uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    own: String,
    others: BTreeMap<String, String>,
    takes_any: bool,
}

impl Databases {
    /// Reads the setting `databases` of the link called `link_name`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] for a name that is none.
    pub fn read(settings: &Settings, link_name: &str) -> Result<Self, InvalidSetting> {
        let mut databases = Self {
            own: link_name.to_owned(),
            ..Self::default()
        };
        for item in settings.list("databases") {
            if item == "*" {
                databases.takes_any = true;
                continue;
            }
            let (name, real) = item.split_once('=').unwrap_or((item, item));
            let (name, real) = (name.trim(), real.trim());
            if !is_name(name) || !is_name(real) {
                return Err(InvalidSetting::Value {
                    key: "databases".to_owned(),
                    value: item.to_owned(),
                    expected: "names, or `name=real-name`, with commas".to_owned(),
                });
            }
            databases.others.insert(name.to_owned(), real.to_owned());
        }
        Ok(databases)
    }

    /// The real name of the database that a component means; `None` is that of the link.
    ///
    /// # Errors
    ///
    /// [`SqlError::NoSuchDatabase`] for one that the link does not allow.
    pub fn find<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, SqlError> {
        if let Some(real) = self.others.get(name) {
            return Ok(Some(real));
        }
        if name.is_empty() || name == "default" || name == self.own {
            return Ok(None);
        }
        match self.takes_any && is_name(name) {
            true => Ok(Some(name)),
            false => Err(SqlError::NoSuchDatabase),
        }
    }
}

/// A name may be part of a path, so it is plain and no more than a name.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with('.')
        && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Databases, InvalidSetting> {
        Databases::read(&Settings::from_texts([("databases", text)], []), "shop")
    }

    #[test]
    fn the_link_has_one_and_may_allow_others() {
        let databases = read("logs, old = archive-2024").unwrap();
        for own in ["", "default", "shop"] {
            assert_eq!(databases.find(own), Ok(None));
        }
        assert_eq!(databases.find("logs"), Ok(Some("logs")));
        assert_eq!(databases.find("old"), Ok(Some("archive-2024")));
        assert_eq!(
            databases.find("archive-2024"),
            Err(SqlError::NoSuchDatabase)
        );
    }

    #[test]
    fn no_name_leaves_its_folder() {
        let any = read("*").unwrap();
        assert_eq!(any.find("other"), Ok(Some("other")));
        for name in ["..", "../x", "a/b", ".hidden", "a\\b", "a\0", "a b", "c:d"] {
            assert_eq!(any.find(name), Err(SqlError::NoSuchDatabase), "{name}");
        }
        assert!(read("a=../b").is_err());
    }
}
