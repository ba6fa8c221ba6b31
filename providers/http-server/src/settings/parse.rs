//! What the config of a link says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use lattice_provider_sdk::ProviderLink;

use super::limits::{BodyLimits, CONNECTION_KEYS, ConnectionLimits};
use super::provider::{Mode, ProviderSettings, said_address};
use super::values::{InvalidSetting, Values};
use crate::cors::Cors;
use crate::place::Template;

/// The files that HTTPS needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The certificate chain, in PEM.
    pub cert_file: PathBuf,
    /// The private key, in PEM.
    pub key_file: PathBuf,
}

impl Tls {
    pub(super) fn both(
        cert: Option<String>,
        key: Option<String>,
    ) -> Result<Option<Self>, InvalidSetting> {
        match (cert, key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Self {
                cert_file: cert.into(),
                key_file: key.into(),
            })),
            (Some(cert), None) => Err(InvalidSetting::new(
                "tls_cert_file",
                &cert,
                "`tls_priv_key_file` beside it",
            )),
            (None, Some(key)) => Err(InvalidSetting::new(
                "tls_priv_key_file",
                &key,
                "`tls_cert_file` beside it",
            )),
        }
    }
}

/// What belongs to the component, of what comes to the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// One host, in lower case, or any.
    pub host: Option<String>,
    /// One path, or those that a template fits, or any.
    pub path: Option<PathPlace>,
}

/// Paths that belong to a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPlace {
    /// This one.
    Exact(String),
    /// Those that fit.
    Like(Template),
}

/// The settings of one link.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Where to listen.
    pub address: SocketAddr,
    /// What belongs to the component there.
    pub place: Place,
    /// HTTPS.
    pub tls: Option<Tls>,
    /// Limits of connections to the address.
    pub connection: ConnectionLimits,
    /// The others.
    pub common: Common,
}

/// Those of the settings of a link that may stand in the provider's config for all its links.
#[derive(Debug, Clone)]
pub struct Common {
    /// How long the component may take, if that is said.
    pub timeout: Option<Duration>,
    /// Whether only GET and HEAD are let through.
    pub read_only: bool,
    /// The methods that are let through, if not all are; as `allow` lists them.
    pub methods: Option<HeaderValue>,
    /// Whether the component may take connections over as WebSockets.
    pub websocket: bool,
    /// Limits of the body of a request.
    pub body: BodyLimits,
    /// The header of successful GETs that have none.
    pub cache_control: Option<HeaderValue>,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// What browsers of other origins may do.
    pub(crate) cors: Cors,
}

impl LinkSettings {
    /// Reads the values of a link.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn of(link: &ProviderLink, provider: &ProviderSettings) -> Result<Self, InvalidSetting> {
        let values = Values::all(&link.config)?;
        let (address, place) = place(&values, provider)?;
        let text = |name| values.text(name).map(str::to_owned);
        let own_tls = Tls::both(text("tls_cert_file"), text("tls_priv_key_file"))?;
        let tls = match (&provider.mode, own_tls) {
            (Mode::Address, own) => own,
            (_, None) => provider.tls.clone(),
            (_, Some(own)) => {
                let file = own.cert_file.display().to_string();
                let expected = "it in the provider's config, as the links share one address";
                return Err(InvalidSetting::new("tls_cert_file", &file, expected));
            }
        };
        Ok(Self {
            address,
            place,
            tls,
            connection: connection(&values, provider)?,
            common: Common::read(&values.over(&provider.defaults))?,
        })
    }
}

impl Common {
    pub(super) fn read(values: &Values) -> Result<Self, InvalidSetting> {
        let expected = "a number of milliseconds over 0";
        let timeout = values.parsed::<u64>("timeout_ms", expected)?;
        if timeout == Some(0) {
            return Err(InvalidSetting::new("timeout_ms", "0", expected));
        }
        Ok(Self {
            timeout: timeout.map(Duration::from_millis),
            read_only: values.flag("readonly_mode")?,
            methods: values.methods("methods")?.filter(|listed| listed != "*"),
            websocket: values.flag("websocket")?,
            body: BodyLimits::read(|key| values.text(key).map(str::to_owned))?,
            cache_control: values.header_value("cache_control")?,
            keep_alive: !values.flag("disable_keepalive")?,
            cors: cors(values)?,
        })
    }
}

/// Links that share an address share its limits, which are the provider's then.
fn connection(
    values: &Values,
    provider: &ProviderSettings,
) -> Result<ConnectionLimits, InvalidSetting> {
    let text = |key: &str| values.text(key).map(str::to_owned);
    if provider.mode == Mode::Address {
        return provider.connection.read(text);
    }
    let own = CONNECTION_KEYS
        .iter()
        .find_map(|key| Some((*key, text(key)?)));
    match own {
        None => Ok(provider.connection),
        Some((key, value)) => {
            let expected = "it in the provider's config, as the links share one address";
            Err(InvalidSetting::new(key, &value, expected))
        }
    }
}

fn place(
    values: &Values,
    provider: &ProviderSettings,
) -> Result<(SocketAddr, Place), InvalidSetting> {
    let place = Place {
        host: values
            .text("host")
            .map(|host| host.trim().to_ascii_lowercase()),
        path: values.text("path").map(path).transpose()?,
    };
    match &provider.mode {
        Mode::Address => {
            let address = said_address(values)?;
            return Ok((address.unwrap_or(provider.default_address), place));
        }
        Mode::Path => required(values, "path", "a path, since the provider routes by path")?,
        Mode::Host(_) => required(values, "host", "a host, since the provider routes by host")?,
    };
    Ok((provider.default_address, place))
}

fn path(text: &str) -> Result<PathPlace, InvalidSetting> {
    if !text.starts_with('/') {
        let expected = "a path that starts with `/`";
        return Err(InvalidSetting::new("path", text, expected));
    }
    if !text.contains(['{', '}']) {
        return Ok(PathPlace::Exact(text.to_owned()));
    }
    let template = Template::parse(text);
    let refused = |expected| InvalidSetting::new("path", text, expected);
    template.map(PathPlace::Like).map_err(refused)
}

fn required<'a>(
    values: &'a Values,
    name: &str,
    expected: &'static str,
) -> Result<&'a str, InvalidSetting> {
    values
        .text(name)
        .ok_or_else(|| InvalidSetting::new(name, "", expected))
}

fn cors(values: &Values) -> Result<Cors, InvalidSetting> {
    let mut cors = Cors::default();
    if let Some(origins) = values.list("cors_allowed_origins")? {
        cors = cors.with_origins(&origins).ok_or_else(|| {
            let text = origins.join(",");
            InvalidSetting::new("cors_allowed_origins", &text, "a list of origins")
        })?;
    }
    if let Some(headers) = values.header_names("cors_allowed_headers")? {
        cors.allowed_headers = headers;
    }
    if let Some(methods) = values.methods("cors_allowed_methods")? {
        cors.allowed_methods = methods;
    }
    if let Some(exposed) = values.header_names("cors_exposed_headers")? {
        cors.exposed_headers = exposed;
    }
    if let Some(age) = values.parsed::<u32>("cors_max_age_secs", "a number of seconds")? {
        cors.max_age = HeaderValue::from(age);
    }
    Ok(cors)
}

#[cfg(test)]
mod tests;
