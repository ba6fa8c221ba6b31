//! `wash up --secure`: a lattice of its own operator, over TLS, in which each part has credentials.
//!
//! What is made for it stays in the folder `keys` of the lattice, readable by its owner only, and is
//! used again by the next start: the seeds of operator and accounts, an authority for certificates,
//! and credentials for the hosts and for `wash`. The NATS server is told the tokens in its own
//! configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lattice_claims::nats::{Account, Permissions, User, account_token, operator_token, user_token};
use lattice_claims::{KeyKind, SigningKey};
use lattice_core::provider::SecretText;
use lattice_nats::connection::{Creds, Login};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::defaults::{Backends, ON_NATS};
use crate::connection::Settings;
use crate::context::{Context, ContextDir};
use crate::error::{CliError, Code, Result};
use crate::files::write_private;
use crate::lattice_dir::{LatticeDir, LocalAccess, create_private_folder};

/// How long the authority is valid, and the server's certificate, which each start makes anew.
const AUTHORITY_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 365;

/// The names under which a local server is reached.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The account for the backends of links that somebody else puts, and its user.
const DATA: &str = "data";

/// The file with the seed of the cluster.
const CLUSTER: &str = "cluster.nk";

/// The seeds that a lattice is built on.
#[derive(Serialize, Deserialize)]
struct Seeds {
    operator: SecretText,
    account: SecretText,
    /// Signs for the users of providers; hosts have this one and not that of the account.
    signing: SecretText,
    system: SecretText,
    /// What components keep and say is in accounts of its own, apart from the lattice.
    #[serde(default)]
    data: Option<SecretText>,
    /// One for each provider that has its backend here, by its id: it is no business of the others. There are
    /// none where an earlier version has begun, as what is in the one account would not be found in others.
    #[serde(default)]
    data_of: BTreeMap<String, SecretText>,
    /// That of the cluster: hosts believe one another's compiled code, and know each other by it.
    cluster: SecretText,
    /// The private key of the authority, as PEM.
    authority: SecretText,
}

struct Keys {
    operator: SigningKey,
    account: SigningKey,
    signing: SigningKey,
    system: SigningKey,
    data: SigningKey,
    data_of: BTreeMap<String, SigningKey>,
}

/// What a secure lattice runs with.
#[derive(Debug)]
pub(super) struct Secure {
    folder: PathBuf,
    /// The server's share of its configuration.
    config: String,
    account: String,
    cluster: SecretText,
    /// Whose credentials a provider has its backend with. None where the server does not have the account: one
    /// that an earlier version has started.
    users: BTreeMap<&'static str, &'static str>,
}

impl Secure {
    /// Makes what is missing, and what each start makes anew. A `cluster` that is named when no host runs
    /// is that of the lattice from then on.
    pub(super) fn prepare(
        dir: &LatticeDir,
        host: &str,
        cluster: Option<&SecretText>,
    ) -> Result<Self> {
        let folder = dir.keys();
        create_private_folder(&folder)?;
        let file = folder.join("keys.json");
        let mut seeds = seeds(&file, cluster)?;
        if let Some(cluster) = cluster.filter(|_| dir.live_hosts().is_empty()) {
            seeds.cluster = cluster.clone();
            seeds.write(&file)?;
        }
        if cluster.is_some_and(|cluster| *cluster != seeds.cluster) {
            let text = format!(
                "the hosts of lattice `{}` have another cluster than the one that is given",
                dir.name()
            );
            return Err(CliError::new(Code::Usage, text).hint(format!(
                "leave out `--cluster-seed` or unset WASMCLOUD_CLUSTER_SEED, as theirs is in `{}`; or stop them first",
                folder.join(CLUSTER).display()
            )));
        }
        let keys = seeds.read()?;
        let secure = Self {
            config: keys.config(&folder)?,
            account: keys.account.public_key(),
            cluster: seeds.cluster.clone(),
            users: keys.users(dir),
            folder,
        };
        secure.certificates(&seeds.authority, host)?;
        for (name, account) in [("hosts", &keys.account), ("wash", &keys.account)] {
            secure.creds(name, account)?;
        }
        for (name, account) in keys.of_data() {
            secure.creds(name, account)?;
        }
        secure.write("signing.nk", seeds.signing.expose())?;
        secure.write(CLUSTER, seeds.cluster.expose())?;
        Ok(secure)
    }

