//! What links and the provider's config may say.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `access_key_id`, `secret_access_key`, `session_token` | the key; also as `AWS_ACCESS_KEY_ID` and so on | those of the profile, or lent by the container or the machine |
//! | `region` | where the buckets are; also `AWS_REGION` | that of the profile, or of the machine, or `us-east-1` |
//! | `AWS_PROFILE` | a profile in `~/.aws/credentials` and `~/.aws/config` with keys, a session token and a region | `default` where it is there |
//! | `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE` | where these files are instead | |
//! | `endpoint` | the address of a service that is not one of AWS; also `AWS_ENDPOINT` | `https://s3.REGION.amazonaws.com` |
//! | `role_arn`, `role_session_name`, `role_external_id`, `role_region` | a role whose keys are lent; also `AWS_ROLE_ARN` and so on | |
//! | | the session of the role is called `blobstore_s3_provider` where nothing else is said | |
//! | `sts_endpoint` | who lends them | `https://sts.REGION.amazonaws.com/` |
//! | `AWS_WEB_IDENTITY_TOKEN_FILE` | lends them for the token in this file | |
//! | `BUCKET_REGION` | where new buckets are made | the region, with AWS |
//! | `bucket` | a bucket that has to be there; components may call it `default`, or by the name of the link | |
//! | `alias_NAME` | the bucket that components call `NAME`, or `alias_NAME` | |
//! | `max_attempts` | how often a request is made that may be made twice | 3 |
//! | `part_size_mb` | the size of one part of a large object, in MiB, from 5 to 64 | 8 |
//! | `virtual_host` | `true`: the bucket is part of the host's name | `false` |
//! | `connect_timeout_ms`, `response_timeout_ms` | how long a connection may take, and an answer be silent | 3000, 30000 |
//! | `tls_ca`, `tls_cert`, `tls_key` | PEM texts: further authorities, our certificate and its key | |
//! | `config_json`, `config_b64` | all of it in one JSON object, as such or in base64: `access_key_id`, `secret_access_key`, `session_token`, `region`, `endpoint`, `max_attempts`, `bucket_region`, `aliases`, `sts_config` with `role`, `region`, `session`, `external_id` | |
//!
//! Keys are matched in any case. The link goes before the provider, either before the JSON, and that
//! before the environment of the process, of which the names with `AWS_` are read. Keys belong into
//! the secrets. What every blob link may say besides is listed in
//! [`blobstore`](lattice_provider_sdk::blobstore).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use lattice_backend_http::aws::{AwsOptions, NoProfile};
use lattice_backend_http::{HttpOptions, TlsError, TlsOptions};
use lattice_provider_sdk::{InvalidSetting, Settings};
use serde::Deserialize;

/// What the session of a role is called that a link does not name, as in 1.x.
const SESSION: &str = "blobstore_s3_provider";
/// A MiB.
const MIB: usize = 1 << 20;
const ALIAS: &str = "alias_";

/// The service behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct S3Settings {
    /// Where and as whom.
    pub aws: AwsOptions,
    /// Where new buckets are made.
    pub bucket_region: Option<String>,
    /// Whether the bucket is part of the host's name.
    pub virtual_host: bool,
    /// How the service is reached.
    pub http: HttpOptions,
    /// How often a request is made.
    pub attempts: u32,
    /// The size of a part.
    pub part_size: usize,
}

