//! From flags to connections, and to who signs for providers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{KeyKind, PublicKey, SigningKey};
use lattice_nats::connection::options::Given;
use lattice_nats::connection::{ConnectionError, SystemAuthorities, Tls};

use super::seeds::{self, SeedError};
use super::{SettingsError, filled};
use crate::cli::args::NatsArgs;
use crate::config::{NatsConfig, ProviderSigner};

/// The settings of both connections; each falls back to the common flags.
pub(super) fn connections(
    args: &NatsArgs,
    warnings: &mut Vec<String>,
) -> Result<(NatsConfig, NatsConfig), SettingsError> {
    let common = args.both.given();
    let trusted = Trusted::of(args, warnings)?;
    let ctl = connection(args.ctl.given(), &common, &trusted)?;
    let rpc = connection(args.rpc.given(), &common, &trusted)?;
    Ok((ctl, rpc))
}

/// The authorities to trust with NATS; none stands for those of the system.
#[derive(Debug)]
struct Trusted {
    files: Vec<PathBuf>,
    system: Option<SystemAuthorities>,
}

impl Trusted {
    fn of(args: &NatsArgs, warnings: &mut Vec<String>) -> Result<Self, SettingsError> {
        if !args.nats_tls_ca_file.is_empty() || args.tls_ca_path.is_empty() {
            return Ok(Self {
                files: args.nats_tls_ca_file.clone(),
                system: None,
            });
        }
        // In 1.9 that flag is about other clients, so that it takes nothing away from NATS.
        let system = SystemAuthorities::load().map_err(ConnectionError::from)?;
        let mut files = args.tls_ca_path.clone();
        match &system {
            Some(system) => files.push(system.path().to_owned()),
            None => warnings.push(
                "the system has no certificate authorities: those of `--tls-ca-path` alone are \
                 trusted with NATS"
                    .to_owned(),
            ),
        }
        Ok(Self { files, system })
    }
}

fn connection(own: Given, common: &Given, trusted: &Trusted) -> Result<NatsConfig, SettingsError> {
    // An address of its own goes before the list for both.
    let has_address = own.host.is_some() || own.port.is_some();
    let login = if own.names_login() { &own } else { common }.login()?;
    let servers = match own.urls {
        own if !own.is_empty() => own,
        _ if has_address => Vec::new(),
        _ => common.urls.clone(),
    };
    let usual = NatsConfig::default();
    let host = own.host.or_else(|| common.host.clone());
    let mut config = NatsConfig {
        host: host.unwrap_or(usual.host),
        port: own.port.or(common.port).unwrap_or(usual.port),
        servers,
        login,
        account: None,
        tls: Tls {
            required: own.tls.or(common.tls).unwrap_or_default(),
            first: own.tls_first.or(common.tls_first).unwrap_or_default(),
            ca_files: trusted.files.clone(),
            client: own.client.or_else(|| common.client.clone()),
        },
        system: trusted.system.clone(),
    };
    // What is wrong is said before anything starts.
    let prepared = config.connection().prepare()?;
    config.account = prepared.account().map(str::to_owned);
    Ok(config)
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
        file: file_of(given),
        key: Arc::new(key),
        life: Duration::from_secs(args.provider_credentials_seconds),
        patience: ProviderSigner::PATIENCE,
        longest_line: usize::try_from(args.nats_max_control_line).unwrap_or(usize::MAX),
    })))
}

/// The file that a seed was read from, where it was not given as it is, and where it can be read again: a
/// pipe gives what is in it once. Around either stand the same blanks and quotes as [`seeds::key`] leaves
/// aside.
fn file_of(given: &str) -> Option<PathBuf> {
    let given = given.trim().trim_matches(['"', '\'']).trim();
    if SigningKey::from_seed(given).is_ok() {
        return None;
    }
    let is_file = std::fs::metadata(given).is_ok_and(|found| found.is_file());
    is_file.then(|| PathBuf::from(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_read_again_from_a_file_and_from_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.nk");
        std::fs::write(&path, "").unwrap();
        let quoted = format!("\"{}\"\n", path.display());
        assert_eq!(file_of(&quoted), Some(path));
        assert_eq!(file_of("/dev/null"), None);
        let seed = SigningKey::generate(KeyKind::Account).seed();
        assert_eq!(file_of(seed.expose()), None);
    }
}
