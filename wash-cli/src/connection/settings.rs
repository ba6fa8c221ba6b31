//! From flags, variables, context and defaults to one set of connection settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::provider::SecretText;
use lattice_nats::connection::options;
use lattice_nats::connection::{Connection, Login, ServerAddress, Tls};

use super::address::{Said, is_here, refuse_two_ports, said};
use crate::context::{Context, ContextDir};
use crate::error::{CliError, Code, Result};
use crate::lattice_dir::{LatticeDir, LocalAccess, LocalAddress};

/// Where a NATS server is expected when nothing else is said.
pub(crate) const DEFAULT_HOST: &str = "127.0.0.1";
/// The port of a NATS server when nothing else is said.
const DEFAULT_PORT: u16 = ServerAddress::DEFAULT_PORT;
/// How long answers may take when nothing else is said.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_millis(2000);

/// Which of the two connections of a lattice is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    #[default]
    Control,
    Rpc,
}

/// What the command line and its variables said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) side: Side,
    pub(crate) nats: options::Given,
    pub(crate) tls_ca_file: Option<PathBuf>,
    pub(crate) cluster_seed: Option<String>,
    pub(crate) js_domain: Option<String>,
    pub(crate) lattice: Option<String>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) context: Option<String>,
    pub(crate) context_dir: Option<PathBuf>,
}

/// Settings with every question answered.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lattice: LatticeName,
    /// The server; its port is always said.
    pub(crate) server: ServerAddress,
    /// Who connects.
    pub(crate) login: Login,
    /// How the connection is encrypted.
    pub(crate) tls: Tls,
    /// Addresses instead of that one.
    pub(crate) urls: Vec<ServerAddress>,
    /// The seed of the cluster whose member makes the calls.
    pub(crate) cluster: Option<SecretText>,
    /// The JetStream domain of the lattice.
    pub(crate) js_domain: Option<String>,
    pub(crate) timeout: Duration,
    /// Whether somebody asked for a timeout other than the usual one.
    pub(crate) timeout_given: bool,
    /// Whether the timeout was given for this very command, or by its variable.
    pub(crate) timeout_flag: bool,
    pub(crate) topic_prefix: Option<String>,
}

impl Settings {
    /// Those of an open server, for tests; a port behind the host goes before the other.
    #[cfg(test)]
    pub(crate) fn at(host: &str, port: u16) -> Self {
        let empty = tempfile::tempdir().unwrap();
        Given {
            nats: options::Given {
                host: Some(host.to_owned()),
                port: said(Some(host), Some(port)).1,
                ..options::Given::default()
            },
            context_dir: Some(empty.path().into()),
            ..Given::default()
        }
        .settle()
        .unwrap()
    }

    /// Those of a lattice that `wash up` runs at this address, whatever contexts and variables say:
    /// they are about other lattices.
    pub(crate) fn of_local(lattice: &str, address: &LocalAddress) -> Result<Self> {
        let access = address.access.as_ref();
        let creds = access.map(|access| access.creds.clone());
        Ok(Self {
            lattice: lattice_name(Some(lattice.to_owned()))?,
            server: address.server.clone(),
            login: creds.map_or(Login::Nobody, Login::CredsFile),
            tls: Tls {
                ca_files: access.map(|access| access.ca.clone()).into_iter().collect(),
                ..Tls::default()
            },
            urls: Vec::new(),
            cluster: None,
            js_domain: None,
            timeout: DEFAULT_TIMEOUT,
            timeout_given: false,
            timeout_flag: false,
            topic_prefix: variable("WASMCLOUD_CTL_TOPIC_PREFIX"),
        })
    }

    /// The address without scheme, as 1.x prints it.
    pub(crate) fn address(&self) -> String {
        match self.urls.is_empty() {
            true => self.server.place(),
            false => self.connection().shown(),
        }
    }

    /// All servers; one that is there is enough.
    pub(super) fn servers(&self) -> &[ServerAddress] {
        match self.urls.is_empty() {
            true => std::slice::from_ref(&self.server),
            false => &self.urls,
        }
    }

    /// The first server as it is noted: of a list, without who connects.
    pub(crate) fn first_server(&self) -> ServerAddress {
        match self.urls.first() {
            Some(url) => url.clone().without_login(),
            None => self.server.clone(),
        }
    }

