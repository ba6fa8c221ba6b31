//! How everybody connects: hosts, providers, the shell, and the backends of links that are NATS.
//!
//! A [`Connection`] says where, as whom and how. [`Connection::prepare`] looks at its files and
//! seeds, so that what is wrong is said by name, and makes the options of the client from it. What
//! it names as files is read again at every connect, and [`Prepared::rotation`] connects again as
//! soon as one of them changes.

mod address;
mod creds;
mod files;
mod login;
pub mod options;
mod place;
mod rotation;
mod system;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use lattice_core::{Backoff, Spread};

pub use address::{ServerAddress, addresses, without_login};
pub use creds::Creds;
use files::Kept;
pub use files::TlsError;
pub use login::{Login, Renewable};
pub use place::{NatsSystem, Place, login_in};
use rotation::Look;
pub use rotation::Rotation;
pub use system::{AuthorityFile, SystemAuthorities};

/// How long the connection to one server may take until the next one is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause before the second attempt to come back; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The certificate that a client shows, and its key: PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCert {
    /// The certificate, with those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether it has to be, also when the server does not ask for it.
    pub required: bool,
    /// Whether TLS begins before the server says anything; it is required then.
    pub first: bool,
    /// Files with the authorities to trust instead of those of the system.
    pub ca_files: Vec<PathBuf>,
    /// What the client shows of itself.
    pub client: Option<ClientCert>,
}

impl Tls {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where NATS is, who connects, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Addresses of servers; one that is there is enough.
    pub servers: Vec<String>,
    /// Who connects.
    pub login: Login,
    /// The account that a credentials file has to be of; that which it is of now when left out.
    pub account: Option<String>,
    /// How it is encrypted.
    pub tls: Tls,
    /// What the subjects of answers begin with, where that is not `_INBOX`.
    pub inbox: Option<String>,
}

/// Why a connection cannot be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// No server is named.
    #[error("no NATS server is named")]
    NoServer,
    /// An address is none.
    #[error("`{address}` is not an address of a NATS server")]
    Address {
        /// The address, without a login in it.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A credentials file cannot be read.
    #[error("could not read the credentials file `{}`", path.display())]
    ReadCreds {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A credentials file holds something else.
    #[error("`{}` holds no NATS credentials", path.display())]
    NotCreds {
        /// The file.
        path: PathBuf,
    },
    /// A credentials file holds those of another account than before.
    #[error("`{}` has become that of another NATS account, `{account}`", path.display())]
    OtherAccount {
        /// The file.
        path: PathBuf,
        /// The account that it is of now.
        account: String,
    },
    /// There is a token without the seed that signs for it.
    #[error("there is a user token but no seed")]
    NoSeed,
    /// The seed is none.
    #[error("the seed of the NATS user is not a seed")]
    Seed(#[source] nkeys::error::Error),
    /// What TLS needs cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ConnectionError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoServer | Self::Address { .. } => {
                "addresses are written as `nats://host:4222`, several with commas between them"
            }
            Self::ReadCreds { .. } => "check the path and its permissions",
            Self::NotCreds { .. } => "use a file made by `nsc generate creds`",
            Self::OtherAccount { .. } => {
                "put back credentials of the account until now, or start anew for the other one"
            }
            Self::NoSeed => "give the seed that belongs to the token",
            Self::Seed(_) => "the seed of a user has 58 characters and starts with `SU`",
            Self::Tls(error) => error.hint(),
        }
    }
}

/// A connection whose files and seeds have been looked at.
#[derive(Debug, Clone)]
pub struct Prepared {
    servers: Vec<ServerAddr>,
    login: Login,
    /// The account of a credentials file, which it has to stay in.
    account: Option<String>,
    tls: Tls,
    inbox: Option<String>,
    /// All authorities in one file, where several are named: the client reads one.
    bundle: Option<Arc<Kept>>,
    /// Files with authorities that this process has made: those of the system, or of a text.
    system: Vec<Arc<Kept>>,
    /// What the files were like before they were read.
    looks: Vec<Look>,
}

