//! What links say about their server: `url`, `username`, `password`, `tls_ca` and `tls_ca_file`. What these
//! mean stands with the other keys of each provider, in the settings of its crate.

use lapin::uri::{AMQPScheme, AMQPUri};
use lattice_provider_sdk::{LinkError, SecretText, Settings};

/// The server that is meant where nothing is said.
const USUAL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
/// How often each side lets the other know that it is there, in seconds.
const HEARTBEAT: u16 = 10;

/// A server and who connects to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RabbitSettings {
    url: SecretText,
    login: Option<(String, SecretText)>,
    /// Certificates to trust besides those of the system.
    pub(crate) tls_ca: Option<SecretText>,
}

impl RabbitSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, LinkError> {
        let password = settings.secret("password");
        let password = password.unwrap_or_else(|| SecretText::new(""));
        let user = settings.text("username").map(str::to_owned);
        let url = settings.secret("url");
        let read = Self {
            url: url.unwrap_or_else(|| SecretText::new(USUAL)),
            login: user.map(|user| (user, password)),
            tls_ca: tls_ca(settings)?,
        };
        let is_plain = read.uri()?.scheme != AMQPScheme::AMQPS;
        if read.tls_ca.is_some() && is_plain {
            let what = "there are certificates, but `url` does not begin with `amqps://`";
            return Err(LinkError::invalid(what));
        }
        Ok(read)
    }

    /// The address with the login.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] when the address cannot be read; it is not shown, as it may have a
    /// password.
    pub(crate) fn uri(&self) -> Result<AMQPUri, LinkError> {
        let mut uri: AMQPUri = self.url.expose().trim().parse().map_err(|_| {
            let expected = "an address like `amqp://user:password@host:5672/vhost`";
            LinkError::invalid(format!("`url` cannot be read, expected {expected}"))
        })?;
        if let Some((user, password)) = &self.login {
            uri.authority.userinfo.username = user.clone();
            uri.authority.userinfo.password = password.expose().to_owned();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(uri)
    }
}

fn tls_ca(settings: &Settings) -> Result<Option<SecretText>, LinkError> {
    match (settings.secret("tls_ca"), settings.text("tls_ca_file")) {
        (Some(_), Some(_)) => {
            let what = "there are both `tls_ca` and `tls_ca_file`, expected one of them";
            Err(LinkError::invalid(what))
        }
        (None, Some(path)) => {
            let pem = std::fs::read_to_string(path).map_err(|e| {
                LinkError::invalid_because(format!("could not read `tls_ca_file`, `{path}`"), e)
            })?;
            Ok(Some(SecretText::new(pem)))
        }
        (text, None) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<RabbitSettings, LinkError> {
        RabbitSettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    #[test]
    fn addresses_are_read_with_their_logins() {
        let uri = read(&[("url", "amqps://a:b@host/v")])
            .unwrap()
            .uri()
            .unwrap();
        assert_eq!((&*uri.authority.host, &*uri.vhost), ("host", "v"));
        assert_eq!(uri.query.heartbeat, Some(HEARTBEAT));
        let other = [("url", "amqp://h"), ("username", "me"), ("password", "p")];
        let uri = read(&other).unwrap().uri().unwrap();
        assert_eq!(uri.authority.userinfo.username, "me");
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused_without_showing_passwords() {
        for url in ["host", "http://me:secret@h", "amqp://me:secret@h:x"] {
            let error = read(&[("url", url)]).unwrap_err().to_string();
            assert!(
                error.contains("`url`") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(read(&[("tls_ca", "pem")]).is_err());
        let shown = format!("{:?}", read(&[("url", "amqp://me:secret@h")]).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in ".{0,60}") {
            let _ = read(&[("url", &text)]);
        }
    }
}
