//! The connections of the hosts that `wash up` starts.

use std::path::PathBuf;

use lattice_nats::connection::{Login, ServerAddress, Tls};
use lattice_nats::connection_options;

use crate::connection::{Given, Settings, said};
use crate::error::Result;
use crate::lattice_dir::LocalAccess;

connection_options! {
    /// The hosts' connection for control, and that of `wash up` itself.
    pub(super) struct CtlArgs {
        heading: "Hosts",
        flag: "ctl",
        variable: "WASMCLOUD_CTL",
        purpose: "control",
        host: "Host of the NATS server for control, if not the one started",
        port: "Port of the NATS server for control",
        creds: "ctl-credsfile" | "ctl-creds", "WASMCLOUD_CTL_CREDSFILE",
        tls_first: "WASMCLOUD_CTL_TLS_FIRST",
    }
}

connection_options! {
    /// The hosts' connection for calls.
    pub(super) struct RpcArgs {
        heading: "Hosts",
        flag: "rpc",
        variable: "WASMCLOUD_RPC",
        purpose: "calls",
        host: "Host of the NATS server for calls, if not the one for control",
        port: "Port of the NATS server for calls",
        creds: "rpc-credsfile" | "rpc-creds", "WASMCLOUD_RPC_CREDSFILE",
        tls_first: "WASMCLOUD_RPC_TLS_FIRST",
    }
}

/// The settings of the hosts' two connections.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    ctl: Settings,
    rpc: Settings,
}

impl Sides {
    /// `ctl` is what `wash up` goes by itself. Calls go to the same server as the same user, unless
    /// `given` or the context says otherwise.
    pub(super) fn new(ctl: &Settings, given: Given, own_address: bool) -> Result<Self> {
        let nats = given.nats.clone();
        let mut rpc = given.settle()?;
        let elsewhere = nats.host.is_some() || nats.port.is_some() || !nats.urls.is_empty();
        if elsewhere || !own_address {
            let (host, port) = said(nats.host.as_deref(), nats.port);
            let server = host.unwrap_or_else(|| ctl.server.clone());
            rpc.server = server.with_port(port.unwrap_or(ctl.server.port()));
            let urls = nats.urls.iter();
            rpc.urls = urls.map(|url| ServerAddress::of(url)).collect();
            if !elsewhere {
                rpc.urls.clone_from(&ctl.urls);
            }
        }
        let same_server = (&rpc.server, &rpc.urls) == (&ctl.server, &ctl.urls);
        if same_server && rpc.login == Login::Nobody {
            rpc.login = ctl.login.clone();
        }
        if same_server && rpc.tls.is_default() {
            rpc.tls = ctl.tls.clone();
        }
        Ok(Self {
            ctl: ctl.clone(),
            rpc,
        })
    }

    /// Milliseconds that calls may take.
    pub(super) fn rpc_timeout_ms(&self) -> u128 {
        self.rpc.timeout.as_millis()
    }

    /// The files with authorities, for both connections.
    pub(super) fn authorities(&self) -> Vec<String> {
        let files = self.ctl.tls.ca_files.iter().chain(&self.rpc.tls.ca_files);
        let mut files: Vec<_> = files.map(|path| path.display().to_string()).collect();
        files.dedup();
        files
    }

    /// Takes what is only for `wash` itself from what hosts are told.
    pub(super) fn without(mut self, own: &LocalAccess) -> Self {
        for side in [&mut self.ctl, &mut self.rpc] {
            if side.login == Login::CredsFile(own.creds.clone()) {
                side.login = Login::Nobody;
            }
        }
        self
    }

    /// The variables by which hosts are told both connections.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let both = [("WASMCLOUD_CTL", &self.ctl), ("WASMCLOUD_RPC", &self.rpc)];
        let all = both.into_iter().flat_map(|(prefix, side)| {
            let told = server(side).into_iter().chain(login(&side.login));
            let told = told.chain(tls(&side.tls));
            told.filter_map(move |(name, value)| Some((format!("{prefix}_{name}"), value?)))
        });
        all.collect()
    }
}