    /// What the server's configuration has to say besides.
    pub(super) fn config(&self) -> &str {
        &self.config
    }

    /// How what the server listens to besides is encrypted.
    pub(super) fn tls(&self) -> String {
        let quoted = |name| quoted(&self.path(name));
        format!(
            "tls {{\n    cert_file: {}\n    key_file: {}\n  }}",
            quoted("server.pem"),
            quoted("server.key")
        )
    }

    /// How `wash` gets in.
    pub(super) fn access(&self) -> LocalAccess {
        LocalAccess {
            creds: self.path("wash.creds"),
            ca: self.path("ca.pem"),
            cluster: Some(self.path(CLUSTER)),
        }
    }

    /// What the hosts are told by their variables.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |name| self.path(name).display().to_string();
        vec![
            ("WASMCLOUD_CTL_CREDS", path("hosts.creds")),
            ("WASMCLOUD_RPC_CREDS", path("hosts.creds")),
            ("WASMCLOUD_CTL_TLS", "true".to_owned()),
            ("WASMCLOUD_RPC_TLS", "true".to_owned()),
            ("LATTICE_NATS_TLS_CA_FILE", path("ca.pem")),
            ("LATTICE_NATS_ACCOUNT_SEED", path("signing.nk")),
            ("LATTICE_NATS_ACCOUNT", self.account.clone()),
            (
                "LATTICE_NATS_MAX_CONTROL_LINE",
                super::broker::LONGEST_LINE.to_string(),
            ),
            // By the file: other processes of the user can read what a process was started with.
            ("WASMCLOUD_CLUSTER_SEED", path(CLUSTER)),
            ("WASMCLOUD_ALLOW_LEGACY_PEERS", "false".to_owned()),
        ]
    }

    /// What links say whose backend is this NATS server: provider processes have no rights there but for their
    /// links, and what components keep and say does not belong among what the lattice does.
    pub(super) fn backends(&self) -> Backends {
        let path = |name: &str| self.path(name).display().to_string();
        let says = |user: &str| {
            vec![
                ("client_creds_file", path(&format!("{user}.creds"))),
                ("tls_ca_file", path("ca.pem")),
            ]
        };
        let users = self.users.iter();
        users
            .map(|(&provider, &user)| (provider, says(user)))
            .collect()
    }

    /// Has this very command get in.
    pub(super) fn settle(&self, settings: &mut Settings) {
        let LocalAccess { creds, ca, .. } = self.access();
        if settings.login == Login::Nobody {
            settings.login = Login::CredsFile(creds);
        }
        if settings.tls.ca_files.is_empty() {
            settings.tls.ca_files.push(ca);
        }
    }

    /// Leaves a context for those who cannot see the folder of the lattice by its name.
    pub(super) fn save_context(&self, settings: &Settings) -> Result<()> {
        let LocalAccess { creds, ca, .. } = self.access();
        let lattice = settings.lattice.to_string();
        let context = Context {
            ctl_host: Some(settings.server.host_text()),
            ctl_port: Some(settings.server.port()),
            ctl_credsfile: Some(creds.clone()),
            ctl_tls_ca_file: Some(ca.clone()),
            rpc_host: Some(settings.server.host_text()),
            rpc_port: Some(settings.server.port()),
            rpc_credsfile: Some(creds),
            rpc_tls_ca_file: Some(ca),
            lattice: Some(lattice.clone()),
            cluster_seed: Some(self.cluster.expose().to_owned()),
            ..Context::local(&format!("secure-{lattice}"))
        };
        ContextDir::open(None)?.save(&context).map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        write_private(&path, text.as_bytes())
            .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))
    }

    /// Credentials of a user who may do everything in the account.
    fn creds(&self, name: &str, account: &SigningKey) -> Result<()> {
        let file = format!("{name}.creds");
        if self.path(&file).exists() {
            return Ok(());
        }
        let key = SigningKey::generate(KeyKind::User);
        let user = User {
            name: name.to_owned(),
            key: key.public_key(),
            account: None,
            expires: None,
            permissions: Permissions::default(),
        };
        let jwt = user_token(&user, account);
        let jwt = jwt.map_err(|error| broken("could not make credentials", &error))?;
        let creds = Creds {
            jwt: jwt.into(),
            seed: key.seed(),
        };
        self.write(&file, creds.to_text().expose())
    }

    /// The authority's certificate is kept, that of the server is made for each start.
    fn certificates(&self, authority: &SecretText, host: &str) -> Result<()> {
        let made = |error: rcgen::Error| broken("could not make certificates", &error);
        let key = KeyPair::from_pem(authority.expose()).map_err(made)?;
        let params = authority_params().map_err(made)?;
        if !self.path("ca.pem").exists() {
            let own = params.self_signed(&key).map_err(made)?;
            self.write("ca.pem", &own.pem())?;
        }
        let issuer = Issuer::new(params, key);
        let server = KeyPair::generate().map_err(made)?;
        let signed = server_params(host)
            .and_then(|params| params.signed_by(&server, &issuer))
            .map_err(made)?;
        self.write("server.key", &server.serialize_pem())?;
        self.write("server.pem", &signed.pem())
    }
}

