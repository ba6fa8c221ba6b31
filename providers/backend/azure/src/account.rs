//! Accounts: what they are called, where they are, and who may use them.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use lattice_core::provider::SecretText;

/// The account of emulators, and its key, which everybody knows.
const EMULATED: &str = "devstoreaccount1";
const EMULATED_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A kind of what an account keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Blobs.
    Blob,
    /// Queues.
    Queue,
}

impl Kind {
    /// In names of hosts.
    fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Queue => "queue",
        }
    }

    /// In connection strings.
    fn endpoint_key(self) -> &'static str {
        match self {
            Self::Blob => "BlobEndpoint",
            Self::Queue => "QueueEndpoint",
        }
    }

    /// Where emulators listen.
    fn emulated(self) -> &'static str {
        match self {
            Self::Blob => "http://127.0.0.1:10000",
            Self::Queue => "http://127.0.0.1:10001",
        }
    }
}

/// What lets us in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Login {
    /// The key of the account, in base64.
    Key(SecretText),
    /// A signature that somebody with the key has made, as a query.
    Signature(SecretText),
}

/// An account, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AzureOptions {
    /// The name of the account.
    pub account: String,
    /// What lets us in.
    pub login: Login,
    /// Where it is, without a `/` at its end.
    pub endpoint: String,
}

/// What is said about an account cannot be used. No text of it is shown: it may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccount {
    /// It has no name.
    #[error(
        "there is no `STORAGE_ACCOUNT`, which should be the name of an account, and no `connection_string`"
    )]
    NoAccount,
    /// Nothing lets us in.
    #[error(
        "there is neither a `STORAGE_ACCESS_KEY` nor a `sas_token` for the account `{account}`"
    )]
    NoLogin {
        /// The account.
        account: String,
    },
    /// The name is none.
    #[error("`STORAGE_ACCOUNT` is `{account}`, expected 3 to 24 lower-case letters and digits")]
    Account {
        /// What it is.
        account: String,
    },
    /// The key is not in base64.
    #[error("the key of the account `{account}` is not in base64")]
    Key {
        /// The account.
        account: String,
    },
    /// A part of the connection string is none.
    #[error("`connection_string` should be parts such as `AccountName=name`, joined by `;`")]
    ConnectionString,
    /// The address is none.
    #[error(
        "the address of the account is `{endpoint}`, expected one such as `http://127.0.0.1:10000/name`"
    )]
    Endpoint {
        /// What it is.
        endpoint: String,
    },
}

#[derive(Default)]
struct Said {
    account: Option<String>,
    key: Option<String>,
    signature: Option<String>,
    endpoint: Option<String>,
}

impl AzureOptions {
    /// Reads values by name: `connection_string`, or `STORAGE_ACCOUNT` with `STORAGE_ACCESS_KEY` or
    /// `sas_token`, and `endpoint` or `CLOUD_LOCATION` when the account is not in Azure's own cloud;
    /// besides, the names that the tools of Azure use for them in the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidAccount`].
    pub fn read(
        kind: Kind,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidAccount> {
        let any = |names: &[&str]| {
            let found = names.iter().find_map(|name| value(name));
            found.map(|text| text.trim().to_owned())
        };
        let own = Said {
            account: any(&["STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT"]),
            key: any(&["STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"]),
            signature: any(&["sas_token", "AZURE_STORAGE_SAS_TOKEN"]),
            endpoint: any(&["endpoint", "CLOUD_LOCATION"]),
        };
        let text = any(&["connection_string", "AZURE_STORAGE_CONNECTION_STRING"]);
        // The environment must not mix an account into one that is said.
        let said = match text.filter(|_| own.account.is_none()) {
            Some(text) => Said {
                endpoint: own.endpoint.clone(),
                ..Said::default()
            }
            .or(connection_string(kind, &text)?),
            None => own,
        };
        said.options(kind)
    }
}

impl Said {
    fn or(self, other: Self) -> Self {
        Self {
            account: self.account.or(other.account),
            key: self.key.or(other.key),
            signature: self.signature.or(other.signature),
            endpoint: self.endpoint.or(other.endpoint),
        }
    }