/// What a link says besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// A bucket that has to be there.
    pub bucket: Option<String>,
    /// Buckets by other names.
    pub aliases: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct Json {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    max_attempts: Option<u32>,
    bucket_region: Option<String>,
    sts_config: Option<JsonRole>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct JsonRole {
    role: String,
    region: Option<String>,
    session: Option<String>,
    external_id: Option<String>,
}

impl Json {
    fn of(settings: &Settings) -> Result<Self, InvalidSetting> {
        let expected = "a JSON object with texts such as `region`";
        let parse = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
        let encoded = settings.read("config_b64", "base64 of a JSON object", |text| {
            let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
            parse(&bytes.ok()?)
        });
        let encoded = encoded.map_err(hidden)?;
        let plain = settings.read("config_json", expected, |text| parse(text.as_bytes()));
        let plain = plain.map_err(hidden)?;
        Ok(encoded.or(plain).unwrap_or_default())
    }

    fn value(&self, name: &str) -> Option<String> {
        let role = self.sts_config.as_ref();
        match name {
            "access_key_id" => self.access_key_id.clone(),
            "secret_access_key" => self.secret_access_key.clone(),
            "session_token" => self.session_token.clone(),
            "region" => self.region.clone(),
            "endpoint" => self.endpoint.clone(),
            "role_arn" => role.map(|role| role.role.clone()),
            "role_region" => role?.region.clone(),
            "role_session_name" => role?.session.clone(),
            "role_external_id" => role?.external_id.clone(),
            _ => None,
        }
    }
}

/// Without the value, which may hold a key.
fn hidden(error: InvalidSetting) -> InvalidSetting {
    match error {
        InvalidSetting::Value { key, expected, .. } => InvalidSetting::Value {
            key,
            value: "(hidden)".to_owned(),
            expected,
        },
        other => other,
    }
}

impl S3Settings {
    /// With the region of the machine where nothing says another one.
    pub(crate) async fn located(self) -> Result<Self, TlsError> {
        let aws = self.aws.located(&self.http).await?;
        Ok(Self { aws, ..self })
    }

    /// Reads what a link and the provider say, and for the rest what `environment` says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, LinkSettings), InvalidSetting> {
        let json = Json::of(settings)?;
        let aws = AwsOptions::read(|name| {
            let said = settings.text(name).map(|text| text.trim().to_owned());
            let said = said.or_else(|| json.value(name));
            let said = said.or_else(|| environment(name));
            // The last name by which it is asked for.
            said.or_else(|| (name == "AWS_ROLE_SESSION_NAME").then(|| SESSION.to_owned()))
        });
        let aws = aws.map_err(no_profile)?;
        let address = |url: &String| {
            let uri = url.parse::<http::Uri>().ok();
            uri.is_some_and(|uri| uri.host().is_some() && uri.scheme().is_some())
        };
        if let Some(endpoint) = aws.endpoint.as_ref().filter(|url| !address(url)) {
            return Err(InvalidSetting::Value {
                key: "endpoint".to_owned(),
                // What stands before an `@` may be a password.
                value: endpoint.rsplit('@').next().unwrap_or_default().to_owned(),
                expected: "an address such as `http://127.0.0.1:9000`".to_owned(),
            });
        }
        let bucket_region = settings.text("bucket_region").map(str::to_owned);
        let attempts = json.max_attempts.unwrap_or(3).clamp(1, 100);
        let read = Self {
            aws,
            bucket_region: bucket_region.or_else(|| json.bucket_region.clone()),
            virtual_host: settings.switch("virtual_host", false)?,
            http: http_options(settings)?,
            attempts: settings.number("max_attempts", attempts, 1..=100)?,
            part_size: settings.number("part_size_mb", 8, 5..=64)? * MIB,
        };
        let of_link = LinkSettings {
            bucket: settings.text("bucket").map(|text| text.trim().to_owned()),
            aliases: json.aliases,
        };
        Ok((read, of_link))
    }
}

fn no_profile(error: NoProfile) -> InvalidSetting {
    InvalidSetting::Value {
        key: "AWS_PROFILE".to_owned(),
        expected: error.expected(),
        value: error.name,
    }
}

fn http_options(settings: &Settings) -> Result<HttpOptions, InvalidSetting> {
    let text = |key| settings.text(key).map(str::to_owned);
    let defaults = HttpOptions::default();
    Ok(HttpOptions {
        tls: TlsOptions {
            roots: text("tls_ca"),
            certificate: text("tls_cert"),
            key: text("tls_key"),
        },
        connect_limit: settings.millis("connect_timeout_ms", Duration::from_secs(3), 1..=60_000)?,
        answer_limit: settings.millis("response_timeout_ms", defaults.answer_limit, 1..=600_000)?,
        ..defaults
    })
}

