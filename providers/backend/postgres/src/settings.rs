//! What links say about their server.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `url` | `postgres://user:password@host:5432/database?sslmode=require`, or the `key=value` form | |
//! | `POSTGRES_HOST`, `POSTGRES_PORT` | where the server is, when there is no `url` | required, 5432 |
//! | `POSTGRES_USERNAME`, `POSTGRES_PASSWORD` | the login; also for a `url` without one | required, none |
//! | `POSTGRES_DATABASE` | the database; also for a `url` without one | named like the user |
//! | `POSTGRES_TLS_REQUIRED` | `true`: encrypted or not at all, as `sslmode=require` says | `false` |
//! | `tls_ca`, `tls_ca_file` | authorities that are believed besides those of the system | |
//! | `tls_cert`, `tls_cert_file`, `tls_key`, `tls_key_file` | our own certificate | |
//! | `pool_size`, `POSTGRES_POOL_SIZE` | how many connections there are at most | 16 |
//! | `pool_wait_ms` | how long a call waits for a free one | 3000 |
//! | `connect_timeout_ms` | how long a new connection may take | 3000 |
//! | `statement_timeout_ms` | how long a statement may take; 0 for as long as the server lets it | 30000 |
//!
//! Limits are set by statements on each new connection, so that poolers such as PgBouncer and proxies
//! take the login. A pooler that lends a connection to each transaction hands them on with it, and
//! knows prepared statements only from 1.21 on.
//!
//! A server that is gone without a word is noticed within a minute or so: keepalives come after 30
//! seconds, 10 apart, and what it does not hear for 30 seconds ends its connection. A `url` may say
//! other times (`keepalives_idle`, `keepalives_interval`, `keepalives_retries`, `tcp_user_timeout`).
//!
//! A connection is encrypted or it is not: the mode that tries and falls back protects nobody, so
//! `sslmode=prefer` is no encryption unless an authority or a certificate is given. A `url` with
//! `sslmode=disable` is refused where encryption is required. The server's certificate is always
//! checked. A login belongs into the secrets.

use std::path::Path;
use std::time::Duration;

use lattice_backend_http::TlsOptions;
use lattice_core::provider::SecretText;
use lattice_provider_sdk::{InvalidSetting, Settings};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

const ADDRESS: &str =
    "the address of a PostgreSQL server, `postgres://user:password@host/database`";
const LONGEST_MS: u64 = 600_000;

/// When we ask whether a silent server is there, how often, and how long what was sent may go unheard
/// until the connection is over.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
const UNHEARD_LIMIT: Duration = Duration::from_secs(30);

/// The server behind a link. Equal settings may share a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostgresSettings {
    url: SecretText,
    host: String,
    port: u16,
    username: String,
    password: SecretText,
    database: String,
    /// Another database than that of the link.
    other_database: Option<String>,
    pub(crate) tls: Option<TlsOptions>,
    pub(crate) pool_size: usize,
    pub(crate) pool_wait: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) statement_limit: Option<Duration>,
    /// How much longer the server lets a statement last than we do.
    pub(crate) reading_limit: Duration,
    pub(crate) idle_limit: Option<Duration>,
    pub(crate) lock_limit: Option<Duration>,
}

