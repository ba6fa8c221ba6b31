//! What every blob provider takes from its links.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::link::ProviderLink;
use crate::session::Session;
use crate::settings::{InvalidSetting, Settings};

/// The keys of values that give containers other names begin with this.
const ALIAS: &str = "alias_";

/// How long a stream may stand still by default.
const IDLE: Duration = Duration::from_secs(30);

/// The settings of a link that all blob providers share; the
/// [module](crate::blobstore#values-of-a-link) lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSettings {
    /// The largest object that is written.
    pub max_object_bytes: u64,
    /// How long a stream may stand still.
    pub stream_idle: Duration,
    /// What the names of containers begin with in the backend; those that begin otherwise cannot be
    /// reached.
    pub prefix: String,
    /// The containers of the backend by the names that components have for them, whatever they
    /// begin with.
    pub aliases: BTreeMap<String, String>,
}

impl Default for BlobSettings {
    fn default() -> Self {
        Self {
            max_object_bytes: u64::MAX,
            stream_idle: IDLE,
            prefix: String::new(),
            aliases: BTreeMap::new(),
        }
    }
}

impl BlobSettings {
    /// Those of a link.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names a value that cannot be used.
    pub fn of(session: &Session, link: &ProviderLink) -> Result<Self, InvalidSetting> {
        let settings = Settings::of(session, link);
        let mut read = Self::read(&settings)?;
        let (config, secrets) = (session.config(), session.secrets());
        let keys = config.keys().chain(link.config.keys());
        for key in keys.chain(secrets.keys()).chain(link.secrets.keys()) {
            read.take(key, settings.text(key).unwrap_or_default());
        }
        Ok(read)
    }

    /// All but the aliases.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names a value that cannot be used.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            max_object_bytes: settings.number("max_object_bytes", u64::MAX, 1..=u64::MAX)?,
            stream_idle: settings.millis("stream_idle_ms", IDLE, 100..=3_600_000)?,
            prefix: settings
                .text("container_prefix")
                .unwrap_or_default()
                .to_owned(),
            aliases: BTreeMap::new(),
        })
    }

    fn take(&mut self, key: &str, text: &str) {
        let is_alias = key
            .get(..ALIAS.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(ALIAS));
        let name = key.get(ALIAS.len()..).unwrap_or_default();
        if is_alias && !name.is_empty() && !text.is_empty() {
            self.aliases.insert(name.to_owned(), text.to_owned());
        }
    }

    /// The container of the backend that a component calls `name`.
    #[must_use]
    pub fn container<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        match self.aliases.get(name) {
            Some(other) => other.into(),
            None if self.prefix.is_empty() => name.into(),
            None => [&self.prefix, name].concat().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_its_container() {
        let mut settings = BlobSettings::default();
        settings.take("ALIAS_photos", "corp-photos-7");
        settings.take("alias_", "nothing");
        settings.take("alias", "nothing");
        assert_eq!(settings.container("photos"), "corp-photos-7");
        assert_eq!(settings.container("corp-photos-7"), "corp-photos-7");
        assert_eq!(settings.aliases.len(), 1);
        settings.prefix = "team-".to_owned();
        assert_eq!(settings.container("photos"), "corp-photos-7");
        assert_eq!(settings.container("corp-photos-7"), "team-corp-photos-7");
    }

    #[test]
    fn limits_are_checked() {
        let read = |key, text| BlobSettings::read(&Settings::from_texts([(key, text)], []));
        assert_eq!(read("max_object_bytes", "9").unwrap().max_object_bytes, 9);
        assert!(read("max_object_bytes", "0").is_err());
        let idle = read("STREAM_IDLE_MS", "1500").unwrap().stream_idle;
        assert_eq!(idle, Duration::from_millis(1500));
        assert!(read("stream_idle_ms", "soon").is_err());
    }
}
