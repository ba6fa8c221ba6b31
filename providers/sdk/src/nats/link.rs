//! The NATS server that a link names.

use std::path::PathBuf;

use lattice_core::provider::SecretText;
use lattice_nats::connection::{ClientCert, Tls};

use super::NatsSettings;
use crate::settings::{InvalidSetting, Settings};

/// Where the NATS of a link is and who connects, by these values:
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `cluster_uri` (or as the provider calls it) | where NATS is, several addresses separated by commas | the lattice's own NATS |
/// | `client_jwt`, `client_seed` | who connects: token and seed, or a seed alone for an nkey login | nobody in particular |
/// | `client_token` | who connects: whoever knows this token | |
/// | `client_creds_file` | who connects: the path of a credentials file, read at every connect | |
/// | `tls_ca` | certificates to trust, as PEM text; TLS is required then | |
/// | `tls_ca_file` | as `tls_ca`, the path of a file | |
/// | `tls_cert_file`, `tls_key_file` | the certificate to show and its private key, paths of files | none |
/// | `tls_first` | whether TLS begins before the server says anything | `false` |
///
/// A login without an address is a login to the lattice's own NATS. Files that change are used
/// without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkServer {
    /// Where it is and who connects; `None` when the link says nothing of it.
    pub server: Option<NatsSettings>,
    /// Certificates to trust, as PEM text.
    pub authority: Option<SecretText>,
}

impl LinkServer {
    /// Reads what a link says, its address under the key `uri`; `own` is the connection of the
    /// lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        uri: &str,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let value = |key| settings.text(key).map(str::trim);
        let secret = |key| SecretText::new(value(key).unwrap_or_default());
        let uri = value(uri);
        let authority = settings.secret("tls_ca");
        let alone = |path: &str| authority.is_none().then(|| PathBuf::from(path));
        let ca_file = settings.read("tls_ca_file", "nothing beside `tls_ca`", alone)?;
        let tls = tls(settings)?;
        let mut said = NatsSettings {
            jwt: secret("client_jwt"),
            seed: secret("client_seed"),
            token: secret("client_token"),
            creds_file: value("client_creds_file").map(PathBuf::from),
            ..NatsSettings::default()
        };
        let no_login = said == NatsSettings::default();
        let no_tls = authority.is_none() && ca_file.is_none() && tls.is_default();
        if uri.is_none() && no_login && no_tls {
            return Ok(Self {
                server: None,
                authority,
            });
        }
        // The lattice's login is for the lattice's servers only.
        if uri.is_none() && no_login {
            said = own.clone();
        }
        said.tls = match uri {
            None if tls.is_default() => own.tls.clone(),
            _ => tls,
        };
        Ok(Self {
            server: Some(NatsSettings {
                url: uri.unwrap_or(&own.url).to_owned(),
                ca_file,
                ..said
            }),
            authority,
        })
    }
}

fn tls(settings: &Settings) -> Result<Tls, InvalidSetting> {
    let path = |key| settings.text(key).map(|text| PathBuf::from(text.trim()));
    let client = match (path("tls_cert_file"), path("tls_key_file")) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(ClientCert { cert, key }),
        (cert, _) => {
            let (there, missing) = match cert {
                Some(_) => ("tls_cert_file", "tls_key_file"),
                None => ("tls_key_file", "tls_cert_file"),
            };
            return Err(InvalidSetting::Missing {
                key: missing.to_owned(),
                expected: format!("a file that belongs to `{there}`"),
            });
        }
    };
    Ok(Tls {
        first: settings.switch("tls_first", false)?,
        client,
        ..Tls::default()
    })
}