    /// The same as everybody connects by it.
    pub(crate) fn connection(&self) -> Connection {
        let servers = match self.urls.is_empty() {
            true => vec![self.server.url()],
            false => self.urls.iter().map(ServerAddress::text).collect(),
        };
        Connection {
            servers,
            login: self.login.clone(),
            account: None,
            tls: self.tls.clone(),
            inbox: None,
        }
    }

    /// The wait for a slow operation: what was asked for, else `default`.
    pub(crate) fn wait(&self, default: Duration) -> Duration {
        if self.timeout_given {
            self.timeout
        } else {
            default
        }
    }
}

impl Given {
    /// Fills the gaps: flag, variable, context, a local lattice of `wash up`, built-in value.
    pub(crate) fn settle(mut self) -> Result<Settings> {
        refuse_two_ports(&self.nats, self.side)?;
        let context =
            ContextDir::open(self.context_dir.clone())?.select(self.context.as_deref())?;
        let named = self.context.is_some();
        let side = FromContext::of(context.unwrap_or_default(), self.side);
        let lattice = lattice_name(self.lattice.take().or_else(|| side.lattice.clone()))?;
        let running = running(&lattice);
        let (host, port) = self.address(&side, running.as_ref(), named);
        // How to get into a lattice that `wash up --secure` runs, if this is where it leads to.
        let leads_there = |running: &LocalAddress| {
            self.nats.urls.is_empty()
                && host.as_ref().is_none_or(is_here)
                && port.unwrap_or(DEFAULT_PORT) == running.server.port()
        };
        let access = running
            .filter(leads_there)
            .and_then(|running| running.access);
        let cluster = self.cluster_seed.take().or(side.cluster_seed.clone());
        let of_lattice = || cluster_of(access.as_ref()?);
        let js_domain = self.js_domain.take().or(side.js_domain.clone());
        let timeout_ms = self.timeout_ms.or(side.timeout);
        let server = host.unwrap_or_else(|| ServerAddress::of(DEFAULT_HOST));
        let urls = self.nats.urls.iter();
        Ok(Settings {
            lattice,
            server: server.with_port(port.unwrap_or(DEFAULT_PORT)),
            urls: urls.map(|url| ServerAddress::of(url)).collect(),
            login: self.login(&side, access.as_ref())?,
            tls: self.tls(&side, access.as_ref()),
            cluster: cluster.map(SecretText::new).or_else(of_lattice),
            timeout: timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis),
            timeout_given: timeout_ms
                .is_some_and(|ms| u128::from(ms) != DEFAULT_TIMEOUT.as_millis()),
            timeout_flag: self.timeout_ms.is_some(),
            topic_prefix: variable("WASMCLOUD_CTL_TOPIC_PREFIX"),
            js_domain,
        })
    }

    fn address(&self, side: &FromContext, running: Option<&LocalAddress>, named: bool) -> Said {
        let Self { nats, .. } = self;
        let context = said(side.host.as_deref(), side.port);
        if nats.host.is_some() || nats.port.is_some() || !nats.urls.is_empty() {
            let (host, port) = said(nats.host.as_deref(), nats.port);
            (host.or(context.0), port.or(context.1))
        } else {
            local_address(running, named, context)
        }
    }

    /// Credentials of one source are never mixed with those of another.
    fn login(&self, side: &FromContext, access: Option<&LocalAccess>) -> Result<Login> {
        let mut said = if self.nats.names_login() {
            self.nats.clone()
        } else if let Some(creds) = creds_variable(self.side) {
            options::Given {
                creds: Some(creds),
                ..options::Given::default()
            }
        } else {
            let no_login = side.jwt.is_none() && side.seed.is_none();
            let of_lattice = || access.map(|access| access.creds.clone());
            let creds = side.creds.clone();
            options::Given {
                jwt: side.jwt.clone(),
                seed: side.seed.clone(),
                creds: creds.or_else(|| of_lattice().filter(|_| no_login)),
                ..options::Given::default()
            }
        };
        // The shell of 1.x takes the file where there is one.
        match &said.creds {
            Some(path) => Ok(Login::CredsFile(path.clone())),
            None => {
                said.jwt = text_or_file(said.jwt)?;
                said.seed = text_or_file(said.seed)?;
                said.login().map_err(|error| super::unusable(&error))
            }
        }
    }

    fn tls(&self, side: &FromContext, access: Option<&LocalAccess>) -> Tls {
        let ca_file = self.tls_ca_file.clone();
        let ca_file = ca_file
            .or_else(|| path_variable(self.side, "TLS_CA_FILE"))
            .or_else(|| side.tls_ca_file.clone())
            .or_else(|| access.map(|access| access.ca.clone()));
        let first = self.nats.tls_first;
        Tls {
            required: self.nats.tls.unwrap_or_default(),
            first: first
                .or_else(|| flag_variable(self.side, "TLS_FIRST"))
                .or(side.tls_first)
                .unwrap_or(false),
            ca_files: ca_file.into_iter().collect(),
            client: self.nats.client.clone(),
        }
    }
}

