//! What a link may say, in its target config or, preferred for what is secret, its target secrets.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `cluster_uri` | where NATS is, several addresses separated by commas | the lattice's own NATS |
//! | `js_domain` | the JetStream domain | none |
//! | `bucket` | the bucket behind `default`, the link name and the empty name | `keyvalue_` and the lattice's name, created when it is missing |
//! | `enable_bucket_auto_create` | `true`: buckets that are missing are created | `false` |
//! | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
//! | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//!
//! Keys are matched in any case. A login without an address is a login to the lattice's own NATS.

use std::path::PathBuf;

use lattice_core::LatticeName;
use lattice_core::provider::SecretText;
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::nats::NatsSettings;

/// Why a link cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// A value is not of the kind it has to be.
    #[error("the link's `{key}` is `{value}`, expected {expected}")]
    Value {
        /// Which value.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two values exclude each other.
    #[error("the link has both `tls_ca` and `tls_ca_file`, expected one of them")]
    TwoAuthorities,
}

/// The NATS behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterSettings {
    /// Where it is and who connects; `None` for the connection of the lattice itself.
    pub server: Option<NatsSettings>,
    /// Certificates to trust, as PEM text.
    pub authority: Option<SecretText>,
    /// The JetStream domain.
    pub domain: Option<String>,
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The NATS behind it.
    pub cluster: ClusterSettings,
    /// The bucket behind `default`, the link name and the empty name.
    pub bucket: String,
    /// Whether that bucket is created when it is missing.
    pub create_own: bool,
    /// Whether other buckets are created when they are missing.
    pub create_others: bool,
}

impl LinkSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read<'a>(
        value: impl Fn(&str) -> Option<&'a str>,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let create = switch("enable_bucket_auto_create", &value)?;
        let (bucket, create_own) = match value("bucket") {
            Some(name) => (name.to_owned(), create),
            None => (format!("keyvalue_{lattice}"), true),
        };
        if !is_bucket_name(&bucket) {
            let expected = "letters, digits, `-` and `_`";
            return Err(invalid("bucket", &bucket, expected));
        }
        Ok(Self {
            cluster: ClusterSettings::read(value, own)?,
            bucket,
            create_own,
            create_others: create,
        })
    }
}

impl ClusterSettings {
    fn read<'a>(
        value: impl Fn(&str) -> Option<&'a str>,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let uri = value("cluster_uri").map(str::trim);
        let secret = |name| SecretText::new(value(name).unwrap_or_default().trim());
        let (jwt, seed) = (secret("client_jwt"), secret("client_seed"));
        let authority = value("tls_ca").map(SecretText::new);
        let ca_file = value("tls_ca_file").map(PathBuf::from);
        if authority.is_some() && ca_file.is_some() {
            return Err(InvalidSetting::TwoAuthorities);
        }
        let domain = value("js_domain").map(str::to_owned);
        if let Some(domain) = domain.as_deref().filter(|domain| !is_domain(domain)) {
            let expected = "one word without dots and wildcards";
            return Err(invalid("js_domain", domain, expected));
        }
        let no_login = jwt.is_empty() && seed.is_empty();
        let is_own = uri.is_none() && no_login && authority.is_none() && ca_file.is_none();
        let server = (!is_own).then(|| {
            // The lattice's login is for the lattice's servers only.
            let lend = uri.is_none() && no_login;
            NatsSettings {
                url: uri.unwrap_or(&own.url).to_owned(),
                jwt: if lend { own.jwt.clone() } else { jwt },
                seed: if lend { own.seed.clone() } else { seed },
                ca_file,
            }
        });
        Ok(Self {
            server,
            authority,
            domain,
        })
    }
}

fn is_domain(text: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>');
    text.chars().all(allowed)
}

fn switch<'a>(
    key: &'static str,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<bool, InvalidSetting> {
    let Some(text) = value(key) else {
        return Ok(false);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(key, text, "`true` or `false`")),
    }
}

fn invalid(key: &'static str, value: &str, expected: &'static str) -> InvalidSetting {
    InvalidSetting::Value {
        key,
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> NatsSettings {
        NatsSettings {
            url: "nats://own:4222".into(),
            seed: SecretText::new("own seed"),
            ..NatsSettings::default()
        }
    }

    fn read(values: &[(&str, &'static str)]) -> Result<LinkSettings, InvalidSetting> {
        let value = |name: &str| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        };
        LinkSettings::read(value, &LatticeName::default(), &own())
    }

    fn server(values: &[(&str, &'static str)]) -> NatsSettings {
        read(values).unwrap().cluster.server.unwrap()
    }

    #[test]
    fn an_empty_config_means_a_bucket_of_the_lattice() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.bucket, "keyvalue_default");
        assert_eq!(settings.cluster.server, None);
        assert!(settings.create_own);
        assert!(!settings.create_others);
    }

    #[test]
    fn a_named_bucket_is_created_only_when_the_link_says_so() {
        let settings = read(&[("bucket", "cart")]).unwrap();
        assert_eq!(settings.bucket, "cart");
        assert!(!settings.create_own);
        let create = ("enable_bucket_auto_create", " True ");
        let settings = read(&[("bucket", "cart"), create]).unwrap();
        assert!(settings.create_own && settings.create_others);
    }

    #[test]
    fn the_login_of_the_lattice_goes_to_its_own_servers_only() {
        assert!(server(&[("cluster_uri", "nats://x:4222")]).seed.is_empty());
        let settings = server(&[("tls_ca_file", "ca.pem")]);
        assert_eq!(settings.url, "nats://own:4222");
        assert_eq!(settings.seed.expose(), "own seed");
        let settings = server(&[("client_seed", "other")]);
        assert_eq!(settings.url, "nats://own:4222");
        assert_eq!(settings.seed.expose(), "other");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [
            ("bucket", "a.b"),
            ("enable_bucket_auto_create", "perhaps"),
            ("js_domain", "a.*"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let error = read(&[("tls_ca", "x"), ("tls_ca_file", "y")]).unwrap_err();
        assert_eq!(error, InvalidSetting::TwoAuthorities);
    }
}
