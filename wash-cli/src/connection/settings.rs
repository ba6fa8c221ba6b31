//! From flags, variables, context and defaults to one set of connection settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_core::provider::SecretText;
use lattice_nats::connection::options;
use lattice_nats::connection::{Connection, Login, Tls, without_login};

use super::address::{has_port, is_local, port_apart, refuse_two_ports, split_address};
use crate::context::{Context, ContextDir};
use crate::error::{CliError, Code, Result};
use crate::lattice_dir::{LatticeDir, LocalAccess, LocalAddress};

/// Where a NATS server is expected when nothing else is said.
pub(crate) const DEFAULT_HOST: &str = "127.0.0.1";
/// The port of a NATS server when nothing else is said.
pub(crate) const DEFAULT_PORT: u16 = 4222;
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
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Who connects.
    pub(crate) login: Login,
    /// How the connection is encrypted.
    pub(crate) tls: Tls,
    /// Addresses instead of host and port.
    pub(crate) urls: Vec<String>,
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
        use super::address::split_port;

        let empty = tempfile::tempdir().unwrap();
        Given {
            nats: options::Given {
                host: Some(host.to_owned()),
                port: split_port(host).is_none().then_some(port),
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
            host: address.host.clone(),
            port: address.port,
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
        if !self.urls.is_empty() {
            let shown: Vec<_> = self.urls.iter().map(|url| without_login(url)).collect();
            return shown.join(",");
        }
        let host = self
            .host
            .split_once("://")
            .map_or(self.host.as_str(), |(_, host)| host);
        if has_port(host) {
            host.to_owned()
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The address as NATS clients take it.
    pub(crate) fn url(&self) -> String {
        let scheme = self
            .host
            .split_once("://")
            .map_or("nats", |(scheme, _)| scheme);
        format!("{scheme}://{}", self.address())
    }

    /// The host, perhaps with its scheme, and the port of the first server.
    pub(crate) fn first_address(&self) -> (String, u16) {
        match self.urls.first() {
            Some(url) => split_address(&without_login(url)),
            None => (self.host.clone(), self.port),
        }
    }

    /// The same as everybody connects by it.
    pub(crate) fn connection(&self) -> Connection {
        let servers = match self.urls.is_empty() {
            true => vec![self.url()],
            false => self.urls.clone(),
        };
        Connection {
            servers,
            login: self.login.clone(),
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
                && host.as_deref().is_none_or(is_local)
                && port.unwrap_or(DEFAULT_PORT) == running.port
        };
        let access = running
            .filter(leads_there)
            .and_then(|running| running.access);
        let cluster = self.cluster_seed.take().or(side.cluster_seed.clone());
        let of_lattice = || cluster_of(access.as_ref()?);
        let js_domain = self.js_domain.take().or(side.js_domain.clone());
        let timeout_ms = self.timeout_ms.or(side.timeout);
        Ok(Settings {
            lattice,
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: port.unwrap_or(DEFAULT_PORT),
            login: self.login(&side, access.as_ref())?,
            tls: self.tls(&side, access.as_ref()),
            cluster: cluster.map(SecretText::new).or_else(of_lattice),
            timeout: timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis),
            timeout_given: timeout_ms
                .is_some_and(|ms| u128::from(ms) != DEFAULT_TIMEOUT.as_millis()),
            timeout_flag: self.timeout_ms.is_some(),
            topic_prefix: variable("WASMCLOUD_CTL_TOPIC_PREFIX"),
            js_domain,
            urls: self.nats.urls,
        })
    }

    fn address(&self, side: &FromContext, running: Option<&LocalAddress>, named: bool) -> Address {
        let Self { nats, .. } = self;
        let context = port_apart(side.host.clone(), side.port);
        if nats.host.is_some() || nats.port.is_some() || !nats.urls.is_empty() {
            let (host, port) = port_apart(nats.host.clone(), nats.port);
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

type Address = (Option<String>, Option<u16>);

/// `wash up` may listen elsewhere than at the usual port; commands follow it there. A context that
/// was named, or that points to another place than `wash up` wanted, is meant and wins.
fn local_address(running: Option<&LocalAddress>, named: bool, context: Address) -> Address {
    let Some(running) = running.filter(|_| !named) else {
        return context;
    };
    let port = context.1.unwrap_or(DEFAULT_PORT);
    let is_meant = port == DEFAULT_PORT || port == running.wanted_port;
    if is_meant && context.0.as_deref().is_none_or(is_local) {
        (Some(running.host.clone()), Some(running.port))
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
        assert_eq!(Settings::at("10.0.0.1", 4222).url(), "nats://10.0.0.1:4222");
        assert_eq!(
            Settings::at("tls://nats.test", 4443).url(),
            "tls://nats.test:4443"
        );
        assert_eq!(
            Settings::at("nats.test:5222", 4222).address(),
            "nats.test:5222"
        );
        assert_eq!(Settings::at("[::1]", 4222).url(), "nats://[::1]:4222");
        // Whoever notes an address notes both.
        let (host, port) = Settings::at("tls://127.0.0.1:4333", 4222).first_address();
        assert_eq!((host.as_str(), port), ("tls://127.0.0.1", 4333));
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
