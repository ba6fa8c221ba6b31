//! How connections to brokers are kept private, and who logs in.

use std::io;

use lattice_core::provider::SecretText;
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};
use rdkafka::ClientConfig;

/// Why what a link says of TLS or the login cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// A value is not what it has to be.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Two values say the same thing.
    #[error("there are both `{key}` and `{key}_file`, expected one of them")]
    Both {
        /// The one with the text.
        key: &'static str,
    },
    /// A value is there without the other that it needs.
    #[error("there is `{key}` without `{missing}`, which it needs")]
    Alone {
        /// What is there.
        key: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("could not read `{key}`, `{path}`")]
    File {
        /// The value that names it.
        key: String,
        /// Where it should be.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A text has no certificate or key in it. It is not shown.
    #[error("`{key}` is no PEM text, which has a line like `-----BEGIN CERTIFICATE-----`")]
    NoPem {
        /// The value with the text.
        key: &'static str,
    },
    /// There are certificates for connections that have no use for them.
    #[error("there is `{key}`, but `tls` is `false`")]
    Unused {
        /// What is there.
        key: &'static str,
    },
}

impl From<SecurityError> for LinkError {
    fn from(error: SecurityError) -> Self {
        Self::invalid(lattice_provider_sdk::chain(&error))
    }
}

/// How connections to brokers are kept private, and who logs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SecuritySettings {
    /// What TLS goes by; none without it.
    pub tls: Option<TlsSettings>,
    /// Who logs in; nobody where the brokers ask for nobody.
    pub login: Option<Login>,
}

/// What TLS goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// The authorities to trust; those of the system where there are none.
    pub authority: Option<SecretText>,
    /// The client's own certificate and its key.
    pub own: Option<OwnCertificate>,
}

/// A certificate and its key, by which the brokers know the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnCertificate {
    /// The certificate, and those between it and its authority.
    pub certificate: SecretText,
    /// Its key.
    pub key: SecretText,
    /// What the key is encrypted with, if it is.
    pub password: Option<SecretText>,
}

/// Who logs in, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// What shows it.
    pub password: SecretText,
}

/// A mechanism of SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password as it is, which TLS has to hide.
    Plain,
    /// A proof that the password is known, by SHA-256.
    ScramSha256,
    /// The same by SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// What Kafka calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn named(text: &str) -> Option<Self> {
        let is = |mechanism: &Self| mechanism.name().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(is)
    }
}

impl SecuritySettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`SecurityError`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, SecurityError> {
        Ok(Self {
            tls: TlsSettings::read(settings)?,
            login: Login::read(settings)?,
        })
    }

    /// Tells the library.
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            tls.apply(config);
        }
        if let Some(login) = &self.login {
            config
                .set("sasl.mechanism", login.mechanism.name())
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.expose());
        }
    }
}

impl TlsSettings {
    fn read(settings: &Settings) -> Result<Option<Self>, SecurityError> {
        let authority = pem(settings, "tls_ca")?;
        let own = OwnCertificate::read(settings)?;
        let given = match (&authority, &own) {
            (Some(_), _) => Some("tls_ca"),
            (None, Some(_)) => Some("tls_cert"),
            (None, None) => None,
        };
        match (settings.switch("tls", given.is_some())?, given) {
            (true, _) => Ok(Some(Self { authority, own })),
            (false, None) => Ok(None),
            (false, Some(key)) => Err(SecurityError::Unused { key }),
        }
    }

    fn apply(&self, config: &mut ClientConfig) {
        if let Some(authority) = &self.authority {
            config.set("ssl.ca.pem", authority.expose());
        }
        let Some(own) = &self.own else { return };
        config
            .set("ssl.certificate.pem", own.certificate.expose())
            .set("ssl.key.pem", own.key.expose());
        if let Some(password) = &own.password {
            config.set("ssl.key.password", password.expose());
        }
    }
}

impl OwnCertificate {
    fn read(settings: &Settings) -> Result<Option<Self>, SecurityError> {
        let alone = |key, missing| Err(SecurityError::Alone { key, missing });
        let password = settings.secret("tls_key_password");
        match (pem(settings, "tls_cert")?, pem(settings, "tls_key")?) {
            (Some(certificate), Some(key)) => Ok(Some(Self {
                certificate,
                key,
                password,
            })),
            (Some(_), None) => alone("tls_cert", "tls_key"),
            (None, Some(_)) => alone("tls_key", "tls_cert"),
            (None, None) if password.is_some() => alone("tls_key_password", "tls_key"),
            (None, None) => Ok(None),
        }
    }
}

