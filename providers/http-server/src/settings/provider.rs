//! What the provider's own config says.

use std::net::SocketAddr;

use http::HeaderName;
use http::header::HOST;
use lattice_provider_sdk::Session;

use super::limits::ConnectionLimits;
use super::parse::Tls;
use super::values::InvalidSetting;

/// What tells the components behind one provider apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Each link listens on an address of its own.
    Address,
    /// The path of the request.
    Path,
    /// A header of the request.
    Host(HeaderName),
}

impl Mode {
    /// The header that names the host.
    pub(crate) fn header(&self) -> HeaderName {
        match self {
            Self::Host(header) => header.clone(),
            Self::Address | Self::Path => HOST,
        }
    }
}

/// The config of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What tells components apart.
    pub mode: Mode,
    /// Where to listen when a link does not say so.
    pub default_address: SocketAddr,
    /// HTTPS in path and host mode.
    pub tls: Option<Tls>,
    /// Limits of connections, in address mode of those whose link says nothing else.
    pub connection: ConnectionLimits,
}

/// The port and address that a 1.x provider listens on.
const DEFAULT_ADDRESS: &str = "0.0.0.0:8000";

impl ProviderSettings {
    /// Reads the config as it is now.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn of(session: &Session) -> Result<Self, InvalidSetting> {
        Self::read(|name| session.config_value(name))
    }

    pub(super) fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSetting> {
        let mode = value("routing_mode").unwrap_or_else(|| "address".to_owned());
        let mode = match mode.trim().to_ascii_lowercase().as_str() {
            "address" => Mode::Address,
            "path" => Mode::Path,
            "host" => Mode::Host(header(value("header"))?),
            _ => {
                let expected = "`address`, `path` or `host`";
                return Err(InvalidSetting::new("routing_mode", &mode, expected));
            }
        };
        let address = value("default_address").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let default_address = address.trim().parse().map_err(|_| {
            InvalidSetting::new(
                "default_address",
                &address,
                "an address such as `0.0.0.0:8000`",
            )
        })?;
        let tls = Tls::both(value("tls_cert_file"), value("tls_priv_key_file"))?;
        Ok(Self {
            mode,
            default_address,
            tls,
            connection: ConnectionLimits::default().read(&value)?,
        })
    }
}

fn header(name: Option<String>) -> Result<HeaderName, InvalidSetting> {
    match name {
        None => Ok(HOST),
        Some(name) => name
            .trim()
            .parse()
            .map_err(|_| InvalidSetting::new("header", &name, "a header name")),
    }
}