/// A variable, and its value where it has one.
pub(super) type Told = (&'static str, Option<String>);

/// Where it leads. A host looks at a list of addresses only where there is no single one.
fn server(side: &Settings) -> [Told; 3] {
    let urls: Vec<_> = side.urls.iter().map(ServerAddress::text).collect();
    let urls = Some(urls.join(",")).filter(|list| !list.is_empty());
    let single = urls.is_none();
    [
        ("HOST", single.then(|| side.server.host_text())),
        ("PORT", single.then(|| side.server.port().to_string())),
        ("URL", urls),
    ]
}

/// Who connects. Everything else that says who is empty, also where the environment has it: that is
/// what `wash up` goes by itself.
fn login(login: &Login) -> [Told; 4] {
    let [mut jwt, mut seed, mut creds, mut token] = [const { None }; 4];
    match login {
        Login::CredsFile(path) => creds = Some(path.display().to_string()),
        Login::Jwt(both) => {
            jwt = Some(both.jwt.expose().to_owned());
            seed = Some(both.seed.expose().to_owned());
        }
        Login::Nkey(key) => seed = Some(key.expose().to_owned()),
        Login::Token(text) => token = Some(text.expose().to_owned()),
        // The address names them, or nobody does.
        _ => return ["JWT", "SEED", "CREDS", "TOKEN"].map(|name| (name, None)),
    }
    let told = |text: Option<String>| Some(text.unwrap_or_default());
    [
        ("JWT", told(jwt)),
        ("SEED", told(seed)),
        ("CREDS", told(creds)),
        ("TOKEN", told(token)),
    ]
}

fn tls(tls: &Tls) -> [Told; 4] {
    let path = |path: &PathBuf| path.display().to_string();
    let client = tls.client.as_ref();
    [
        ("TLS", tls.required.then(|| "true".to_owned())),
        ("TLS_FIRST", tls.first.then(|| "true".to_owned())),
        ("TLS_CERT", client.map(|client| path(&client.cert))),
        ("TLS_KEY", client.map(|client| path(&client.key))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Side;
    use lattice_core::provider::SecretText;
    use lattice_nats::connection::{Creds, options};

    fn rpc(nats: options::Given) -> Given {
        let empty = tempfile::tempdir().unwrap();
        Given {
            side: Side::Rpc,
            nats,
            context_dir: Some(empty.path().into()),
            ..Given::default()
        }
    }

    fn told(ctl: &Settings, given: options::Given) -> Vec<(String, String)> {
        Sides::new(ctl, rpc(given), false).unwrap().variables()
    }

    fn value(told: &[(String, String)], name: &str) -> Option<String> {
        let mut found = told.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.clone())
    }

    #[test]
    fn a_list_of_addresses_holds_for_both_connections_and_in_place_of_a_single_one() {
        let ctl = Settings {
            urls: ServerAddress::all("nats://word@a:1,nats://b:2"),
            ..Settings::at("127.0.0.1", 4222)
        };
        let both = told(&ctl, options::Given::default());
        for side in ["CTL", "RPC"] {
            let of = |name| value(&both, &format!("WASMCLOUD_{side}_{name}"));
            assert_eq!(of("URL").as_deref(), Some("nats://word@a:1,nats://b:2"));
            assert_eq!((of("HOST"), of("PORT")), (None, None), "{side}");
        }
        let own = told(
            &ctl,
            options::Given {
                port: Some(4333),
                ..options::Given::default()
            },
        );
        assert_eq!(value(&own, "WASMCLOUD_RPC_PORT").as_deref(), Some("4333"));
        assert_eq!(value(&own, "WASMCLOUD_RPC_URL"), None);
    }

    #[test]
    fn hosts_are_told_host_and_port_as_they_were_written() {
        for (given, host, port) in [
            ("tls://nats.test", "tls://nats.test", "4222"),
            ("me:word@nats.test:4333", "me:word@nats.test", "4333"),
            ("[::1]:4333", "[::1]", "4333"),
        ] {
            let both = told(&Settings::at(given, 4222), options::Given::default());
            for side in ["CTL", "RPC"] {
                let of = |name| value(&both, &format!("WASMCLOUD_{side}_{name}"));
                assert_eq!(of("HOST").as_deref(), Some(host));
                assert_eq!(of("PORT").as_deref(), Some(port));
                assert_eq!(of("URL"), None);
            }
        }
    }

    #[test]
    fn hosts_connect_as_wash_does_also_for_calls() {
        let ctl = Settings {
            login: Login::CredsFile("u.creds".into()),
            ..Settings::at("127.0.0.1", 4222)
        };
        let both = told(&ctl, options::Given::default());
        for side in ["CTL", "RPC"] {
            let of = |name| value(&both, &format!("WASMCLOUD_{side}_{name}"));
            assert_eq!(of("CREDS").as_deref(), Some("u.creds"));
            assert_eq!(of("JWT").as_deref(), Some(""));
            assert_eq!(of("SEED").as_deref(), Some(""));
        }
        let elsewhere = options::Given {
            host: Some("10.0.0.1".to_owned()),
            ..options::Given::default()
        };
        let both = told(&ctl, elsewhere);
        assert_eq!(value(&both, "WASMCLOUD_RPC_CREDS"), None);
    }

    #[test]
    fn a_login_of_the_context_reaches_the_hosts() {
        let ctl = Settings {
            login: Login::Jwt(Creds {
                jwt: SecretText::new("eyJ"),
                seed: SecretText::new("SU"),
            }),
            ..Settings::at("127.0.0.1", 4222)
        };
        let both = told(&ctl, options::Given::default());
        assert_eq!(value(&both, "WASMCLOUD_CTL_JWT").as_deref(), Some("eyJ"));
        assert_eq!(value(&both, "WASMCLOUD_RPC_SEED").as_deref(), Some("SU"));
    }

    #[test]
    fn the_credentials_of_wash_are_not_those_of_the_hosts() {
        let own = LocalAccess {
            creds: "wash.creds".into(),
            ca: "ca.pem".into(),
            cluster: None,
        };
        let ctl = Settings {
            login: Login::CredsFile(own.creds.clone()),
            ..Settings::at("127.0.0.1", 4222)
        };
        let sides = Sides::new(&ctl, rpc(options::Given::default()), false).unwrap();
        let both = sides.without(&own).variables();
        assert_eq!(value(&both, "WASMCLOUD_CTL_CREDS"), None);
        assert_eq!(value(&both, "WASMCLOUD_RPC_CREDS"), None);
    }
}