    fn options(self, kind: Kind) -> Result<AzureOptions, InvalidAccount> {
        // An address may name the account as well as the account the address.
        let named = || self.endpoint.as_deref().and_then(account_of);
        let account = self.account.clone().or_else(named);
        let account = account.ok_or(InvalidAccount::NoAccount)?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(3..=24).contains(&account.len()) || !account.bytes().all(is_name) {
            return Err(InvalidAccount::Account { account });
        }
        let login = match (self.key, self.signature) {
            (Some(key), _) => {
                if STANDARD.decode(&key).is_err() {
                    return Err(InvalidAccount::Key { account });
                }
                Login::Key(SecretText::new(key))
            }
            (None, Some(text)) => Login::Signature(SecretText::new(text.trim_start_matches('?'))),
            (None, None) if account == EMULATED => Login::Key(SecretText::new(EMULATED_KEY)),
            (None, None) => return Err(InvalidAccount::NoLogin { account }),
        };
        let of_cloud = || match account.as_str() {
            EMULATED => kind.emulated().to_owned(),
            account => format!("https://{account}.{}.core.windows.net", kind.name()),
        };
        let endpoint = self.endpoint.unwrap_or_else(of_cloud);
        let endpoint = complete(&endpoint, &account).ok_or_else(|| InvalidAccount::Endpoint {
            // A login may stand before its host, a signature in its query.
            endpoint: match endpoint.contains(['@', '?']) {
                true => "(hidden)".to_owned(),
                false => endpoint,
            },
        })?;
        Ok(AzureOptions {
            account,
            login,
            endpoint,
        })
    }
}

/// The account that an address begins with, or that its path is.
fn account_of(endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let host = uri.host()?;
    let name = match is_plain(host) {
        true => uri.path().trim_matches('/'),
        false => host.split('.').next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether a host cannot have the account in its name.
fn is_plain(host: &str) -> bool {
    host == "localhost" || !host.contains('.') || host.parse::<IpAddr>().is_ok()
}

/// An address with the account in its path when it is not in the name of the host.
fn complete(endpoint: &str, account: &str) -> Option<String> {
    let endpoint = endpoint.trim_end_matches('/');
    let uri: Uri = endpoint.parse().ok()?;
    uri.scheme()?;
    let in_path = is_plain(uri.host()?) && matches!(uri.path(), "" | "/");
    Some(match in_path {
        true => format!("{endpoint}/{account}"),
        false => endpoint.to_owned(),
    })
}

fn connection_string(kind: Kind, text: &str) -> Result<Said, InvalidAccount> {
    let mut said = Said::default();
    let (mut scheme, mut suffix) = ("https", "core.windows.net");
    for part in text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, value) = part
            .split_once('=')
            .ok_or(InvalidAccount::ConnectionString)?;
        match name.trim() {
            "AccountName" => said.account = Some(value.to_owned()),
            "AccountKey" => said.key = Some(value.to_owned()),
            "SharedAccessSignature" => said.signature = Some(value.to_owned()),
            "DefaultEndpointsProtocol" => scheme = value,
            "EndpointSuffix" => suffix = value,
            "UseDevelopmentStorage" if value.eq_ignore_ascii_case("true") => {
                said.account = Some(EMULATED.to_owned());
            }
            name if name == kind.endpoint_key() => said.endpoint = Some(value.to_owned()),
            // Those of other kinds.
            _ => {}
        }
    }
    if said.endpoint.is_none()
        && let Some(account) = said.account.as_ref().filter(|account| *account != EMULATED)
    {
        let kind = kind.name();
        said.endpoint = Some(format!("{scheme}://{account}.{kind}.{suffix}"));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(kind: Kind, values: &[(&str, &str)]) -> Result<AzureOptions, InvalidAccount> {
        AzureOptions::read(kind, |name| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn connect(kind: Kind, text: &str) -> Result<AzureOptions, InvalidAccount> {
        read(kind, &[("connection_string", text)])
    }

    #[test]
    fn the_keys_of_1_x_are_read() {
        let values = [
            ("STORAGE_ACCOUNT", "shop"),
            ("STORAGE_ACCESS_KEY", "czNjcjN0"),
        ];
        let options = read(Kind::Blob, &values).unwrap();
        assert_eq!(options.endpoint, "https://shop.blob.core.windows.net");
        assert_eq!(options.login, Login::Key(SecretText::new("czNjcjN0")));
        assert!(!format!("{options:?}").contains("czNjcjN0"));
        let queue = read(Kind::Queue, &values).unwrap();
        assert_eq!(queue.endpoint, "https://shop.queue.core.windows.net");
        let location = ("CLOUD_LOCATION", "http://127.0.0.1:9/shop/");
        let own = read(Kind::Blob, &[values[0], values[1], location]).unwrap();
        assert_eq!(own.endpoint, "http://127.0.0.1:9/shop");
    }

    #[test]
    fn connection_strings_are_read() {
        let options = connect(
            Kind::Queue,
            "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=YWI=;EndpointSuffix=core.chinacloudapi.cn;",
        );
        let options = options.unwrap();
        assert_eq!(options.endpoint, "https://shop.queue.core.chinacloudapi.cn");
        assert_eq!(options.login, Login::Key(SecretText::new("YWI=")));
        let options = connect(
            Kind::Blob,
            "BlobEndpoint=https://shop.example.org/;SharedAccessSignature=?sv=1&sig=a%3D",
        );
        let options = options.unwrap();
        assert_eq!(options.account, "shop");
        assert_eq!(
            options.login,
            Login::Signature(SecretText::new("sv=1&sig=a%3D"))
        );
        let options = connect(Kind::Queue, "UseDevelopmentStorage=true").unwrap();
        assert_eq!(options.endpoint, "http://127.0.0.1:10001/devstoreaccount1");
    }

    #[test]
    fn an_emulator_needs_its_address_alone() {
        let endpoint = ("endpoint", "http://127.0.0.1:7");
        let options = read(Kind::Blob, &[("STORAGE_ACCOUNT", EMULATED), endpoint]).unwrap();
        assert_eq!(options.endpoint, "http://127.0.0.1:7/devstoreaccount1");
        let endpoint = ("endpoint", "http://localhost:7/devstoreaccount1");
        assert_eq!(read(Kind::Blob, &[endpoint]).unwrap().account, EMULATED);
    }

    #[test]
    fn what_cannot_be_used_is_named_without_showing_a_key() {
        let account = ("STORAGE_ACCOUNT", "shop");
        let key = ("STORAGE_ACCESS_KEY", "s3cr3t!");
        for (values, part) in [
            (vec![], "`STORAGE_ACCOUNT`"),
            (vec![account], "`STORAGE_ACCESS_KEY`"),
            (vec![account, key], "base64"),
            (vec![("STORAGE_ACCOUNT", "A b"), key], "`A b`"),
            (vec![("connection_string", "s3cr3t!")], "AccountName="),
            (
                vec![account, ("sas_token", "s3cr3t!"), ("endpoint", "shop")],
                "`shop`",
            ),
            (
                vec![
                    account,
                    ("sas_token", "a"),
                    ("endpoint", "shop/?sig=s3cr3t!"),
                ],
                "`(hidden)`",
            ),
        ] {
            let error = read(Kind::Blob, &values).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in ".*") {
            let _ = connect(Kind::Blob, &text);
            let _ = read(Kind::Blob, &[("STORAGE_ACCOUNT", "shop"), ("sas_token", "a"), ("endpoint", &text)]);
        }
    }
}