impl LinkSettings {
    /// Adds to what all blob links may say.
    pub(crate) fn add_to(&self, aliases: &mut BTreeMap<String, String>, link_name: &str) {
        for (name, bucket) in &self.aliases {
            aliases
                .entry(name.clone())
                .or_insert_with(|| bucket.clone());
        }
        if let Some(bucket) = &self.bucket {
            for name in ["default", link_name] {
                let own = aliases.entry(name.to_owned());
                own.or_insert_with(|| bucket.clone());
            }
        }
        // In 1.x a component may say the beginning of the key along.
        let long: Vec<_> = aliases
            .iter()
            .map(|(name, bucket)| (format!("{ALIAS}{name}"), bucket.clone()))
            .collect();
        for (name, bucket) in long {
            aliases.entry(name).or_insert(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use lattice_backend_http::aws::{AwsKeys, Origin};

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<(S3Settings, LinkSettings), InvalidSetting> {
        let environment = |name: &str| (name == "AWS_REGION").then(|| "eu-north-1".to_owned());
        S3Settings::read(
            &Settings::from_texts(values.iter().copied(), []),
            environment,
        )
    }

    #[test]
    fn the_json_of_1_x_is_read_in_both_forms() {
        let json = r#"{"access_key_id":"id","secret_access_key":"s3cr3t","region":"eu-west-1",
            "endpoint":"http://localhost:9000/","max_attempts":7,"bucket_region":"eu-west-3",
            "aliases":{"photos":"corp-photos"}}"#;
        let (plain, link) = read(&[("config_json", json)]).unwrap();
        assert_eq!(
            plain.aws.origin,
            Origin::Fixed(AwsKeys::new("id", "s3cr3t"))
        );
        assert_eq!(plain.aws.region, "eu-west-1");
        assert_eq!(plain.aws.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(plain.bucket_region.as_deref(), Some("eu-west-3"));
        assert_eq!(plain.attempts, 7);
        assert_eq!(link.aliases["photos"], "corp-photos");
        assert!(!format!("{plain:?}").contains("s3cr3t"));
        for encoded in [
            base64::engine::general_purpose::STANDARD.encode(json),
            STANDARD_NO_PAD.encode(json),
        ] {
            assert_eq!(read(&[("CONFIG_B64", &encoded)]).unwrap().0, plain);
        }
    }

    #[test]
    fn values_go_before_the_json_and_that_before_the_environment() {
        assert_eq!(read(&[]).unwrap().0.aws.region, "eu-north-1");
        let json = ("config_json", r#"{"region":"a","bucket_region":"b"}"#);
        let (settings, _) = read(&[json]).unwrap();
        assert_eq!(settings.aws.region, "a");
        let (settings, _) = read(&[json, ("Region", "c"), ("BUCKET_REGION", "d")]).unwrap();
        assert_eq!(settings.aws.region, "c");
        assert_eq!(settings.bucket_region.as_deref(), Some("d"));
    }

    #[test]
    fn a_role_is_assumed_with_the_keys_that_are_there() {
        let json = r#"{"access_key_id":"id","secret_access_key":"k","sts_config":{"role":"arn:x","session":"me"}}"#;
        let (settings, _) = read(&[("config_json", json)]).unwrap();
        let Origin::Role(role, _) = settings.aws.origin else {
            panic!("no role");
        };
        assert_eq!((role.arn.as_str(), role.session.as_str()), ("arn:x", "me"));
        // That of 1.x, which policies of roles may name.
        let (settings, _) = read(&[("role_arn", "arn:x")]).unwrap();
        let Origin::Role(role, _) = settings.aws.origin else {
            panic!("no role");
        };
        assert_eq!(role.session, "blobstore_s3_provider");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, text) in [
            ("config_json", "{"),
            ("config_b64", "!"),
            ("endpoint", "localhost"),
            ("max_attempts", "0"),
            ("part_size_mb", "4"),
            // Of which there would be no room for two.
            ("part_size_mb", "65"),
            ("virtual_host", "maybe"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn keys_and_logins_are_not_shown() {
        let json = r#"{"secret_access_key":"s3cr3t","max_attempts":"many"}"#;
        let encoded = STANDARD_NO_PAD.encode(json);
        for (key, text, secret) in [
            ("config_json", json, "s3cr3t"),
            ("config_b64", encoded.as_str(), &encoded[..8]),
            ("endpoint", "me:s3cr3t@localhost", "s3cr3t"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn the_own_bucket_has_the_names_of_the_link() {
        let (_, link) = read(&[("bucket", "corp-own")]).unwrap();
        let mut aliases = BTreeMap::from([("default".to_owned(), "other".to_owned())]);
        link.add_to(&mut aliases, "archive");
        assert_eq!(aliases["archive"], "corp-own");
        assert_eq!(aliases["default"], "other");
        assert_eq!(aliases["alias_archive"], "corp-own");
    }
}
