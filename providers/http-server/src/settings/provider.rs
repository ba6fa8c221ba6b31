//! What the provider's own config says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderName;
use http::header::HOST;
use lattice_core::StringMap;
use lattice_provider_sdk::Session;

use super::limits::ConnectionLimits;
use super::parse::{Common, Tls};
use super::values::{InvalidSetting, Values};

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
    /// What holds for links that do not say otherwise: nothing in address mode, where the provider's
    /// config was never read for it, and all of it in the others.
    pub(super) defaults: Values,
}

/// The port and address that a 1.x provider listens on.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8000);

impl ProviderSettings {
    /// Reads the config as it is now.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn of(session: &Session) -> Result<Self, InvalidSetting> {
        Self::read(&session.config())
    }

    pub(super) fn read(config: &StringMap) -> Result<Self, InvalidSetting> {
        let mode = mode(&Values::single(config))?;
        let (values, defaults) = if mode == Mode::Address {
            (Values::single(config), Values::default())
        } else {
            let values = Values::all(config)?;
            // Told as the provider's, not as one of each link.
            Common::read(&values)?;
            (values.clone(), values)
        };
        let own = match mode {
            Mode::Address => None,
            Mode::Path | Mode::Host(_) => said_address(&values)?,
        };
        let expected = "an address such as `0.0.0.0:8000`";
        let default = values.parsed("default_address", expected)?;
        let text = |name: &str| values.text(name).map(str::to_owned);
        Ok(Self {
            mode,
            default_address: own.or(default).unwrap_or(DEFAULT_ADDRESS),
            tls: Tls::both(text("tls_cert_file"), text("tls_priv_key_file"))?,
            connection: ConnectionLimits::default().read(text)?,
            defaults,
        })
    }
}

/// The address that a config says, if it says one.
pub(super) fn said_address(values: &Values) -> Result<Option<SocketAddr>, InvalidSetting> {
    let address = values.parsed("address", "an address such as `0.0.0.0:8080`")?;
    let port = values.parsed::<u16>("port", "a port number")?;
    Ok(address.or(port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))))
}

fn mode(values: &Values) -> Result<Mode, InvalidSetting> {
    let mode = values.text("routing_mode").unwrap_or("address");
    match mode.trim().to_ascii_lowercase().as_str() {
        "address" => Ok(Mode::Address),
        "path" => Ok(Mode::Path),
        "host" => {
            let header = values.parsed("header", "a header name")?;
            Ok(Mode::Host(header.unwrap_or(HOST)))
        }
        _ => {
            let expected = "`address`, `path` or `host`";
            Err(InvalidSetting::new("routing_mode", mode, expected))
        }
    }
}
