//! What a link may say, besides what [`lattice_provider_sdk::queue`] lists, in the config of the
//! provider's end or, preferred for what is secret, in its secrets. What the provider's own config
//! says holds for links that do not say it.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `STORAGE_ACCOUNT` | the name of the account | required, unless the connection string has it |
//! | `STORAGE_ACCESS_KEY` | its key | |
//! | `sas_token` | a shared access signature instead of the key | |
//! | `connection_string` | all of it as Azure shows it; `UseDevelopmentStorage=true` is an emulator | |
//! | `endpoint` | where the queues are when they are not in Azure's own cloud, such as `http://127.0.0.1:10001/name` | `https://NAME.queue.core.windows.net` |
//! | `create` | `true`: every queue that is missing is created; `false`: none is | the link's own and dead-letter queues are |
//! | `encoding` | how bodies are written: `base64`; `text`, as they are; `auto`, in which base64 is written and text that is none is read too | `auto` |
//! | `dead_letter` | the queue that dead letters go to | the name of their queue with `-dead` |
//! | `max_attempts_of_requests` | how often a request is made that may be made twice | 3 |
//! | `connect_timeout_ms`, `response_timeout_ms` | how long a connection, and an answer may take | 3000, 30000 |
//! | `tls_ca`, `tls_cert`, `tls_key` | PEM texts: further authorities, our certificate and its key | |
//!
//! Keys are matched in any case. The link goes before the provider, and that before the environment
//! of the process, of which the names with `AZURE_STORAGE_` are read.

use std::time::Duration;

use lattice_azure::{AzureOptions, Kind, Login};
use lattice_backend_http::{HttpOptions, TlsOptions};
use lattice_provider_sdk::queue::ReceiptKey;
use lattice_provider_sdk::{InvalidSetting, LinkError, Settings};

pub use crate::stored_message::Encoding;

const ENCODINGS: [(&str, Encoding); 3] = [
    ("auto", Encoding::Auto),
    ("base64", Encoding::Base64),
    ("text", Encoding::Text),
];

/// The service behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AzureSettings {
    /// The account.
    pub account: AzureOptions,
    /// How it is reached.
    pub http: HttpOptions,
    /// How often a request is made.
    pub attempts: u32,
}

/// Which queues are created when they are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Any.
    All,
    /// That of the link and its dead-letter queue.
    Own,
    /// None.
    No,
}

/// What a link says besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The link's own queue.
    pub own: String,
    /// Which queues are created.
    pub create: Create,
    /// How bodies are written.
    pub encoding: Encoding,
    /// Where all dead letters go.
    pub dead_letter: Option<String>,
    /// What receipts are sealed with.
    pub receipts: ReceiptKey,
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
        let account = AzureOptions::read(Kind::Queue, value);
        Ok(Self {
            account: account.map_err(|error| LinkError::invalid(error.to_string()))?,
            http: http_options(settings)?,
            attempts: settings.number("max_attempts_of_requests", 3, 1..=100)?,
        })
    }
}

impl LinkSettings {
    /// Reads what a link and the provider say.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, service: &AzureSettings) -> Result<Self, InvalidSetting> {
        let create = match settings.text("create") {
            None => Create::Own,
            Some(_) if settings.switch("create", true)? => Create::All,
            Some(_) => Create::No,
        };
        let (Login::Key(secret) | Login::Signature(secret)) = &service.account.login;
        Ok(Self {
            own: settings.text("queue").unwrap_or("default").to_owned(),
            create,
            encoding: settings.choice("encoding", Encoding::default(), &ENCODINGS)?,
            dead_letter: settings.text("dead_letter").map(str::to_owned),
            receipts: ReceiptKey::of(secret.expose()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<(AzureSettings, LinkSettings), LinkError> {
        let own = [("STORAGE_ACCOUNT", "shop"), ("STORAGE_ACCESS_KEY", "YWI=")];
        let texts = own.into_iter().chain(values.iter().copied());
        let settings = Settings::from_texts(texts, []);
        let service = AzureSettings::read(&settings, |_| None)?;
        let link = LinkSettings::read(&settings, &service)?;
        Ok((service, link))
    }

    #[test]
    fn what_a_link_says_is_read() {
        let (service, link) = read(&[]).unwrap();
        let endpoint = &service.account.endpoint;
        assert_eq!(endpoint, "https://shop.queue.core.windows.net");
        assert_eq!((link.own.as_str(), link.create), ("default", Create::Own));
        assert_eq!(link.receipts, ReceiptKey::of("YWI="));
        let (_, link) = read(&[("create", "true"), ("queue", "jobs")]).unwrap();
        assert_eq!((link.own.as_str(), link.create), ("jobs", Create::All));
        assert!(read(&[("create", "perhaps")]).is_err());
        assert_eq!(link.encoding, Encoding::Auto);
        let (_, link) = read(&[("encoding", "TEXT")]).unwrap();
        assert_eq!(link.encoding, Encoding::Text);
        let error = read(&[("encoding", "utf-8")]).unwrap_err().to_string();
        assert!(error.contains("`encoding` is `utf-8`"), "{error}");
    }
}
