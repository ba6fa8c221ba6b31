//! What links and the provider's config may say.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `STORAGE_ACCOUNT` | the name of the account | required, unless the connection string has it |
//! | `STORAGE_ACCESS_KEY` | its key | |
//! | `sas_token` | a shared access signature instead of the key | |
//! | `connection_string` | all of it as Azure shows it; `UseDevelopmentStorage=true` is an emulator | |
//! | `CLOUD_LOCATION`, `endpoint` | where the account is when it is not in Azure's own cloud, such as `http://127.0.0.1:10000/name` | `https://NAME.blob.core.windows.net` |
//! | `container` | a container that has to be there; components may call it `default`, or by the name of the link | |
//! | `alias_NAME` | the container that components call `NAME`, or `alias_NAME` | |
//! | `max_attempts` | how often a request is made that may be made twice | 3 |
//! | `part_size_mb` | the size of one block of a large object, in MiB, up to 64 | 8 |
//! | `connect_timeout_ms`, `response_timeout_ms` | how long a connection may take, and an answer be silent | 3000, 30000 |
//! | `tls_ca`, `tls_cert`, `tls_key` | PEM texts: further authorities, our certificate and its key | |
//!
//! Keys are matched in any case. The link goes before the provider, and that before the environment
//! of the process, of which the names with `AZURE_STORAGE_` are read. Keys belong into the secrets.
//! What every blob link may say besides is listed in
//! [`blobstore`](lattice_provider_sdk::blobstore).

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_azure::{AzureOptions, Kind};
use lattice_backend_http::{HttpOptions, TlsOptions};
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};

/// A MiB.
const MIB: usize = 1 << 20;
const ALIAS: &str = "alias_";

/// The service behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AzureSettings {
    /// The account.
    pub account: AzureOptions,
    /// How it is reached.
    pub http: HttpOptions,
    /// How often a request is made.
    pub attempts: u32,
    /// The size of a block.
    pub part_size: usize,
}

impl AzureSettings {
    /// Reads what a link and the provider say, and for the rest what `environment` says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(
        settings: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, LinkError> {
        let value = |name: &str| {
            let said = settings.text(name).map(str::to_owned);
            said.or_else(|| environment(name).filter(|_| name.starts_with("AZURE_STORAGE_")))
        };
        let account = AzureOptions::read(Kind::Blob, value);
        Ok(Self {
            account: account.map_err(|error| LinkError::invalid(error.to_string()))?,
            http: http_options(settings)?,
            attempts: settings.number("max_attempts", 3, 1..=100)?,
            part_size: settings.number("part_size_mb", 8, 1..=64)? * MIB,
        })
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

/// Adds the names of a container that the link names, and the longer forms of all aliases.
pub(crate) fn add_aliases(
    aliases: &mut BTreeMap<String, String>,
    container: Option<&str>,
    link_name: &str,
) {
    if let Some(container) = container {
        for name in ["default", link_name] {
            let own = aliases.entry(name.to_owned());
            own.or_insert_with(|| container.to_owned());
        }
    }
    // In 1.x a component may say the beginning of the key along.
    let long: Vec<_> = aliases
        .iter()
        .map(|(name, container)| (format!("{ALIAS}{name}"), container.clone()))
        .collect();
    for (name, container) in long {
        aliases.entry(name).or_insert(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<AzureSettings, LinkError> {
        let environment = |name: &str| match name {
            "AZURE_STORAGE_ACCOUNT" => Some("fromenv".to_owned()),
            "STORAGE_ACCESS_KEY" => Some("bm90IHJlYWQ=".to_owned()),
            _ => None,
        };
        AzureSettings::read(
            &Settings::from_texts(values.iter().copied(), []),
            environment,
        )
    }

    #[test]
    fn the_link_goes_before_the_environment() {
        let key = ("storage_access_key", "YWI=");
        assert_eq!(read(&[key]).unwrap().account.account, "fromenv");
        let own = read(&[key, ("Storage_Account", "shop")]).unwrap();
        assert_eq!(own.account.account, "shop");
        assert_eq!(own.part_size, 8 << 20);
        let error = read(&[]).unwrap_err().to_string();
        assert!(error.contains("`STORAGE_ACCESS_KEY`"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let account = [("STORAGE_ACCOUNT", "shop"), ("STORAGE_ACCESS_KEY", "YWI=")];
        for (key, text) in [
            ("max_attempts", "0"),
            // Of which there would be no room for two.
            ("part_size_mb", "65"),
            ("response_timeout_ms", "soon"),
        ] {
            let error = read(&[account[0], account[1], (key, text)]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn the_own_container_has_the_names_of_the_link() {
        let mut aliases = BTreeMap::from([("a".to_owned(), "corp-a".to_owned())]);
        add_aliases(&mut aliases, Some("corp-own"), "archive");
        assert_eq!(aliases["archive"], "corp-own");
        assert_eq!(aliases["default"], "corp-own");
        assert_eq!(aliases["alias_a"], "corp-a");
    }
}