impl PostgresSettings {
    /// Reads what a link says, and for the rest what its provider says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let text = |key| settings.text(key).unwrap_or_default().trim().to_owned();
        // A link that names a host does not mean the provider's `url`.
        let is_by_host =
            settings.link_text("url").is_none() && settings.link_text("POSTGRES_HOST").is_some();
        let url = if is_by_host {
            String::new()
        } else {
            text("url")
        };
        let read = Self {
            url: SecretText::new(url),
            host: text("POSTGRES_HOST"),
            port: settings.number("POSTGRES_PORT", 5432, 1..=u16::MAX)?,
            username: text("POSTGRES_USERNAME"),
            password: SecretText::new(settings.text("POSTGRES_PASSWORD").unwrap_or_default()),
            database: text("POSTGRES_DATABASE"),
            other_database: None,
            tls: None,
            pool_size: match settings.text("pool_size") {
                Some(_) => settings.number("pool_size", 16, 1..=1000)?,
                None => settings.number("POSTGRES_POOL_SIZE", 16, 1..=1000)?,
            },
            pool_wait: millis(settings, "pool_wait_ms", 3000)?,
            connect_limit: millis(settings, "connect_timeout_ms", 3000)?,
            statement_limit: or_none(settings, "statement_timeout_ms", 30_000)?,
            reading_limit: Duration::ZERO,
            idle_limit: None,
            lock_limit: None,
        };
        let mode = read.config()?.get_ssl_mode();
        let tls = TlsOptions {
            roots: pem(settings, "tls_ca", "tls_ca_file")?,
            certificate: pem(settings, "tls_cert", "tls_cert_file")?,
            key: pem(settings, "tls_key", "tls_key_file")?,
        };
        let is_required = settings.switch("POSTGRES_TLS_REQUIRED", false)?;
        if is_required && mode == SslMode::Disable {
            return Err(InvalidSetting::Value {
                key: "POSTGRES_TLS_REQUIRED".to_owned(),
                value: "true".to_owned(),
                expected: "`false` beside a `url` that says `sslmode=disable`".to_owned(),
            });
        }
        let is_wanted = mode == SslMode::Require || is_required || tls != TlsOptions::default();
        let tls = (is_wanted && mode != SslMode::Disable).then_some(tls);
        Ok(Self { tls, ..read })
    }

    /// The same server with a database of another name.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            other_database: Some(database.to_owned()),
            ..self.clone()
        }
    }

    /// For rows that are read piece by piece, for as long as `reading`, and transactions that wait
    /// for their next statement, for `idle`. Whoever uses the pool sees to these limits; the server
    /// only has them for the case that we are not there any more, though our connections are.
    #[must_use]
    pub fn lasting(self, reading: Duration, idle: Duration) -> Self {
        Self {
            reading_limit: reading,
            idle_limit: Some(idle),
            ..self
        }
    }

    /// With a limit to how long a statement waits for a lock; zero for that of the server.
    #[must_use]
    pub fn waiting_for_locks(self, limit: Duration) -> Self {
        Self {
            lock_limit: Some(limit).filter(|limit| !limit.is_zero()),
            ..self
        }
    }

    /// How many connections there are at most.
    #[must_use]
    pub fn pool_size(&self) -> usize {
        self.pool_size
    }

    /// How long a statement may take, if there is a limit.
    #[must_use]
    pub fn statement_limit(&self) -> Option<Duration> {
        self.statement_limit
    }

    /// Host and port, or the folder of the socket, for errors.
    pub(crate) fn address(&self) -> String {
        let Ok(config) = self.config() else {
            return String::new();
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let address = config.get_hostaddrs().first().map(ToString::to_string);
        match config.get_hosts().first() {
            Some(Host::Tcp(host)) => format!("{host}:{port}"),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => format!("{}:{port}", address.unwrap_or_default()),
        }
    }

    /// The client's own form.
    pub(crate) fn config(&self) -> Result<Config, InvalidSetting> {
        let mut config = self.base()?;
        if config.get_user().is_none() {
            if self.username.is_empty() {
                return Err(missing("POSTGRES_USERNAME", "the name to log in with"));
            }
            config.user(&self.username);
        }
        if config.get_password().is_none() && !self.password.is_empty() {
            config.password(self.password.expose());
        }
        if config.get_dbname().is_none() && !self.database.is_empty() {
            config.dbname(&self.database);
        }
        if let Some(other) = &self.other_database {
            config.dbname(other);
        }
        if config.get_application_name().is_none() {
            config.application_name("lattice");
        }
        config.connect_timeout(self.connect_limit);
        notice_silence(&mut config, self.url.expose());
        Ok(config)
    }

    fn base(&self) -> Result<Config, InvalidSetting> {
        if !self.url.is_empty() {
            // Why it is none may show the password.
            let config: Option<Config> = self.url.expose().parse().ok();
            return config
                .filter(|config| {
                    !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty()
                })
                .ok_or_else(|| InvalidSetting::Value {
                    key: "url".to_owned(),
                    value: "(hidden)".to_owned(),
                    expected: ADDRESS.to_owned(),
                });
        }
        if self.host.is_empty() {
            return Err(missing("url", ADDRESS));
        }
        let mut config = Config::new();
        config.host(&self.host).port(self.port);
        Ok(config)
    }
}

