//! What links and the provider's config may say, besides what [`lattice_provider_sdk::sql`] reads.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `url` | `mysql://user:password@host:3306/database` | |
//! | `MYSQL_HOST`, `MYSQL_PORT` | where the server is, when there is no `url` | required, 3306 |
//! | `MYSQL_USERNAME`, `MYSQL_PASSWORD` | the login; also for a `url` without one | required, none |
//! | `MYSQL_DATABASE` | the database; also for a `url` without one | required |
//! | `MYSQL_TLS_REQUIRED` | `true`: encrypted or not at all | `false` |
//! | `tls_ca`, `tls_ca_file` | authorities that are believed besides those of the system | |
//! | `tls_cert`, `tls_cert_file`, `tls_key`, `tls_key_file` | our own certificate | |
//! | `pool_size` | how many connections there are at most | 16 |
//! | `pool_wait_ms` | how long a call waits for a free one | 3000 |
//! | `connect_timeout_ms` | how long a new connection may take | 3000 |
//! | `statement_timeout_ms` | how long a statement may take | 30000 |
//!
//! An authority or a certificate means encryption too. A login belongs into the secrets.

use std::time::Duration;

use lattice_core::provider::SecretText;
use lattice_provider_sdk::sql::Limits;
use lattice_provider_sdk::{InvalidSetting, Settings};
use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

const ADDRESS: &str = "the address of a MySQL server, `mysql://user:password@host/database`";
const LONGEST_MS: u64 = 600_000;
/// How many statements one connection keeps prepared.
const MOST_STATEMENTS: usize = 128;
/// How much later than we do the server ends a statement.
const GRACE: Duration = Duration::from_secs(5);

/// The server behind a link. Equal settings share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerSettings {
    url: SecretText,
    host: String,
    port: u16,
    username: String,
    password: SecretText,
    database: String,
    tls: bool,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<SecretText>,
    pub(crate) pool_size: usize,
    pub(crate) pool_wait: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) statement_limit: Duration,
    lock_wait: Duration,
    transaction: Duration,
    /// How long the rows of a statement may be read.
    reading: Duration,
}

impl ServerSettings {
    pub(crate) fn read(settings: &Settings, limits: &Limits) -> Result<Self, InvalidSetting> {
        let text = |key| settings.text(key).unwrap_or_default().trim().to_owned();
        let millis =
            |key, default| settings.millis(key, Duration::from_millis(default), 1..=LONGEST_MS);
        // A link that names a host does not mean the provider's `url`.
        let is_by_host =
            settings.link_text("url").is_none() && settings.link_text("MYSQL_HOST").is_some();
        let url = if is_by_host {
            String::new()
        } else {
            text("url")
        };
        let roots = pem(settings, "tls_ca", "tls_ca_file")?;
        let certificate = pem(settings, "tls_cert", "tls_cert_file")?;
        let key = pem(settings, "tls_key", "tls_key_file")?.map(SecretText::new);
        if certificate.is_some() != key.is_some() {
            let (key, expected) = match certificate {
                Some(_) => ("tls_key", "the key of `tls_cert`"),
                None => ("tls_cert", "the certificate of `tls_key`"),
            };
            return Err(missing(key, expected));
        }
        let read = Self {
            url: SecretText::new(url),
            host: text("MYSQL_HOST"),
            port: settings.number("MYSQL_PORT", 3306, 1..=u16::MAX)?,
            username: text("MYSQL_USERNAME"),
            password: SecretText::new(settings.text("MYSQL_PASSWORD").unwrap_or_default()),
            database: text("MYSQL_DATABASE"),
            tls: settings.switch("MYSQL_TLS_REQUIRED", false)?
                || roots.is_some()
                || certificate.is_some(),
            roots,
            certificate,
            key,
            pool_size: settings.number("pool_size", 16, 1..=1000)?,
            pool_wait: millis("pool_wait_ms", 3000)?,
            connect_limit: millis("connect_timeout_ms", 3000)?,
            statement_limit: millis("statement_timeout_ms", 30_000)?,
            lock_wait: limits.lock_wait,
            transaction: limits.transaction,
            reading: limits.cursor.max(limits.transaction),
        };
        read.options(None)?;
        Ok(read)
    }

    /// Host and port, for errors.
    pub(crate) fn address(&self) -> String {
        let options = self.options(None);
        options.map_or_else(
            |_| String::new(),
            |options| format!("{}:{}", options.ip_or_hostname(), options.tcp_port()),
        )
    }