/// The part of a context that belongs to one connection.
struct FromContext {
    lattice: Option<String>,
    cluster_seed: Option<String>,
    js_domain: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    jwt: Option<SecretText>,
    seed: Option<SecretText>,
    creds: Option<PathBuf>,
    tls_ca_file: Option<PathBuf>,
    tls_first: Option<bool>,
    timeout: Option<u64>,
}

impl FromContext {
    fn of(context: Context, side: Side) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let secret = |text| filled(text).map(SecretText::new);
        match side {
            Side::Control => Self {
                lattice: filled(context.lattice),
                cluster_seed: filled(context.cluster_seed),
                js_domain: filled(context.js_domain),
                host: filled(context.ctl_host),
                port: context.ctl_port,
                jwt: secret(context.ctl_jwt),
                seed: secret(context.ctl_seed),
                creds: context.ctl_credsfile,
                tls_ca_file: context.ctl_tls_ca_file,
                tls_first: context.ctl_tls_first,
                timeout: context.ctl_timeout,
            },
            Side::Rpc => Self {
                lattice: filled(context.lattice),
                cluster_seed: filled(context.cluster_seed),
                js_domain: filled(context.js_domain),
                host: filled(context.rpc_host),
                port: context.rpc_port,
                jwt: secret(context.rpc_jwt),
                seed: secret(context.rpc_seed),
                creds: context.rpc_credsfile,
                tls_ca_file: context.rpc_tls_ca_file,
                tls_first: context.rpc_tls_first,
                timeout: context.rpc_timeout,
            },
        }
    }
}

/// A token or a seed may be given as the file that holds it, as in 1.x.
fn text_or_file(given: Option<SecretText>) -> Result<Option<SecretText>> {
    let Some(path) = given.as_ref().map(|text| Path::new(text.expose())) else {
        return Ok(None);
    };
    if !path.is_file() {
        return Ok(given);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::io(format!("could not read `{}`", path.display()), &error))?;
    Ok(Some(SecretText::new(text.trim())))
}

/// `wash up` may listen elsewhere than at the usual port; commands follow it there. A context that
/// was named, or that points to another place than `wash up` wanted, is meant and wins.
fn local_address(running: Option<&LocalAddress>, named: bool, context: Said) -> Said {
    let Some(running) = running.filter(|_| !named) else {
        return context;
    };
    let port = context.1.unwrap_or(DEFAULT_PORT);
    let is_meant = port == DEFAULT_PORT || port == running.wanted_port;
    if is_meant && context.0.as_ref().is_none_or(is_here) {
        (Some(running.server.clone()), Some(running.server.port()))
    } else {
        context
    }
}

/// The seed of the cluster of a lattice that `wash up --secure` runs. Without it, calls prove
/// nothing, and are refused with that reason.
fn cluster_of(access: &LocalAccess) -> Option<SecretText> {
    let text = std::fs::read_to_string(access.cluster.as_ref()?).ok()?;
    Some(SecretText::new(text.trim()))
}

/// Where `wash up` runs the lattice on this machine.
fn running(lattice: &LatticeName) -> Option<LocalAddress> {
    LatticeDir::open(lattice).ok()?.address()
}

/// Checks the name of a lattice.
pub(crate) fn lattice_name(given: Option<String>) -> Result<LatticeName> {
    match given {
        None => Ok(LatticeName::default()),
        Some(text) => LatticeName::new(&text).map_err(|error| {
            CliError::new(Code::Usage, error.to_string())
                .hint("a lattice name is one word, such as `default`")
        }),
    }
}

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// 1.x knows most settings of a connection under two prefixes.
fn second_name(side: Side, setting: &str) -> Option<String> {
    let side = match side {
        Side::Control => "CTL",
        Side::Rpc => "RPC",
    };
    variable(&format!("WASMCLOUD_{side}_{setting}"))
        .or_else(|| variable(&format!("WASH_{side}_{setting}")))
}