impl Login {
    fn read(settings: &Settings) -> Result<Option<Self>, SecurityError> {
        let names = Mechanism::ALL.map(Mechanism::name).join(", ");
        let expected = format!("one of {names}");
        let mechanism = settings.read("sasl_mechanism", &expected, Mechanism::named)?;
        let (user, password) = (settings.text("username"), settings.secret("password"));
        let alone = |key, missing| Err(SecurityError::Alone { key, missing });
        match (user, password, mechanism) {
            (Some(user), Some(password), mechanism) => Ok(Some(Self {
                mechanism: mechanism.unwrap_or(Mechanism::Plain),
                user: user.to_owned(),
                password,
            })),
            (Some(_), None, _) => alone("username", "password"),
            (None, Some(_), _) => alone("password", "username"),
            (None, None, Some(_)) => alone("sasl_mechanism", "username"),
            (None, None, None) => Ok(None),
        }
    }
}

/// The PEM text of a value, or of the file that another one names.
fn pem(settings: &Settings, key: &'static str) -> Result<Option<SecretText>, SecurityError> {
    let named = format!("{key}_file");
    let text = match (settings.secret(key), settings.text(&named)) {
        (Some(_), Some(_)) => return Err(SecurityError::Both { key }),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path);
            let read = read.map_err(|source| SecurityError::File {
                key: named.clone(),
                path: path.to_owned(),
                source,
            });
            Some(SecretText::new(read?))
        }
        (text, None) => text,
    };
    match text {
        Some(text) if !text.expose().contains("-----BEGIN ") => Err(SecurityError::NoPem { key }),
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----\n";

    fn read(values: &[(&str, &str)]) -> Result<SecuritySettings, SecurityError> {
        SecuritySettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    fn told(values: &[(&str, &str)], key: &str) -> Option<String> {
        let mut config = ClientConfig::new();
        read(values).unwrap().apply(&mut config);
        config.get(key).map(str::to_owned)
    }

    #[test]
    fn what_a_link_says_decides_the_protocol() {
        let login = [("username", "shop"), ("password", "open sesame")];
        let protocol = |values: &[_]| told(values, "security.protocol").unwrap();
        assert_eq!(protocol(&[]), "plaintext");
        assert_eq!(protocol(&[("tls", "true")]), "ssl");
        assert_eq!(protocol(&[("tls_ca", PEM)]), "ssl");
        assert_eq!(protocol(&login), "sasl_plaintext");
        let both = [("TLS", "true"), login[0], login[1]];
        assert_eq!(protocol(&both), "sasl_ssl");
        let mechanism = |values: &[_]| told(values, "sasl.mechanism");
        assert_eq!(mechanism(&both).unwrap(), "PLAIN");
        let scram = [("sasl_mechanism", "scram-sha-512"), login[0], login[1]];
        assert_eq!(mechanism(&scram).unwrap(), "SCRAM-SHA-512");
    }

    #[test]
    fn the_library_takes_every_mechanism() {
        for mechanism in Mechanism::ALL {
            let values = [
                ("sasl_mechanism", mechanism.name()),
                ("username", "shop"),
                ("password", "open sesame"),
                ("tls", "true"),
            ];
            let mut config = ClientConfig::new();
            read(&values).unwrap().apply(&mut config);
            let made: Result<rdkafka::producer::BaseProducer, _> = config.create();
            assert!(made.is_ok(), "{}: {:?}", mechanism.name(), made.err());
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_shown() {
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[("username", "shop")], "`username` without `password`"),
            (&[("password", "secret")], "`password` without `username`"),
            (&[("sasl_mechanism", "PLAIN")], "without `username`"),
            (&[("sasl_mechanism", "GSSAPI")], "one of PLAIN, SCRAM"),
            (&[("tls_ca", "secret")], "`tls_ca` is no PEM text"),
            (&[("tls_cert", PEM)], "`tls_cert` without `tls_key`"),
            (&[("tls_key_password", "secret")], "without `tls_key`"),
            (&[("tls_ca", PEM), ("tls", "false")], "`tls` is `false`"),
            (&[("tls_ca", PEM), ("tls_ca_file", "x")], "there are both"),
            (&[("tls_ca_file", "/nowhere/ca.pem")], "/nowhere/ca.pem"),
        ];
        for (values, part) in cases {
            let error = LinkError::from(read(values).unwrap_err()).to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let hidden = read(&[("tls_ca", PEM), ("username", "u"), ("password", "secret")]);
        assert!(!format!("{hidden:?}").contains("secret"));
    }
}