    /// The client's own form, for the database of the link or another one.
    pub(crate) fn options(&self, db: Option<&str>) -> Result<Opts, InvalidSetting> {
        let base = self.base()?;
        let user = base.user().map_or(self.username.as_str(), |user| user);
        if user.is_empty() {
            return Err(missing("MYSQL_USERNAME", "the name to log in with"));
        }
        let password = base
            .pass()
            .map_or(self.password.expose(), |password| password);
        let own = base.db_name().map_or(self.database.as_str(), |name| name);
        if own.is_empty() {
            return Err(missing("MYSQL_DATABASE", "the name of the database"));
        }
        let (user, password) = (user.to_owned(), password.to_owned());
        let db = db.unwrap_or(own).to_owned();
        let builder = OptsBuilder::from_opts(base)
            .user(Some(user))
            .pass(Some(password))
            .db_name(Some(db))
            .prefer_socket(false)
            // An update counts the rows that it finds, as elsewhere.
            .client_found_rows(true)
            .stmt_cache_size(MOST_STATEMENTS)
            .init(vec![self.greeting()])
            .ssl_opts(self.ssl());
        Ok(builder.into())
    }

    fn base(&self) -> Result<Opts, InvalidSetting> {
        if !self.url.is_empty() {
            // Why it is none may show the password.
            return Opts::from_url(self.url.expose()).map_err(|_| InvalidSetting::Value {
                key: "url".to_owned(),
                value: "(hidden)".to_owned(),
                expected: ADDRESS.to_owned(),
            });
        }
        if self.host.is_empty() {
            return Err(missing("url", ADDRESS));
        }
        let builder = OptsBuilder::default()
            .ip_or_hostname(&self.host)
            .tcp_port(self.port);
        Ok(builder.into())
    }

    /// What a new connection is told. A server may be set up to leave a statement, or what follows a
    /// commit, in a transaction that nobody would end. The locks that are waited for are those of rows
    /// and those of whole tables. The last parts are read by MariaDB and by MySQL only: what we would
    /// end ourselves ends there too, for the case that we are not there any more, or cannot tell it.
    fn greeting(&self) -> String {
        let lock = match self.lock_wait.as_secs().max(1) {
            _ if self.lock_wait.is_zero() => String::new(),
            secs => format!(", innodb_lock_wait_timeout = {secs}, lock_wait_timeout = {secs}"),
        };
        let idle = self.transaction.as_secs().max(1);
        let longest = (self.statement_limit + self.reading + GRACE).as_secs();
        format!(
            "SET time_zone = '+00:00', autocommit = 1, completion_type = 0{lock} \
             /*M!100101 , max_statement_time = {longest} */ \
             /*M!100300 , idle_transaction_timeout = {idle} */ \
             /*!50708 , max_execution_time = {longest}000 */"
        )
    }

    fn ssl(&self) -> Option<SslOpts> {
        if !self.tls {
            return None;
        }
        let system = rustls_native_certs::load_native_certs().certs;
        let system = system.into_iter().map(|root| root.to_vec());
        let own = self.roots.iter().map(|text| text.clone().into_bytes());
        let roots = system.chain(own).map(Into::into).collect();
        let identity = self.certificate.as_deref().zip(self.key.as_ref());
        let identity = identity.map(|(chain, key)| {
            ClientIdentity::new(bytes(chain).into(), bytes(key.expose()).into())
        });
        let options = SslOpts::default().with_root_certs(roots);
        Some(options.with_client_identity(identity))
    }
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn missing(key: &str, expected: &str) -> InvalidSetting {
    InvalidSetting::Missing {
        key: key.to_owned(),
        expected: expected.to_owned(),
    }
}

/// A PEM text that is said as it is or by the file it is in.
fn pem(settings: &Settings, key: &str, file: &str) -> Result<Option<String>, InvalidSetting> {
    if let Some(text) = settings.text(key) {
        return Ok(Some(text.to_owned()));
    }
    settings.read(file, "a file that can be read", |path| {
        std::fs::read_to_string(path).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &[(&str, &str)]) -> Result<ServerSettings, String> {
        let settings = Settings::from_texts(link.iter().copied(), []);
        ServerSettings::read(&settings, &Limits::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_login_may_stand_beside_the_url() {
        let link = [("url", "mysql://me@db/shop"), ("MYSQL_PASSWORD", "sesame")];
        let options = read(&link).unwrap().options(None).unwrap();
        assert_eq!(
            (options.user(), options.pass()),
            (Some("me"), Some("sesame"))
        );
        assert_eq!(options.db_name(), Some("shop"));
        let other = read(&link).unwrap().options(Some("logs")).unwrap();
        assert_eq!(other.db_name(), Some("logs"));
        assert!(!format!("{:?}", read(&link).unwrap()).contains("sesame"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_without_the_login() {
        assert!(read(&[]).unwrap_err().contains("`url`"));
        let error = read(&[("MYSQL_HOST", "db")]).unwrap_err();
        assert!(error.contains("MYSQL_USERNAME"), "{error}");
        let error = read(&[("url", "mysql://me:sesame@db:port/x")]).unwrap_err();
        assert!(
            error.contains("`url`") && !error.contains("sesame"),
            "{error}"
        );
        let error = read(&[("url", "mysql://me@db/x"), ("tls_key", "x")]).unwrap_err();
        assert!(error.contains("`tls_cert`"), "{error}");
    }
}