impl Connection {
    /// Looks at everything that can be wrong before a server is asked.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] names what cannot be used.
    pub fn prepare(&self) -> Result<Prepared, ConnectionError> {
        let servers = self.servers.iter();
        let servers = servers.map(|text| ServerAddress::of(text).check());
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConnectionError::NoServer);
        }
        let login = match &self.login {
            Login::Nobody => Login::in_addresses(&servers),
            login => login.clone(),
        };
        let system = system::among(&self.tls.ca_files);
        files::keep(&system);
        let looks = rotation::first_look(&files_of(&login, &self.tls));
        login.check(self.account.as_deref())?;
        files::check(&self.tls)?;
        let bundle = match self.tls.ca_files.len() {
            0 | 1 => None,
            _ => {
                let all = files::join(&self.tls.ca_files)?;
                Some(Arc::new(Kept::new("lattice-ca-", all)?))
            }
        };
        Ok(Prepared {
            servers,
            account: self.account.clone().or_else(|| login.account()),
            login,
            tls: self.tls.clone(),
            inbox: self.inbox.clone(),
            bundle,
            system,
            looks,
        })
    }

    /// The addresses as they may be shown: without logins.
    #[must_use]
    pub fn shown(&self) -> String {
        let has_login = |text: &String| text.contains('@') && !text.contains("://");
        let shown = self.servers.iter().enumerate().filter(|(at, text)| {
            // A comma in a password, which makes it look like two addresses.
            let next = self.servers.get(at + 1);
            text.contains('@') || !text.contains("://") || !next.is_some_and(has_login)
        });
        let shown: Vec<_> = shown.map(|(_, text)| without_login(text)).collect();
        shown.join(",")
    }
}

impl Prepared {
    /// The servers to connect to.
    #[must_use]
    pub fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// The account that the credentials file has to stay in, as far as it tells.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The options of the client, for its name and events to be added. A connection that is lost
    /// is made again for as long as it takes.
    #[must_use]
    pub fn options(&self) -> ConnectOptions {
        let kept = self.kept();
        let options = self
            .login
            .options(self.account.clone())
            .connection_timeout(CONNECT_TIMEOUT)
            .max_reconnects(None)
            .reconnect_delay_callback(move |attempt| {
                // They live as long as the client, which reads them at every connect: next.
                files::keep(&kept);
                pause(attempt)
            })
            .require_tls(self.tls.required);
        let options = match (&self.bundle, self.tls.ca_files.first()) {
            (Some(bundle), _) => options.add_root_certificates(bundle.path().to_owned()),
            (None, Some(file)) => options.add_root_certificates(file.clone()),
            (None, None) => options,
        };
        let options = match &self.tls.client {
            Some(client) => options.add_client_certificate(client.cert.clone(), client.key.clone()),
            None => options,
        };
        let options = match &self.inbox {
            Some(prefix) => options.custom_inbox_prefix(prefix),
            None => options,
        };
        if self.tls.first {
            options.tls_first()
        } else {
            options
        }
    }

    /// Watches the files of the connection that `client` was made from, and connects it again when
    /// one has changed; `None` when there are none. Ends when what it returns is dropped.
    #[must_use]
    pub fn rotation(&self, client: &async_nats::Client) -> Option<Rotation> {
        Rotation::start(self.clone(), client.clone())
    }

    /// The files that are read at every connect.
    fn files(&self) -> Vec<PathBuf> {
        files_of(&self.login, &self.tls)
    }

    /// The files that were made for the connection.
    fn kept(&self) -> Vec<Arc<Kept>> {
        self.system.iter().chain(&self.bundle).cloned().collect()
    }

    /// Whether the files can be used as they are now, and takes the authorities over.
    fn take_files(&self) -> Result<(), ConnectionError> {
        files::keep(&self.system);
        self.login.check(self.account.as_deref())?;
        files::check(&self.tls)?;
        if let Some(bundle) = &self.bundle {
            bundle.write(files::join(&self.tls.ca_files)?)?;
        }
        Ok(())
    }
}