/// Whether a text stands in a file.
fn is_in(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|file| file.contains(text))
}

/// A path as it stands in a configuration.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

fn authority_params() -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of a local lattice");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    valid_for(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

fn server_params(host: &str) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    if !NAMES.contains(&host) {
        names.push(host.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "nats-server of a local lattice");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, SERVER_DAYS);
    Ok(params)
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    // Clocks of one machine do not differ, but are set now and then.
    params.not_before = now - Duration::DAY;
    params.not_after = now + Duration::days(days);
}

/// The seeds of an earlier start, or new ones, with the cluster that is given.
fn seeds(path: &Path, cluster: Option<&SecretText>) -> Result<Seeds> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let seeds: Seeds = serde_json::from_slice(&bytes).map_err(|error| {
                let text = format!("`{}` does not hold the keys of a lattice", path.display());
                // The cause might repeat a part of a seed.
                let place = format!("line {}, column {}", error.line(), error.column());
                CliError::new(Code::CredentialsInvalid, text)
                    .cause(place)
                    .hint("restore it, or delete the folder it is in to begin with new keys")
            })?;
            seeds.complete(path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut seeds = Seeds::new()?;
            if let Some(cluster) = cluster {
                seeds.cluster = cluster.clone();
            }
            seeds.write(path)?;
            Ok(seeds)
        }
        Err(error) => Err(CliError::io(
            format!("could not read `{}`", path.display()),
            &error,
        )),
    }
}

impl Seeds {
    fn new() -> Result<Self> {
        let seed = |kind| SigningKey::generate(kind).seed();
        let authority =
            KeyPair::generate().map_err(|error| broken("could not make a key", &error))?;
        Ok(Self {
            operator: seed(KeyKind::Operator),
            account: seed(KeyKind::Account),
            signing: seed(KeyKind::Account),
            system: seed(KeyKind::Account),
            data: Some(seed(KeyKind::Account)),
            data_of: seeds_of_data(),
            cluster: seed(KeyKind::Cluster),
            authority: SecretText::new(authority.serialize_pem()),
        })
    }

    /// Adds what those of an earlier version lack.
    fn complete(mut self, path: &Path) -> Result<Self> {
        if self.data.is_none() {
            self.data = Some(SigningKey::generate(KeyKind::Account).seed());
            self.data_of = seeds_of_data();
            self.write(path)?;
        }
        Ok(self)
    }

    fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("seeds are plain texts");
        write_private(path, &bytes)
            .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))
    }

    fn read(&self) -> Result<Keys> {
        let key = |seed: &SecretText, kind| {
            SigningKey::from_seed(seed.expose())
                .and_then(|key| key.expect_kind(kind))
                .map_err(|error| {
                    CliError::new(
                        Code::CredentialsInvalid,
                        "a key of the lattice cannot be read",
                    )
                    .caused_by(&error)
                })
        };
        let mut data_of = BTreeMap::new();
        for (id, seed) in &self.data_of {
            data_of.insert(id.clone(), key(seed, KeyKind::Account)?);
        }
        Ok(Keys {
            data_of,
            operator: key(&self.operator, KeyKind::Operator)?,
            account: key(&self.account, KeyKind::Account)?,
            signing: key(&self.signing, KeyKind::Account)?,
            system: key(&self.system, KeyKind::Account)?,
            data: key(&self.data.clone().unwrap_or_default(), KeyKind::Account)?,
        })
    }
}

/// New accounts for all who have their backend here.
fn seeds_of_data() -> BTreeMap<String, SecretText> {
    let seed = || SigningKey::generate(KeyKind::Account).seed();
    ON_NATS.map(|id| (id.to_owned(), seed())).into()
}

impl Keys {
    /// The accounts for what components keep and say, by name.
    fn of_data(&self) -> impl Iterator<Item = (&str, &SigningKey)> {
        let own = self.data_of.iter().map(|(id, key)| (&**id, key));
        own.chain([(DATA, &self.data)])
    }

    /// See [`Secure::users`].
    fn users(&self, dir: &LatticeDir) -> BTreeMap<&'static str, &'static str> {
        let (begins, own_config) = (dir.broker().is_none(), dir.has_own_config());
        let config = dir.nats_config();
        let has = |key: &SigningKey| begins || own_config && is_in(&config, &key.public_key());
        let of = |id: &'static str| match self.data_of.get(id) {
            Some(key) => (id, id, key),
            // One account for all of them, as before.
            None => (id, DATA, &self.data),
        };
        let all = ON_NATS.into_iter().map(of);
        all.filter(|&(_, _, key)| has(key))
            .map(|(id, user, _)| (id, user))
            .collect()
    }

    /// Who is who, for the server, and its certificate.
    fn config(&self, folder: &Path) -> Result<String> {
        let made = |error| broken("could not make the tokens of the lattice", &error);
        let system = self.system.public_key();
        let operator = operator_token("lattice", &system, &self.operator).map_err(made)?;
        let account = Account {
            name: "lattice".to_owned(),
            key: self.account.public_key(),
            signing_keys: vec![self.signing.public_key()],
            jetstream: true,
        };
        let of_system = Account {
            name: "SYS".to_owned(),
            key: system.clone(),
            ..Account::default()
        };
        let of_data = self.of_data().map(|(name, key)| Account {
            name: name.to_owned(),
            key: key.public_key(),
            jetstream: true,
            ..Account::default()
        });
        let mut accounts = String::new();
        for account in of_data.chain([account, of_system]) {
            let jwt = account_token(&account, &self.operator).map_err(made)?;
            accounts.push_str(&format!("  {}: {jwt}\n", account.key));
        }
        let quoted = |name: &str| quoted(&folder.join(name));
        Ok(format!(
            "tls {{\n  cert_file: {}\n  key_file: {}\n  timeout: 5\n}}\noperator: {operator}\n\
             system_account: {system}\nresolver: MEMORY\nresolver_preload {{\n{accounts}}}\n",
            quoted("server.pem"),
            quoted("server.key"),
        ))
    }
}

fn broken(what: &str, error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::new(Code::Unexpected, what).caused_by(error)
}

#[cfg(test)]
mod tests;