fn path_variable(side: Side, setting: &str) -> Option<PathBuf> {
    second_name(side, setting).map(PathBuf::from)
}

fn flag_variable(side: Side, setting: &str) -> Option<bool> {
    second_name(side, setting).map(|value| matches!(value.as_str(), "1" | "true"))
}

fn creds_variable(side: Side) -> Option<PathBuf> {
    path_variable(side, "CREDSFILE").or_else(|| path_variable(side, "CREDS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_carry_a_scheme_or_a_port() {
        for (host, address, url) in [
            ("10.0.0.1", "10.0.0.1:4443", "nats://10.0.0.1:4443"),
            ("tls://a.test", "a.test:4443", "tls://a.test:4443"),
            ("a.test:5222", "a.test:5222", "nats://a.test:5222"),
            ("[::1]", "[::1]:4443", "nats://[::1]:4443"),
            ("::1", "[::1]:4443", "nats://[::1]:4443"),
            (
                "me:word@a.test",
                "a.test:4443",
                "nats://me:word@a.test:4443",
            ),
            ("tls://word@a.test:1", "a.test:1", "tls://word@a.test:1"),
            // What is no port is told as it was written.
            ("a.test:port", "a.test:port", "nats://a.test:port"),
        ] {
            let settings = Settings::at(host, 4443);
            assert_eq!(settings.address(), address, "{host}");
            assert_eq!(settings.connection().servers, [url], "{host}");
        }
        // Whoever notes an address notes both.
        let first = Settings::at("tls://127.0.0.1:4333", 4222).first_server();
        assert_eq!(first.host_text(), "tls://127.0.0.1");
        assert_eq!(first.port(), 4333);
    }

    #[test]
    fn a_list_of_servers_goes_before_host_and_port() {
        let settings = Settings {
            urls: ServerAddress::all("tls://me:word@a:1, [::1]:2,nats://c"),
            ..Settings::at("127.0.0.1", 4222)
        };
        assert_eq!(settings.address(), "tls://a:1,[::1]:2,nats://c");
        let servers = settings.connection().servers;
        assert_eq!(servers, ["tls://me:word@a:1", "[::1]:2", "nats://c"]);
        let first = settings.first_server();
        assert_eq!((first.text().as_str(), first.port()), ("tls://a:1", 1));
    }

    #[test]
    fn a_context_fills_what_flags_leave_open() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = ContextDir::open(Some(folder.path().into())).unwrap();
        let context = Context {
            ctl_host: Some("10.1.1.1".into()),
            ctl_port: Some(4333),
            ctl_seed: Some("SU".into()),
            lattice: Some("west".into()),
            ..Context::local("edge")
        };
        contexts.save(&context).unwrap();
        let given = Given {
            context: Some("edge".into()),
            context_dir: Some(folder.path().into()),
            lattice: Some("east".into()),
            ..Given::default()
        };
        let settled = given.settle().unwrap();
        assert_eq!(settled.address(), "10.1.1.1:4333");
        assert_eq!(settled.lattice.as_str(), "east");
        assert_eq!(settled.login, Login::Nkey(SecretText::new("SU")));
        assert!(!settled.timeout_given);
    }

    #[test]
    fn a_seed_may_be_that_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user.nk");
        std::fs::write(&file, "SUFILE\n").unwrap();
        let login = |seed: &str| {
            Given {
                nats: options::Given {
                    seed: Some(SecretText::new(seed)),
                    ..options::Given::default()
                },
                context_dir: Some(folder.path().into()),
                ..Given::default()
            }
            .settle()
            .unwrap()
            .login
        };
        let read = login(file.to_str().unwrap());
        assert_eq!(read, Login::Nkey(SecretText::new("SUFILE")));
        assert_eq!(login("SUTEXT"), Login::Nkey(SecretText::new("SUTEXT")));
    }

    #[test]
    fn a_lattice_name_is_checked() {
        assert_eq!(
            lattice_name(Some("a.b".into())).unwrap_err().code(),
            Code::Usage
        );
    }
}
