//! What a link may say, besides what [`lattice_provider_sdk::queue`] lists, in the config of the
//! provider's end or, preferred for what is secret, in its secrets. What the provider's own config
//! says holds for links that do not say it.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `access_key_id`, `secret_access_key`, `session_token` | the key; also as `AWS_ACCESS_KEY_ID` and so on | those of the profile, or lent by the container or the machine |
//! | `region` | where the queues are; also `AWS_REGION` | that of the profile, or of the machine, or `us-east-1` |
//! | `AWS_PROFILE` | a profile in `~/.aws/credentials` and `~/.aws/config` with keys, a session token and a region | `default` where it is there |
//! | `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE` | where these files are instead | |
//! | `endpoint` | the address of a service that is not one of AWS; also `AWS_ENDPOINT` | `https://sqs.REGION.amazonaws.com` |
//! | `role_arn`, `role_session_name`, `role_external_id`, `role_region` | a role whose keys are lent; also `AWS_ROLE_ARN` and so on | |
//! | `fifo` | `true`: queues are FIFO ones of SQS, with groups and dedup ids and without delays | `false` |
//! | `create` | `true`: every queue that is missing is created; `false`: none is | the link's own and dead-letter queues are |
//! | `dead_letter` | the queue that dead letters go to, which is no FIFO one | the name of their queue with `-dead` |
//! | `retention_s` | how long a queue that is created keeps messages | 345600 (4 days) |
//! | `max_message_bytes` | the largest message, with its attributes; SQS allows 1048576 where the queue does | 262144 |
//! | `receipt_secret` | what receipts are sealed with when keys are lent, for several copies of the provider | one of the process |
//! | `max_attempts_of_requests` | how often a request is made that may be made twice | 3 |
//! | `connect_timeout_ms`, `response_timeout_ms` | how long a connection, and an answer may take | 3000, 30000 |
//! | `tls_ca`, `tls_cert`, `tls_key` | PEM texts: further authorities, our certificate and its key | |
//!
//! Keys are matched in any case. The link goes before the provider, and that before the environment
//! of the process, of which the names with `AWS_` are read.

use std::time::Duration;

use lattice_backend_http::aws::{AwsOptions, NoProfile, Origin};
use lattice_backend_http::{HttpOptions, TlsError, TlsOptions};
use lattice_provider_sdk::queue::ReceiptKey;
use lattice_provider_sdk::{InvalidSetting, Settings};

/// What SQS takes at most.
pub(crate) const LARGEST: usize = 1 << 20;
const LARGEST_BY_DEFAULT: usize = 256 << 10;

/// The service behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqsSettings {
    /// Where and as whom.
    pub aws: AwsOptions,
    /// How the service is reached.
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
    /// Whether queues keep groups in order.
    pub fifo: bool,
    /// Which queues are created.
    pub create: Create,
    /// Where all dead letters go.
    pub dead_letter: Option<String>,
    /// How long new queues keep messages, in seconds.
    pub retention: Option<u32>,
    /// The largest message.
    pub largest: usize,
    /// What receipts are sealed with.
    pub receipts: ReceiptKey,
}

impl SqsSettings {
    /// With the region of the machine where nothing says another one.
    pub(crate) async fn located(self) -> Result<Self, TlsError> {
        let aws = self.aws.located(&self.http).await?;
        Ok(Self { aws, ..self })
    }

    /// Reads what a link and the provider say, and for the rest what `environment` says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidSetting> {
        let aws = AwsOptions::read(|name| {
            let said = settings.text(name).map(|text| text.trim().to_owned());
            said.or_else(|| environment(name))
        });
        let aws = aws.map_err(no_profile)?;
        let is_address = |url: &String| {
            let uri = url.parse::<http::Uri>().ok();
            uri.is_some_and(|uri| uri.host().is_some() && uri.scheme().is_some())
        };
        if let Some(endpoint) = aws.endpoint.as_ref().filter(|url| !is_address(url)) {
            return Err(InvalidSetting::Value {
                key: "endpoint".to_owned(),
                // What stands before an `@` may be a password.
                value: endpoint.rsplit('@').next().unwrap_or_default().to_owned(),
                expected: "an address such as `http://127.0.0.1:9324`".to_owned(),
            });
        }
        Ok(Self {
            aws,
            http: http_options(settings)?,
            attempts: settings.number("max_attempts_of_requests", 3, 1..=100)?,
        })
    }

    /// What receipts are sealed with when the link does not say.
    fn receipts(&self) -> ReceiptKey {
        match &self.aws.origin {
            Origin::Fixed(keys) => ReceiptKey::of(keys.secret.expose()),
            _ => ReceiptKey::of_this_process(),
        }
    }
}

impl LinkSettings {
    /// Reads what a link and the provider say.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings, service: &SqsSettings) -> Result<Self, InvalidSetting> {
        let create = match settings.text("create") {
            None => Create::Own,
            Some(_) if settings.switch("create", true)? => Create::All,
            Some(_) => Create::No,
        };
        let seconds = |text: &str| text.parse().ok().filter(|s| (60..=1_209_600).contains(s));
        let largest = settings.number("max_message_bytes", LARGEST_BY_DEFAULT, 1024..=LARGEST)?;
        let secret = settings.secret("receipt_secret");
        Ok(Self {
            own: settings.text("queue").unwrap_or("default").to_owned(),
            fifo: settings.switch("fifo", false)?,
            create,
            dead_letter: settings.text("dead_letter").map(str::to_owned),
            retention: settings.read("retention_s", "60 to 1209600 seconds", seconds)?,
            largest,
            receipts: secret.map_or_else(
                || service.receipts(),
                |secret| ReceiptKey::of(secret.expose()),
            ),
        })
    }
}

fn no_profile(error: NoProfile) -> InvalidSetting {
    InvalidSetting::Value {
        key: "AWS_PROFILE".to_owned(),
        expected: error.expected(),
        value: error.name,
    }
}

/// The longest answer: ten messages of 1 MiB, each byte of which JSON may write as six.
const LONGEST_ANSWER: usize = 64 << 20;

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
        longest_answer: LONGEST_ANSWER,
        ..defaults
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<(SqsSettings, LinkSettings), InvalidSetting> {
        let settings = Settings::from_texts(values.iter().copied(), []);
        let service = SqsSettings::read(&settings, |_| None)?;
        let link = LinkSettings::read(&settings, &service)?;
        Ok((service, link))
    }

    #[test]
    fn what_a_link_says_is_read() {
        let (service, link) = read(&[("access_key_id", "a"), ("secret_access_key", "b")]).unwrap();
        assert_eq!(service.aws.region, "us-east-1");
        assert_eq!((link.own.as_str(), link.create), ("default", Create::Own));
        assert_eq!(link.receipts, ReceiptKey::of("b"));
        let (_, link) = read(&[("create", "true"), ("fifo", "true"), ("queue", "jobs")]).unwrap();
        assert_eq!((link.create, link.fifo), (Create::All, true));
        assert_eq!(read(&[("create", "no")]).unwrap().1.create, Create::No);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (key, text) in [
            ("endpoint", "here"),
            ("create", "perhaps"),
            ("retention_s", "59"),
            ("max_message_bytes", "2000000"),
            ("fifo", "2"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
