//! What a link says; the table is in the crate's own description.

use std::path::PathBuf;
use std::time::Duration;

use lattice_core::LinkRules;
use lattice_core::grant::{GRANT_FORMS, Grants, InvalidGrant};
use lattice_core::provider::SecretText;
use lattice_provider_sdk::{InvalidSetting, Settings};

use crate::proxy::Proxies;
use crate::reach::AddressFilter;
use crate::retry::RetryPolicy;

/// The longest time limit, which is that of a 1.x provider when the guest sets none.
const LONGEST: Duration = Duration::from_secs(600);
/// What is written into a millisecond value at most: one day.
const DAY: u64 = 86_400_000;

/// The settings of a link. Links that agree in all of them share what is read as they say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HttpSettings {
    pub(crate) gate: AddressFilter,
    pub(crate) times: Times,
    pub(crate) retry: RetryPolicy,
    pub(crate) limits: Limits,
    pub(crate) http2: Http2,
    pub(crate) tls: TlsSettings,
    pub(crate) proxies: Proxies,
    pub(crate) propagate_trace: bool,
}

/// How long things may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) between_bytes: Duration,
    /// How long a connection is kept unused.
    pub(crate) idle: Duration,
}

/// How much there may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) requests: usize,
    pub(crate) connections: usize,
    /// How many connections to all hosts are kept for further requests.
    pub(crate) pooled: usize,
    pub(crate) idle: usize,
    pub(crate) header: usize,
    pub(crate) request_body: u64,
    pub(crate) response_body: u64,
}

/// When HTTP/2 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Http2 {
    /// Where the server offers it over TLS.
    Auto,
    /// Never.
    Off,
    /// Always, without asking.
    PriorKnowledge,
}

/// Whom to believe, and who we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TlsSettings {
    pub(crate) native: bool,
    pub(crate) webpki: bool,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    Texts {
        certificate: String,
        key: SecretText,
    },
}

impl HttpSettings {
    /// Reads the settings of a link with these rules. In a strict lattice, one that does not say where
    /// requests may go lets none through.
    pub(crate) fn read(
        settings: &Settings,
        rules: &LinkRules,
        is_strict: bool,
    ) -> Result<Self, InvalidSetting> {
        let grants = match grants(settings)? {
            None if !rules.to.is_empty() => Some(of_rules(rules)?),
            None if is_strict => Some(Grants::none()),
            found => found,
        };
        Ok(Self {
            gate: AddressFilter::new(grants),
            times: Times::read(settings)?,
            retry: RetryPolicy::read(settings)?,
            limits: Limits::read(settings)?,
            http2: settings.choice(
                "http2",
                Http2::Auto,
                &[
                    ("auto", Http2::Auto),
                    ("off", Http2::Off),
                    ("prior-knowledge", Http2::PriorKnowledge),
                ],
            )?,
            tls: TlsSettings::read(settings)?,
            proxies: Proxies::read(settings)?,
            propagate_trace: settings.switch("propagate_trace", true)?,
        })
    }
}

fn grants(settings: &Settings) -> Result<Option<Grants>, InvalidSetting> {
    let parsed = settings.text("allow").map(Grants::parse).transpose();
    parsed.map_err(|error| invalid("allow", &error))
}

/// The rule `to`, which the caller's host keeps as well; here it says which hosts are named.
fn of_rules(rules: &LinkRules) -> Result<Grants, InvalidSetting> {
    let grants = Grants::of(rules.to.iter().map(String::as_str));
    grants.map_err(|error| invalid("to", &error))
}

fn invalid(key: &str, error: &InvalidGrant) -> InvalidSetting {
    InvalidSetting::Value {
        key: key.to_owned(),
        value: error.shown(),
        expected: GRANT_FORMS.to_owned(),
    }
}

impl Times {
    fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let time = |key, default| settings.millis(key, default, 1..=DAY);
        Ok(Self {
            connect: time("connect_timeout_ms", LONGEST)?,
            first_byte: time("first_byte_timeout_ms", LONGEST)?,
            between_bytes: time("between_bytes_timeout_ms", LONGEST)?,
            idle: time("idle_timeout_ms", Duration::from_secs(90))?,
        })
    }
}

impl Limits {
    fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let body = |key| {
            let size = settings.number(key, 0_u64, 0..=u64::MAX)?;
            Ok(if size == 0 { u64::MAX } else { size })
        };
        Ok(Self {
            requests: settings.number("max_concurrent_requests", 1024, 1..=1_000_000)?,
            connections: settings.number("max_connections_per_host", 128, 1..=65_536)?,
            pooled: settings.number("max_pooled_connections", 1024, 1..=65_536)?,
            idle: settings.number("max_idle_per_host", 32, 0..=65_536)?,
            // The buffers of HTTP/1.1 are no smaller than this.
            header: settings.number("max_header_bytes", 65_536, 8192..=16_777_216)?,
            request_body: body("max_request_body_bytes")?,
            response_body: body("max_response_body_bytes")?,
        })
    }
}

