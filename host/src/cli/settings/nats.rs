//! From flags to connections, and to who signs for providers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{KeyKind, PublicKey};
use lattice_core::provider::SecretText;
use lattice_nats::connection::{ClientCert, Creds, Login, Tls, addresses};

use super::seeds::{self, SeedError};
use super::{SettingsError, filled};
use crate::cli::args::NatsArgs;
use crate::config::{NatsConfig, ProviderSigner};

/// What the flags of one connection, or those for both, say.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    urls: &'a [String],
    host: Option<&'a String>,
    port: Option<u16>,
    jwt: Option<&'a String>,
    seed: Option<&'a String>,
    creds: Option<&'a Path>,
    token: Option<&'a String>,
    tls: bool,
    tls_first: bool,
    cert: Option<&'a PathBuf>,
    key: Option<&'a PathBuf>,
}

macro_rules! said {
    ($args:expr) => {{
        let args = $args;
        Said {
            urls: &args.url,
            host: filled(args.host.as_ref()),
            port: args.port,
            jwt: filled(args.jwt.as_ref()),
            seed: filled(args.seed.as_ref()),
            creds: args.creds.as_deref(),
            token: filled(args.token.as_ref()),
            tls: args.tls,
            tls_first: args.tls_first,
            cert: args.tls_cert.as_ref(),
            key: args.tls_key.as_ref(),
        }
    }};
}

/// The settings of both connections; each falls back to the common flags.
pub(super) fn connections(args: &NatsArgs) -> Result<(NatsConfig, NatsConfig), SettingsError> {
    let common = Said {
        urls: &args.nats_url,
        host: Some(&args.nats_host),
        port: Some(args.nats_port),
        jwt: filled(args.nats_jwt.as_ref()),
        seed: filled(args.nats_seed.as_ref()),
        creds: args.nats_creds.as_deref(),
        token: filled(args.nats_token.as_ref()),
        tls: args.nats_tls,
        tls_first: args.nats_tls_first,
        cert: args.nats_tls_cert.as_ref(),
        key: args.nats_tls_key.as_ref(),
    };
    let ctl = connection(said!(&args.ctl), common, &args.tls_ca_path)?;
    let rpc = connection(said!(&args.rpc), common, &args.tls_ca_path)?;
    Ok((ctl, rpc))
}

fn connection(
    own: Said<'_>,
    common: Said<'_>,
    ca_files: &[PathBuf],
) -> Result<NatsConfig, SettingsError> {
    // An address of its own goes before the list for both.
    let has_address = own.host.is_some() || own.port.is_some();
    let listed =
        |urls: &[String]| -> Vec<String> { urls.iter().flat_map(|url| addresses(url)).collect() };
    let servers = match listed(own.urls) {
        own if !own.is_empty() => own,
        _ if has_address => Vec::new(),
        _ => listed(common.urls),
    };
    let login = match login(own) {
        Login::Nobody => login(common),
        login => login,
    };
    let client = |said: Said<'_>| {
        let pair = said.cert.zip(said.key);
        pair.map(|(cert, key)| ClientCert {
            cert: cert.clone(),
            key: key.clone(),
        })
    };
    let config = NatsConfig {
        host: own.host.or(common.host).cloned().unwrap_or_default(),
        port: own.port.or(common.port).unwrap_or(4222),
        servers,
        login,
        tls: Tls {
            required: own.tls || common.tls,
            first: own.tls_first || common.tls_first,
            ca_files: ca_files.to_vec(),
            client: client(own).or_else(|| client(common)),
        },
    };
    // What is wrong is said before anything starts.
    config.connection().prepare()?;
    Ok(config)
}

/// A token with its seed goes before a file, as in 1.x, and both before what is ours.
fn login(said: Said<'_>) -> Login {
    if let (Some(jwt), Some(seed)) = (said.jwt, said.seed) {
        return Login::Jwt(Creds {
            jwt: SecretText::new(jwt.as_str()),
            seed: SecretText::new(seed.as_str()),
        });
    }
    if let Some(path) = said.creds.filter(|path| !path.as_os_str().is_empty()) {
        return Login::CredsFile(path.to_owned());
    }
    let token = said.token.map(|token| SecretText::new(token.as_str()));
    token.map_or(Login::Nobody, Login::Token)
}

/// Who signs for the users of providers, if the operator wants it.
pub(super) fn signer(args: &NatsArgs) -> Result<Option<Arc<ProviderSigner>>, SettingsError> {
    let Some(given) = filled(args.nats_account_seed.as_ref()) else {
        return Ok(None);
    };
    let key = seeds::key(given, KeyKind::Account);
    let key = key.map_err(|error| match error {
        SeedError::Read { path, source } => SettingsError::ReadAccountSeed { path, source },
        SeedError::Key(source) => SettingsError::AccountSeed(source),
    })?;
    let account = filled(args.nats_account.as_ref()).map(|text| {
        let key = PublicKey::parse(text).and_then(|key| key.expect_kind(KeyKind::Account));
        key.map(|key| key.as_text())
            .map_err(|source| SettingsError::Account {
                text: text.clone(),
                source,
            })
    });
    let account = account.transpose()?;
    Ok(Some(Arc::new(ProviderSigner {
        account: account.filter(|account| *account != key.public_key()),
        key: Arc::new(key),
        life: Duration::from_secs(args.provider_credentials_seconds),
        patience: ProviderSigner::PATIENCE,
    })))
}
