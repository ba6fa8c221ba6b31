//! What a link may say, in its config or, preferred for what is secret, its secrets, and the provider
//! for links that do not.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `cluster_uri` | where NATS is, several addresses separated by commas | the lattice's own NATS |
//! | `js_domain` | the JetStream domain | none |
//! | `bucket` | the bucket behind `default`, the link name and the empty name | `keyvalue_` and the lattice's name, created when it is missing |
//! | `enable_bucket_auto_create` | `true`: buckets that are missing are created | `false` |
//! | `ttl_seconds` | after which time the keys of buckets that are created go by themselves; the bucket of the link has to have the same when it exists | 0, which is never |
//! | `watch` | on a link with the provider as source: `SET@key,DEL@key,…`, the keys of the bucket whose changes are told | required there |
//! | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
//! | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//!
//! Keys are matched in any case. A login without an address is a login to the lattice's own NATS.

use std::path::PathBuf;
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::provider::SecretText;
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::keyvalue::lifetime;
use lattice_provider_sdk::nats::NatsSettings;
use lattice_provider_sdk::{InvalidSetting, Settings};

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
    /// After which time the keys of buckets that are created go.
    pub lifetime: Option<Duration>,
}

impl LinkSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let create = settings.switch("enable_bucket_auto_create", false)?;
        let name = |text: &str| is_bucket_name(text).then(|| text.to_owned());
        let bucket = settings.read("bucket", "letters, digits, `-` and `_`", name)?;
        Ok(Self {
            cluster: ClusterSettings::read(settings, own)?,
            create_own: create || bucket.is_none(),
            bucket: bucket.unwrap_or_else(|| format!("keyvalue_{lattice}")),
            create_others: create,
            lifetime: lifetime(settings)?,
        })
    }
}

impl ClusterSettings {
    fn read(settings: &Settings, own: &NatsSettings) -> Result<Self, InvalidSetting> {
        let value = |key| settings.text(key).map(str::trim);
        let uri = value("cluster_uri");
        let secret = |key| SecretText::new(value(key).unwrap_or_default());
        let (jwt, seed) = (secret("client_jwt"), secret("client_seed"));
        let authority = settings.secret("tls_ca");
        let alone = |path: &str| authority.is_none().then(|| PathBuf::from(path));
        let ca_file = settings.read("tls_ca_file", "nothing beside `tls_ca`", alone)?;
        let word = |text: &str| is_domain(text).then(|| text.to_owned());
        let expected = "one word without dots and wildcards";
        let domain = settings.read("js_domain", expected, word)?;
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
        let settings = Settings::from_texts(values.to_vec(), []);
        LinkSettings::read(&settings, &LatticeName::default(), &own())
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
            ("ttl_seconds", "soon"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let error = read(&[("tls_ca", "x"), ("tls_ca_file", "y")]).unwrap_err();
        assert!(error.to_string().contains("`tls_ca`"), "{error}");
    }
}