/// Has the system end connections to a server that is gone without a word, as far as the `url` says
/// nothing of it. The client's own form does not show whether that says 0, or what the client has anyway.
fn notice_silence(config: &mut Config, url: &str) {
    if !url.contains("keepalives_idle") {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if !url.contains("keepalives_interval") {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if !url.contains("keepalives_retries") {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if !url.contains("tcp_user_timeout") {
        config.tcp_user_timeout(UNHEARD_LIMIT);
    }
}

fn missing(key: &str, expected: &str) -> InvalidSetting {
    InvalidSetting::Missing {
        key: key.to_owned(),
        expected: expected.to_owned(),
    }
}

fn millis(settings: &Settings, key: &str, default: u64) -> Result<Duration, InvalidSetting> {
    settings.millis(key, Duration::from_millis(default), 1..=LONGEST_MS)
}

/// A limit that 0 takes away.
fn or_none(
    settings: &Settings,
    key: &str,
    default: u64,
) -> Result<Option<Duration>, InvalidSetting> {
    let limit = settings.millis(key, Duration::from_millis(default), 0..=LONGEST_MS)?;
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}

/// A PEM text that is said as it is or by the file it is in.
fn pem(settings: &Settings, key: &str, file: &str) -> Result<Option<String>, InvalidSetting> {
    if let Some(text) = settings.text(key) {
        return Ok(Some(text.to_owned()));
    }
    settings.read(file, "a file that can be read", |path| {
        std::fs::read_to_string(Path::new(path)).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &[(&str, &str)], provider: &[(&str, &str)]) -> Result<Config, String> {
        let settings = Settings::from_texts(link.iter().copied(), provider.iter().copied());
        let read = PostgresSettings::read(&settings).map_err(|e| e.to_string())?;
        read.config().map_err(|e| e.to_string())
    }

    const PARTS: [(&str, &str); 5] = [
        ("POSTGRES_HOST", "db"),
        ("POSTGRES_PORT", "5433"),
        ("POSTGRES_USERNAME", "me"),
        ("POSTGRES_PASSWORD", "sesame"),
        ("POSTGRES_DATABASE", "shop"),
    ];

    #[test]
    fn the_keys_of_1_x_make_a_connection() {
        let config = read(&PARTS, &[("url", "postgres://other@else/x")]).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("db".to_owned())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_user(), Some("me"));
        assert_eq!(config.get_password(), Some(&b"sesame"[..]));
        assert_eq!(config.get_dbname(), Some("shop"));
    }

    #[test]
    fn a_login_may_stand_beside_the_url() {
        let link = [
            ("url", "postgres://me@db/shop"),
            ("POSTGRES_PASSWORD", "sesame"),
        ];
        let config = read(&link, &[]).unwrap();
        assert_eq!(config.get_password(), Some(&b"sesame"[..]));
    }

    #[test]
    fn a_server_that_is_gone_is_noticed_unless_the_url_says_when() {
        let config = read(&PARTS, &[]).unwrap();
        assert_eq!(config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(config.get_tcp_user_timeout(), Some(&UNHEARD_LIMIT));
        let url = "postgres://me@db?keepalives_idle=90&keepalives_retries=9&tcp_user_timeout=70";
        let config = read(&[("url", url)], &[]).unwrap();
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(90));
        assert_eq!(config.get_keepalives_retries(), Some(9));
        let unheard = Duration::from_secs(70);
        assert_eq!(config.get_tcp_user_timeout(), Some(&unheard));
        // What the client has by itself, or the system, may be meant.
        let url = "postgres://me@db?keepalives_idle=7200&tcp_user_timeout=0";
        let config = read(&[("url", url)], &[]).unwrap();
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7200));
        assert_eq!(config.get_tcp_user_timeout(), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_without_the_login() {
        assert!(read(&[], &[]).unwrap_err().contains("`url`"));
        let error = read(&[("POSTGRES_HOST", "db")], &[]).unwrap_err();
        assert!(error.contains("POSTGRES_USERNAME"), "{error}");
        let error = read(&[("url", "postgres://me:sesame@db:port/x")], &[]).unwrap_err();
        assert!(
            error.contains("`url`") && !error.contains("sesame"),
            "{error}"
        );
        let error = read(&[PARTS[0], PARTS[2], ("POSTGRES_POOL_SIZE", "0")], &[]).unwrap_err();
        assert!(error.contains("POSTGRES_POOL_SIZE"), "{error}");
    }

    #[test]
    fn encryption_is_required_or_not_used() {
        let tls = |link: &[(&str, &str)]| {
            let settings = Settings::from_texts(link.iter().copied(), []);
            PostgresSettings::read(&settings).unwrap().tls.is_some()
        };
        assert!(!tls(&[("url", "postgres://me@db")]));
        assert!(tls(&[("url", "postgres://me@db?sslmode=require")]));
        assert!(!tls(&[
            ("url", "postgres://me@db?sslmode=disable"),
            ("tls_ca", "x")
        ]));
        assert!(tls(&[
            ("url", "postgres://me@db"),
            ("POSTGRES_TLS_REQUIRED", "true")
        ]));
        assert!(tls(&[("url", "postgres://me@db"), ("tls_ca", "x")]));
        let both = [
            ("url", "postgres://me@db?sslmode=disable"),
            ("POSTGRES_TLS_REQUIRED", "true"),
        ];
        let error = read(&both, &[]).unwrap_err();
        assert!(error.contains("`POSTGRES_TLS_REQUIRED`"), "{error}");
    }

    #[test]
    fn passwords_do_not_show() {
        let link = [
            ("url", "postgres://me:sesame@db"),
            ("POSTGRES_PASSWORD", "sesame"),
        ];
        let settings = Settings::from_texts(link, []);
        let read = PostgresSettings::read(&settings).unwrap();
        assert!(!format!("{read:?}").contains("sesame"));
        assert_eq!(read.address(), "db:5432");
    }
}