fn files_of(login: &Login, tls: &Tls) -> Vec<PathBuf> {
    let creds = match login {
        Login::CredsFile(path) => Some(path.clone()),
        _ => None,
    };
    let client = tls.client.iter();
    let client = client.flat_map(|client| [client.cert.clone(), client.key.clone()]);
    let ca_files = tls.ca_files.iter().cloned();
    ca_files.chain(client).chain(creds).collect()
}

/// None before the first attempt, since a connection that was given up on purpose is to be back at
/// once; then growing, so that a restarted server is found soon and a lost one is not besieged, and
/// spread, so that those who were lost together do not come back together.
fn pause(attempt: usize) -> Duration {
    let Some(earlier) = attempt.checked_sub(2) else {
        return Duration::ZERO;
    };
    let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    let earlier = u32::try_from(earlier).unwrap_or(u32::MAX);
    backoff.after(earlier).delay()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use lattice_core::provider::SecretText;
    use lattice_nats_box::{Authority, NatsBox, NatsBoxOptions};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn authorities_that_were_cleaned_away_are_put_back_to_connect_again() {
        let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
        let server = NatsBox::start_with(NatsBoxOptions {
            extra_config: authority.server_config(""),
            ..NatsBoxOptions::default()
        });
        let server = server.await.unwrap();
        let pem = std::fs::read_to_string(authority.path("ca.pem")).unwrap();
        // Of a text, and several in one.
        let text = AuthorityFile::write(&SecretText::new(pem)).unwrap();
        let several = vec![other.path("ca.pem"), authority.path("ca.pem")];
        for ca_files in [vec![text.path().to_owned()], several] {
            let mut connection = Connection {
                servers: vec![server.url.clone()],
                ..Connection::default()
            };
            connection.tls.ca_files = ca_files;
            let prepared = connection.prepare().unwrap();
            let connecting = prepared.options().connect(prepared.servers());
            let client = connecting.await.unwrap();
            let bundle = prepared.bundle.as_ref().map(|kept| kept.path());
            std::fs::remove_file(bundle.unwrap_or(text.path())).unwrap();
            let connects = || client.statistics().connects.load(Ordering::Relaxed);
            let before = connects();
            client.force_reconnect().await.unwrap();
            let again = async {
                while connects() == before {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(Duration::from_secs(20), again).await.unwrap();
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert_eq!(pause(1), Duration::ZERO);
        for (attempt, longest) in [(2, 50), (3, 100), (4, 200), (usize::MAX, 2000)] {
            let longest = Duration::from_millis(longest);
            let pause = pause(attempt);
            assert!(
                longest / 2 <= pause && pause <= longest,
                "{attempt}: {pause:?}"
            );
        }
    }

    #[test]
    fn addresses_are_shown_without_logins() {
        let connection = Connection {
            servers: addresses("nats://me:secret@a:4222, b:4222,"),
            ..Connection::default()
        };
        assert_eq!(connection.shown(), "nats://a:4222,b:4222");
        let comma = Connection {
            servers: addresses("nats://half,other@a:4222"),
            ..Connection::default()
        };
        assert_eq!(comma.shown(), "a:4222");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let text = |connection: Connection| connection.prepare().unwrap_err().to_string();
        assert_eq!(text(Connection::default()), "no NATS server is named");
        let at = |server: &str| Connection {
            servers: vec![server.to_owned()],
            ..Connection::default()
        };
        let told = text(at("nats://me:secret@[bad"));
        assert_eq!(told, "`nats://[bad` is not an address of a NATS server");
        let mut missing = at("localhost");
        missing.tls.ca_files = vec!["/nowhere/ca.pem".into()];
        assert!(text(missing).contains("/nowhere/ca.pem"));
        let mut creds = at("localhost");
        creds.login = Login::CredsFile("/nowhere/user.creds".into());
        assert!(text(creds).contains("/nowhere/user.creds"));
    }
}