impl TlsSettings {
    /// Whether there is something that may change by itself.
    pub(crate) fn has_files(&self) -> bool {
        self.authorities.is_some() || matches!(self.identity, Some(Identity::Files { .. }))
    }

    fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let path = |key| settings.text(key).map(PathBuf::from);
        let files = (path("client_cert_file"), path("client_key_file"));
        let texts = (
            settings.text("client_cert").map(str::to_owned),
            settings.secret("client_key"),
        );
        let missing = |key: &str, expected: &str| InvalidSetting::Missing {
            key: key.to_owned(),
            expected: expected.to_owned(),
        };
        let identity = match (files, texts) {
            ((None, None), (None, None)) => None,
            ((Some(certificate), Some(key)), (None, None)) => {
                Some(Identity::Files { certificate, key })
            }
            ((None, None), (Some(certificate), Some(key))) => {
                Some(Identity::Texts { certificate, key })
            }
            ((Some(_), None), _) => {
                return Err(missing("client_key_file", "the key of `client_cert_file`"));
            }
            ((None, Some(_)), _) => {
                return Err(missing(
                    "client_cert_file",
                    "the certificate of `client_key_file`",
                ));
            }
            (_, (Some(_), None)) => {
                return Err(missing("client_key", "the key of `client_cert`"));
            }
            (_, (None, Some(_))) => {
                return Err(missing("client_cert", "the certificate of `client_key`"));
            }
            ((Some(_), Some(_)), (Some(_), Some(_))) => {
                return Err(InvalidSetting::Value {
                    key: "client_cert".to_owned(),
                    value: "<PEM>".to_owned(),
                    expected: "either it or `client_cert_file`".to_owned(),
                });
            }
        };
        Ok(Self {
            native: settings.switch("load_native_certs", true)?,
            webpki: settings.switch("load_webpki_certs", true)?,
            authorities: path("ssl_certs_file"),
            identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[(&str, &str)]) -> Result<HttpSettings, String> {
        let settings = Settings::from_texts(texts.iter().copied(), []);
        let read = HttpSettings::read(&settings, &LinkRules::default(), false);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn without_any_value_all_is_as_in_1_x() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.gate, AddressFilter::new(None));
        assert_eq!(settings.times.connect, Duration::from_secs(600));
        assert_eq!(settings.times.idle, Duration::from_secs(90));
        assert_eq!(settings.limits.response_body, u64::MAX);
        assert!(settings.tls.native && settings.tls.webpki);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, value, told) in [
            ("allow", "a, b/c", "`allow` is `b/c`"),
            ("allow", "https://me:pw@a", "`allow` is `<hidden>`"),
            ("connect_timeout_ms", "0", "`connect_timeout_ms` is `0`"),
            ("http2", "yes", "one of `auto`, `off`, `prior-knowledge`"),
            ("max_header_bytes", "10", "a number from 8192"),
            ("retry_on", "reset,200x", "`retry_on` is `200x`"),
            ("http_proxy", "ftp://me:pw@a", "`http_proxy` is `<hidden>`"),
            ("client_cert_file", "a.pem", "there is no `client_key_file`"),
            ("client_key", "x", "there is no `client_cert`"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_strict_lattice_lets_nothing_through_that_no_link_names() {
        let gate = |texts: &[(&str, &str)], to: &[&str], is_strict| {
            let rules = LinkRules {
                to: to.iter().map(|text| (*text).to_owned()).collect(),
                ..LinkRules::default()
            };
            let settings = Settings::from_texts(texts.iter().copied(), []);
            HttpSettings::read(&settings, &rules, is_strict)
                .unwrap()
                .gate
        };
        let granted = |text: &str| AddressFilter::new(Some(Grants::parse(text).unwrap()));
        assert_eq!(gate(&[], &[], true), granted("none"));
        assert_eq!(gate(&[], &["a", "GET b"], true), granted("a, GET b"));
        assert_eq!(gate(&[], &["a"], false), granted("a"));
        assert_eq!(gate(&[("allow", "b")], &["a"], false), granted("b"));
        assert_eq!(gate(&[("allow", "b")], &[], true), granted("b"));
    }

    #[test]
    fn keys_and_logins_are_not_shown() {
        let settings = read(&[
            ("client_cert", "cert"),
            ("client_key", "hidden-key"),
            ("https_proxy", "http://me:hidden-pw@proxy:1"),
        ]);
        let shown = format!("{:?}", settings.unwrap());
        assert!(!shown.contains("hidden-"), "{shown}");
    }
}
