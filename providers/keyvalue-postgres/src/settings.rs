//! What links and the provider's config may say, beside what says where the server is
//! ([`PostgresSettings`]).
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `url` | link, provider | the server: `postgres://user:password@host/database` | required |
//! | `table` | link, provider | the table, with its schema in front if need be | `lattice_keyvalue` |
//! | `create` | link, provider | `false`: the table has to exist | `true` |
//! | `ttl_seconds` | link, provider | after which time keys that are written go by themselves; 0 for never | 0 |
//! | `watch` | link with the provider as source, provider | `SET@key,DEL@key,…`: the keys whose changes are told | required there |
//! | `bucket` | link with the provider as source, provider | the bucket whose keys are watched | `default` |
//! | `watch_bucket` | link with the provider as source, provider | what the component is told that the bucket is called; hosts of 1.9 take numbers only, so that one there needs such as `0` | the bucket |
//!
//! Keys are matched in any case. A secret of the same name goes before a config value, and the link
//! before the provider; a `url` with a password belongs into the secrets.

use std::time::Duration;

use lattice_postgres::PostgresSettings;
use lattice_provider_sdk::keyvalue::lifetime;
use lattice_provider_sdk::{InvalidSetting, Settings};

/// How long a part of the name of a table may be; the names of its indexes are longer.
const LONGEST_NAME: usize = 50;

/// The name of a table, and of its schema if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The schema; without one, the login says where to look.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

impl TableName {
    /// Reads `name` or `schema.name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let fine = schema.into_iter().chain([name]).all(is_name);
        fine.then(|| Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    /// As it stands in statements.
    #[must_use]
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("\"{schema}\".\"{}\"", self.name),
            None => format!("\"{}\"", self.name),
        }
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    begins && text.len() <= LONGEST_NAME && text.bytes().all(allowed)
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The server behind it.
    pub server: PostgresSettings,
    /// The table behind it.
    pub table: TableName,
    /// Whether the table is made when it is missing.
    pub create: bool,
    /// After which time keys that are written go.
    pub lifetime: Option<Duration>,
}

impl LinkSettings {
    /// Reads what a link says, and for the rest what the provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let expected = "a name of letters, digits and `_`, or two of them with a dot between them";
        let table = settings.read("table", expected, TableName::parse)?;
        Ok(Self {
            server: PostgresSettings::read(settings)?,
            table: table.unwrap_or_else(|| TableName {
                schema: None,
                name: "lattice_keyvalue".to_owned(),
            }),
            create: settings.switch("create", true)?,
            lifetime: lifetime(settings)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &[(&str, &str)]) -> Result<LinkSettings, InvalidSetting> {
        let url = ("url", "postgres://me@host/shop");
        let all: Vec<_> = link.iter().copied().chain([url]).collect();
        LinkSettings::read(&Settings::from_texts(all, []))
    }

    #[test]
    fn a_server_is_enough() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.table.quoted(), "\"lattice_keyvalue\"");
        assert!(settings.create);
        let settings = read(&[("Table", "app.Carts")]).unwrap();
        assert_eq!(settings.table.quoted(), "\"app\".\"Carts\"");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [
            ("table", "a b"),
            ("table", "a\"; DROP TABLE users; --"),
            ("table", "1a"),
            ("table", "a.b.c"),
            ("create", "perhaps"),
            ("ttl_seconds", "soon"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
